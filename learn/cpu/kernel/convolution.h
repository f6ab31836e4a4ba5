// Convolution, straight from its definition: a task is some output rows of a chunk of images, for some output channels. It packs the input
// rows that they meet, channels side by side, so that the products of one output position read memory in order. Taps that meet only
// zeroes beyond the border are left out.

typedef struct {
	const dk_plane *p;
	const float *x, *packed_w;
	float *y;
	int64_t rows, blocks; // output rows of a task, blocks of rows
	int64_t per, outer;   // output channels of a task, groups of them
	int failed;
} convolution;

// segment is a run of products: len channels of packed x with len×OB weights.
typedef struct {
	int64_t x, w, len;
} segment;

static void tile(const segment *s, int count, const float *x, const float *w, float *out, int64_t stride, int64_t n) {
	float rest[OB * NB];
	float *to = out;
	int64_t width = stride;
	if (n < NB)
		to = rest, width = NB;
	for (int at = 0; at < NB; at += STEP) {
		vec a[OB][NV];
		for (int o = 0; o < OB; o++)
			for (int v = 0; v < NV; v++)
				a[o][v] = (vec){0};
		for (int k = 0; k < count; k++) {
			const float *xs = x + s[k].x + at, *ws = w + s[k].w, *end = xs + s[k].len * NB;
			for (; xs < end; xs += NB, ws += OB) {
				vec b[NV];
				for (int v = 0; v < NV; v++)
					b[v] = *(const vec *)(xs + v * VW);
#pragma GCC unroll 8
				for (int o = 0; o < OB; o++)
#pragma GCC unroll 2
					for (int v = 0; v < NV; v++)
						a[o][v] += ws[o] * b[v];
			}
		}
		for (int o = 0; o < OB; o++)
			for (int v = 0; v < NV; v++)
				*(vec *)(to + o * width + at + v * VW) = a[o][v];
	}
	if (n < NB)
		for (int o = 0; o < OB; o++)
			memcpy(out + o * stride, rest + o * NB, n * 4);
}

// tile_of is tile for the last output channels, fewer than OB.
static void tile_of(const segment *s, int count, const float *x, const float *w, float *out, int64_t stride, int64_t n, int64_t channels) {
	if (channels >= OB) {
		tile(s, count, x, w, out, stride, n);
		return;
	}
	float rest[OB * NB];
	tile(s, count, x, w, rest, NB, NB);
	for (int64_t o = 0; o < channels; o++)
		memcpy(out + o * stride, rest + o * NB, n * 4);
}

// met returns the element of an input axis of that size that a tap meets at a place of the dilated input, or -1.
static int64_t met(int64_t place, int64_t dilation, int64_t size) {
	int64_t at = floor_div(place, dilation);
	return at * dilation == place && at >= 0 && at < size ? at : -1;
}

// runs lists the products of output position (h, w), for input rows from r0 on packed whole.
static int runs(const dk_plane *p, int64_t h, int64_t w, int64_t r0, segment *s) {
	int count = 0;
	for (int64_t a = 0; a < p->KH; a++) {
		int64_t y = met(h * p->sh - p->ph + a * p->dh, p->ih, p->H);
		for (int64_t b = 0; y >= 0 && b < p->KW; b++) {
			int64_t z = met(w * p->sw - p->pw + b * p->dw, p->iw, p->W);
			if (z < 0)
				continue;
			segment next = {((y - r0) * p->W + z) * p->I * NB, (a * p->KW + b) * p->I * OB, p->I};
			segment *last = s + count - 1;
			if (count && last->x + last->len * NB == next.x && last->w + last->len * OB == next.w)
				last->len += next.len;
			else
				s[count++] = next;
		}
	}
	return count;
}

// reach returns the input rows, from *r0 up to *r1, that output rows h0 up to h1 meet; none when they are equal.
static void reach(const dk_plane *p, int64_t h0, int64_t h1, int64_t *r0, int64_t *r1) {
	*r0 = greater(0, -floor_div(-(h0 * p->sh - p->ph), p->ih));
	*r1 = lesser(p->H, floor_div((h1 - 1) * p->sh - p->ph + (p->KH - 1) * p->dh, p->ih) + 1);
	*r0 = lesser(*r0, p->H);
	*r1 = greater(*r0, *r1);
}

static void convolution_task(void *data, size_t task) {
	convolution *c = data;
	const dk_plane *p = c->p;
	int64_t part = (int64_t)task % c->outer, block = (int64_t)task / c->outer;
	int64_t n0 = block / c->blocks * NB, h0 = block % c->blocks * c->rows, h1 = lesser(p->Ho, h0 + c->rows);
	int64_t first = part * c->per, last = lesser(p->O, first + c->per), taps = p->KH * p->KW, r0, r1;
	reach(p, h0, h1, &r0, &r1);
	int64_t positions = (h1 - h0) * p->Wo;
	float *x = dk_take((r1 - r0) * p->W * p->I * NB);
	segment *segments = malloc(sizeof(segment) * (taps + 1) * positions);
	int *counts = malloc(sizeof(int) * positions);
	if (!x || !segments || !counts) {
		c->failed = 1;
		dk_give(x), free(segments), free(counts);
		return;
	}
	pack(c->x, p->I, p->H, p->W, p->N, n0, r0, r1, 0, p->W, x);
	for (int64_t k = 0; k < positions; k++)
		counts[k] = runs(p, h0 + k / p->Wo, k % p->Wo, r0, segments + k * (taps + 1));
	for (int64_t o = first; o < last; o += OB)
		for (int64_t k = 0; k < positions; k++)
			tile_of(segments + k * (taps + 1), counts[k], x, c->packed_w + o * taps * p->I, c->y + (o * p->Ho * p->Wo + h0 * p->Wo + k) * p->N + n0,
			        p->Ho * p->Wo * p->N, lesser(NB, p->N - n0), last - o);
	dk_give(x), free(segments), free(counts);
}

typedef struct {
	const dk_plane *p;
	const float *w;
	float *to;
} packing;

// packing_task packs the weights of OB output channels as (taps, I, OB).
static void packing_task(void *data, size_t task) {
	packing *k = data;
	const dk_plane *p = k->p;
	int64_t o0 = (int64_t)task * OB, n = lesser(OB, p->O - o0), taps = p->KH * p->KW;
	float *all = k->to + o0 * taps * p->I;
	for (int64_t i = 0; i < p->I; i++)
		for (int64_t a = 0; a < p->KH; a++)
			for (int64_t b = 0; b < p->KW; b++) {
				const float *w = k->w + p->k0 + o0 * p->ko + i * p->ki + a * p->kh + b * p->kw;
				float *to = all + ((a * p->KW + b) * p->I + i) * OB;
				if (p->ko == 1 && n == OB) {
					memcpy(to, w, OB * 4);
					continue;
				}
				for (int64_t o = 0; o < OB; o++)
					to[o] = o < n ? w[o * p->ko] : 0;
			}
}

static int direct(const dk_threads *t, const dk_plane *p, const float *x, const float *w, float *y) {
	int64_t groups = (p->O + OB - 1) / OB, chunks = (p->N + NB - 1) / NB;
	packing k = {p, w, dk_take(groups * OB * p->KH * p->KW * p->I)};
	if (!k.to)
		return 1;
	t->run(t, packing_task, groups, &k);
	convolution c = {p, x, k.to, y, 1, 0, p->O, 1, 0};
	// About half of the second-level cache for the packed rows. Rows beside each other share what they pack, and all rows the weights;
	// at least 8 tasks where there are rows, else channels, for them.
	int64_t row = p->W * p->I * NB * 4;
	int64_t fit = greater(1, ((512 << 10) / row - (p->KH - 1) * p->dh / p->ih) * p->ih / p->sh);
	int64_t wanted = greater(1, p->Ho * chunks / 8);
	if (groups * OB * p->I * p->KH * p->KW * 4 > (1 << 20))
		wanted = p->Ho;
	c.rows = lesser(lesser(fit, p->Ho), wanted);
	c.blocks = (p->Ho + c.rows - 1) / c.rows;
	while (chunks * c.blocks * c.outer < 8 && c.per > 4 * OB) {
		c.per = ((c.per + 1) / 2 + OB - 1) / OB * OB;
		c.outer = (p->O + c.per - 1) / c.per;
	}
	t->run(t, convolution_task, chunks * c.blocks * c.outer, &c);
	dk_give(k.to);
	return c.failed;
}
