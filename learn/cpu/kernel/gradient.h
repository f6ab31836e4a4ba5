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

// block_of copies 8 or 32 channels' worth of vectors: channels from c0 on of what pack_channels made, `positions` of them, become rows of
// `width` channels.
static void block_of(const float *packed, int64_t group, int64_t c0, int64_t width, int64_t rows, float *to) {
	for (int64_t w = 0; w < width;) {
		int64_t c = c0 + w, some = lesser(width - w, VW - c % VW);
		const float *from = packed + c / VW * group + c % VW;
		for (int64_t k = 0; k < rows; k++)
			memcpy(to + k * width + w, from + k * VW, some * 4);
		w += some;
	}
}

// pack_blocks packs like pack_channels, but in groups of L channels: (groups, rows, columns, NB, L). L is OB or NB. work holds a group of
// the greater of L and VW channels.
static void pack_blocks(const float *x, int64_t channels, int64_t H, int64_t W, int64_t N, int64_t n0, int64_t r0, int64_t r1,
                        int64_t L, float *work, float *to) {
	int64_t positions = (r1 - r0) * W, group = positions * NB * VW, wide = greater(L, VW);
	for (int64_t i = 0; i < channels; i += wide) {
		pack_channels(x + i * H * W * N, lesser(wide, channels - i), H, W, N, n0, r0, r1, 0, W, work, group);
		for (int64_t j = 0; j < wide && i + j < channels; j += L, to += positions * NB * L)
			block_of(work, group, j, L, positions * NB, to);
	}
}

// lanes_task is gradient_task with vectors over input channels: nothing has to be summed across a vector, for which the images must be
// transposed; it pays where there are many channels. Products with zeroes beyond the border are left out.
static void lanes_task(void *data, size_t task) {
	gradient *c = data;
	const dk_plane *p = c->p;
	int64_t part = (int64_t)task / c->outer, o0 = (int64_t)task % c->outer * c->per, channels = lesser(c->per, p->O - o0);
	int64_t size = p->KH * p->KW * p->I, groups = (p->I + NB - 1) / NB, ogroups = (channels + OB - 1) / OB;
	int64_t most = lesser(p->H, (c->rows - 1) * p->sh + (p->KH - 1) * p->dh + 1);
	float *x = dk_take((groups + 1) * NB * most * p->W * NB), *v = dk_take((ogroups * OB + greater(OB, VW)) * c->rows * p->Wo * NB);
	float *work = dk_take(greater(most * p->W, c->rows * p->Wo) * NB * greater(NB, VW));
	segment *s = malloc(sizeof(segment) * c->rows * p->Wo);
	float *g = c->parts + (part * p->O + o0) * size;
	if (!x || !v || !s || !work) {
		c->failed = 1;
		dk_give(x), dk_give(v), free(s), dk_give(work);
		return;
	}
	memset(g, 0, channels * size * 4);
	for (int64_t unit = part; unit < c->units; unit += c->spatial) {
		int64_t n0 = unit / c->blocks * NB, h0 = unit % c->blocks * c->rows, h1 = lesser(p->Ho, h0 + c->rows), rows = h1 - h0, r0, r1;
		reach(p, h0, h1, &r0, &r1);
		pack_blocks(c->x, p->I, p->H, p->W, p->N, n0, r0, r1, NB, work, x);
		pack_blocks(c->v + o0 * p->Ho * p->Wo * p->N, channels, p->Ho, p->Wo, p->N, n0, h0, h1, OB, work, v);
		for (int64_t a = 0; a < p->KH; a++)
			for (int64_t b = 0; b < p->KW; b++) {
				int count = 0;
				for (int64_t k = 0; k < rows * p->Wo; k++) {
					int64_t y = (h0 + k / p->Wo) * p->sh - p->ph + a * p->dh, z = k % p->Wo * p->sw - p->pw + b * p->dw;
					if (y < 0 || y >= p->H || z < 0 || z >= p->W)
						continue;
					segment next = {((y - r0) * p->W + z) * NB * NB, k * NB * OB, NB};
					segment *last = s + count - 1;
					if (count && last->x + last->len * NB == next.x && last->w + last->len * OB == next.w)
						last->len += next.len;
					else
						s[count++] = next;
				}
				for (int64_t i = 0; i < groups; i++)
					for (int64_t o = 0; o < ogroups; o++) {
						float sums[OB * NB];
						tile(s, count, x + i * (r1 - r0) * p->W * NB * NB, v + o * rows * p->Wo * NB * OB, sums, NB, NB);
						for (int64_t k = 0; k < lesser(OB, channels - o * OB); k++) {
							float *to = g + (o * OB + k) * size + (a * p->KW + b) * p->I + i * NB;
							for (int64_t l = 0; l < lesser(NB, p->I - i * NB); l++)
								to[l] += sums[k * NB + l];
						}
					}
			}
	}
	dk_give(x), dk_give(v), free(s), dk_give(work);
}

static void gradient_task(void *data, size_t task) {
	gradient *c = data;
	const dk_plane *p = c->p;
	int64_t part = (int64_t)task / c->outer, o0 = (int64_t)task % c->outer * c->per, channels = lesser(c->per, p->O - o0);
	int64_t size = p->KH * p->KW * p->I; // columns of the kernel: tap and channel
	int64_t c0 = -p->pw, c1 = (p->Wo - 1) * p->sw - p->pw + (p->KW - 1) * p->dw + 1;
	int64_t most = (c->rows - 1) * p->sh + (p->KH - 1) * p->dh + 1;
	float *x = dk_take(most * (c1 - c0) * p->I * NB), *v = dk_take(c->rows * p->Wo * channels * NB);
	float *g = c->parts + (part * p->O + o0) * size;
	if (!x || !v) {
		c->failed = 1;
		dk_give(x), dk_give(v);
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
	dk_give(x), dk_give(v);
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
				c->g[p->k0 + o * p->ko + i * p->ki + a * p->kh + b * p->kw] = *first++;
}

static int direct_gradient(const dk_threads *t, const dk_plane *p, const float *x, const float *v, float *g) {
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
	c.parts = dk_take(c.spatial * p->O * size);
	if (!c.parts)
		return 1;
	t->run(t, c.lanes ? lanes_task : gradient_task, c.spatial * c.outer, &c);
	if (!c.failed)
		t->run(t, adding_task, p->O, &c);
	dk_give(c.parts);
	return c.failed;
}
