// Winograd's F(4×4, 3×3) (Lavin and Gray 2016) for kernels of 3×3 and stride 1: a tile of 4×4 outputs takes 36 products for each pair of
// channels in place of 144. The points are 0, ±√½, ±√2 and ∞: with them the rounding error is about twice that of the definition, with the usual
// 0, ±1, ±2, ∞ four times that.

#define FREQUENCIES 36
#define HALF_ROOT 0.70710678118654752440f
#define ROOT 1.41421356237309504880f

// The transforms of six, four or three values that lie `step` vectors apart.

// to_frequencies is Bᵀ.
static inline __attribute__((always_inline)) void to_frequencies(const vec *d, int step, vec *f, int to) {
	vec even = d[4 * step] - 2.0f * d[2 * step], odd = HALF_ROOT * (d[3 * step] - 2.0f * d[step]);
	vec even2 = d[4 * step] - 0.5f * d[2 * step], odd2 = ROOT * (d[3 * step] - 0.5f * d[step]);
	f[0] = d[0] + d[4 * step] - 2.5f * d[2 * step];
	f[to] = even + odd;
	f[2 * to] = even - odd;
	f[3 * to] = even2 + odd2;
	f[4 * to] = even2 - odd2;
	f[5 * to] = d[step] + d[5 * step] - 2.5f * d[3 * step];
}

// from_frequencies is Aᵀ.
static inline __attribute__((always_inline)) void from_frequencies(const vec *f, int step, vec *y, int to) {
	vec s = f[step] + f[2 * step], d = HALF_ROOT * (f[step] - f[2 * step]);
	vec s2 = f[3 * step] + f[4 * step], d2 = ROOT * (f[3 * step] - f[4 * step]);
	y[0] = f[0] + s + s2;
	y[to] = d + d2;
	y[2 * to] = 0.5f * s + 2.0f * s2;
	y[3 * to] = 0.5f * d + 2.0f * d2 + f[5 * step];
}

// gradient_to_frequencies is A.
static inline __attribute__((always_inline)) void gradient_to_frequencies(const vec *y, int step, vec *f, int to) {
	vec even = y[0] + 0.5f * y[2 * step], odd = HALF_ROOT * (y[step] + 0.5f * y[3 * step]);
	vec even2 = y[0] + 2.0f * y[2 * step], odd2 = ROOT * (y[step] + 2.0f * y[3 * step]);
	f[0] = y[0];
	f[to] = even + odd;
	f[2 * to] = even - odd;
	f[3 * to] = even2 + odd2;
	f[4 * to] = even2 - odd2;
	f[5 * to] = y[3 * step];
}

// kernel_to_frequencies is G.
static inline __attribute__((always_inline)) void kernel_to_frequencies(const vec *w, int step, vec *f, int to) {
	vec even = (-2.0f / 3) * w[0] - (1.0f / 3) * w[2 * step], odd = (-2.0f / 3 * HALF_ROOT) * w[step];
	vec even2 = (1.0f / 6) * w[0] + (1.0f / 3) * w[2 * step], odd2 = (1.0f / 6 * ROOT) * w[step];
	f[0] = w[0];
	f[to] = even + odd;
	f[2 * to] = even - odd;
	f[3 * to] = even2 + odd2;
	f[4 * to] = even2 - odd2;
	f[5 * to] = w[2 * step];
}

// kernel_from_frequencies is Gᵀ.
static inline __attribute__((always_inline)) void kernel_from_frequencies(const vec *f, int step, vec *w, int to) {
	vec s = (-2.0f / 3) * (f[step] + f[2 * step]), d = (-2.0f / 3 * HALF_ROOT) * (f[step] - f[2 * step]);
	vec s2 = (1.0f / 6) * (f[3 * step] + f[4 * step]), d2 = (1.0f / 6 * ROOT) * (f[3 * step] - f[4 * step]);
	w[0] = f[0] + s + s2;
	w[to] = d + d2;
	w[2 * to] = 0.5f * s + 2.0f * s2 + f[5 * step];
}

// PLANE applies a transform of FROM to TO values to the columns and then to the rows of a matrix.
#define PLANE(transform, FROM, TO, in, out) \
	do { \
		vec half_[TO * FROM]; \
		for (int k_ = 0; k_ < FROM; k_++) \
			transform((in) + k_, FROM, half_ + k_, FROM); \
		for (int k_ = 0; k_ < TO; k_++) \
			transform(half_ + k_ * FROM, 1, (out) + k_ * TO, 1); \
	} while (0)

// tiles of an output, and how far apart frequencies lie: not a multiple of the page, so that they fall into different sets of a cache.
typedef struct {
	int64_t rows, columns, count;
} tiles;

static tiles tiles_of(const dk_plane *p) {
	int64_t rows = (p->Ho + 3) / 4, columns = (p->Wo + 3) / 4;
	return (tiles){rows, columns, rows * columns};
}

static int64_t apart(int64_t floats) { return (floats + 15) / 16 * 16 + 80; }

// worthwhile compares the products and transforms of an image with the products of the definition, the border left out.
static int worthwhile(const dk_plane *p) {
	if (p->KH != 3 || p->KW != 3 || p->sh * p->sw * p->dh * p->dw * p->ih * p->iw != 1 || p->ph < 0 || p->pw < 0 || p->ph > 2 || p->pw > 2)
		return 0;
	int64_t vertical = 0, horizontal = 0;
	for (int64_t a = 0; a < 3; a++) {
		vertical += greater(0, lesser(p->Ho, p->H + p->ph - a) - greater(0, p->ph - a));
		horizontal += greater(0, lesser(p->Wo, p->W + p->pw - a) - greater(0, p->pw - a));
	}
	return tiles_of(p).count * (FREQUENCIES * p->I * p->O + 280 * (p->I + p->O)) < vertical * horizontal * p->I * p->O * 4 / 5;
}

typedef struct {
	const dk_plane *p;
	const float *x, *w;
	float *u, *y;
	tiles t;
	int64_t per, outer;      // output channels of a task, groups of them
	int64_t some, blocks;    // tiles of a task, blocks of them in a chunk of images
	int64_t ustep;           // from one block of output channels to the next
	int64_t wide, chunks;    // images of a chunk, a multiple of NB, and how many of them
	int failed;
} winograd;

// kernel_task makes the frequencies of OB output channels, (36, blocks, I, OB).
static void kernel_task(void *data, size_t task) {
	winograd *c = data;
	const dk_plane *p = c->p;
	int64_t groups = (p->O + OB - 1) / OB, o0 = (int64_t)task * OB;
	for (int64_t at = 0; at < p->I * OB; at += VW) {
		float taps[9][VW];
		for (int l = 0; l < VW; l++) {
			int64_t i = (at + l) / OB, o = o0 + (at + l) % OB;
			const float *w = c->w + p->k0 + o * p->ko + i * p->ki;
			int inside = i < p->I && o < p->O;
			for (int k = 0; k < 9; k++)
				taps[k][l] = inside ? w[k / 3 * p->kh + k % 3 * p->kw] : 0;
		}
		vec f[FREQUENCIES];
		PLANE(kernel_to_frequencies, 3, 6, (const vec *)taps, f);
		for (int k = 0; k < FREQUENCIES; k++)
			*(vec *)(c->u + (k * groups + (int64_t)task) * c->ustep + at) = f[k];
	}
}

// image_tile writes the frequencies of one tile of one channel, `wide` images of which n are there, `step` floats apart.
static void image_tile(const dk_plane *p, const float *x, int64_t r, int64_t q, int64_t n, int64_t wide, float *to, int64_t step) {
	static const float zero[NB] __attribute__((aligned(64)));
	const float *from[FREQUENCIES];
	int64_t move[FREQUENCIES];
	for (int k = 0; k < FREQUENCIES; k++) {
		int64_t row = r + k / 6, column = q + k % 6;
		int inside = row >= 0 && row < p->H && column >= 0 && column < p->W;
		from[k] = inside ? x + (row * p->W + column) * p->N : zero;
		move[k] = inside;
	}
	for (int64_t at = 0; at < wide; at += VW) {
		vec d[FREQUENCIES], f[FREQUENCIES];
		if (at + VW <= n)
			for (int k = 0; k < FREQUENCIES; k++) {
				d[k] = *(const vec *)(from[k] + at * move[k]);
				__builtin_prefetch(from[k] + at + p->H * p->W * p->N); // the next channel; nothing else foresees it
			}
		else
			for (int k = 0; k < FREQUENCIES; k++) {
				d[k] = (vec){0};
				if (at < n)
					memcpy(&d[k], from[k] + at * move[k], (n - at) * 4);
			}
		PLANE(to_frequencies, 6, 6, d, f);
		for (int k = 0; k < FREQUENCIES; k++)
			*(vec *)(to + k * step + at) = f[k];
	}
}

// output_tile writes the tile at row r and column q of one channel.
static void output_tile(const dk_plane *p, const float *from, int64_t step, int64_t r, int64_t q, int64_t n, float *y) {
	for (int64_t at = 0; at < n; at += VW) {
		vec f[FREQUENCIES], out[16];
		for (int k = 0; k < FREQUENCIES; k++)
			f[k] = *(const vec *)(from + k * step + at);
		PLANE(from_frequencies, 6, 4, f, out);
		for (int k = 0; k < 16; k++) {
			int64_t row = r + k / 4, column = q + k % 4;
			if (row >= p->Ho || column >= p->Wo)
				continue;
			float *to = y + (row * p->Wo + column) * p->N + at;
			__builtin_prefetch(to + p->Ho * p->Wo * p->N, 1); // the next channel
			if (at + VW <= n)
				*(vec *)to = out[k];
			else
				memcpy(to, &out[k], (n - at) * 4);
		}
	}
}

// multiply is tile for rows of `wide` floats of x, a multiple of STEP, and one run of products.
static void multiply(int64_t len, const float *x, int64_t wide, const float *w, float *out, int64_t stride) {
	for (int64_t at = 0; at < wide; at += STEP) {
		vec a[OB][NV];
		for (int o = 0; o < OB; o++)
			for (int v = 0; v < NV; v++)
				a[o][v] = (vec){0};
		const float *xs = x + at, *ws = w, *end = xs + len * wide;
		for (; xs < end; xs += wide, ws += OB) {
			vec b[NV];
			for (int v = 0; v < NV; v++)
				b[v] = *(const vec *)(xs + v * VW);
#pragma GCC unroll 8
			for (int o = 0; o < OB; o++)
#pragma GCC unroll 2
				for (int v = 0; v < NV; v++)
					a[o][v] += ws[o] * b[v];
		}
		for (int o = 0; o < OB; o++)
			for (int v = 0; v < NV; v++)
				*(vec *)(out + o * stride + at + v * VW) = a[o][v];
	}
}

static void winograd_task(void *data, size_t task) {
	winograd *c = data;
	const dk_plane *p = c->p;
	int64_t part = (int64_t)task % c->outer, block = (int64_t)task / c->outer % c->blocks, n0 = (int64_t)task / c->outer / c->blocks * c->wide;
	int64_t t0 = block * c->some, count = lesser(c->t.count - t0, c->some), n = lesser(c->wide, p->N - n0), wide = c->wide;
	int64_t first = part * c->per, last = lesser(p->O, first + c->per), groups = (p->O + OB - 1) / OB;
	int64_t vstep = apart(count * p->I * wide), mstep = apart((c->per + OB) * count * wide);
	float *v = dk_take(FREQUENCIES * vstep), *m = dk_take(FREQUENCIES * mstep);
	if (!v || !m) {
		c->failed = 1;
		dk_give(v), dk_give(m);
		return;
	}
	for (int64_t t = 0; t < count; t++)
		for (int64_t i = 0; i < p->I; i++)
			image_tile(p, c->x + i * p->H * p->W * p->N + n0, (t0 + t) / c->t.columns * 4 - p->ph, (t0 + t) % c->t.columns * 4 - p->pw, n, wide,
			           v + (t * p->I + i) * wide, vstep);
	for (int64_t k = 0; k < FREQUENCIES; k++)
		for (int64_t o = first; o < last; o += OB)
			for (int64_t t = 0; t < count; t++)
				multiply(p->I, v + k * vstep + t * p->I * wide, wide, c->u + (k * groups + o / OB) * c->ustep,
				         m + k * mstep + ((o - first) * count + t) * wide, count * wide);
	for (int64_t o = first; o < last; o++)
		for (int64_t t = 0; t < count; t++)
			output_tile(p, m + ((o - first) * count + t) * wide, mstep, (t0 + t) / c->t.columns * 4, (t0 + t) % c->t.columns * 4, n,
			            c->y + o * p->Ho * p->Wo * p->N + n0);
	dk_give(v), dk_give(m);
}

static int by_winograd(const dk_threads *t, const dk_plane *p, const float *x, const float *w, float *y) {
	int64_t groups = (p->O + OB - 1) / OB;
	winograd c = {.p = p, .x = x, .w = w, .y = y, .t = tiles_of(p), .per = p->O, .outer = 1, .ustep = (p->I * OB + VW - 1) / VW * VW};
	c.u = dk_take(FREQUENCIES * groups * c.ustep);
	if (!c.u)
		return 1;
	t->run(t, kernel_task, groups, &c);
	// What a task holds of both sides fits the second-level cache, where it can. Images side by side come before tiles.
	int64_t fit = greater(1, (768 << 10) / (FREQUENCIES * NB * 4 * (p->I + p->O))), all = (p->N + NB - 1) / NB;
	c.wide = lesser(lesser(all, fit), 4) * NB;
	c.chunks = (p->N + c.wide - 1) / c.wide;
	c.some = lesser(c.t.count, greater(1, fit * NB / c.wide));
	while (c.some > 1 && c.chunks * ((c.t.count + c.some - 1) / c.some) < 8)
		c.some = (c.some + 1) / 2;
	c.blocks = (c.t.count + c.some - 1) / c.some;
	c.some = (c.t.count + c.blocks - 1) / c.blocks;
	while (c.chunks * c.blocks * c.outer < 4 && c.per > 4 * OB) {
		c.per = ((c.per + 1) / 2 + OB - 1) / OB * OB;
		c.outer = (p->O + c.per - 1) / c.per;
	}
	t->run(t, winograd_task, c.chunks * c.blocks * c.outer, &c);
	dk_give(c.u);
	return c.failed;
}

static int convolution_of(const dk_threads *t, const dk_plane *p, const float *x, const float *w, float *y) {
	dk_plane flat;
	if (flattened(p, &flat))
		p = &flat;
	return (worthwhile(p) ? by_winograd : direct)(t, p, x, w, y);
}

// The kernel's gradient is the same the other way round: the products of the frequencies of x and v, summed over tiles and images, go back to
// nine taps. Vectors run over channels.

typedef struct {
	gradient sum;
	tiles t;
	int64_t rows; // of tiles, in a unit
	int64_t wide; // input channels of a group
} winograd_gradient;

// narrow_tile is tile for rows of 16 floats of x.
static void narrow_tile(int64_t len, const float *x, const float *w, float *out, int64_t stride) {
	for (int at = 0; at < 16; at += VW) {
		vec a[OB];
		for (int o = 0; o < OB; o++)
			a[o] = (vec){0};
		const float *xs = x + at, *ws = w, *end = xs + len * 16;
		for (; xs < end; xs += 16, ws += OB) {
			vec b = *(const vec *)xs;
#pragma GCC unroll 8
			for (int o = 0; o < OB; o++)
				a[o] += ws[o] * b;
		}
		for (int o = 0; o < OB; o++)
			*(vec *)(out + o * stride + at) = a[o];
	}
}

// spread writes the frequencies of the packed channels (groups of VW, rows, columns, NB, VW) to (groups of L channels, 36, tiles·NB, L). A tile is of
// `edge`×`edge` elements, 6 of the image or 4 of the gradient, and begins at (4·row-pr, 4·column-pc).
static inline __attribute__((always_inline)) void spread(int edge, const float *packed, int64_t channels, int64_t height, int64_t width,
                                                         int64_t row0, int64_t rows, int64_t columns, int64_t pr, int64_t pc, int64_t L,
                                                         int64_t step, float *to) {
	static const float zero[VW] __attribute__((aligned(64)));
	for (int64_t c = 0; c < channels; c += VW)
		for (int64_t t = 0; t < rows * columns; t++) {
			const float *from[FREQUENCIES];
			int64_t move[FREQUENCIES];
			for (int k = 0; k < edge * edge; k++) {
				int64_t r = t / columns * 4 - pr + k / edge - row0, q = t % columns * 4 - pc + k % edge;
				int inside = r >= 0 && r < height && q >= 0 && q < width;
				from[k] = inside ? packed + ((c / VW * height + r) * width + q) * NB * VW : zero;
				move[k] = inside ? VW : 0;
			}
			for (int64_t n = 0; n < NB; n++) {
				vec d[FREQUENCIES], f[FREQUENCIES];
				for (int k = 0; k < edge * edge; k++)
					d[k] = *(const vec *)(from[k] + n * move[k]);
				if (edge == 6)
					PLANE(to_frequencies, 6, 6, d, f);
				else
					PLANE(gradient_to_frequencies, 4, 6, d, f);
				for (int64_t l = 0; l < VW; l += lesser(L, VW)) {
					float *at = to + (c + l) / L * FREQUENCIES * step + (t * NB + n) * L + (c + l) % L;
					for (int k = 0; k < FREQUENCIES; k++)
						memcpy(at + k * step, (const float *)&f[k] + l, lesser(L, VW) * 4);
				}
			}
		}
}

static void spread_image(const float *packed, int64_t channels, int64_t height, int64_t width, int64_t row0, int64_t rows, int64_t columns,
                         int64_t pr, int64_t pc, int64_t L, int64_t step, float *to) {
	spread(6, packed, channels, height, width, row0, rows, columns, pr, pc, L, step, to);
}

static void spread_gradient(const float *packed, int64_t channels, int64_t height, int64_t width, int64_t row0, int64_t rows, int64_t columns,
                            int64_t step, float *to) {
	spread(4, packed, channels, height, width, row0, rows, columns, 0, 0, OB, step, to);
}

static void winograd_gradient_task(void *data, size_t task) {
	winograd_gradient *c = data;
	gradient *s = &c->sum;
	const dk_plane *p = s->p;
	int64_t part = (int64_t)task / s->outer, o0 = (int64_t)task % s->outer * s->per, channels = lesser(s->per, p->O - o0);
	int64_t size = 9 * p->I, groups = (p->I + c->wide - 1) / c->wide, ogroups = (channels + OB - 1) / OB;
	int64_t most = c->rows * c->t.columns * NB, xstep = apart(most * c->wide), vstep = apart(most * OB);
	int64_t height = lesser(p->H, 4 * c->rows + 2), wide = (p->I + VW - 1) / VW * VW, vwide = (channels + VW - 1) / VW * VW;
	float *packed = dk_take(greater(height * p->W * wide, lesser(p->Ho, 4 * c->rows) * p->Wo * vwide) * NB);
	float *x = dk_take((groups + 1) * FREQUENCIES * xstep), *v = dk_take((ogroups + VW / OB + 1) * FREQUENCIES * vstep);
	float *sums = dk_take(FREQUENCIES * OB * NB);
	float *g = s->parts + (part * p->O + o0) * size;
	if (!packed || !x || !v || !sums) {
		s->failed = 1;
		dk_give(packed), dk_give(x), dk_give(v), dk_give(sums);
		return;
	}
	memset(g, 0, channels * size * 4);
	for (int64_t unit = part; unit < s->units; unit += s->spatial) {
		int64_t n0 = unit / s->blocks * NB, t0 = unit % s->blocks * c->rows, rows = lesser(c->rows, c->t.rows - t0), len = rows * c->t.columns * NB;
		int64_t r0 = greater(0, 4 * t0 - p->ph), r1 = lesser(p->H, 4 * (t0 + rows) + 2 - p->ph);
		pack_channels(s->x, p->I, p->H, p->W, p->N, n0, r0, r1, 0, p->W, packed, (r1 - r0) * p->W * NB * VW);
		spread_image(packed, p->I, r1 - r0, p->W, r0 - 4 * t0, rows, c->t.columns, p->ph, p->pw, c->wide, xstep, x);
		r0 = 4 * t0, r1 = lesser(p->Ho, 4 * (t0 + rows));
		pack_channels(s->v + o0 * p->Ho * p->Wo * p->N, channels, p->Ho, p->Wo, p->N, n0, r0, r1, 0, p->Wo, packed, (r1 - r0) * p->Wo * NB * VW);
		spread_gradient(packed, channels, r1 - r0, p->Wo, 0, rows, c->t.columns, vstep, v);
		segment all = {0, 0, len};
		for (int64_t i = 0; i < groups; i++)
			for (int64_t o = 0; o < ogroups; o++) {
				for (int64_t k = 0; k < FREQUENCIES; k++) {
					const float *xs = x + (i * FREQUENCIES + k) * xstep, *vs = v + (o * FREQUENCIES + k) * vstep;
					if (c->wide == NB)
						tile(&all, 1, xs, vs, sums + k * OB * NB, NB, NB);
					else
						narrow_tile(len, xs, vs, sums + k * OB * NB, NB);
				}
				for (int64_t l = 0; l < lesser(OB, channels - o * OB); l++)
					for (int64_t at = 0; at < lesser(c->wide, p->I - i * c->wide); at += VW) {
						vec f[FREQUENCIES], w[9];
						for (int k = 0; k < FREQUENCIES; k++)
							f[k] = *(const vec *)(sums + (k * OB + l) * NB + at);
						PLANE(kernel_from_frequencies, 6, 3, f, w);
						float *to = g + (o * OB + l) * size + i * c->wide + at;
						int64_t left = p->I - i * c->wide - at;
						for (int k = 0; k < 9; k++, to += p->I)
							if (left >= VW)
								*(vec *)to += w[k];
							else
								for (int64_t q = 0; q < left; q++)
									to[q] += w[k][q];
					}
			}
	}
	dk_give(packed), dk_give(x), dk_give(v), dk_give(sums);
}

static int kernel_gradient_of(const dk_threads *t, const dk_plane *p, const float *x, const float *v, float *g) {
	if (is_pointwise(p))
		return pointwise_gradient(t, p, x, v, g);
	if (!worthwhile(p) || p->I * p->O < 256)
		return direct_gradient(t, p, x, v, g);
	winograd_gradient c = {.sum = {.p = p, .x = x, .v = v, .g = g}, .t = tiles_of(p), .wide = p->I <= 16 ? 16 : NB};
	gradient *s = &c.sum;
	int64_t chunks = (p->N + NB - 1) / NB;
	c.rows = lesser(c.t.rows, greater(1, (1 << 20) / (FREQUENCIES * NB * 4 * c.t.columns * (p->I + p->O))));
	s->blocks = (c.t.rows + c.rows - 1) / c.rows;
	s->units = chunks * s->blocks;
	s->spatial = greater(1, lesser(lesser(s->units, 16), (16 << 20) / (p->O * 9 * p->I * 4)));
	s->per = p->O;
	s->outer = 1;
	while (s->spatial * s->outer < 4 && s->per > 4 * OB) {
		s->per = ((s->per + 1) / 2 + OB - 1) / OB * OB;
		s->outer = (p->O + s->per - 1) / s->per;
	}
	s->parts = dk_take(s->spatial * p->O * 9 * p->I);
	if (!s->parts)
		return 1;
	t->run(t, winograd_gradient_task, s->spatial * s->outer, &c);
	if (!s->failed)
		t->run(t, adding_task, p->O, s);
	dk_give(s->parts);
	return s->failed;
}
