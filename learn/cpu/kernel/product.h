// Product: a product of two matrices, each in any layout in which the elements along one of its axes are neighbours. Both are packed into panels in the
// order in which a tile of the result meets them: a whole before, b by the task that computes some columns of the result. What is summed over is cut into
// ranges; where there are few columns, ranges are tasks of their own, whose sums are added in order.

#if VW == 16
#define PR 8 // rows of a tile; with three vectors of columns its sums fill 24 of 32 registers
#else
#define PR 4 // 12 of 16
#endif
#define PV 3 // vectors of a tile's row
#define PC (PV * VW)
#define RANGE 544 // products of a range at most: a panel of b then takes a tenth of the second-level cache

typedef struct {
	const dk_product *p;
	const float *a, *b, *bias, *more;
	float *packed_a; // (ranges, panels of PR rows, range, PR)
	float *parts;    // (parts, M, P), or y
	float *y, *sums;
	float *part_sums; // (parts, P), or sums; NULL: not asked for
	int64_t range, ranges, rows, columns; // products of a range, how many, panels of PR rows, of PC columns
	int64_t part_count;
	int failed;
} product;

// product_tile adds up K products for each of PR×nv vectors, a (K, PR), b (K, PC), a number for each row where bias is not NULL, and what there is at `more`, laid
// out as c, where that is not NULL.
static inline __attribute__((always_inline)) void product_tile(int64_t K, const float *a, const float *b, int nv, float *c, int64_t stride, const float *bias, const float *more,
                                                               int64_t rows, int64_t columns) {
	vec s[PR][PV];
	for (int r = 0; r < PR; r++)
		for (int v = 0; v < nv; v++)
			s[r][v] = (vec){0};
	for (int r = 0; r < rows; r++) // stores wait for their lines one after the other
		for (int v = 0; v < nv; v++)
			__builtin_prefetch(c + r * stride + v * VW, 1);
	for (int64_t k = 0; k < K; k++, a += PR, b += PC) {
		vec x[PV];
		for (int v = 0; v < nv; v++)
			x[v] = *(const vec *)(b + v * VW);
#pragma GCC unroll 8
		for (int r = 0; r < PR; r++)
#pragma GCC unroll 3
			for (int v = 0; v < nv; v++)
				s[r][v] += a[r] * x[v];
	}
	if (rows == PR && columns == nv * VW) {
		for (int r = 0; r < PR; r++)
			for (int v = 0; v < nv; v++) {
				if (bias)
					s[r][v] += bias[r];
				if (more)
					s[r][v] += *(const vec *)(more + r * stride + v * VW);
				*(vec *)(c + r * stride + v * VW) = s[r][v];
			}
		return;
	}
	for (int r = 0; r < rows; r++) {
		float row[PC];
		for (int v = 0; v < nv; v++)
			*(vec *)(row + v * VW) = s[r][v];
		for (int64_t k = 0; k < columns; k++) {
			float sum = bias ? row[k] + bias[r] : row[k];
			c[r * stride + k] = more ? sum + more[r * stride + k] : sum;
		}
	}
}

// turned copies a block of up to VW rows of n neighbours each, `stride` apart, so that the rows' elements lie side by side: element k of row l goes to
// to[k·step + l] for l below `half`, and from there on to other[k·step + l - half].
static inline __attribute__((always_inline)) void turned(const float *from, int64_t stride, int64_t rows, int64_t n, int half, float *to, float *other, int64_t step) {
	vec v[VW];
	if (rows == VW && n == VW)
		for (int l = 0; l < VW; l++) {
			__builtin_prefetch(from + l * stride + 4 * VW);
			v[l] = *(const vec *)(from + l * stride);
		}
	else
		for (int l = 0; l < VW; l++) {
			v[l] = (vec){0};
			if (l < rows)
				memcpy(&v[l], from + l * stride, n * 4);
		}
	transpose(v);
	for (int64_t k = 0; k < n; k++) {
		memcpy(to + k * step, &v[k], half * 4);
		if (half < VW)
			memcpy(other + k * step, (const float *)&v[k] + half, (VW - half) * 4);
	}
}

// panel_of packs n lines from element `first` on into (K, width): line l is in + l·across, and its elements are `along` apart. What is missing is zero.
static inline __attribute__((always_inline)) void panel_of(const float *in, int64_t along, int64_t across, int64_t K, int64_t n, int width, float *to) {
	if (across == 1) {
		for (int64_t k = 0; k < K; k++, in += along, to += width) {
			for (int l = 0; l < width; l += 16)
				__builtin_prefetch(in + 8 * along + l);
			if (n == width)
				memcpy(to, in, width * 4);
			else {
				memset(to, 0, width * 4);
				memcpy(to, in, n * 4);
			}
		}
		return;
	}
	if (along == 1) {
		for (int64_t k = 0; k < K; k += VW) {
			int64_t some = lesser(VW, K - k);
			for (int l = 0; l < width; l += VW) {
				const float *from = in + l * across + k;
				float none[VW * VW];
				int64_t rows = greater(0, lesser(lesser(VW, width - l), n - l));
				// With panels narrower than a vector the upper lanes are of no use.
				if (width < VW) {
					turned(from, across, rows, some, VW, none, NULL, VW);
					for (int64_t i = 0; i < some; i++)
						memcpy(to + (k + i) * width, none + i * VW, width * 4);
				} else
					turned(from, across, rows, some, VW, to + k * width + l, NULL, width);
			}
		}
		return;
	}
	for (int64_t k = 0; k < K; k++)
		for (int64_t l = 0; l < width; l++)
			to[k * width + l] = l < n ? in[k * along + l * across] : 0;
}

// left_task packs a panel of a, or two where a vector holds two, for one range.
static void left_task(void *data, size_t task) {
	product *c = data;
	const dk_product *p = c->p;
	int64_t pairs = (c->rows + 1) / 2, range = (int64_t)task / pairs, panel = (int64_t)task % pairs * 2;
	int64_t k0 = range * c->range, K = lesser(c->range, p->K - k0);
	float *to = c->packed_a + (k0 * c->rows + panel * K) * PR;
	const float *in = c->a + k0 * p->ak + panel * PR * p->am;
	int64_t n = lesser(2 * PR, p->M - panel * PR);
	if (2 * PR == VW && p->ak == 1 && n > PR) {
		for (int64_t k = 0; k < K; k += VW)
			turned(in + k, p->am, n, lesser(VW, K - k), PR, to + k * PR, to + (K + k) * PR, PR);
		return;
	}
	panel_of(in, p->ak, p->am, K, lesser(n, PR), PR, to);
	if (n > PR)
		panel_of(in + PR * p->am, p->ak, p->am, K, n - PR, PR, to + K * PR);
}

static void product_task(void *data, size_t task) {
	product *c = data;
	const dk_product *p = c->p;
	int64_t part = (int64_t)task / c->columns, column = (int64_t)task % c->columns * PC, n = lesser(PC, p->P - column);
	float *b = dk_take(c->range * PC), *y = c->parts + part * p->M * p->P + column;
	if (!b) {
		c->failed = 1;
		return;
	}
	int64_t first = c->ranges * part / c->part_count, last = c->ranges * (part + 1) / c->part_count;
	vec sums[PV] = {{0}};
	for (int64_t range = first; range < last; range++) {
		int64_t k0 = range * c->range, K = lesser(c->range, p->K - k0);
		panel_of(c->b + k0 * p->bk + column * p->bp, p->bk, p->bp, K, n, PC, b);
		if (c->part_sums)
			for (int64_t k = 0; k < K; k++)
				for (int v = 0; v < PV; v++)
					sums[v] += *(const vec *)(b + k * PC + v * VW);
		const float *a = c->packed_a + k0 * c->rows * PR;
		for (int64_t r = 0; r < p->M; r += PR, a += K * PR) {
			int64_t rows = lesser(PR, p->M - r);
			float *to = y + r * p->P;
			const float *bias = range == first && c->bias ? c->bias + r : NULL, *more = range > first ? to : c->more ? c->more + r * p->P + column : NULL;
			if (n > 2 * VW)
				product_tile(K, a, b, 3, to, p->P, bias, more, rows, n);
			else if (n > VW)
				product_tile(K, a, b, 2, to, p->P, bias, more, rows, n);
			else
				product_tile(K, a, b, 1, to, p->P, bias, more, rows, n);
		}
	}
	if (c->part_sums)
		memcpy(c->part_sums + part * p->P + column, sums, n * 4);
	dk_give(b);
}

// joining_task adds the parts of a row of the result, and after the last row those of the sums.
static void joining_task(void *data, size_t task) {
	product *c = data;
	int64_t n = c->p->P, row = (int64_t)task;
	const float *from = c->parts + row * n;
	float *to = c->y + row * n;
	int64_t apart = c->p->M * n;
	if (row == c->p->M)
		from = c->part_sums, to = c->sums, apart = n;
	for (int64_t k = 0; k < n; k++) {
		float s = from[k];
		for (int64_t part = 1; part < c->part_count; part++)
			s += from[part * apart + k];
		to[k] = s;
	}
}

static int product_of(const dk_threads *t, const dk_product *p, const float *a, const float *b, const float *bias, const float *more, float *y, float *sums) {
	product c = {.p = p, .a = a, .b = b, .bias = bias, .more = more, .y = y, .parts = y, .sums = sums, .part_sums = sums, .part_count = 1};
	c.rows = (p->M + PR - 1) / PR;
	c.columns = (p->P + PC - 1) / PC;
	c.ranges = (p->K + RANGE - 1) / RANGE;
	c.range = ((p->K + c.ranges - 1) / c.ranges + 15) / 16 * 16;
	c.ranges = (p->K + c.range - 1) / c.range;
	while (!bias && !more && c.columns * c.part_count < 12 && c.part_count < c.ranges && (c.part_count + 1) * p->M * p->P * 4 <= 32 << 20)
		c.part_count++;
	float *memory = NULL;
	c.packed_a = dk_take(c.rows * PR * p->K);
	if (c.part_count > 1) {
		c.parts = memory = dk_take(c.part_count * (p->M + 1) * p->P);
		if (sums)
			c.part_sums = c.parts + c.part_count * p->M * p->P;
	}
	if (!c.packed_a || (c.part_count > 1 && !memory)) {
		dk_give(c.packed_a), dk_give(memory);
		return 1;
	}
	t->run(t, left_task, c.ranges * ((c.rows + 1) / 2), &c);
	t->run(t, product_task, c.part_count * c.columns, &c);
	if (!c.failed && memory)
		t->run(t, joining_task, p->M + (sums != NULL), &c);
	dk_give(c.packed_a), dk_give(memory);
	return c.failed;
}
