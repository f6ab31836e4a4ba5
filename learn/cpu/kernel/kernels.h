#ifndef DARKROOM_KERNELS_H
#define DARKROOM_KERNELS_H

#include <stddef.h>
#include <stdint.h>

// How a convolution moves. Position (ho, wo) of the output meets through tap (kh, kw) the element
// ((ho·sh - ph + kh·dh) / ih, (wo·sw - pw + kw·dw) / iw) of the input where both are whole and inside, else a zero.
typedef struct {
	int64_t I, H, W, N, O, KH, KW, Ho, Wo;
	int64_t sh, sw, dh, dw, ph, pw, ih, iw;
	int64_t ko, ki, kh, kw, k0; // strides of the kernel's axes and where it begins, in elements
} dk_plane;

#define DK_PLANE_INTS 22
#define DK_TAPS 1024 // of a kernel at most

// Instructions of an elementwise program. Package cpu numbers them in the same order.
enum {
	DK_ADD, DK_SUB, DK_MUL, DK_DIV, DK_MAX, DK_MIN, DK_NEG, DK_ABS, DK_SQRT, DK_RECIPROCAL, DK_EXP, DK_SIGMOID, DK_TANH, DK_ERF,
	DK_EQUAL, DK_LESS, DK_LESS_EQUAL, DK_GREATER, DK_GREATER_EQUAL, DK_AND, DK_OR, DK_NOT, DK_WHERE,
	DK_GELU, DK_GELU_SLOPE, // of x; of x and what flows back
};

// Activations that a normalisation applies by itself. Package cpu numbers them in the same order.
enum { DK_LINEAR, DK_RECTIFIER, DK_RECTIFIER_6, DK_HARD_SWISH, DK_SWISH };

#define DK_AXES 8
#define DK_OPERANDS 32 // inputs or outputs of a program at most

// dk_program is an elementwise program over `size` elements, seen as an array of `rank` axes.
typedef struct {
	int64_t size, rank, inputs, immediates, registers, outputs, instructions;
	const int64_t *dims;    // (rank)
	const int64_t *steps;   // (inputs, rank): elements from one place to the next along each axis, 0 where it is repeated; -1 first: it is of the whole size
	const int64_t *values;  // (immediates): the bits of each
	const int64_t *code;    // (instructions, 5): what, the register written, up to three operands
	const int64_t *results; // (outputs): the register of each
} dk_program;

// dk_normed is a normalisation with its activation, a convolution in which each channel meets a kernel of its own, and another normalisation
// with its activation, or the gradients of all that.
typedef struct {
	dk_plane forward, image; // the convolution; the one of its gradient v with the reversed kernel that gives the gradient of its images
	double epsilon[2];
	int activation[2];
	const float *x, *w, *scale[2], *shift[2];
	float *y, *z, *mean[2], *variance[2]; // y: of the convolution; z: of the second activation. With the gradients they are read
	float *sums;                          // (C, N), of z over the positions; NULL where nobody asked
	const float *v;                       // gradient of z, less what follows
	const float *gate, *rest;             // (C, N) each; the gradient of z is v·gate + rest. NULL: it is v
	float *gx, *gw, *gscale[2], *gshift[2];
} dk_normed;

// dk_product is y (M, P) = a (M, K) · b (K, P), whose elements are so far apart along each axis; y's rows follow each other.
typedef struct {
	int64_t M, K, P;
	int64_t am, ak, bk, bp;
} dk_product;

#define DK_PRODUCT_INTS 7

// dk_attention is self-attention over T tokens of D features each, of N images in each of G stacks, all (G, D, T, N). q, k and v begin so many
// elements from the beginning of what holds them.
typedef struct {
	int64_t G, D, T, N, q, k, v;
	float scale; // of the scores
} dk_attention;

#define DK_ATTENTION_INTS 8

// dk_threads runs fn for every task from 0 on, on some threads, in any order.
typedef struct dk_threads {
	void (*run)(const struct dk_threads *, void (*fn)(void *, size_t), size_t tasks, void *data);
	const void *api, *context;
} dk_threads;

// The kernels of one instruction class. They return 0, or 1 when there is no memory.
typedef struct {
	const char *isa;
	int (*convolution)(const dk_threads *, const dk_plane *, const float *x, const float *w, float *y);
	int (*elementwise)(const dk_threads *, const dk_program *, const float *const *in, float *const *out);
	// Of a plane with as many input as output channels, each of which meets a kernel of its own.
	int (*depthwise)(const dk_threads *, const dk_plane *, const float *x, const float *w, float *y);
	int (*depthwise_gradient)(const dk_threads *, const dk_plane *, const float *x, const float *v, float *g);
	void (*max_pool)(const dk_threads *, const dk_plane *, const float *x, float *y);
	void (*max_pool_gradient)(const dk_threads *, const dk_plane *, const float *x, const float *v, float *g);
	int (*kernel_gradient)(const dk_threads *, const dk_plane *, const float *x, const float *v, float *g);
	// Of rows·columns values: y, with that activation, and mean and (population) variance of each row.
	void (*batch_norm)(const dk_threads *, int64_t rows, int64_t columns, double epsilon, int activation, const float *x, const float *scale,
	                   const float *shift, float *y, float *mean, float *variance);
	// v is the gradient of what comes out of the activation; shift may be NULL where there is none.
	void (*batch_norm_gradient)(const dk_threads *, int64_t rows, int64_t columns, double epsilon, int activation, const float *x, const float *scale,
	                            const float *shift, const float *mean, const float *variance, const float *v, float *gx, float *gscale, float *gshift);
	int (*normed_depthwise)(const dk_threads *, const dk_normed *);
	int (*normed_depthwise_gradient)(const dk_threads *, const dk_normed *);
	// The sums over positions of x (rows, positions, n), or of its products with y.
	void (*position_sums)(const dk_threads *, int64_t rows, int64_t positions, int64_t n, const float *x, const float *y, float *sums);

	// Of each column of x (rows, columns); mean and variance (columns). Scale and shift are of the rows, NULL: left out. In the gradient, more (rows, columns) is
	// added to gx where it is not NULL; gscale and gshift, sums over all columns of what scale and shift would have, are NULL where nobody asks.
	int (*column_norm)(const dk_threads *, int64_t rows, int64_t columns, double epsilon, const float *x, const float *scale, const float *shift, float *y,
	                   float *mean, float *variance);
	int (*column_norm_gradient)(const dk_threads *, int64_t rows, int64_t columns, double epsilon, const float *x, const float *scale, const float *mean,
	                            const float *variance, const float *v, const float *more, float *gx, float *gscale, float *gshift);
	// weights (G, T, T, N) are the softmax; gradients (3, G, D, T, N) those of q, k and v for what flows back, g.
	int (*attention)(const dk_threads *, const dk_attention *, const float *q, const float *k, const float *v, float *y, float *weights);
	int (*attention_gradient)(const dk_threads *, const dk_attention *, const float *q, const float *k, const float *v, const float *weights, const float *g,
	                          float *gradients);
	// To y are added a number for each row, bias (M), and more (M, P), and sums are those of b's columns (P): each where it is not NULL.
	int (*product)(const dk_threads *, const dk_product *, const float *a, const float *b, const float *bias, const float *more, float *y, float *sums);
} dk_kernels;

extern const dk_kernels dk_kernels_avx512, dk_kernels_avx2, dk_kernels_baseline;

float *dk_take(int64_t floats);
void dk_give(float *memory);

const dk_kernels *dk_select(void);
const char *dk_isa(void);

#endif
