// Column normalisation: layer normalisation of features that lie outermost. Each of the columns of x (rows, columns) is normalised by its own mean and
// variance. A task is some blocks of columns, whose values stay in the cache between the passes. Scale and shift are given for each row, as a layer has
// them, or left out; their gradients are sums over all columns, which the tasks leave in parts that are added in order.

#define CV 4               // vectors of a block's row
#define CW (CV * VW)       // columns of a block
#define SUMMED 64          // rows whose sum is one term of the sum over all
#define COLUMN_TASKS 16    // at most

typedef struct {
	int64_t rows, columns, tasks;
	double epsilon;
	const float *x, *scale, *shift, *mean_in, *variance_in, *v, *more;
	float *y, *mean, *variance, *gx, *gscale, *gshift;
	float *parts; // (tasks, 2, rows): of the gradients of shift and scale
	int failed;
} columns;

// wide is a block's row in registers.
typedef struct {
	vec v[CV];
} wide;

#define WIDE(i) for (int i = 0; i < CV; i++)

static inline wide row_at(const float *p) {
	wide w;
	WIDE(i) w.v[i] = *(const vec *)(p + i * VW);
	return w;
}

static inline void row_to(float *p, wide w) { WIDE(i) * (vec *)(p + i * VW) = w.v[i]; }

// block_in returns where column c of x begins and how far apart its rows lie; a block that is not whole is copied to `own`, (rows, CW), and filled up.
static const float *block_in(const columns *c, const float *x, int64_t at, float *own, int64_t *stride) {
	int64_t n = c->columns - at;
	*stride = c->columns;
	if (n >= CW)
		return x + at;
	for (int64_t r = 0; r < c->rows; r++) {
		memcpy(own + r * CW, x + r * c->columns + at, n * 4);
		memset(own + r * CW + n, 0, (CW - n) * 4);
	}
	*stride = CW;
	return own;
}

static void block_out(const columns *c, const float *own, int64_t at, float *y) {
	for (int64_t r = 0; r < c->rows; r++)
		memcpy(y + r * c->columns + at, own + r * CW, (c->columns - at) * 4);
}

// moments are mean and variance of a block's columns.
static inline void moments(const float *x, int64_t stride, int64_t rows, wide *mean, wide *variance) {
	wide sum = {0};
	for (int64_t from = 0; from < rows; from += SUMMED) {
		wide s = {0};
		for (int64_t r = from; r < lesser(rows, from + SUMMED); r++) {
			WIDE(i) __builtin_prefetch(x + (r + 8) * stride + i * VW);
			WIDE(i) s.v[i] += *(const vec *)(x + r * stride + i * VW);
		}
		WIDE(i) sum.v[i] += s.v[i];
	}
	WIDE(i) mean->v[i] = sum.v[i] / (float)rows;
	wide squares = {0};
	for (int64_t from = 0; from < rows; from += SUMMED) {
		wide s = {0};
		for (int64_t r = from; r < lesser(rows, from + SUMMED); r++)
			WIDE(i) {
				vec d = *(const vec *)(x + r * stride + i * VW) - mean->v[i];
				s.v[i] += d * d;
			}
		WIDE(i) squares.v[i] += s.v[i];
	}
	WIDE(i) variance->v[i] = squares.v[i] / (float)rows;
}

static void column_norm_task(void *data, size_t task) {
	columns *c = data;
	int64_t blocks = (c->columns + CW - 1) / CW, first = blocks * (int64_t)task / c->tasks, last = blocks * ((int64_t)task + 1) / c->tasks;
	float *own = dk_take(c->rows * CW);
	if (!own) {
		c->failed = 1;
		return;
	}
	for (int64_t b = first; b < last; b++) {
		int64_t at = b * CW, stride, n = lesser(CW, c->columns - at);
		const float *x = block_in(c, c->x, at, own, &stride);
		float *y = stride == CW && n < CW ? own : c->y + at;
		wide mean, variance, factor, add;
		moments(x, stride, c->rows, &mean, &variance);
		WIDE(i) {
			factor.v[i] = 1.0f / root(variance.v[i] + (float)c->epsilon);
			add.v[i] = -mean.v[i] * factor.v[i];
		}
		for (int64_t r = 0; r < c->rows; r++) {
			wide w = row_at(x + r * stride);
			WIDE(i) w.v[i] = w.v[i] * factor.v[i] + add.v[i];
			if (c->scale)
				WIDE(i) w.v[i] = w.v[i] * c->scale[r] + c->shift[r];
			row_to(y + r * stride, w);
		}
		float rest[CW];
		row_to(rest, mean);
		memcpy(c->mean + at, rest, n * 4);
		row_to(rest, variance);
		memcpy(c->variance + at, rest, n * 4);
		if (y == own)
			block_out(c, own, at, c->y);
	}
	dk_give(own);
}

static int64_t column_tasks(int64_t n) { return lesser(COLUMN_TASKS, (n + CW - 1) / CW); }

static int column_norm_of(const dk_threads *t, int64_t rows, int64_t n, double epsilon, const float *x, const float *scale, const float *shift, float *y,
                          float *mean, float *variance) {
	columns c = {.rows = rows, .columns = n, .tasks = column_tasks(n), .epsilon = epsilon, .x = x, .scale = scale, .shift = shift, .y = y, .mean = mean, .variance = variance};
	t->run(t, column_norm_task, c.tasks, &c);
	return c.failed;
}

// With x̂ = (x-μ)/σ and u = scale·v: ∂x = (u - mean(u) - x̂·mean(u·x̂))/σ, to which `more` is added where it is not NULL.
static void column_norm_gradient_task(void *data, size_t task) {
	columns *c = data;
	int64_t blocks = (c->columns + CW - 1) / CW, first = blocks * (int64_t)task / c->tasks, last = blocks * ((int64_t)task + 1) / c->tasks;
	float *own = dk_take(4 * c->rows * CW), *sums = dk_take(2 * c->rows * VW);
	if (!own || !sums) {
		c->failed = 1;
		dk_give(own), dk_give(sums);
		return;
	}
	memset(sums, 0, 2 * c->rows * VW * 4);
	int summed = c->gscale != NULL;
	for (int64_t b = first; b < last; b++) {
		int64_t at = b * CW, stride, n = lesser(CW, c->columns - at);
		const float *x = block_in(c, c->x, at, own, &stride), *v = block_in(c, c->v, at, own + c->rows * CW, &stride);
		const float *more = c->more ? block_in(c, c->more, at, own + 2 * c->rows * CW, &stride) : NULL;
		float *gx = n < CW ? own + 3 * c->rows * CW : c->gx + at;
		float rest[2][CW] = {{0}};
		memcpy(rest[0], c->mean_in + at, n * 4);
		memcpy(rest[1], c->variance_in + at, n * 4);
		wide mean = row_at(rest[0]), deviation = row_at(rest[1]), sum = {0}, product = {0};
		WIDE(i) deviation.v[i] = 1.0f / root(deviation.v[i] + (float)c->epsilon);
		for (int64_t from = 0; from < c->rows; from += SUMMED) {
			wide s = {0}, p = {0};
			for (int64_t r = from; r < lesser(c->rows, from + SUMMED); r++) {
				WIDE(i) __builtin_prefetch(x + (r + 8) * stride + i * VW), __builtin_prefetch(v + (r + 8) * stride + i * VW);
				wide u = row_at(v + r * stride), h = row_at(x + r * stride);
				WIDE(i) h.v[i] = (h.v[i] - mean.v[i]) * deviation.v[i];
				if (summed) {
					vec *shifts = (vec *)(sums + r * VW), *scales = (vec *)(sums + (c->rows + r) * VW);
					vec one = *shifts, other = *scales;
					WIDE(i) one += u.v[i], other += u.v[i] * h.v[i];
					*shifts = one, *scales = other;
				}
				if (c->scale)
					WIDE(i) u.v[i] *= c->scale[r];
				WIDE(i) s.v[i] += u.v[i], p.v[i] += u.v[i] * h.v[i];
			}
			WIDE(i) sum.v[i] += s.v[i], product.v[i] += p.v[i];
		}
		// ∂x = v·(scale/σ) + x·slope + add
		wide slope, add;
		WIDE(i) {
			slope.v[i] = -deviation.v[i] * deviation.v[i] * (product.v[i] / (float)c->rows);
			add.v[i] = -deviation.v[i] * (sum.v[i] / (float)c->rows) - slope.v[i] * mean.v[i];
		}
		for (int64_t r = 0; r < c->rows; r++) {
			wide u = row_at(v + r * stride), h = row_at(x + r * stride);
			if (c->scale)
				WIDE(i) u.v[i] *= c->scale[r];
			WIDE(i) u.v[i] = u.v[i] * deviation.v[i] + (h.v[i] * slope.v[i] + add.v[i]);
			if (more)
				WIDE(i) u.v[i] += *(const vec *)(more + r * stride + i * VW);
			row_to(gx + r * stride, u);
		}
		if (n < CW)
			block_out(c, gx, at, c->gx);
	}
	for (int64_t r = 0; summed && r < 2 * c->rows; r++)
		c->parts[(int64_t)task * 2 * c->rows + r] = sum_lanes(*(const vec *)(sums + r * VW));
	dk_give(own), dk_give(sums);
}

static int column_norm_gradient_of(const dk_threads *t, int64_t rows, int64_t n, double epsilon, const float *x, const float *scale, const float *mean,
                                   const float *variance, const float *v, const float *more, float *gx, float *gscale, float *gshift) {
	columns c = {.rows = rows, .columns = n, .tasks = column_tasks(n), .epsilon = epsilon, .x = x, .scale = scale, .mean_in = mean, .variance_in = variance, .v = v, .more = more, .gx = gx, .gscale = gscale, .gshift = gshift};
	c.parts = dk_take(c.tasks * 2 * rows);
	if (!c.parts)
		return 1;
	t->run(t, column_norm_gradient_task, c.tasks, &c);
	for (int64_t r = 0; gscale && r < rows; r++) {
		float shift = 0, factor = 0;
		for (int64_t k = 0; k < c.tasks; k++)
			shift += c.parts[2 * k * rows + r], factor += c.parts[(2 * k + 1) * rows + r];
		gshift[r] = shift, gscale[r] = factor;
	}
	dk_give(c.parts);
	return c.failed;
}
