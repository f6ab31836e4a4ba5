// Attention: softmax(scale·q·kᵀ)·v for some stacks (G) of images, and its gradient. All are kept (G, D, T, N): features, tokens, images, so that a vector
// is VW images and every product of one element of one matrix with one of another is a product of vectors: nothing is summed across a vector, no matrix
// is transposed, and matrices of any size fill the vectors. A task is a vector of images of one stack. It packs what it reads often as (T, D', VW), where D'
// is D or one more: odd, since rows a power of two apart would meet in one place of the first-level cache.

#if VW == 16
#define AI 6 // rows of a tile of products
#define AJ 4 // its columns
#else
#define AI 3
#define AJ 3
#endif

typedef struct {
	const dk_attention *p;
	const float *q, *k, *v, *weights_in, *g;
	float *y, *weights, *gradients;
	int failed;
} attention;

// crossed is c[i][j] = factor·Σ_l a[i][l]·b[j][l] of vectors; steps in floats.
static inline __attribute__((always_inline)) void crossed_tile(int64_t n, const float *a, int64_t ai, int64_t al, const float *b, int64_t bj, int64_t bl, int I, int J,
                                                               float *c, int64_t ci, int64_t cj, float factor, int lanes) {
	vec s[AI][AJ];
	for (int i = 0; i < I; i++)
		for (int j = 0; j < J; j++)
			s[i][j] = (vec){0};
	for (int64_t l = 0; l < n; l++, a += al, b += bl) {
		vec y[AJ];
		for (int j = 0; j < J; j++)
			y[j] = *(const vec *)(b + j * bj);
#pragma GCC unroll 6
		for (int i = 0; i < I; i++) {
			vec x = *(const vec *)(a + i * ai);
#pragma GCC unroll 4
			for (int j = 0; j < J; j++)
				s[i][j] += x * y[j];
		}
	}
#pragma GCC unroll 6
	for (int i = 0; i < I; i++)
#pragma GCC unroll 4
		for (int j = 0; j < J; j++) {
			s[i][j] *= factor;
			if (lanes == VW)
				*(vec *)(c + i * ci + j * cj) = s[i][j];
			else
				memcpy(c + i * ci + j * cj, &s[i][j], lanes * 4);
		}
}

// crossed does rows·columns of them. The last tile begins earlier where it would reach beyond, and so computes some again.
static void crossed(int64_t n, int64_t rows, int64_t columns, const float *a, int64_t ai, int64_t al, const float *b, int64_t bj, int64_t bl, float *c, int64_t ci,
                    int64_t cj, float factor, int lanes) {
	if (rows < AI || columns < AJ) {
		for (int64_t i = 0; i < rows; i++)
			for (int64_t j = 0; j < columns; j++)
				crossed_tile(n, a + i * ai, ai, al, b + j * bj, bj, bl, 1, 1, c + i * ci + j * cj, ci, cj, factor, lanes);
		return;
	}
	for (int64_t i = 0; i < rows; i += AI) {
		int64_t r = lesser(i, rows - AI);
		for (int64_t j = 0; j < columns; j += AJ) {
			int64_t s = lesser(j, columns - AJ);
			crossed_tile(n, a + r * ai, ai, al, b + s * bj, bj, bl, AI, AJ, c + r * ci + s * cj, ci, cj, factor, lanes);
		}
	}
}

// tokens packs tokens t0 to t1 of (D, T, N) from image n0 on as (tokens, D', VW), rows of `row` floats.
static void tokens(const float *x, int64_t D, int64_t T, int64_t N, int64_t n0, int64_t t0, int64_t t1, int64_t row, float *to) {
	int lanes = (int)lesser(VW, N - n0);
	for (int64_t d = 0; d < D; d++) {
		const float *from = x + (d * T + t0) * N + n0;
		float *at = to + d * VW;
		for (int64_t t = t0; t < t1; t++, from += N, at += row)
			if (lanes == VW)
				*(vec *)at = *(const vec *)from;
			else {
				*(vec *)at = (vec){0};
				memcpy(at, from, lanes * 4);
			}
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
	int64_t D = p->D, T = p->T, N = p->N, chunks = (N + VW - 1) / VW, g = (int64_t)task / chunks, n0 = (int64_t)task % chunks * VW;
	int lanes = (int)lesser(VW, N - n0);
	int64_t rows = lesser(AI, T), row = (D | 1) * VW;
	float *q = dk_take(rows * row), *k = dk_take(T * row), *v = dk_take(T * row), *s = dk_take(rows * T * VW);
	if (!q || !k || !v || !s) {
		c->failed = 1;
		dk_give(q), dk_give(k), dk_give(v), dk_give(s);
		return;
	}
	tokens(c->k + g * D * T * N, D, T, N, n0, 0, T, row, k);
	tokens(c->v + g * D * T * N, D, T, N, n0, 0, T, row, v);
	for (int64_t i = 0; i < T; i += rows) {
		int64_t t = lesser(i, T - rows);
		tokens(c->q + g * D * T * N, D, T, N, n0, t, t + rows, row, q);
		crossed(D, rows, T, q, row, VW, k, row, VW, s, T * VW, VW, p->scale, VW);
		for (int64_t r = 0; r < rows; r++) {
			weigh(s + r * T * VW, T);
			float *to = c->weights + (g * T + t + r) * T * N + n0;
			for (int64_t u = 0; u < T; u++)
				memcpy(to + u * N, s + (r * T + u) * VW, lanes * 4);
		}
		crossed(T, rows, D, s, T * VW, VW, v, VW, row, c->y + (g * D * T + t) * N + n0, N, T * N, 1, lanes);
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
	int64_t D = p->D, T = p->T, N = p->N, chunks = (N + VW - 1) / VW, g = (int64_t)task / chunks, n0 = (int64_t)task % chunks * VW, plane = D * T * N, row = (D | 1) * VW;
	int lanes = (int)lesser(VW, N - n0);
	float *first = dk_take(T * row), *second = dk_take(T * row), *s = dk_take(T * T * VW), *w = dk_take(T * T * VW);
	if (!first || !second || !s || !w) {
		c->failed = 1;
		dk_give(first), dk_give(second), dk_give(s), dk_give(w);
		return;
	}
	float *gq = c->gradients + g * plane + n0, *gk = gq + p->G * plane, *gv = gk + p->G * plane;
	tokens(c->g + g * plane, D, T, N, n0, 0, T, row, first);
	tokens(c->v + g * plane, D, T, N, n0, 0, T, row, second);
	for (int64_t i = 0; i < T * T; i++)
		if (lanes == VW)
			*(vec *)(w + i * VW) = *(const vec *)(c->weights_in + (g * T * T + i) * N + n0);
		else {
			*(vec *)(w + i * VW) = (vec){0};
			memcpy(w + i * VW, c->weights_in + (g * T * T + i) * N + n0, lanes * 4);
		}
	crossed(D, T, T, first, row, VW, second, row, VW, s, T * VW, VW, 1, VW);
	crossed(T, T, D, w, VW, T * VW, first, VW, row, gv, N, T * N, 1, lanes);
	for (int64_t t = 0; t < T; t++) {
		float *scores = s + t * T * VW;
		const float *weights = w + t * T * VW;
		vec sum = {0};
		for (int64_t u = 0; u < T; u++)
			sum += *(const vec *)(weights + u * VW) * *(const vec *)(scores + u * VW);
		for (int64_t u = 0; u < T; u++)
			*(vec *)(scores + u * VW) = *(const vec *)(weights + u * VW) * (*(const vec *)(scores + u * VW) - sum);
	}
	tokens(c->k + g * plane, D, T, N, n0, 0, T, row, first);
	tokens(c->q + g * plane, D, T, N, n0, 0, T, row, second);
	crossed(T, T, D, s, T * VW, VW, first, VW, row, gq, N, T * N, p->scale, lanes);
	crossed(T, T, D, s, VW, T * VW, second, VW, row, gk, N, T * N, p->scale, lanes);
	dk_give(first), dk_give(second), dk_give(s), dk_give(w);
}

static int attention_gradient_of(const dk_threads *t, const dk_attention *p, const float *q, const float *k, const float *v, const float *weights, const float *g,
                                 float *gradients) {
	attention c = {.p = p, .q = q, .k = k, .v = v, .weights_in = weights, .g = g, .gradients = gradients};
	t->run(t, attention_gradient_task, p->G * ((p->N + VW - 1) / VW), &c);
	return c.failed;
}
