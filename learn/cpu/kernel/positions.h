// Sums over the positions of images, image by image: of (rows, positions, N), or of the products of two such, (rows, N). A task is a row.

typedef struct {
	int64_t positions, n;
	const float *x, *y; // y may be NULL
	float *sums;
} position_sums;

#define RUN 64 // positions that are summed before the sum goes on

// sum_positions sums one row; of x alone where there is no y.
static inline __attribute__((always_inline)) void sum_positions(int two, const float *x, const float *y, int64_t positions, int64_t n, float *sums) {
	for (int64_t at = 0; at < n; at += VW) {
		int64_t some = lesser(VW, n - at);
		vec total = {0};
		for (int64_t k = 0; k < positions; k += RUN) {
			vec s = {0};
			for (int64_t i = k; i < lesser(positions, k + RUN); i++) {
				vec a = some == VW ? *(const vec *)(x + i * n + at) : some_of(x + i * n + at, some);
				if (two)
					a *= some == VW ? *(const vec *)(y + i * n + at) : some_of(y + i * n + at, some);
				s += a;
			}
			total += s;
		}
		memcpy(sums + at, &total, some * 4);
	}
}

static void position_sums_task(void *data, size_t task) {
	position_sums *c = data;
	int64_t row = (int64_t)task, size = c->positions * c->n;
	if (c->y)
		sum_positions(1, c->x + row * size, c->y + row * size, c->positions, c->n, c->sums + row * c->n);
	else
		sum_positions(0, c->x + row * size, NULL, c->positions, c->n, c->sums + row * c->n);
}

static void position_sums_of(const dk_threads *t, int64_t rows, int64_t positions, int64_t n, const float *x, const float *y, float *sums) {
	position_sums c = {positions, n, x, y, sums};
	t->run(t, position_sums_task, rows, &c);
}
