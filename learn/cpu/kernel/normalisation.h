// Batch normalisation: a task is one channel, whose values stay in the cache between the passes. The activation behind it is part of it; its
// gradient is from x, from which y is computed again: to read what was kept of it would take longer.

typedef struct {
	int64_t columns;
	double epsilon;
	int activation;
	const float *x, *scale, *shift, *mean_in, *variance_in, *v;
	float *y, *mean, *variance, *gx, *gscale, *gshift;
} normalisation;

#define BLOCK 4096 // values that are summed in single precision before the sum goes on in double

// some_of is the first n < VW values from x on, and zeroes.
static inline vec some_of(const float *x, int64_t n) {
	vec v = {0};
	memcpy(&v, x, n * 4);
	return v;
}

// normalised_by is what a channel is multiplied by, and what is added to it.
typedef struct {
	float factor, add;
} normalised_by;

static normalised_by normalised_of(float scale, float shift, float mean, float variance, double epsilon) {
	float factor = scale * (float)(1 / __builtin_sqrt((double)variance + epsilon));
	return (normalised_by){factor, shift - mean * factor};
}

// moments_of computes mean and variance of n values.
static void moments_of(const float *x, int64_t n, float *mean_out, float *variance_out) {
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
	*mean_out = mean;
	*variance_out = (float)(squares / n);
}

static inline __attribute__((always_inline)) void normalise_as(int kind, const float *x, int64_t n, normalised_by by, float *y) {
	int64_t i = 0;
	for (; i + VW <= n; i += VW)
		*(vec *)(y + i) = activated(kind, *(const vec *)(x + i) * by.factor + by.add);
	if (i < n) {
		vec out = activated(kind, some_of(x + i, n - i) * by.factor + by.add);
		memcpy(y + i, &out, (n - i) * 4);
	}
}

// normalise is the last pass: y from x.
static void normalise(int activation, const float *x, int64_t n, normalised_by by, float *y) {
	ACTIVATIONS(activation, normalise_as(KIND, x, n, by, y))
}

static void normalisation_task(void *data, size_t task) {
	normalisation *b = data;
	int64_t n = b->columns;
	const float *x = b->x + (int64_t)task * n;
	moments_of(x, n, &b->mean[task], &b->variance[task]);
	normalise(b->activation, x, n, normalised_of(b->scale[task], b->shift[task], b->mean[task], b->variance[task], b->epsilon), b->y + (int64_t)task * n);
}

static void batch_norm_of(const dk_threads *t, int64_t rows, int64_t columns, double epsilon, int activation, const float *x, const float *scale,
                          const float *shift, float *y, float *mean, float *variance) {
	normalisation b = {.columns = columns, .epsilon = epsilon, .activation = activation, .x = x, .scale = scale, .shift = shift, .y = y, .mean = mean, .variance = variance};
	t->run(t, normalisation_task, rows, &b);
}

// sum_gradients sums the gradient of y, and its products with x less the mean.
static inline __attribute__((always_inline)) void sum_gradients(int kind, const float *x, const float *v, int64_t n, normalised_by by, float mean, double *sum,
                                                                double *product) {
	for (int64_t k = 0; k < n; k += BLOCK) {
		int64_t end = lesser(n, k + BLOCK), i = k;
		vec s[2] = {{0}}, p[2] = {{0}};
		float srest = 0, prest = 0;
		for (; i + 2 * VW <= end; i += 2 * VW)
			for (int u = 0; u < 2; u++) {
				vec xs = *(const vec *)(x + i + u * VW), g = through(kind, xs * by.factor + by.add, *(const vec *)(v + i + u * VW));
				s[u] += g;
				p[u] += g * (xs - mean);
			}
		for (; i < end; i += VW) {
			int64_t some = lesser(VW, end - i);
			vec xs = some_of(x + i, some), g = through(kind, xs * by.factor + by.add, some_of(v + i, some));
			for (int l = 0; l < some; l++) {
				srest += g[l];
				prest += g[l] * (xs[l] - mean);
			}
		}
		*sum += (double)sum_lanes(s[0] + s[1]) + srest;
		*product += (double)sum_lanes(p[0] + p[1]) + prest;
	}
}

// spread_gradients writes g·factor + x·slope + add, g the gradient of y. v and gx may be the same.
static inline __attribute__((always_inline)) void spread_gradients(int kind, const float *x, const float *v, int64_t n, normalised_by by, float factor, float slope,
                                                                   float add, float *gx) {
	int64_t i = 0;
	for (; i + VW <= n; i += VW) {
		vec xs = *(const vec *)(x + i), g = through(kind, xs * by.factor + by.add, *(const vec *)(v + i));
		*(vec *)(gx + i) = g * factor + (xs * slope + add);
	}
	if (i < n) {
		vec xs = some_of(x + i, n - i), g = through(kind, xs * by.factor + by.add, some_of(v + i, n - i));
		g = g * factor + (xs * slope + add);
		memcpy(gx + i, &g, (n - i) * 4);
	}
}

// normalise_gradient computes a channel's gradients: that of x, which may take the place of v, of the scale and of the shift.
static void normalise_gradient(int activation, const float *x, const float *v, int64_t n, double epsilon, float scale, float shift, float mean, float variance,
                               float *gx, float *gscale, float *gshift) {
	normalised_by by = normalised_of(scale, shift, mean, variance, epsilon);
	float deviation = (float)(1 / __builtin_sqrt((double)variance + epsilon));
	double sum = 0, product = 0;
	ACTIVATIONS(activation, sum_gradients(KIND, x, v, n, by, mean, &sum, &product))
	*gscale = (float)(product * deviation);
	*gshift = (float)sum;
	// ∂x = factor·(v - Σv/n - x̂·Σ(v·x̂)/n)
	float factor = scale * deviation, slope = -factor * deviation * *gscale / (float)n, add = -factor * (float)(sum / n) - slope * mean;
	ACTIVATIONS(activation, spread_gradients(KIND, x, v, n, by, factor, slope, add, gx))
}

static void normalisation_gradient_task(void *data, size_t task) {
	normalisation *b = data;
	int64_t n = b->columns, at = (int64_t)task * n;
	normalise_gradient(b->activation, b->x + at, b->v + at, n, b->epsilon, b->scale[task], b->shift ? b->shift[task] : 0, b->mean_in[task], b->variance_in[task],
	                   b->gx + at, &b->gscale[task], &b->gshift[task]);
}

static void batch_norm_gradient_of(const dk_threads *t, int64_t rows, int64_t columns, double epsilon, int activation, const float *x, const float *scale,
                                   const float *shift, const float *mean, const float *variance, const float *v, float *gx, float *gscale, float *gshift) {
	normalisation b = {.columns = columns, .epsilon = epsilon, .activation = activation, .x = x, .scale = scale, .shift = shift, .mean_in = mean,
	                   .variance_in = variance, .v = v, .gx = gx, .gscale = gscale, .gshift = gshift};
	t->run(t, normalisation_gradient_task, rows, &b);
}
