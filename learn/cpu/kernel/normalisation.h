// Batch normalisation: a task is one channel, whose values stay in the cache between the passes.

typedef struct {
	int64_t columns;
	double epsilon;
	int rectify;
	const float *rectified;
	const float *x, *scale, *shift, *mean_in, *variance_in, *v;
	float *y, *mean, *variance, *gx, *gscale, *gshift;
} normalisation;

#define BLOCK 4096 // values that are summed in single precision before the sum goes on in double

// rectified_of is the greater of a and 0; not a number stays.
static inline vec rectified_of(vec a) { return (vec)((mask)a & ~(a < 0.0f)); }

// passed is v where a rectified output is above 0, else 0.
static inline vec passed(vec v, const float *rectified) { return (vec)((mask)v & (*(const vec *)rectified > 0.0f)); }

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
	for (; i + VW <= n; i += VW) {
		vec out = *(const vec *)(x + i) * factor + add;
		*(vec *)(y + i) = b->rectify ? rectified_of(out) : out;
	}
	for (; i < n; i++) {
		float out = x[i] * factor + add;
		y[i] = b->rectify && out < 0 ? 0 : out;
	}
	b->mean[task] = mean;
	b->variance[task] = variance;
}

static void batch_norm_of(const dk_threads *t, int64_t rows, int64_t columns, double epsilon, int rectify, const float *x, const float *scale, const float *shift,
                                float *y, float *mean, float *variance) {
	normalisation b = {.columns = columns, .epsilon = epsilon, .rectify = rectify, .x = x, .scale = scale, .shift = shift, .y = y, .mean = mean, .variance = variance};
	t->run(t, normalisation_task, rows, &b);
}

static void normalisation_gradient_task(void *data, size_t task) {
	normalisation *b = data;
	int64_t n = b->columns;
	const float *x = b->x + (int64_t)task * n, *v = b->v + (int64_t)task * n;
	float *gx = b->gx + (int64_t)task * n;
	float mean = b->mean_in[task], deviation = (float)(1 / __builtin_sqrt((double)b->variance_in[task] + b->epsilon));
	const float *r = b->rectified ? b->rectified + (int64_t)task * n : NULL;
	double sum = 0, product = 0;
	for (int64_t k = 0; k < n; k += BLOCK) {
		int64_t end = lesser(n, k + BLOCK), i = k;
		vec s[2] = {{0}}, p[2] = {{0}};
		float srest = 0, prest = 0;
		for (; i + 2 * VW <= end; i += 2 * VW)
			for (int u = 0; u < 2; u++) {
				vec g = *(const vec *)(v + i + u * VW);
				if (r)
					g = passed(g, r + i + u * VW);
				s[u] += g;
				p[u] += g * (*(const vec *)(x + i + u * VW) - mean);
			}
		for (; i < end; i++) {
			float g = r && !(r[i] > 0) ? 0 : v[i];
			srest += g;
			prest += g * (x[i] - mean);
		}
		sum += (double)sum_lanes(s[0] + s[1]) + srest;
		product += (double)sum_lanes(p[0] + p[1]) + prest;
	}
	float gscale = (float)(product * deviation), factor = b->scale[task] * deviation;
	// ∂x = factor·(v - Σv/n - x̂·Σ(v·x̂)/n)
	float slope = -factor * deviation * gscale / (float)n, add = -factor * (float)(sum / n) - slope * mean;
	int64_t i = 0;
	for (; i + VW <= n; i += VW) {
		vec g = *(const vec *)(v + i);
		if (r)
			g = passed(g, r + i);
		*(vec *)(gx + i) = g * factor + (*(const vec *)(x + i) * slope + add);
	}
	for (; i < n; i++)
		gx[i] = (r && !(r[i] > 0) ? 0 : v[i]) * factor + (x[i] * slope + add);
	b->gscale[task] = gscale;
	b->gshift[task] = (float)sum;
}

static void batch_norm_gradient_of(const dk_threads *t, int64_t rows, int64_t columns, double epsilon, const float *x, const float *scale,
                                         const float *mean, const float *variance, const float *v, const float *rectified, float *gx, float *gscale, float *gshift) {
	normalisation b = {.columns = columns, .epsilon = epsilon, .x = x, .scale = scale, .mean_in = mean, .variance_in = variance, .v = v, .rectified = rectified,
	                   .gx = gx, .gscale = gscale, .gshift = gshift};
	t->run(t, normalisation_gradient_task, rows, &b);
}
