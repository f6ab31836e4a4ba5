// Scratch memory of a task. A thread keeps what it gives back, up to a bound, since memory that is new to a process costs a page fault every
// 4 KiB, which is more than many a kernel takes to fill it.

#include <pthread.h>
#include <stdlib.h>

#include "kernels.h"

#define HEADER 64 // bytes before a block: its size
#define SLOTS 16
#define KEPT (24 << 20) // bytes that a thread keeps

typedef struct {
	char *blocks[SLOTS]; // free, by the header's address
	size_t held;
} shelf;

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void discard(void *data) {
	shelf *s = data;
	for (int i = 0; i < SLOTS; i++)
		free(s->blocks[i]);
	free(s);
}

static void make_key(void) { pthread_key_create(&key, discard); }

static shelf *own(void) {
	pthread_once(&once, make_key);
	shelf *s = pthread_getspecific(key);
	if (!s && (s = calloc(1, sizeof *s)))
		pthread_setspecific(key, s);
	return s;
}

// dk_take returns memory of undefined content at an address that is a multiple of 64, or NULL.
float *dk_take(int64_t floats) {
	size_t size = ((size_t)(floats > 0 ? floats : 1) * 4 + 63) / 64 * 64;
	shelf *s = own();
	int best = -1;
	for (int i = 0; s && i < SLOTS; i++)
		if (s->blocks[i] && *(size_t *)s->blocks[i] >= size && (best < 0 || *(size_t *)s->blocks[i] < *(size_t *)s->blocks[best]))
			best = i;
	char *block;
	if (best >= 0) {
		block = s->blocks[best];
		s->blocks[best] = NULL;
		s->held -= *(size_t *)block;
	} else {
		block = aligned_alloc(64, size + HEADER);
		if (!block)
			return NULL;
		*(size_t *)block = size;
	}
	return (float *)(block + HEADER);
}

// dk_give takes memory back, or NULL.
void dk_give(float *memory) {
	if (!memory)
		return;
	char *block = (char *)memory - HEADER;
	shelf *s = own();
	if (s && s->held + *(size_t *)block <= KEPT)
		for (int i = 0; i < SLOTS; i++)
			if (!s->blocks[i]) {
				s->blocks[i] = block;
				s->held += *(size_t *)block;
				return;
			}
	free(block);
}
