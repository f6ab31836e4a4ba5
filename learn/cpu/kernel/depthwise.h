// Convolutions in which each channel meets a kernel of its own, and poolings: a task is a channel, whose images stay in the cache.

typedef struct {
	const dk_plane *p;
	const float *x, *w, *v;
	float *y;
} channelwise;

#define WIDTH 4 // vectors of images beside each other

// gather sums the products of one output position with the taps from *from, for n images.
static inline void gather_taps(const float *const *from, const float *w, int count, int64_t n, float *y) {
	int64_t at = 0;
	for (; at + WIDTH * VW <= n; at += WIDTH * VW) {
		vec a[WIDTH];
		for (int u = 0; u < WIDTH; u++)
			a[u] = (vec){0};
		for (int k = 0; k < count; k++)
			for (int u = 0; u < WIDTH; u++)
				a[u] += w[k] * *(const vec *)(from[k] + at + u * VW);
		for (int u = 0; u < WIDTH; u++)
			*(vec *)(y + at + u * VW) = a[u];
	}
	for (; at + VW <= n; at += VW) {
		vec a = {0};
		for (int k = 0; k < count; k++)
			a += w[k] * *(const vec *)(from[k] + at);
		*(vec *)(y + at) = a;
	}
	for (; at < n; at++) {
		float a = 0;
		for (int k = 0; k < count; k++)
			a += w[k] * from[k][at];
		y[at] = a;
	}
}

static void depthwise_task(void *data, size_t task) {
	channelwise *c = data;
	const dk_plane *p = c->p;
	const float *x = c->x + (int64_t)task * p->H * p->W * p->N, *w = c->w + p->k0 + (int64_t)task * p->ko;
	float *y = c->y + (int64_t)task * p->Ho * p->Wo * p->N;
	const float *from[DK_TAPS];
	float weights[DK_TAPS];
	for (int64_t h = 0; h < p->Ho; h++)
		for (int64_t q = 0; q < p->Wo; q++, y += p->N) {
			int count = 0;
			for (int64_t a = 0; a < p->KH; a++) {
				int64_t row = met(h * p->sh - p->ph + a * p->dh, p->ih, p->H);
				for (int64_t b = 0; row >= 0 && b < p->KW; b++) {
					int64_t column = met(q * p->sw - p->pw + b * p->dw, p->iw, p->W);
					if (column < 0)
						continue;
					from[count] = x + (row * p->W + column) * p->N;
					weights[count++] = w[a * p->kh + b * p->kw];
				}
			}
			gather_taps(from, weights, count, p->N, y);
		}
}

static void depthwise_of(const dk_threads *t, const dk_plane *p, const float *x, const float *w, float *y) {
	channelwise c = {p, x, w, NULL, y};
	t->run(t, depthwise_task, p->O, &c);
}

// row_products adds to sums what `count` output positions of a row meet through `taps` taps, the first of them at x, `next` floats apart.
static inline __attribute__((always_inline)) void row_products(int taps, int64_t count, const float *v, const float *x, int64_t move, int64_t next, int64_t n,
                                                               vec *sums, float *rest) {
	vec a[8];
	for (int b = 0; b < taps; b++)
		a[b] = sums[b];
	for (int64_t q = 0; q < count; q++, v += n, x += move) {
		int64_t at = 0;
		for (; at + VW <= n; at += VW) {
			vec g = *(const vec *)(v + at);
			for (int b = 0; b < taps; b++)
				a[b] += g * *(const vec *)(x + b * next + at);
		}
		for (; at < n; at++)
			for (int b = 0; b < taps; b++)
				rest[b] += v[at] * x[b * next + at];
	}
	for (int b = 0; b < taps; b++)
		sums[b] = a[b];
}

static void row_products_of(int64_t taps, int64_t count, const float *v, const float *x, int64_t move, int64_t next, int64_t n, vec *sums, float *rest) {
	switch (taps) {
	case 3: row_products(3, count, v, x, move, next, n, sums, rest); break;
	case 5: row_products(5, count, v, x, move, next, n, sums, rest); break;
	case 7: row_products(7, count, v, x, move, next, n, sums, rest); break;
	default:
		for (int64_t b = 0; b < taps; b++)
			row_products(1, count, v, x + b * next, move, next, n, sums + b, rest + b);
	}
}

// depthwise_gradient_task sums a kernel's gradient, one row of the kernel at a time: over the output positions at which all its taps are
// inside at once, and over the others tap by tap.
static void depthwise_gradient_task(void *data, size_t task) {
	channelwise *c = data;
	const dk_plane *p = c->p;
	const float *x = c->x + (int64_t)task * p->H * p->W * p->N, *v = c->v + (int64_t)task * p->Ho * p->Wo * p->N;
	float *g = c->y + p->k0 + (int64_t)task * p->ko;
	int64_t left = greater(0, -floor_div(-p->pw, p->sw)), right = floor_div(p->W - 1 - (p->KW - 1) * p->dw + p->pw, p->sw) + 1;
	left = lesser(left, p->Wo), right = greater(left, lesser(right, p->Wo));
	for (int64_t a = 0; a < p->KH; a++) {
		vec sums[DK_TAPS];
		float rest[DK_TAPS];
		for (int64_t b = 0; b < p->KW; b++)
			sums[b] = (vec){0}, rest[b] = 0;
		for (int64_t h = 0; h < p->Ho; h++) {
			int64_t row = h * p->sh - p->ph + a * p->dh;
			if (row < 0 || row >= p->H)
				continue;
			const float *vs = v + h * p->Wo * p->N, *xs = x + row * p->W * p->N;
			row_products_of(p->KW, right - left, vs + left * p->N, xs + (left * p->sw - p->pw) * p->N, p->sw * p->N, p->dw * p->N, p->N, sums, rest);
			for (int64_t q = 0; q < p->Wo; q++) {
				if (q == left)
					q = right;
				for (int64_t b = 0; q < p->Wo && b < p->KW; b++) {
					int64_t column = q * p->sw - p->pw + b * p->dw;
					if (column >= 0 && column < p->W)
						row_products(1, 1, vs + q * p->N, xs + column * p->N, 0, 0, p->N, sums + b, rest + b);
				}
			}
		}
		for (int64_t b = 0; b < p->KW; b++)
			g[a * p->kh + b * p->kw] = sum_lanes(sums[b]) + rest[b];
	}
}

static void depthwise_gradient_of(const dk_threads *t, const dk_plane *p, const float *x, const float *v, float *g) {
	channelwise c = {p, x, NULL, v, g};
	t->run(t, depthwise_gradient_task, p->O, &c);
}

// largest_task takes the greatest element of each window; of nothing but zeroes beyond the border it would be -∞.
static void largest_task(void *data, size_t task) {
	channelwise *c = data;
	const dk_plane *p = c->p;
	const float *x = c->x + (int64_t)task * p->H * p->W * p->N;
	float *y = c->y + (int64_t)task * p->Ho * p->Wo * p->N;
	for (int64_t h = 0; h < p->Ho; h++)
		for (int64_t q = 0; q < p->Wo; q++, y += p->N) {
			for (int64_t k = 0; k < p->N; k++)
				y[k] = -__builtin_inff();
			for (int64_t a = 0; a < p->KH; a++)
				for (int64_t b = 0; b < p->KW; b++) {
					int64_t row = h * p->sh - p->ph + a * p->dh, column = q * p->sw - p->pw + b * p->dw;
					if (row < 0 || row >= p->H || column < 0 || column >= p->W)
						continue;
					const float *from = x + (row * p->W + column) * p->N;
					for (int64_t k = 0; k < p->N; k++)
						y[k] = y[k] > from[k] || y[k] != y[k] ? y[k] : from[k];
				}
		}
}

static void max_pool_of(const dk_threads *t, const dk_plane *p, const float *x, float *y) {
	channelwise c = {.p = p, .x = x, .y = y};
	t->run(t, largest_task, p->O, &c);
}

// scatter_task sends the gradient of each window to the first of its greatest elements.
static void scatter_task(void *data, size_t task) {
	channelwise *c = data;
	const dk_plane *p = c->p;
	const float *x = c->x + (int64_t)task * p->H * p->W * p->N, *v = c->v + (int64_t)task * p->Ho * p->Wo * p->N;
	float *g = c->y + (int64_t)task * p->H * p->W * p->N;
	memset(g, 0, p->H * p->W * p->N * 4);
	for (int64_t h = 0; h < p->Ho; h++)
		for (int64_t q = 0; q < p->Wo; q++, v += p->N)
			for (int64_t at = 0; at < p->N; at += VW) {
				int64_t n = lesser(VW, p->N - at);
				vec best = (vec){0} - __builtin_inff();
				mask place = (mask){0} - 1;
				for (int64_t a = 0; a < p->KH; a++)
					for (int64_t b = 0; b < p->KW; b++) {
						int64_t row = h * p->sh - p->ph + a * p->dh, column = q * p->sw - p->pw + b * p->dw;
						if (row < 0 || row >= p->H || column < 0 || column >= p->W)
							continue;
						const float *from = x + (row * p->W + column) * p->N + at;
						vec e = {0};
						if (n == VW)
							e = *(const vec *)from;
						else
							memcpy(&e, from, n * 4);
						// Not a number counts as the greatest, the first of them.
						mask better = ((e > best) | (e != e) | (place < 0)) & (best == best);
						best = choose_of(better, e, best);
						place = (better & (mask)((mask){0} + (int32_t)(row * p->W + column))) | (~better & place);
					}
				for (int64_t a = 0; a < p->KH; a++)
					for (int64_t b = 0; b < p->KW; b++) {
						int64_t row = h * p->sh - p->ph + a * p->dh, column = q * p->sw - p->pw + b * p->dw;
						if (row < 0 || row >= p->H || column < 0 || column >= p->W)
							continue;
						float *to = g + (row * p->W + column) * p->N + at;
						mask hit = place == (int32_t)(row * p->W + column);
						if (n == VW) {
							*(vec *)to += (vec)((mask)*(const vec *)(v + at) & hit);
							continue;
						}
						for (int64_t k = 0; k < n; k++)
							if (hit[k])
								to[k] += v[at + k];
					}
			}
}

static void max_pool_gradient_of(const dk_threads *t, const dk_plane *p, const float *x, const float *v, float *g) {
	channelwise c = {.p = p, .x = x, .v = v, .y = g};
	t->run(t, scatter_task, p->O, &c);
}
