// The kernels as operators of ONNX Runtime. Its interface for operators is a table of functions whose places are fixed for ever
// (new ones are appended), and a structure that describes an operator; both are declared here as far as they are used, by the
// documentation of onnxruntime_c_api.h.

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

static const dk_kernels *chosen;

// choose takes the best class that the machine has and that is none above DARKROOM_KERNELS, if that is set.
static void choose(void) {
	const char *most = getenv("DARKROOM_KERNELS");
	chosen = &dk_kernels_baseline;
	if (most && !strcmp(most, "baseline"))
		return;
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
		chosen = &dk_kernels_avx512;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && (chosen == &dk_kernels_baseline || (most && !strcmp(most, "avx2"))))
		chosen = &dk_kernels_avx2;
#endif
}

const dk_kernels *dk_select(void) {
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, choose);
	return chosen;
}

const char *dk_isa(void) { return dk_select()->isa; }

typedef struct OrtStatus OrtStatus;
typedef void *(*api_function)(void);
typedef struct {
	api_function functions[512];
} OrtApi;
typedef struct {
	const OrtApi *(*GetApi)(uint32_t version);
	const char *(*GetVersionString)(void);
} OrtApiBase;

// Places in the table.
enum {
	CREATE_STATUS = 0,
	CREATE_DOMAIN = 26,
	DOMAIN_ADD = 27,
	ADD_DOMAIN = 28,
	TENSOR_DATA = 51,
	CONTEXT_INPUT = 90,
	CONTEXT_OUTPUT = 91,
	ATTRIBUTE_INTS = 163,
	PARALLEL_FOR = 274,
	API_VERSION = 17,   // the first that has all of them
	OPERATOR_VERSION = 16, // of the structure below
	FLOAT = 1,          // an element type
	FAIL = 1,           // an error code
};

#define CALL(api, place, type) ((OrtStatus * (*)type)(api)->functions[place])

typedef struct operator {
	uint32_t version;
	void *(*CreateKernel)(const struct operator *, const OrtApi *, const void *info);
	const char *(*GetName)(const struct operator *);
	const char *(*GetExecutionProviderType)(const struct operator *);
	int (*GetInputType)(const struct operator *, size_t);
	size_t (*GetInputTypeCount)(const struct operator *);
	int (*GetOutputType)(const struct operator *, size_t);
	size_t (*GetOutputTypeCount)(const struct operator *);
	void (*KernelCompute)(void *, void *context);
	void (*KernelDestroy)(void *);
	int (*GetInputCharacteristic)(const struct operator *, size_t);
	int (*GetOutputCharacteristic)(const struct operator *, size_t);
	int (*GetInputMemoryType)(const struct operator *, size_t);
	int (*GetVariadicInputMinArity)(const struct operator *);
	int (*GetVariadicInputHomogeneity)(const struct operator *);
	int (*GetVariadicOutputMinArity)(const struct operator *);
	int (*GetVariadicOutputHomogeneity)(const struct operator *);
	OrtStatus *(*CreateKernelV2)(const struct operator *, const OrtApi *, const void *info, void **kernel);
	OrtStatus *(*KernelComputeV2)(void *, void *context);
	void *later[8];
	// Ours:
	const char *name;
	size_t inputs, outputs, ints; // ints: how many, 0: it is in the node
	int variadic;
	OrtStatus *(*compute)(const OrtApi *, const int64_t *ints, void *context);
} operator;

// instance is an operator of one node: the attribute "geometry" holds its integers.
typedef struct {
	const OrtApi *api;
	const operator *of;
	int64_t ints[];
} instance;

static OrtStatus *fail(const OrtApi *api, const char *message) {
	return CALL(api, CREATE_STATUS, (int, const char *))(FAIL, message);
}

static void run(const dk_threads *t, void (*fn)(void *, size_t), size_t tasks, void *data) {
	if (tasks == 1) {
		fn(data, 0);
		return;
	}
	CALL((const OrtApi *)t->api, PARALLEL_FOR, (const void *, void (*)(void *, size_t), size_t, size_t, void *))(t->context, fn, tasks, 0, data);
}

static OrtStatus *input(const OrtApi *api, void *context, size_t index, const float **data) {
	const void *value;
	OrtStatus *status = CALL(api, CONTEXT_INPUT, (const void *, size_t, const void **))(context, index, &value);
	return status ? status : CALL(api, TENSOR_DATA, (const void *, const float **))(value, data);
}

static OrtStatus *output(const OrtApi *api, void *context, size_t index, const int64_t *dims, size_t rank, float **data) {
	void *value;
	OrtStatus *status = CALL(api, CONTEXT_OUTPUT, (void *, size_t, const int64_t *, size_t, void **))(context, index, dims, rank, &value);
	return status ? status : CALL(api, TENSOR_DATA, (void *, float **))(value, data);
}

#define TRY(call) \
	do { \
		OrtStatus *s_ = (call); \
		if (s_) \
			return s_; \
	} while (0)

static dk_plane plane(const int64_t *ints) {
	dk_plane p;
	memcpy(&p, ints, sizeof p);
	return p;
}

// ints: a plane.
static OrtStatus *convolution(const OrtApi *api, const int64_t *ints, void *context) {
	dk_plane p = plane(ints);
	dk_threads t = {run, api, context};
	const float *x, *w;
	float *y;
	int64_t dims[] = {p.O, p.Ho, p.Wo, p.N};
	TRY(input(api, context, 0, &x));
	TRY(input(api, context, 1, &w));
	TRY(output(api, context, 0, dims, 4, &y));
	return dk_select()->convolution(&t, &p, x, w, y) ? fail(api, "out of memory in a convolution") : NULL;
}

// ints: a plane and the four dimensions of the result.
static OrtStatus *kernel_gradient(const OrtApi *api, const int64_t *ints, void *context) {
	dk_plane p = plane(ints);
	dk_threads t = {run, api, context};
	const float *x, *v;
	float *g;
	TRY(input(api, context, 0, &x));
	TRY(input(api, context, 1, &v));
	TRY(output(api, context, 0, ints + DK_PLANE_INTS, 4, &g));
	return dk_select()->kernel_gradient(&t, &p, x, v, g) ? fail(api, "out of memory in a kernel gradient") : NULL;
}

// ints: a plane.
static OrtStatus *depthwise(const OrtApi *api, const int64_t *ints, void *context) {
	dk_plane p = plane(ints);
	dk_threads t = {run, api, context};
	const float *x, *w;
	float *y;
	int64_t dims[] = {p.O, p.Ho, p.Wo, p.N};
	TRY(input(api, context, 0, &x));
	TRY(input(api, context, 1, &w));
	TRY(output(api, context, 0, dims, 4, &y));
	return dk_select()->depthwise(&t, &p, x, w, y) ? fail(api, "out of memory in a convolution of single channels") : NULL;
}

// ints: a plane and the four dimensions of the result.
static OrtStatus *depthwise_gradient(const OrtApi *api, const int64_t *ints, void *context) {
	dk_plane p = plane(ints);
	dk_threads t = {run, api, context};
	const float *x, *v;
	float *g;
	TRY(input(api, context, 0, &x));
	TRY(input(api, context, 1, &v));
	TRY(output(api, context, 0, ints + DK_PLANE_INTS, 4, &g));
	return dk_select()->depthwise_gradient(&t, &p, x, v, g) ? fail(api, "out of memory in a kernel gradient") : NULL;
}

// ints: a plane.
static OrtStatus *max_pool(const OrtApi *api, const int64_t *ints, void *context) {
	dk_plane p = plane(ints);
	dk_threads t = {run, api, context};
	const float *x;
	float *y;
	int64_t dims[] = {p.O, p.Ho, p.Wo, p.N};
	TRY(input(api, context, 0, &x));
	TRY(output(api, context, 0, dims, 4, &y));
	dk_select()->max_pool(&t, &p, x, y);
	return NULL;
}

// ints: a plane.
static OrtStatus *max_pool_gradient(const OrtApi *api, const int64_t *ints, void *context) {
	dk_plane p = plane(ints);
	dk_threads t = {run, api, context};
	const float *x, *v;
	float *g;
	int64_t dims[] = {p.I, p.H, p.W, p.N};
	TRY(input(api, context, 0, &x));
	TRY(input(api, context, 1, &v));
	TRY(output(api, context, 0, dims, 4, &g));
	dk_select()->max_pool_gradient(&t, &p, x, v, g);
	return NULL;
}

// ints: a product. Inputs are its factors and, with more than two, what is added to each row, and to all; with a second output it has the sums of
// the second factor's columns.
static OrtStatus *product(const OrtApi *api, const int64_t *ints, void *context, size_t inputs, size_t outputs) {
	dk_threads t = {run, api, context};
	dk_product p;
	memcpy(&p, ints, sizeof p);
	const float *in[4] = {NULL};
	float *y, *sums = NULL;
	int64_t dims[] = {p.M, p.P};
	for (size_t i = 0; i < inputs; i++)
		TRY(input(api, context, i, &in[i]));
	TRY(output(api, context, 0, dims, 2, &y));
	if (outputs > 1)
		TRY(output(api, context, 1, dims + 1, 1, &sums));
	return dk_select()->product(&t, &p, in[0], in[1], in[2], in[3], y, sums) ? fail(api, "out of memory in a product") : NULL;
}

static OrtStatus *plain_product(const OrtApi *api, const int64_t *ints, void *context) { return product(api, ints, context, 2, 1); }
static OrtStatus *biased_product(const OrtApi *api, const int64_t *ints, void *context) { return product(api, ints, context, 3, 1); }
static OrtStatus *added_product(const OrtApi *api, const int64_t *ints, void *context) { return product(api, ints, context, 4, 1); }
static OrtStatus *summed_product(const OrtApi *api, const int64_t *ints, void *context) { return product(api, ints, context, 2, 2); }

static double epsilon_of(int64_t bits) {
	double e;
	memcpy(&e, &bits, sizeof e);
	return e;
}

// ints: rows, columns, the bits of epsilon as a double, the activation, rank, dimensions. Inputs x, scale, shift; outputs y, mean, variance.
static OrtStatus *batch_norm(const OrtApi *api, const int64_t *ints, void *context) {
	dk_threads t = {run, api, context};
	const float *in[3];
	float *out[3];
	for (size_t i = 0; i < 3; i++)
		TRY(input(api, context, i, &in[i]));
	for (size_t i = 0; i < 3; i++)
		TRY(output(api, context, i, i ? ints : ints + 5, i ? 1 : ints[4], &out[i]));
	dk_select()->batch_norm(&t, ints[0], ints[1], epsilon_of(ints[2]), ints[3], in[0], in[1], in[2], out[0], out[1], out[2]);
	return NULL;
}

// ints as for batch_norm. Inputs x, scale, mean, variance, v and, with an activation, shift; outputs the gradients of x, scale and shift.
static OrtStatus *batch_norm_gradient(const OrtApi *api, const int64_t *ints, void *context) {
	dk_threads t = {run, api, context};
	const float *in[6] = {NULL};
	float *out[3];
	for (size_t i = 0; i < (ints[3] ? 6 : 5); i++)
		TRY(input(api, context, i, &in[i]));
	for (size_t i = 0; i < 3; i++)
		TRY(output(api, context, i, i ? ints : ints + 5, i ? 1 : ints[4], &out[i]));
	dk_select()->batch_norm_gradient(&t, ints[0], ints[1], epsilon_of(ints[2]), ints[3], in[0], in[1], in[5], in[2], in[3], in[4], out[0], out[1], out[2]);
	return NULL;
}

// ints: two planes, and for each normalisation the bits of epsilon and its activation.
static dk_normed normed(const int64_t *ints) {
	dk_normed n = {.forward = plane(ints), .image = plane(ints + DK_PLANE_INTS)};
	ints += 2 * DK_PLANE_INTS;
	for (int i = 0; i < 2; i++) {
		n.epsilon[i] = epsilon_of(ints[2 * i]);
		n.activation[i] = ints[2 * i + 1];
	}
	return n;
}

// ints as normed says. Inputs x, scale, shift, kernel, scale, shift; outputs z, mean, variance, y, mean, variance.
static OrtStatus *normed_forward(const OrtApi *api, const int64_t *ints, void *context, int summed) {
	dk_threads t = {run, api, context};
	dk_normed n = normed(ints);
	const dk_plane *p = &n.forward;
	const float **in[] = {&n.x, &n.scale[0], &n.shift[0], &n.w, &n.scale[1], &n.shift[1]};
	float **out[] = {&n.z, &n.mean[0], &n.variance[0], &n.y, &n.mean[1], &n.variance[1]};
	int64_t dims[] = {p->O, p->Ho, p->Wo, p->N};
	for (size_t i = 0; i < 6; i++) {
		TRY(input(api, context, i, in[i]));
		TRY(output(api, context, i, dims, i % 3 ? 1 : 4, out[i]));
	}
	if (summed) {
		int64_t rows[] = {p->O, p->N};
		TRY(output(api, context, 6, rows, 2, &n.sums));
	}
	return dk_select()->normed_depthwise(&t, &n) ? fail(api, "out of memory in a normed convolution") : NULL;
}

static OrtStatus *normed_depthwise(const OrtApi *api, const int64_t *ints, void *context) { return normed_forward(api, ints, context, 0); }

// As normed_depthwise, with the sums of z over the positions as one more output.
static OrtStatus *normed_depthwise_sum(const OrtApi *api, const int64_t *ints, void *context) { return normed_forward(api, ints, context, 1); }

// ints as normed says, and the four dimensions of the kernel's gradient. Inputs x, scale, shift, mean, variance, kernel, y, scale, shift, mean, variance,
// v; outputs the gradients of x, scale, shift, kernel, scale, shift.
static OrtStatus *normed_backward(const OrtApi *api, const int64_t *ints, void *context, int weighed) {
	dk_threads t = {run, api, context};
	dk_normed n = normed(ints);
	const dk_plane *p = &n.forward;
	const float **in[] = {&n.x, &n.scale[0], &n.shift[0], (const float **)&n.mean[0], (const float **)&n.variance[0], &n.w,
	                      (const float **)&n.y, &n.scale[1], &n.shift[1], (const float **)&n.mean[1], (const float **)&n.variance[1], &n.v, &n.gate, &n.rest};
	float **out[] = {&n.gx, &n.gscale[0], &n.gshift[0], &n.gw, &n.gscale[1], &n.gshift[1]};
	int64_t dims[] = {p->I, p->H, p->W, p->N};
	for (size_t i = 0; i < (weighed ? 14 : 12); i++)
		TRY(input(api, context, i, in[i]));
	for (size_t i = 0; i < 6; i++)
		TRY(output(api, context, i, i == 3 ? ints + 2 * DK_PLANE_INTS + 4 : dims, i % 3 ? 1 : 4, out[i]));
	return dk_select()->normed_depthwise_gradient(&t, &n) ? fail(api, "out of memory in the gradient of a normed convolution") : NULL;
}

static OrtStatus *normed_depthwise_gradient(const OrtApi *api, const int64_t *ints, void *context) { return normed_backward(api, ints, context, 0); }

// As normed_depthwise_gradient of v·gate + rest, (C, N) each, which are two more inputs.
static OrtStatus *weighed_normed_depthwise_gradient(const OrtApi *api, const int64_t *ints, void *context) { return normed_backward(api, ints, context, 1); }

// ints: rows, positions, n, and rank and dimensions of the result. Inputs x and, of products, y.
static OrtStatus *sums_over_positions(const OrtApi *api, const int64_t *ints, void *context, int two) {
	dk_threads t = {run, api, context};
	const float *x, *y = NULL;
	float *sums;
	TRY(input(api, context, 0, &x));
	if (two)
		TRY(input(api, context, 1, &y));
	TRY(output(api, context, 0, ints + 4, ints[3], &sums));
	dk_select()->position_sums(&t, ints[0], ints[1], ints[2], x, y, sums);
	return NULL;
}

static OrtStatus *position_sum(const OrtApi *api, const int64_t *ints, void *context) { return sums_over_positions(api, ints, context, 0); }

static OrtStatus *position_product_sum(const OrtApi *api, const int64_t *ints, void *context) { return sums_over_positions(api, ints, context, 1); }

// ints: a dk_attention, with the bits of the scale as a double.
static dk_attention attention_from(const int64_t *ints) {
	return (dk_attention){ints[0], ints[1], ints[2], ints[3], ints[4], ints[5], ints[6], (float)epsilon_of(ints[7])};
}

static OrtStatus *attention(const OrtApi *api, const int64_t *ints, void *context) {
	dk_attention p = attention_from(ints);
	dk_threads t = {run, api, context};
	const float *in[3];
	float *y, *weights;
	int64_t dims[] = {p.G, p.D, p.T, p.N}, square[] = {p.G, p.T, p.T, p.N};
	for (size_t i = 0; i < 3; i++)
		TRY(input(api, context, i, &in[i]));
	TRY(output(api, context, 0, dims, 4, &y));
	TRY(output(api, context, 1, square, 4, &weights));
	return dk_select()->attention(&t, &p, in[0] + p.q, in[1] + p.k, in[2] + p.v, y, weights) ? fail(api, "out of memory in attention") : NULL;
}

// Inputs q, k, v, the weights and what flows back; output the gradients of q, k and v.
static OrtStatus *attention_gradient(const OrtApi *api, const int64_t *ints, void *context) {
	dk_attention p = attention_from(ints);
	dk_threads t = {run, api, context};
	const float *in[5];
	float *gradients;
	int64_t dims[] = {3 * p.G * p.D, p.T, p.N};
	for (size_t i = 0; i < 5; i++)
		TRY(input(api, context, i, &in[i]));
	TRY(output(api, context, 0, dims, 3, &gradients));
	return dk_select()->attention_gradient(&t, &p, in[0] + p.q, in[1] + p.k, in[2] + p.v, in[3], in[4], gradients)
	           ? fail(api, "out of memory in the gradient of attention")
	           : NULL;
}

// ints: rows, columns, the bits of epsilon as a double. Inputs x and, with affine, scale and shift of the rows; outputs y, mean, variance.
static OrtStatus *column_norm_with(const OrtApi *api, const int64_t *ints, void *context, int affine) {
	dk_threads t = {run, api, context};
	const float *in[3] = {NULL};
	float *out[3];
	for (size_t i = 0; i < (affine ? 3 : 1); i++)
		TRY(input(api, context, i, &in[i]));
	for (size_t i = 0; i < 3; i++)
		TRY(output(api, context, i, i ? ints + 1 : ints, i ? 1 : 2, &out[i]));
	return dk_select()->column_norm(&t, ints[0], ints[1], epsilon_of(ints[2]), in[0], in[1], in[2], out[0], out[1], out[2]) ? fail(api, "out of memory in a normalisation") : NULL;
}

// ints as before. Inputs x, mean, variance, v and, with affine, scale and with more than that what is added to the gradient of x; outputs the
// gradient of x and, with affine, those of scale and shift.
static OrtStatus *column_norm_gradient_with(const OrtApi *api, const int64_t *ints, void *context, size_t inputs) {
	dk_threads t = {run, api, context};
	const float *in[6] = {NULL};
	float *out[3] = {NULL};
	for (size_t i = 0; i < inputs; i++)
		TRY(input(api, context, i, &in[i]));
	for (size_t i = 0; i < (inputs > 4 ? 3 : 1); i++)
		TRY(output(api, context, i, ints, i ? 1 : 2, &out[i]));
	return dk_select()->column_norm_gradient(&t, ints[0], ints[1], epsilon_of(ints[2]), in[0], in[4], in[1], in[2], in[3], in[5], out[0], out[1], out[2])
	           ? fail(api, "out of memory in the gradient of a normalisation")
	           : NULL;
}

static OrtStatus *column_norm(const OrtApi *api, const int64_t *ints, void *context) { return column_norm_with(api, ints, context, 0); }
static OrtStatus *layer_norm(const OrtApi *api, const int64_t *ints, void *context) { return column_norm_with(api, ints, context, 1); }
static OrtStatus *column_norm_gradient(const OrtApi *api, const int64_t *ints, void *context) { return column_norm_gradient_with(api, ints, context, 4); }
static OrtStatus *layer_norm_gradient(const OrtApi *api, const int64_t *ints, void *context) { return column_norm_gradient_with(api, ints, context, 5); }
static OrtStatus *added_layer_norm_gradient(const OrtApi *api, const int64_t *ints, void *context) { return column_norm_gradient_with(api, ints, context, 6); }

// ints: the numbers of dk_program, its lists, and rank and dimensions of the results.
static OrtStatus *elementwise(const OrtApi *api, const int64_t *ints, void *context) {
	dk_threads t = {run, api, context};
	dk_program p;
	memcpy(&p, ints, 7 * sizeof *ints);
	p.dims = ints + 7;
	p.steps = p.dims + p.rank;
	p.values = p.steps + p.inputs * p.rank;
	p.code = p.values + p.immediates;
	p.results = p.code + 5 * p.instructions;
	const int64_t *shape = p.results + p.outputs;
	const float *in[DK_OPERANDS];
	float *out[DK_OPERANDS];
	if (p.inputs > DK_OPERANDS || p.outputs > DK_OPERANDS || p.rank > DK_AXES)
		return fail(api, "an elementwise program with too many operands");
	for (int64_t i = 0; i < p.inputs; i++)
		TRY(input(api, context, i, &in[i]));
	for (int64_t i = 0; i < p.outputs; i++)
		TRY(output(api, context, i, shape + 1, shape[0], &out[i]));
	return dk_select()->elementwise(&t, &p, in, out) ? fail(api, "out of memory in an elementwise program") : NULL;
}

static OrtStatus *create(const operator *of, const OrtApi *api, const void *info, void **kernel) {
	size_t size = 0;
	// Without a place for them it tells how many there are.
	TRY(CALL(api, ATTRIBUTE_INTS, (const void *, const char *, int64_t *, size_t *))(info, "geometry", NULL, &size));
	if (of->ints && size != of->ints)
		return fail(api, "the attribute geometry has another length");
	instance *k = malloc(sizeof *k + size * sizeof *k->ints);
	if (!k)
		return fail(api, "out of memory");
	k->api = api;
	k->of = of;
	OrtStatus *status = CALL(api, ATTRIBUTE_INTS, (const void *, const char *, int64_t *, size_t *))(info, "geometry", k->ints, &size);
	if (status) {
		free(k);
		return status;
	}
	*kernel = k;
	return NULL;
}

static OrtStatus *compute(void *kernel, void *context) {
	instance *k = kernel;
	return k->of->compute(k->api, k->ints, context);
}

static const char *name(const operator *o) { return o->name; }
static const char *provider(const operator *o) { return "CPUExecutionProvider"; }
static int element(const operator *o, size_t i) { return FLOAT; }
static size_t inputs(const operator *o) { return o->inputs; }
static size_t outputs(const operator *o) { return o->outputs; }
static int plain(const operator *o, size_t i) { return 0; }
static int number(const operator *o, size_t i) { return o->variadic ? 2 : 0; } // 2: any number of them
static int one(const operator *o) { return 1; }

#define OPERATOR(NAME, INPUTS, OUTPUTS, INTS, VARIADIC, COMPUTE) \
	{ \
		.version = OPERATOR_VERSION, .GetName = name, .GetExecutionProviderType = provider, .GetInputType = element, .GetInputTypeCount = inputs, \
		.GetOutputType = element, .GetOutputTypeCount = outputs, .KernelDestroy = free, .GetInputCharacteristic = number, \
		.GetOutputCharacteristic = number, .GetInputMemoryType = plain, .GetVariadicInputMinArity = one, .GetVariadicInputHomogeneity = one, \
		.GetVariadicOutputMinArity = one, .GetVariadicOutputHomogeneity = one, .CreateKernelV2 = create, .KernelComputeV2 = compute, \
		.name = NAME, .inputs = INPUTS, .outputs = OUTPUTS, .ints = INTS, .variadic = VARIADIC, .compute = COMPUTE \
	}

static const operator operators[] = {
	OPERATOR("Convolution", 2, 1, DK_PLANE_INTS, 0, convolution),
	OPERATOR("KernelGradient", 2, 1, DK_PLANE_INTS + 4, 0, kernel_gradient),
	OPERATOR("Depthwise", 2, 1, DK_PLANE_INTS, 0, depthwise),
	OPERATOR("DepthwiseGradient", 2, 1, DK_PLANE_INTS + 4, 0, depthwise_gradient),
	OPERATOR("LargestOfWindow", 1, 1, DK_PLANE_INTS, 0, max_pool),
	OPERATOR("LargestOfWindowGradient", 2, 1, DK_PLANE_INTS, 0, max_pool_gradient),
	OPERATOR("BatchNormTraining", 3, 3, 0, 0, batch_norm),
	OPERATOR("BatchNormGradient", 5, 3, 0, 0, batch_norm_gradient),
	OPERATOR("ActivatedBatchNormGradient", 6, 3, 0, 0, batch_norm_gradient),
	OPERATOR("NormedDepthwise", 6, 6, 2 * DK_PLANE_INTS + 4, 0, normed_depthwise),
	OPERATOR("NormedDepthwiseGradient", 12, 6, 2 * DK_PLANE_INTS + 8, 0, normed_depthwise_gradient),
	OPERATOR("NormedDepthwiseSum", 6, 7, 2 * DK_PLANE_INTS + 4, 0, normed_depthwise_sum),
	OPERATOR("WeighedNormedDepthwiseGradient", 14, 6, 2 * DK_PLANE_INTS + 8, 0, weighed_normed_depthwise_gradient),
	OPERATOR("PositionSum", 1, 1, 0, 0, position_sum),
	OPERATOR("PositionProductSum", 2, 1, 0, 0, position_product_sum),

	OPERATOR("ColumnNorm", 1, 3, 3, 0, column_norm),
	OPERATOR("ColumnNormGradient", 4, 1, 3, 0, column_norm_gradient),
	OPERATOR("LayerNorm", 3, 3, 3, 0, layer_norm),
	OPERATOR("LayerNormGradient", 5, 3, 3, 0, layer_norm_gradient),
	OPERATOR("AddedLayerNormGradient", 6, 3, 3, 0, added_layer_norm_gradient),
	OPERATOR("Attention", 3, 2, DK_ATTENTION_INTS, 0, attention),
	OPERATOR("AttentionGradient", 5, 1, DK_ATTENTION_INTS, 0, attention_gradient),
	OPERATOR("Product", 2, 1, DK_PRODUCT_INTS, 0, plain_product),
	OPERATOR("BiasedProduct", 3, 1, DK_PRODUCT_INTS, 0, biased_product),
	OPERATOR("AddedProduct", 4, 1, DK_PRODUCT_INTS, 0, added_product),
	OPERATOR("SummedProduct", 2, 2, DK_PRODUCT_INTS, 0, summed_product),
	OPERATOR("Elementwise", 1, 1, 0, 1, elementwise),
};

// RegisterCustomOps is what ONNX Runtime calls to add the operators to a session's options. The domain lives as long as the program.
__attribute__((visibility("default"))) OrtStatus *RegisterCustomOps(void *options, const OrtApiBase *base) {
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static void *domain;
	const OrtApi *api = base->GetApi(API_VERSION);
	if (!api)
		return NULL;
	OrtStatus *status = NULL;
	pthread_mutex_lock(&lock);
	if (!domain) {
		void *made;
		status = CALL(api, CREATE_DOMAIN, (const char *, void **))("darkroom", &made);
		for (size_t i = 0; !status && i < sizeof operators / sizeof *operators; i++)
			status = CALL(api, DOMAIN_ADD, (void *, const operator *))(made, &operators[i]);
		if (!status)
			domain = made;
	}
	pthread_mutex_unlock(&lock);
	return status ? status : CALL(api, ADD_DOMAIN, (void *, void *))(options, domain);
}
