// Kernel gradient of a convolution of 1×1: each row of one matrix with each row of another, over all positions of all images, which lie side by
// side. A task is some rows of the matrix that has more of them, over some blocks of positions; what it sums goes to a part of its own.

// Rows of the larger and of the smaller matrix in a tile, by the number of registers.
#if VW == 16
#define PA 4
#define PB 6
#else
#define PA 2
#define PB 5
#endif
#define POSITIONS 768 // of a block at most
#define FEWEST 256    // positions from which this pays
#define SMALLER 192   // rows of the smaller matrix up to which it pays

typedef struct {
	const float *larger, *smaller; // (rows, positions) each
	int64_t a, b, positions;       // rows
	int64_t size, blocks;          // positions of a block, blocks
	int64_t parts, per, groups;    // parts of the blocks; rows of the larger matrix in a group, groups
	float *sums;                   // (parts, a, b)
	int failed;
} pointwise;

// sums_of writes the sum of each of VW vectors, by halving them pair by pair.
static inline __attribute__((always_inline)) vec sums_of(vec v[VW]) {
	typedef int32_t lanes __attribute__((vector_size(VW * 4)));
	lanes even, odd;
	for (int l = 0; l < VW; l++)
		even[l] = 2 * l, odd[l] = 2 * l + 1;
#pragma GCC unroll 16
	for (int count = VW; count > 1; count /= 2)
#pragma GCC unroll 16
		for (int i = 0; i < count / 2; i++)
			v[i] = __builtin_shuffle(v[2 * i], v[2 * i + 1], even) + __builtin_shuffle(v[2 * i], v[2 * i + 1], odd);
	return v[0];
}

// pointwise_tile adds to sums (na, b) what na rows of the larger matrix and nb of the smaller make.
static inline __attribute__((always_inline)) void pointwise_tile(int na, int nb, const float *x, int64_t xrow, const float *y, int64_t yrow, int64_t vectors,
                                                                 float *sums, int64_t row) {
	vec a[(PA * PB + VW - 1) / VW * VW];
	for (int k = 0; k < (PA * PB + VW - 1) / VW * VW; k++)
		a[k] = (vec){0};
	for (int64_t k = 0; k < vectors; k++, x += VW, y += VW) {
		vec u[PB];
#pragma GCC unroll 6
		for (int j = 0; j < nb; j++)
			u[j] = *(const vec *)(y + j * yrow);
#pragma GCC unroll 4
		for (int i = 0; i < na; i++) {
			vec t = *(const vec *)(x + i * xrow);
#pragma GCC unroll 6
			for (int j = 0; j < nb; j++)
				a[i * PB + j] += t * u[j];
		}
	}
	float out[(PA * PB + VW - 1) / VW * VW];
	for (int k = 0; k < PA * PB; k += VW)
		*(vec *)(out + k) = sums_of(a + k);
	for (int i = 0; i < na; i++)
		for (int j = 0; j < nb; j++)
			sums[i * row + j] += out[i * PB + j];
}

#define POINTWISE_CASE(A, B) \
	case (A) * 8 + (B): \
		pointwise_tile(A, B, x, xrow, y, yrow, vectors, sums, row); \
		break;
#if VW == 16
#define POINTWISE_CASES(A) POINTWISE_CASE(A, 1) POINTWISE_CASE(A, 2) POINTWISE_CASE(A, 3) POINTWISE_CASE(A, 4) POINTWISE_CASE(A, 5) POINTWISE_CASE(A, 6)
#define POINTWISE_TILES POINTWISE_CASES(1) POINTWISE_CASES(2) POINTWISE_CASES(3) POINTWISE_CASES(4)
#else
#define POINTWISE_CASES(A) POINTWISE_CASE(A, 1) POINTWISE_CASE(A, 2) POINTWISE_CASE(A, 3) POINTWISE_CASE(A, 4) POINTWISE_CASE(A, 5)
#define POINTWISE_TILES POINTWISE_CASES(1) POINTWISE_CASES(2)
#endif

static void pointwise_tile_of(int64_t na, int64_t nb, const float *x, int64_t xrow, const float *y, int64_t yrow, int64_t vectors, float *sums, int64_t row) {
	switch (na * 8 + nb) { POINTWISE_TILES }
}

// rows_of copies n positions of some rows, with zeroes up to `pitch`.
static void rows_of(const float *from, int64_t rows, int64_t stride, int64_t n, int64_t pitch, float *to) {
	for (int64_t r = 0; r < rows; r++, from += stride, to += pitch) {
		memcpy(to, from, n * 4);
		memset(to + n, 0, (pitch - n) * 4);
	}
}

static void pointwise_task(void *data, size_t task) {
	pointwise *c = data;
	int64_t part = (int64_t)task / c->groups, a0 = (int64_t)task % c->groups * c->per, a1 = lesser(c->a, a0 + c->per);
	int64_t pitch = c->size + VW; // not a multiple of a page
	float *small = dk_take((c->b + PA) * pitch), *rest = small + c->b * pitch;
	if (!small) {
		c->failed = 1;
		return;
	}
	float *sums = c->sums + part * c->a * c->b;
	memset(sums + a0 * c->b, 0, (a1 - a0) * c->b * 4);
	for (int64_t block = part; block < c->blocks; block += c->parts) {
		int64_t at = block * c->size, n = lesser(c->size, c->positions - at), vectors = (n + VW - 1) / VW;
		rows_of(c->smaller + at, c->b, c->positions, n, pitch, small);
		for (int64_t i = a0; i < a1; i += PA) {
			int64_t na = lesser(PA, a1 - i), stride = c->positions;
			const float *x = c->larger + i * c->positions + at;
			if (n % VW) {
				rows_of(x, na, stride, n, pitch, rest);
				x = rest, stride = pitch;
			}
			for (int64_t j = 0; j < c->b; j += PB)
				pointwise_tile_of(na, lesser(PB, c->b - j), x, stride, small + j * pitch, pitch, vectors, sums + i * c->b + j, c->b);
		}
	}
	dk_give(small);
}

// alone_everywhere reports whether each position of the output meets the one position of the input that is in its place.
static int alone_everywhere(const dk_plane *p) {
	return p->KH * p->KW == 1 && p->sh * p->sw == 1 && p->ph == 0 && p->pw == 0 && p->ih * p->iw == 1 && p->H == p->Ho && p->W == p->Wo;
}

// flattened makes a column of chunks of such images, which are read in the order in which they lie, if there are whole chunks.
static int flattened(const dk_plane *p, dk_plane *flat) {
	int64_t positions = p->H * p->W * p->N;
	if (!alone_everywhere(p) || positions % NB)
		return 0;
	*flat = *p;
	flat->H = flat->Ho = positions / NB, flat->W = flat->Wo = 1, flat->N = NB;
	return 1;
}

// is_pointwise reports whether a kernel gradient is one of this kind.
static int is_pointwise(const dk_plane *p) { return lesser(p->I, p->O) <= SMALLER && p->H * p->W * p->N >= FEWEST && alone_everywhere(p); }

// pointwise_gradient is the kernel gradient of a plane that is_pointwise.
static int pointwise_gradient(const dk_threads *t, const dk_plane *p, const float *x, const float *v, float *g) {
	int outputs = p->O >= p->I; // the larger matrix is of the output channels
	pointwise c = {.larger = outputs ? v : x, .smaller = outputs ? x : v, .a = greater(p->O, p->I), .b = lesser(p->O, p->I), .positions = p->H * p->W * p->N};
	// A quarter of the second-level cache for the smaller matrix. Blocks are equally long.
	int64_t most = greater(16 * VW, lesser(POSITIONS, (256 << 10) / (4 * c.b)));
	c.blocks = (c.positions + most - 1) / most;
	c.size = ((c.positions + c.blocks - 1) / c.blocks + VW - 1) / VW * VW;
	c.blocks = (c.positions + c.size - 1) / c.size;
	c.parts = lesser(c.blocks, 8);
	c.per = c.a;
	while (c.parts * ((c.a + c.per - 1) / c.per) < 8 && c.per > 4 * PA)
		c.per = ((c.per + 1) / 2 + PA - 1) / PA * PA;
	c.groups = (c.a + c.per - 1) / c.per;
	c.sums = dk_take(c.parts * c.a * c.b);
	if (!c.sums)
		return 1;
	t->run(t, pointwise_task, c.parts * c.groups, &c);
	for (int64_t part = 1; part < c.parts; part++)
		for (int64_t k = 0; k < c.a * c.b; k++)
			c.sums[k] += c.sums[part * c.a * c.b + k];
	int64_t ka = outputs ? p->ko : p->ki, kb = outputs ? p->ki : p->ko;
	for (int64_t a = 0; a < c.a; a++)
		for (int64_t b = 0; b < c.b; b++)
			g[p->k0 + a * ka + b * kb] = c.sums[a * c.b + b];
	dk_give(c.sums);
	return c.failed;
}
