// Convolutions in which each channel meets a kernel of its own, and poolings: a task is a channel, whose images stay in the cache.

#define WIDTH 4 // vectors of images beside each other

// place is one tap at one output position: how far from the channel's first element the one that it meets lies, and which of the kernel's it is.
typedef struct {
	int32_t from, tap;
} place;

// gather sums the products of one output position with its taps, for n images.
static inline void gather_taps(const place *taps, int64_t count, const float *x, const float *w, int64_t n, float *y) {
	int64_t at = 0;
	for (; at + WIDTH * VW <= n; at += WIDTH * VW) {
		vec a[WIDTH];
		for (int u = 0; u < WIDTH; u++)
			a[u] = (vec){0};
		for (const place *k = taps; k < taps + count; k++)
			for (int u = 0; u < WIDTH; u++)
				a[u] += w[k->tap] * *(const vec *)(x + k->from + at + u * VW);
		for (int u = 0; u < WIDTH; u++)
			*(vec *)(y + at + u * VW) = a[u];
	}
	for (; at + VW <= n; at += VW) {
		vec a = {0};
		for (const place *k = taps; k < taps + count; k++)
			a += w[k->tap] * *(const vec *)(x + k->from + at);
		*(vec *)(y + at) = a;
	}
	for (; at < n; at++) {
		float a = 0;
		for (const place *k = taps; k < taps + count; k++)
			a += w[k->tap] * x[k->from + at];
		y[at] = a;
	}
}

// places is what the taps of a convolution meet, which is the same for all channels: for each output position those that meet an element.
typedef struct {
	place *list;
	int32_t *counts; // of each position; positions have room for all taps
} places;

// places_of lists them, and reports whether there was memory; give_places gives it back.
static int places_of(const dk_plane *p, places *to) {
	int64_t positions = p->Ho * p->Wo, taps = p->KH * p->KW;
	*to = (places){(place *)dk_take(2 * positions * taps), (int32_t *)dk_take(positions)};
	if (!to->list || !to->counts)
		return 0;
	for (int64_t h = 0; h < p->Ho; h++)
		for (int64_t q = 0; q < p->Wo; q++) {
			int32_t count = 0;
			place *list = to->list + (h * p->Wo + q) * taps;
			for (int64_t a = 0; a < p->KH; a++) {
				int64_t row = met(h * p->sh - p->ph + a * p->dh, p->ih, p->H);
				for (int64_t b = 0; row >= 0 && b < p->KW; b++) {
					int64_t column = met(q * p->sw - p->pw + b * p->dw, p->iw, p->W);
					if (column >= 0)
						list[count++] = (place){(row * p->W + column) * p->N, a * p->KW + b};
				}
			}
			to->counts[h * p->Wo + q] = count;
		}
	return 1;
}

static void give_places(places *of) { dk_give((float *)of->list), dk_give((float *)of->counts); }

typedef struct {
	const dk_plane *p;
	const float *x, *w, *v;
	float *y;
	places met;
	int failed;
} channelwise;

// depthwise_channel convolves one channel x (H, W, N) with its kernel w.
static void depthwise_channel(const dk_plane *p, const places *met, const float *x, const float *w, float *y) {
	float weights[DK_TAPS];
	for (int64_t a = 0; a < p->KH; a++)
		for (int64_t b = 0; b < p->KW; b++)
			weights[a * p->KW + b] = w[a * p->kh + b * p->kw];
	for (int64_t k = 0; k < p->Ho * p->Wo; k++)
		gather_taps(met->list + k * p->KH * p->KW, met->counts[k], x, weights, p->N, y + k * p->N);
}

static void depthwise_task(void *data, size_t task) {
	channelwise *c = data;
	const dk_plane *p = c->p;
	depthwise_channel(p, &c->met, c->x + (int64_t)task * p->H * p->W * p->N, c->w + p->k0 + (int64_t)task * p->ko, c->y + (int64_t)task * p->Ho * p->Wo * p->N);
}

static int depthwise_of(const dk_threads *t, const dk_plane *p, const float *x, const float *w, float *y) {
	channelwise c = {.p = p, .x = x, .w = w, .y = y};
	int ready = places_of(p, &c.met);
	if (ready)
		t->run(t, depthwise_task, p->O, &c);
	give_places(&c.met);
	return !ready;
}

// padded_width is the width of an image with as many columns of zeroes left and right of it as its taps meet; on its left are as many as the padding,
// if that is not negative.
static int64_t padded_width(const dk_plane *p) {
	int64_t left = greater(0, p->pw);
	return greater(left + p->W, left - p->pw + (p->Wo - 1) * p->sw + (p->KW - 1) * p->dw + 1);
}

// pad_columns writes the zeroes beside an image at to (H, padded width, N); without an image, from NULL, only them.
static void pad_columns(const dk_plane *p, const float *from, float *to) {
	int64_t width = padded_width(p), inner = p->W * p->N, left = greater(0, p->pw) * p->N, right = width * p->N - left - inner;
	for (int64_t h = 0; h < p->H; h++, to += width * p->N) {
		memset(to, 0, left * 4);
		if (from)
			memcpy(to + left, from + h * inner, inner * 4);
		memset(to + left + inner, 0, right * 4);
	}
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

// depthwise_gradient_channel sums the gradient of a channel's kernel at g, one row of the kernel at a time. x is (H, padded width, N).
static void depthwise_gradient_channel(const dk_plane *p, const float *x, const float *v, float *g) {
	int64_t width = padded_width(p), first = greater(0, p->pw) - p->pw;
	for (int64_t a = 0; a < p->KH; a++) {
		vec sums[DK_TAPS];
		float rest[DK_TAPS];
		for (int64_t b = 0; b < p->KW; b++)
			sums[b] = (vec){0}, rest[b] = 0;
		for (int64_t h = 0; h < p->Ho; h++) {
			int64_t row = h * p->sh - p->ph + a * p->dh;
			if (row >= 0 && row < p->H)
				row_products_of(p->KW, p->Wo, v + h * p->Wo * p->N, x + (row * width + first) * p->N, p->sw * p->N, p->dw * p->N, p->N, sums, rest);
		}
		for (int64_t b = 0; b < p->KW; b++)
			g[a * p->kh + b * p->kw] = sum_lanes(sums[b]) + rest[b];
	}
}

static void depthwise_gradient_task(void *data, size_t task) {
	channelwise *c = data;
	const dk_plane *p = c->p;
	float *x = dk_take(p->H * padded_width(p) * p->N);
	if (!x) {
		c->failed = 1;
		return;
	}
	pad_columns(p, c->x + (int64_t)task * p->H * p->W * p->N, x);
	depthwise_gradient_channel(p, x, c->v + (int64_t)task * p->Ho * p->Wo * p->N, c->y + p->k0 + (int64_t)task * p->ko);
	dk_give(x);
}

static int depthwise_gradient_of(const dk_threads *t, const dk_plane *p, const float *x, const float *v, float *g) {
	channelwise c = {.p = p, .x = x, .v = v, .y = g};
	t->run(t, depthwise_gradient_task, p->O, &c);
	return c.failed;
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
