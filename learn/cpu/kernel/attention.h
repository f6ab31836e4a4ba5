// Attention: softmax(scale·q·kᵀ)·v for some stacks (G) of images, and its gradient. All are kept (G, D, T, N): features, tokens, images, so that a vector
// is VW images and every product of one element of one matrix with one of another is a product of vectors: nothing is summed across a vector, no matrix
// is transposed, and matrices of any size fill the vectors. A task is a vector of images of one stack. It packs what it reads often as (T, D, VW), filled
// up with zeroes to whole tiles; rows are an odd number of vectors apart, since those a power of two apart would meet in one place of the first-level cache.

#if VW == 16
#define AI 6 // rows of a tile of products
#define AJ 4 // its columns
#else
#define AI 3
#define AJ 3
#endif

#define AK 64 // products of a range: with what a tile reads of both sides in the first-level cache

typedef struct {
	const dk_attention *p;
	const float *q, *k, *v, *weights_in, *g;
	float *y, *weights, *gradients;
	int failed;
} attention;

static int64_t filled(int64_t n, int64_t whole) { return (n + whole - 1) / whole * whole; }

// vectors_apart is how far apart rows of n vectors lie, in floats.
static int64_t vectors_apart(int64_t n) { return (filled(n, AJ) | 1) * VW; }

// packed_rows is how many rows of T tokens are packed, so that tiles are whole either way.
static int64_t packed_rows(int64_t T) { return greater(filled(T, AI), filled(T, AJ)); }

// crossed is c[i][j] = factor·Σ_l a[i][l]·b[j][l] of vectors, for AI rows and some columns, whole tiles of them; steps in floats, rows of c are ci apart.
static void crossed(int64_t n, int64_t columns, const float *a, int64_t ai, int64_t al, const float *b, int64_t bj, int64_t bl, float *c, int64_t ci, float factor) {
	int64_t ranges = (n + AK - 1) / AK, range = (n + ranges - 1) / ranges;
	for (int64_t from = 0; from < n; from += range) {
		int64_t count = lesser(range, n - from);
		float times = from + count == n ? factor : 1;
		for (int64_t j = 0; j < columns; j += AJ) {
			vec s[AI][AJ];
			float *to = c + j * VW;
			for (int i = 0; i < AI; i++)
				for (int k = 0; k < AJ; k++)
					s[i][k] = (vec){0};
			const float *x = a + from * al, *y = b + j * bj + from * bl;
			for (int64_t l = 0; l < count; l++, x += al, y += bl) {
				vec v[AJ];
				for (int k = 0; k < AJ; k++)
					v[k] = *(const vec *)(y + k * bj);
#pragma GCC unroll 6
				for (int i = 0; i < AI; i++) {
					vec u = *(const vec *)(x + i * ai);
#pragma GCC unroll 4
					for (int k = 0; k < AJ; k++)
						s[i][k] += u * v[k];
				}
			}
			if (from > 0)
				for (int i = 0; i < AI; i++)
					for (int k = 0; k < AJ; k++)
						s[i][k] += *(const vec *)(to + i * ci + k * VW);
			for (int i = 0; i < AI; i++)
				for (int k = 0; k < AJ; k++)
					*(vec *)(to + i * ci + k * VW) = s[i][k] * times;
		}
	}
}

// lanes_in reads a vector of which only some lanes are there.
static inline vec lanes_in(const float *from, int lanes) {
	if (lanes == VW)
		return *(const vec *)from;
	vec v = {0};
	memcpy(&v, from, lanes * 4);
	return v;
}

// tokens packs tokens t0 to t1 of (D, T, N) from image n0 on as rows of D vectors, `rows` of them.
static void tokens(const float *x, const dk_attention *p, int64_t n0, int64_t t0, int64_t t1, int64_t rows, float *to) {
	int64_t D = p->D, T = p->T, N = p->N, row = vectors_apart(D);
	int lanes = (int)lesser(VW, N - n0);
	for (int64_t d = 0; d < D; d++) {
		const float *from = x + (d * T + t0) * N + n0;
		float *at = to + d * VW;
		for (int64_t t = t0; t < t1; t++, from += N, at += row)
			*(vec *)at = lanes_in(from, lanes);
	}
	for (int64_t t = 0; t < rows; t++) {
		int64_t whole = t < t1 - t0 ? D * VW : 0;
		memset(to + t * row + whole, 0, (row - whole) * 4);
	}
}

// tokens_out writes what rows of D vectors hold to tokens t0 to t1 of (D, T, N), from image n0 on.
static void tokens_out(const float *from, const dk_attention *p, int64_t n0, int64_t t0, int64_t t1, float *x) {
	int64_t D = p->D, T = p->T, N = p->N, row = vectors_apart(D), lanes = lesser(VW, N - n0);
	for (int64_t d = 0; d < D; d++) {
		const float *at = from + d * VW;
		float *to = x + (d * T + t0) * N + n0;
		for (int64_t t = t0; t < t1; t++, to += N, at += row)
			if (lanes == VW)
				*(vec *)to = *(const vec *)at;
			else
				memcpy(to, at, lanes * 4);
	}
}

// weigh makes n scores, vectors one after the other, their softmax.
static void weigh(float *s, int64_t n) {
	vec most = *(const vec *)s;
	for (int64_t k = 1; k < n; k++) {
		vec x = *(const vec *)(s + k * VW);
		most = choose_of((x > most) | (x != x), x, most);
	}
	vec sum = {0};
	for (int64_t k = 0; k < n; k++) {
		vec e = exponential(*(const vec *)(s + k * VW) - most);
		*(vec *)(s + k * VW) = e;
		sum += e;
	}
	sum = 1.0f / sum;
	for (int64_t k = 0; k < n; k++)
		*(vec *)(s + k * VW) *= sum;
}

static void attention_task(void *data, size_t task) {
	attention *c = data;
	const dk_attention *p = c->p;
	int64_t D = p->D, T = p->T, N = p->N, chunks = (N + VW - 1) / VW, g = (int64_t)task / chunks, n0 = (int64_t)task % chunks * VW, plane = g * D * T * N;
	int64_t row = vectors_apart(D), square = vectors_apart(T), rows = packed_rows(T), lanes = lesser(VW, N - n0);
	float *q = dk_take(AI * row), *k = dk_take(rows * row), *v = dk_take(rows * row), *s = dk_take(AI * square);
	if (!q || !k || !v || !s) {
		c->failed = 1;
		dk_give(q), dk_give(k), dk_give(v), dk_give(s);
		return;
	}
	tokens(c->k + plane, p, n0, 0, T, rows, k);
	tokens(c->v + plane, p, n0, 0, T, rows, v);
	for (int64_t t = 0; t < T; t += AI) {
		int64_t end = lesser(T, t + AI);
		tokens(c->q + plane, p, n0, t, end, AI, q);
		crossed(D, filled(T, AJ), q, row, VW, k, row, VW, s, square, p->scale);
		for (int64_t r = t; r < end; r++) {
			const float *scores = s + (r - t) * square;
			weigh(s + (r - t) * square, T);
			float *to = c->weights + (g * T + r) * T * N + n0;
			for (int64_t u = 0; u < T; u++)
				memcpy(to + u * N, scores + u * VW, lanes * 4);
		}
		crossed(T, filled(D, AJ), s, square, VW, v, VW, row, q, row, 1);
		tokens_out(q, p, n0, t, end, c->y + plane);
	}
	dk_give(q), dk_give(k), dk_give(v), dk_give(s);
}

static int attention_of(const dk_threads *t, const dk_attention *p, const float *q, const float *k, const float *v, float *y, float *weights) {
	attention c = {.p = p, .q = q, .k = k, .v = v, .y = y, .weights = weights};
	t->run(t, attention_task, p->G * ((p->N + VW - 1) / VW), &c);
	return c.failed;
}

// With the weights P = softmax(S) and what flows back, G: ∂v = Pᵀ·G, ∂P = G·vᵀ, ∂S = P∘(∂P - Σ_u P∘∂P), ∂q = scale·∂S·k, ∂k = scale·∂Sᵀ·q.
static void attention_gradient_task(void *data, size_t task) {
	attention *c = data;
	const dk_attention *p = c->p;
	int64_t D = p->D, T = p->T, N = p->N, chunks = (N + VW - 1) / VW, g = (int64_t)task / chunks, n0 = (int64_t)task % chunks * VW, plane = g * D * T * N;
	int64_t row = vectors_apart(D), square = vectors_apart(T), rows = packed_rows(T);
	int lanes = (int)lesser(VW, N - n0);
	float *first = dk_take(rows * row), *second = dk_take(rows * row), *s = dk_take(rows * square), *w = dk_take(rows * square), *out = dk_take(AI * row);
	if (!first || !second || !s || !w || !out) {
		c->failed = 1;
		dk_give(first), dk_give(second), dk_give(s), dk_give(w), dk_give(out);
		return;
	}
	float *gq = c->gradients + plane, *gk = gq + p->G * D * T * N, *gv = gk + p->G * D * T * N;
	tokens(c->g + plane, p, n0, 0, T, rows, first);
	tokens(c->v + plane, p, n0, 0, T, rows, second);
	memset(w, 0, rows * square * 4);
	for (int64_t t = 0; t < T; t++)
		for (int64_t u = 0; u < T; u++)
			*(vec *)(w + t * square + u * VW) = lanes_in(c->weights_in + ((g * T + t) * T + u) * N + n0, lanes);
	for (int64_t t = 0; t < T; t += AI) {
		crossed(D, filled(T, AJ), first + t * row, row, VW, second, row, VW, s + t * square, square, 1);
		crossed(T, filled(D, AJ), w + t * VW, VW, square, first, VW, row, out, row, 1);
		tokens_out(out, p, n0, t, lesser(T, t + AI), gv);
	}
	for (int64_t t = 0; t < T; t++) {
		float *scores = s + t * square;
		const float *weights = w + t * square;
		vec sum = {0};
		for (int64_t u = 0; u < T; u++)
			sum += *(const vec *)(weights + u * VW) * *(const vec *)(scores + u * VW);
		for (int64_t u = 0; u < T; u++)
			*(vec *)(scores + u * VW) = *(const vec *)(weights + u * VW) * (*(const vec *)(scores + u * VW) - sum);
	}
	tokens(c->k + plane, p, n0, 0, T, rows, first);
	tokens(c->q + plane, p, n0, 0, T, rows, second);
	for (int64_t t = 0; t < T; t += AI) {
		crossed(T, filled(D, AJ), s + t * square, square, VW, first, VW, row, out, row, p->scale);
		tokens_out(out, p, n0, t, lesser(T, t + AI), gq);
		crossed(T, filled(D, AJ), s + t * VW, VW, square, second, VW, row, out, row, p->scale);
		tokens_out(out, p, n0, t, lesser(T, t + AI), gk);
	}
	dk_give(first), dk_give(second), dk_give(s), dk_give(w), dk_give(out);
}

static int attention_gradient_of(const dk_threads *t, const dk_attention *p, const float *q, const float *k, const float *v, const float *weights, const float *g,
                                 float *gradients) {
	attention c = {.p = p, .q = q, .k = k, .v = v, .weights_in = weights, .g = g, .gradients = gradients};
	t->run(t, attention_gradient_task, p->G * ((p->N + VW - 1) / VW), &c);
	return c.failed;
}
