// Elementwise: a short program over values of one shape, run for a block at a time, so that what is computed in between stays in the
// first-level cache. The program is a list of instructions of three addresses: inputs, immediate numbers and registers, in this order of their numbers.
// Truth is a word of ones, falsehood of zeroes.

typedef int32_t mask __attribute__((vector_size(VW * 4)));

#define SPAN 512          // elements of a block
#define SPANS_OF_TASK 32  // blocks of a task

static inline vec choose_of(mask m, vec a, vec b) { return (vec)((m & (mask)a) | (~m & (mask)b)); }
static inline vec absolute(vec a) { return (vec)((mask)a & 0x7fffffff); }

// exponential is e to the a, right to about one unit in the last place: 2ⁿ·eʳ with |r| ≤ ln 2 / 2.
static inline vec exponential(vec a) {
	vec high = choose_of(a > 88.722839f, (vec){0} + 88.722839f, a), in = choose_of(high < -103.0f, (vec){0} - 103.0f, high); // not a number stays
	vec shifted = in * 1.44269504089f + 12582912.0f; // 1.5·2²³ makes it whole
	vec n = shifted - 12582912.0f;
	vec r = (in - n * 0.693145751953125f) - n * 1.42860682030941723e-6f;
	vec p = 1.39504764e-3f * r + 8.36888235e-3f;
	p = p * r + 4.1666206e-2f;
	p = p * r + 0.16666518f;
	p = p * r + 0.5f;
	p = p * (r * r) + r + 1.0f;
	// In two halves, so that neither leaves the range.
	mask whole = (mask)shifted - 0x4b400000, half = whole >> 1;
	vec y = p * (vec)((half + 127) << 23) * (vec)((whole - half + 127) << 23);
	return choose_of(a > 88.722839f, (vec){0} + __builtin_inff(), choose_of(a != a, a, y));
}

static inline vec error_function(vec a) {
	vec t = absolute(a), s = a * a;
	vec p = 7.8891193e-05f * s - 0.000802084105f;
	p = p * s + 0.00518953521f;
	p = p * s - 0.0268544443f;
	p = p * s + 0.112836003f;
	p = p * s - 0.37612626f;
	p = p * s + 0.128379166f;
	vec small = a * p + a;
	vec far = choose_of(t > 4.0f, (vec){0} + 4.0f, t);
	vec q = -2.32073899e-06f * far + 3.69667141e-05f;
	q = q * far - 0.000234445179f;
	q = q * far + 0.000572085672f;
	q = q * far + 0.00168030697f;
	q = q * far - 0.0211017616f;
	q = q * far + 0.104053147f;
	q = q * far + 0.63614583f;
	q = q * far + 1.12845576f;
	vec large = 1.0f - exponential(-far * q);
	large = (vec)((mask)large | ((mask)a & (int32_t)0x80000000));
	return choose_of(t > 0.95f, large, small); // not a number is not far
}

static inline vec sigmoid(vec a) { return 1.0f / (1.0f + exponential(-a)); }

static inline vec hyperbolic_tangent(vec a) {
	vec t = absolute(a), s = a * a;
	vec p = -0.00552862464f * s + 0.0204833057f;
	p = p * s - 0.053692963f;
	p = p * s + 0.133308992f;
	p = p * s - 0.333332628f;
	vec small = a * (p * s) + a;
	vec large = 1.0f - 2.0f / (exponential(2.0f * t) + 1.0f);
	large = (vec)((mask)large | ((mask)a & (int32_t)0x80000000));
	return choose_of(t > 0.62f, large, small);
}

// root is by instruction: the compiler would call a function for each element, in case one is negative.
static inline vec root(vec a) {
#if VW == 16 && defined(__AVX512F__)
	return (vec)_mm512_sqrt_ps((__m512)a);
#elif VW == 8 && defined(__AVX2__)
	return (vec)_mm256_sqrt_ps((__m256)a);
#elif VW == 4 && defined(__SSE2__)
	return (vec)_mm_sqrt_ps((__m128)a);
#endif
	for (int l = 0; l < VW; l++)
		a[l] = __builtin_sqrtf(a[l]);
	return a;
}

#include "gelu.h"

// operand is where a block of an operand lies; step is 0 for one vector that holds for the whole block.
typedef struct {
	const float *at;
	int64_t step;
} operand;

#define EACH(expression) \
	for (int64_t k = 0; k < vectors; k++) { \
		vec x = *(const vec *)(a.at + k * a.step), y = *(const vec *)(b.at + k * b.step); \
		(void)y; \
		*(vec *)(to + k * VW) = (vec)(expression); \
	} \
	break

static void instruct(int64_t code, float *to, operand a, operand b, operand c, int64_t vectors) {
	switch (code) {
	case DK_ADD: EACH(x + y);
	case DK_SUB: EACH(x - y);
	case DK_MUL: EACH(x * y);
	case DK_DIV: EACH(x / y);
	case DK_MAX: EACH(choose_of((x > y) | (x != x), x, y));
	case DK_MIN: EACH(choose_of((x < y) | (x != x), x, y));
	case DK_NEG: EACH(-x);
	case DK_ABS: EACH(absolute(x));
	case DK_SQRT: EACH(root(x));
	case DK_RECIPROCAL: EACH(1.0f / x);
	case DK_EXP: EACH(exponential(x));
	case DK_SIGMOID: EACH(sigmoid(x));
	case DK_TANH: EACH(hyperbolic_tangent(x));
	case DK_ERF: EACH(error_function(x));
	case DK_EQUAL: EACH(x == y);
	case DK_LESS: EACH(x < y);
	case DK_LESS_EQUAL: EACH(x <= y);
	case DK_GREATER: EACH(x > y);
	case DK_GREATER_EQUAL: EACH(x >= y);
	case DK_AND: EACH((mask)x & (mask)y);
	case DK_OR: EACH((mask)x | (mask)y);
	case DK_NOT: EACH(~(mask)x);
	case DK_GELU: EACH(gelu(x));
	case DK_GELU_SLOPE: EACH(gelu_slope(x, y));
	case DK_WHERE:
		for (int64_t k = 0; k < vectors; k++)
			*(vec *)(to + k * VW) = choose_of(*(const mask *)(a.at + k * a.step), *(const vec *)(b.at + k * b.step), *(const vec *)(c.at + k * c.step));
		break;
	}
}

typedef struct {
	const dk_program *p;
	const float *const *in;
	float *const *out;
	int failed;
} elementwise;

// widen writes n elements from element `first` on of an input that is repeated along some axes, and reports whether they are all the same one.
static int widen(const dk_program *p, const int64_t *steps, const float *in, int64_t first, int64_t n, float *to) {
	int64_t place[DK_AXES], rank = p->rank, from = 0, rest = first;
	for (int64_t k = rank - 1; k >= 0; k--) {
		place[k] = rest % p->dims[k];
		rest /= p->dims[k];
		from += place[k] * steps[k];
	}
	int64_t inner = p->dims[rank - 1];
	if (steps[rank - 1] == 0 && inner - place[rank - 1] >= n) {
		for (int l = 0; l < VW; l++)
			to[l] = in[from];
		return 1;
	}
	for (int64_t done = 0; done < n;) {
		int64_t run = lesser(inner - place[rank - 1], n - done);
		if (steps[rank - 1] == 0)
			for (int64_t k = 0; k < run; k++)
				to[done + k] = in[from];
		else
			memcpy(to + done, in + from, run * 4);
		done += run;
		from -= place[rank - 1] * steps[rank - 1];
		place[rank - 1] = 0;
		for (int64_t k = rank - 2; k >= 0; k--) {
			from += steps[k];
			if (++place[k] < p->dims[k])
				break;
			from -= place[k] * steps[k];
			place[k] = 0;
		}
	}
	return 0;
}

static void elementwise_task(void *data, size_t task) {
	elementwise *e = data;
	const dk_program *p = e->p;
	int64_t first = (int64_t)task * SPANS_OF_TASK * SPAN, last = lesser(p->size, first + SPANS_OF_TASK * SPAN);
	int64_t names = p->inputs + p->immediates + p->registers;
	operand *o = malloc(sizeof(operand) * names);
	float *buffers = dk_take(names * SPAN);
	if (!o || !buffers) {
		e->failed = 1;
		free(o), dk_give(buffers);
		return;
	}
	for (int64_t k = 0; k < names; k++)
		o[k] = (operand){buffers + k * SPAN, VW};
	for (int64_t k = 0; k < p->immediates; k++) {
		float *to = buffers + (p->inputs + k) * SPAN;
		for (int l = 0; l < VW; l++)
			memcpy(to + l, &p->values[k], 4);
		o[p->inputs + k].step = 0;
	}
	for (int64_t at = first; at < last; at += SPAN) {
		int64_t n = lesser(SPAN, last - at), whole = n % VW == 0;
		for (int64_t k = 0; k < p->inputs; k++) {
			float *own = buffers + k * SPAN;
			const int64_t *steps = p->steps + k * p->rank;
			o[k] = (operand){own, VW};
			if (steps[0] >= 0)
				o[k].step = widen(p, steps, e->in[k], at, n, own) ? 0 : VW;
			else if (whole)
				o[k].at = e->in[k] + at;
			else
				memcpy(own, e->in[k] + at, n * 4);
		}
		// A register that is a result is written where the result belongs.
		for (int64_t k = 0; k < p->outputs; k++)
			o[p->results[k]].at = whole ? e->out[k] + at : buffers + p->results[k] * SPAN;
		for (int64_t k = 0; k < p->instructions; k++) {
			const int64_t *i = p->code + k * 5;
			instruct(i[0], (float *)o[i[1]].at, o[i[2]], o[i[3]], o[i[4]], (n + VW - 1) / VW);
		}
		for (int64_t k = 0; k < p->outputs; k++)
			if (!whole)
				memcpy(e->out[k] + at, o[p->results[k]].at, n * 4);
	}
	free(o), dk_give(buffers);
}

static int elementwise_of(const dk_threads *t, const dk_program *p, const float *const *in, float *const *out) {
	elementwise e = {p, in, out, 0};
	int64_t each = SPANS_OF_TASK * SPAN;
	t->run(t, elementwise_task, (p->size + each - 1) / each, &e);
	return e.failed;
}
