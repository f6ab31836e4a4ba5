// The kernels, once for each instruction class: the file that includes this defines CLASS, its name, VW, the floats of a vector,
// and NV, the vectors of an accumulator along n.

#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(x) PASTE(x, CLASS)
#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

typedef float vec __attribute__((vector_size(VW * 4), aligned(4), may_alias));

#define NB 32        // images of a chunk: packed images hold so many side by side
#define OB 8         // output channels of a tile
#define STEP (VW * NV)

static int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t floor_div(int64_t a, int64_t b) {
	int64_t q = a / b;
	return q * b > a ? q - 1 : q;
}

static float *memory(int64_t floats) {
	return aligned_alloc(64, (size_t)((greater(floats, 1) * 4 + 63) / 64 * 64));
}

static float sum_lanes(vec v) {
	float a[VW];
	memcpy(a, &v, sizeof a);
	for (int h = VW / 2; h > 0; h /= 2)
		for (int l = 0; l < h; l++)
			a[l] += a[l + h];
	return a[0];
}

// pack copies rows r0 to r1 and columns c0 to c1 of (channels, H, W, N) into (rows, columns, channels, NB), images n0 to n0+NB; what lies
// outside is zero.
static void pack(const float *x, int64_t channels, int64_t H, int64_t W, int64_t N, int64_t n0,
                 int64_t r0, int64_t r1, int64_t c0, int64_t c1, float *to) {
	int64_t columns = c1 - c0, n = lesser(NB, N - n0);
	for (int64_t i = 0; i < channels; i++)
		for (int64_t r = r0; r < r1; r++) {
			float *row = to + ((r - r0) * columns * channels + i) * NB;
			const float *from = x + ((i * H + r) * W + c0) * N + n0;
			for (int64_t c = c0; c < c1; c++, row += channels * NB, from += N) {
				if (r < 0 || r >= H || c < 0 || c >= W)
					memset(row, 0, NB * 4);
				else if (n == NB)
					memcpy(row, from, NB * 4);
				else {
					memcpy(row, from, n * 4);
					memset(row + n, 0, (NB - n) * 4);
				}
			}
		}
}

// Convolution: a task is some output rows of a chunk of images. It packs the input rows that they meet, channels side by side, so that
// the products of one output position read memory in order.

typedef struct {
	const dk_plane *p;
	const float *x, *packed_w;
	float *y;
	int64_t rows, blocks; // output rows of a task, tasks of a chunk
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

static void convolution_task(void *data, size_t task) {
	convolution *c = data;
	const dk_plane *p = c->p;
	int64_t n0 = (int64_t)task / c->blocks * NB, h0 = (int64_t)task % c->blocks * c->rows, h1 = lesser(p->Ho, h0 + c->rows);
	int64_t r0 = floor_div(h0 * p->sh - p->ph, p->ih), r1 = floor_div((h1 - 1) * p->sh - p->ph + (p->KH - 1) * p->dh, p->ih) + 1;
	int64_t c0 = floor_div(-p->pw, p->iw), c1 = floor_div((p->Wo - 1) * p->sw - p->pw + (p->KW - 1) * p->dw, p->iw) + 1;
	int64_t taps = p->KH * p->KW, most = taps + 1;
	float *x = memory((r1 - r0) * (c1 - c0) * p->I * NB);
	segment *segments = malloc(sizeof(segment) * most * p->Wo);
	int *counts = malloc(sizeof(int) * p->Wo);
	if (!x || !segments || !counts) {
		c->failed = 1;
		free(x), free(segments), free(counts);
		return;
	}
	pack(c->x, p->I, p->H, p->W, p->N, n0, r0, r1, c0, c1, x);
	for (int64_t h = h0; h < h1; h++) {
		for (int64_t w = 0; w < p->Wo; w++) {
			segment *s = segments + w * most;
			int count = 0;
			for (int64_t a = 0; a < p->KH; a++) {
				int64_t y = h * p->sh - p->ph + a * p->dh;
				if (floor_div(y, p->ih) * p->ih != y)
					continue;
				for (int64_t b = 0; b < p->KW; b++) {
					int64_t z = w * p->sw - p->pw + b * p->dw;
					if (floor_div(z, p->iw) * p->iw != z)
						continue;
					segment next = {((floor_div(y, p->ih) - r0) * (c1 - c0) + floor_div(z, p->iw) - c0) * p->I * NB, (a * p->KW + b) * p->I * OB, p->I};
					segment *last = s + count - 1;
					if (count && last->x + last->len * NB == next.x && last->w + last->len * OB == next.w)
						last->len += next.len;
					else
						s[count++] = next;
				}
			}
			counts[w] = count;
		}
		for (int64_t o = 0; o < p->O; o += OB)
			for (int64_t w = 0; w < p->Wo; w++)
				tile_of(segments + w * most, counts[w], x, c->packed_w + o * taps * p->I, c->y + ((o * p->Ho + h) * p->Wo + w) * p->N + n0,
				        p->Ho * p->Wo * p->N, lesser(NB, p->N - n0), p->O - o);
	}
	free(x), free(segments), free(counts);
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
	int64_t o0 = (int64_t)task * OB, n = lesser(OB, p->O - o0);
	float *to = k->to + o0 * p->KH * p->KW * p->I;
	for (int64_t a = 0; a < p->KH; a++)
		for (int64_t b = 0; b < p->KW; b++)
			for (int64_t i = 0; i < p->I; i++, to += OB)
				for (int64_t o = 0; o < OB; o++)
					to[o] = o < n ? k->w[(o0 + o) * p->ko + i * p->ki + a * p->kh + b * p->kw] : 0;
}

static int NAME(convolution_of)(const dk_threads *t, const dk_plane *p, const float *x, const float *w, float *y) {
	int64_t groups = (p->O + OB - 1) / OB;
	packing k = {p, w, memory(groups * OB * p->KH * p->KW * p->I)};
	if (!k.to)
		return 1;
	t->run(t, packing_task, groups, &k);
	convolution c = {p, x, k.to, y, 1, 0, 0};
	// About half of the second-level cache for the packed rows, and at least 8 tasks where there are rows for them.
	int64_t row = (floor_div((p->Wo - 1) * p->sw + (p->KW - 1) * p->dw, p->iw) + 1) * p->I * NB * 4;
	int64_t chunks = (p->N + NB - 1) / NB;
	int64_t fit = greater(1, ((512 << 10) / row - (p->KH - 1) * p->dh / p->ih) * p->ih / p->sh);
	c.rows = lesser(fit, greater(1, p->Ho * chunks / 8));
	c.blocks = (p->Ho + c.rows - 1) / c.rows;
	t->run(t, convolution_task, chunks * c.blocks, &c);
	free(k.to);
	return c.failed;
}

// Kernel gradient: a task sums over some blocks of output rows for some output channels, into a part of its own; the parts are added
// in order.

#define GO 4 // output channels of an accumulator
#define GJ 6 // columns, tap and channel, of an accumulator

typedef struct {
	const dk_plane *p;
	const float *x, *v;
	float *parts, *g;
	int64_t rows, blocks, units; // output rows of a unit, units of a chunk, of all
	int64_t spatial, outer;      // parts, groups of output channels
	int64_t per;                 // output channels of a group
	int64_t lanes;               // 1: vectors run over input channels, not over images
	int failed;
} gradient;

// accumulate adds to g (GO, columns) what rows of v (Wo, channels, NB) and x meet.
static inline __attribute__((always_inline)) void accumulate(int64_t rows, int64_t columns, const float *v, int64_t vrow, int64_t vcol,
                                                             const float *x, int64_t xrow, int64_t xcol, int go, int gj, float *g, int64_t gstride) {
	vec a[GO][GJ];
	for (int o = 0; o < go; o++)
		for (int j = 0; j < gj; j++)
			a[o][j] = (vec){0};
	for (int64_t r = 0; r < rows; r++) {
		const float *vs = v + r * vrow, *xs = x + r * xrow;
		for (int64_t c = 0; c < columns; c++, vs += vcol, xs += xcol)
			for (int at = 0; at < NB; at += VW) {
				vec b[GJ];
				for (int j = 0; j < gj; j++)
					b[j] = *(const vec *)(xs + j * NB + at);
				for (int o = 0; o < go; o++) {
					vec u = *(const vec *)(vs + o * NB + at);
					for (int j = 0; j < gj; j++)
						a[o][j] += u * b[j];
				}
			}
	}
	for (int o = 0; o < go; o++)
		for (int j = 0; j < gj; j++)
			g[o * gstride + j] += sum_lanes(a[o][j]);
}

#define CASE(O, J) \
	case (O)*8 + (J): \
		accumulate(rows, columns, v, vrow, vcol, x, xrow, xcol, O, J, g, gstride); \
		break;
#define CASES(O) CASE(O, 1) CASE(O, 2) CASE(O, 3) CASE(O, 4) CASE(O, 5) CASE(O, 6)

static void accumulate_any(int64_t rows, int64_t columns, const float *v, int64_t vrow, int64_t vcol, const float *x, int64_t xrow, int64_t xcol,
                           int64_t go, int64_t gj, float *g, int64_t gstride) {
	switch (go * 8 + gj) { CASES(1) CASES(2) CASES(3) CASES(4) }
}

// pack_lanes copies like pack, but to (groups of L channels, rows, columns, NB, L); channels beyond the last are zero.
static void pack_lanes(const float *x, int64_t channels, int64_t H, int64_t W, int64_t N, int64_t n0,
                       int64_t r0, int64_t r1, int64_t c0, int64_t c1, int64_t L, float *to) {
	int64_t n = lesser(NB, N - n0);
	for (int64_t i0 = 0; i0 < channels; i0 += L)
		for (int64_t r = r0; r < r1; r++)
			for (int64_t c = c0; c < c1; c++, to += NB * L) {
				int64_t some = lesser(L, channels - i0);
				if (r < 0 || r >= H || c < 0 || c >= W) {
					memset(to, 0, NB * L * 4);
					continue;
				}
				if (some < L || n < NB)
					memset(to, 0, NB * L * 4);
				const float *from = x + ((i0 * H + r) * W + c) * N + n0;
				for (int64_t i = 0; i < some; i++, from += H * W * N)
					for (int64_t k = 0; k < n; k++)
						to[k * L + i] = from[k];
			}
}

// lanes_task is gradient_task with vectors over input channels: nothing has to be summed across a vector, for which the images must be
// transposed; it pays where there are many channels.
static void lanes_task(void *data, size_t task) {
	gradient *c = data;
	const dk_plane *p = c->p;
	int64_t part = (int64_t)task / c->outer, o0 = (int64_t)task % c->outer * c->per, channels = lesser(c->per, p->O - o0);
	int64_t size = p->KH * p->KW * p->I, groups = (p->I + NB - 1) / NB, ogroups = (channels + OB - 1) / OB;
	int64_t c0 = -p->pw, c1 = (p->Wo - 1) * p->sw - p->pw + (p->KW - 1) * p->dw + 1, columns = c1 - c0;
	int64_t most = (c->rows - 1) * p->sh + (p->KH - 1) * p->dh + 1;
	float *x = memory(groups * NB * most * columns * NB), *v = memory(ogroups * OB * c->rows * p->Wo * NB);
	segment *s = malloc(sizeof(segment) * c->rows * p->Wo);
	float *g = c->parts + (part * p->O + o0) * size;
	if (!x || !v || !s) {
		c->failed = 1;
		free(x), free(v), free(s);
		return;
	}
	memset(g, 0, channels * size * 4);
	for (int64_t unit = part; unit < c->units; unit += c->spatial) {
		int64_t n0 = unit / c->blocks * NB, h0 = unit % c->blocks * c->rows, h1 = lesser(p->Ho, h0 + c->rows), rows = h1 - h0;
		int64_t r0 = h0 * p->sh - p->ph, r1 = (h1 - 1) * p->sh - p->ph + (p->KH - 1) * p->dh + 1;
		pack_lanes(c->x, p->I, p->H, p->W, p->N, n0, r0, r1, c0, c1, NB, x);
		pack_lanes(c->v + o0 * p->Ho * p->Wo * p->N, channels, p->Ho, p->Wo, p->N, n0, h0, h1, 0, p->Wo, OB, v);
		for (int64_t a = 0; a < p->KH; a++)
			for (int64_t b = 0; b < p->KW; b++) {
				int count = 0;
				for (int64_t r = 0; r < rows; r++)
					for (int64_t w = 0; w < p->Wo; w++) {
						segment next = {((r * p->sh + a * p->dh) * columns + w * p->sw + b * p->dw) * NB * NB, (r * p->Wo + w) * NB * OB, NB};
						segment *last = s + count - 1;
						if (count && last->x + last->len * NB == next.x)
							last->len += next.len;
						else
							s[count++] = next;
					}
				for (int64_t i = 0; i < groups; i++)
					for (int64_t o = 0; o < ogroups; o++) {
						float sums[OB * NB];
						tile(s, count, x + i * (r1 - r0) * columns * NB * NB, v + o * rows * p->Wo * NB * OB, sums, NB, NB);
						for (int64_t k = 0; k < lesser(OB, channels - o * OB); k++) {
							float *to = g + (o * OB + k) * size + (a * p->KW + b) * p->I + i * NB;
							for (int64_t l = 0; l < lesser(NB, p->I - i * NB); l++)
								to[l] += sums[k * NB + l];
						}
					}
			}
	}
	free(x), free(v), free(s);
}

static void gradient_task(void *data, size_t task) {
	gradient *c = data;
	const dk_plane *p = c->p;
	int64_t part = (int64_t)task / c->outer, o0 = (int64_t)task % c->outer * c->per, channels = lesser(c->per, p->O - o0);
	int64_t size = p->KH * p->KW * p->I; // columns of the kernel: tap and channel
	int64_t c0 = -p->pw, c1 = (p->Wo - 1) * p->sw - p->pw + (p->KW - 1) * p->dw + 1;
	int64_t most = (c->rows - 1) * p->sh + (p->KH - 1) * p->dh + 1;
	float *x = memory(most * (c1 - c0) * p->I * NB), *v = memory(c->rows * p->Wo * channels * NB);
	float *g = c->parts + (part * p->O + o0) * size;
	if (!x || !v) {
		c->failed = 1;
		free(x), free(v);
		return;
	}
	memset(g, 0, channels * size * 4);
	// With adjacent columns the channels of all taps of a kernel row are one run.
	int64_t runs = p->dw == 1 ? 1 : p->KW, run = p->dw == 1 ? p->KW * p->I : p->I;
	for (int64_t unit = part; unit < c->units; unit += c->spatial) {
		int64_t n0 = unit / c->blocks * NB, h0 = unit % c->blocks * c->rows, h1 = lesser(p->Ho, h0 + c->rows);
		pack(c->x, p->I, p->H, p->W, p->N, n0, h0 * p->sh - p->ph, (h1 - 1) * p->sh - p->ph + (p->KH - 1) * p->dh + 1, c0, c1, x);
		pack(c->v + o0 * p->Ho * p->Wo * p->N, channels, p->Ho, p->Wo, p->N, n0, h0, h1, 0, p->Wo, v);
		int64_t xrow = (c1 - c0) * p->I * NB, vrow = p->Wo * channels * NB;
		for (int64_t a = 0; a < p->KH; a++)
			for (int64_t b = 0; b < runs; b++)
				for (int64_t j = 0; j < run; j += GJ)
					for (int64_t o = 0; o < channels; o += GO)
						accumulate_any(h1 - h0, p->Wo, v + o * NB, vrow, channels * NB, x + a * p->dh * xrow + (b * p->dw * p->I + j) * NB,
						               xrow * p->sh, p->sw * p->I * NB, lesser(GO, channels - o), lesser(GJ, run - j),
						               g + o * size + a * p->KW * p->I + b * p->I + j, size);
	}
	free(x), free(v);
}

// adding_task adds the parts of some output channels.
static void adding_task(void *data, size_t task) {
	gradient *c = data;
	const dk_plane *p = c->p;
	int64_t size = p->KH * p->KW * p->I;
	int64_t o = (int64_t)task;
	float *first = c->parts + o * size;
	for (int64_t part = 1; part < c->spatial; part++) {
		const float *from = c->parts + (part * p->O + o) * size;
		for (int64_t k = 0; k < size; k++)
			first[k] += from[k];
	}
	for (int64_t a = 0; a < p->KH; a++)
		for (int64_t b = 0; b < p->KW; b++)
			for (int64_t i = 0; i < p->I; i++)
				c->g[o * p->ko + i * p->ki + a * p->kh + b * p->kw] = *first++;
}

static int NAME(kernel_gradient_of)(const dk_threads *t, const dk_plane *p, const float *x, const float *v, float *g) {
	gradient c = {p, x, v, NULL, g};
	int64_t size = p->KH * p->KW * p->I, chunks = (p->N + NB - 1) / NB;
	int64_t row = ((p->Wo - 1) * p->sw + (p->KW - 1) * p->dw + 1) * p->I * NB * 4;
	c.rows = lesser(p->Ho, greater(1, ((384 << 10) / row - (p->KH - 1) * p->dh) / p->sh));
	c.blocks = (p->Ho + c.rows - 1) / c.rows;
	c.units = chunks * c.blocks;
	c.spatial = greater(1, lesser(lesser(c.units, 16), (16 << 20) / (p->O * size * 4)));
	c.per = p->O;
	while (c.spatial * ((p->O + c.per - 1) / c.per) < 8 && c.per > 2 * GO)
		c.per = ((c.per + 1) / 2 + GO - 1) / GO * GO;
	c.outer = (p->O + c.per - 1) / c.per;
	c.lanes = p->I >= NB && p->O >= NB;
	c.parts = memory(c.spatial * p->O * size);
	if (!c.parts)
		return 1;
	t->run(t, c.lanes ? lanes_task : gradient_task, c.spatial * c.outer, &c);
	if (!c.failed)
		t->run(t, adding_task, p->O, &c);
	free(c.parts);
	return c.failed;
}

// Batch normalisation: a task is one channel, whose values stay in the cache between the passes.

typedef struct {
	int64_t columns;
	double epsilon;
	const float *x, *scale, *shift, *mean_in, *variance_in, *v;
	float *y, *mean, *variance, *gx, *gscale, *gshift;
} normalisation;

#define BLOCK 4096 // values that are summed in single precision before the sum goes on in double

static void normalisation_task(void *data, size_t task) {
	normalisation *b = data;
	int64_t n = b->columns;
	const float *x = b->x + (int64_t)task * n;
	float *y = b->y + (int64_t)task * n;
	double sum = 0, squares = 0;
	for (int64_t k = 0; k < n; k += BLOCK) {
		int64_t end = lesser(n, k + BLOCK), i = k;
		vec s[4] = {{0}};
		float rest = 0;
		for (; i + 4 * VW <= end; i += 4 * VW)
			for (int u = 0; u < 4; u++)
				s[u] += *(const vec *)(x + i + u * VW);
		for (; i < end; i++)
			rest += x[i];
		sum += (double)sum_lanes((s[0] + s[1]) + (s[2] + s[3])) + rest;
	}
	float mean = (float)(sum / n);
	for (int64_t k = 0; k < n; k += BLOCK) {
		int64_t end = lesser(n, k + BLOCK), i = k;
		vec s[4] = {{0}};
		float rest = 0;
		for (; i + 4 * VW <= end; i += 4 * VW)
			for (int u = 0; u < 4; u++) {
				vec d = *(const vec *)(x + i + u * VW) - mean;
				s[u] += d * d;
			}
		for (; i < end; i++)
			rest += (x[i] - mean) * (x[i] - mean);
		squares += (double)sum_lanes((s[0] + s[1]) + (s[2] + s[3])) + rest;
	}
	float variance = (float)(squares / n);
	float factor = b->scale[task] * (float)(1 / __builtin_sqrt((double)variance + b->epsilon)), add = b->shift[task] - mean * factor;
	int64_t i = 0;
	for (; i + VW <= n; i += VW)
		*(vec *)(y + i) = *(const vec *)(x + i) * factor + add;
	for (; i < n; i++)
		y[i] = x[i] * factor + add;
	b->mean[task] = mean;
	b->variance[task] = variance;
}

static void NAME(batch_norm_of)(const dk_threads *t, int64_t rows, int64_t columns, double epsilon, const float *x, const float *scale, const float *shift,
                                float *y, float *mean, float *variance) {
	normalisation b = {.columns = columns, .epsilon = epsilon, .x = x, .scale = scale, .shift = shift, .y = y, .mean = mean, .variance = variance};
	t->run(t, normalisation_task, rows, &b);
}

static void normalisation_gradient_task(void *data, size_t task) {
	normalisation *b = data;
	int64_t n = b->columns;
	const float *x = b->x + (int64_t)task * n, *v = b->v + (int64_t)task * n;
	float *gx = b->gx + (int64_t)task * n;
	float mean = b->mean_in[task], deviation = (float)(1 / __builtin_sqrt((double)b->variance_in[task] + b->epsilon));
	double sum = 0, product = 0;
	for (int64_t k = 0; k < n; k += BLOCK) {
		int64_t end = lesser(n, k + BLOCK), i = k;
		vec s[2] = {{0}}, p[2] = {{0}};
		float srest = 0, prest = 0;
		for (; i + 2 * VW <= end; i += 2 * VW)
			for (int u = 0; u < 2; u++) {
				vec g = *(const vec *)(v + i + u * VW);
				s[u] += g;
				p[u] += g * (*(const vec *)(x + i + u * VW) - mean);
			}
		for (; i < end; i++) {
			srest += v[i];
			prest += v[i] * (x[i] - mean);
		}
		sum += (double)sum_lanes(s[0] + s[1]) + srest;
		product += (double)sum_lanes(p[0] + p[1]) + prest;
	}
	float gscale = (float)(product * deviation), factor = b->scale[task] * deviation;
	// ∂x = factor·(v - Σv/n - x̂·Σ(v·x̂)/n)
	float slope = -factor * deviation * gscale / (float)n, add = -factor * (float)(sum / n) - slope * mean;
	int64_t i = 0;
	for (; i + VW <= n; i += VW)
		*(vec *)(gx + i) = *(const vec *)(v + i) * factor + (*(const vec *)(x + i) * slope + add);
	for (; i < n; i++)
		gx[i] = v[i] * factor + (x[i] * slope + add);
	b->gscale[task] = gscale;
	b->gshift[task] = (float)sum;
}

static void NAME(batch_norm_gradient_of)(const dk_threads *t, int64_t rows, int64_t columns, double epsilon, const float *x, const float *scale,
                                         const float *mean, const float *variance, const float *v, float *gx, float *gscale, float *gshift) {
	normalisation b = {.columns = columns, .epsilon = epsilon, .x = x, .scale = scale, .mean_in = mean, .variance_in = variance, .v = v,
	                   .gx = gx, .gscale = gscale, .gshift = gshift};
	t->run(t, normalisation_gradient_task, rows, &b);
}

const dk_kernels NAME(dk_kernels) = {TEXT(CLASS), NAME(convolution_of), NAME(kernel_gradient_of), NAME(batch_norm_of), NAME(batch_norm_gradient_of)};
