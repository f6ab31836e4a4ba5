// The kernels, once for each instruction class: the file that includes this defines CLASS, its name, VW, the floats of a vector,
// and NV, the vectors of an accumulator along n.

#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

static float sum_lanes(vec v) {
	float a[VW];
	memcpy(a, &v, sizeof a);
	for (int h = VW / 2; h > 0; h /= 2)
		for (int l = 0; l < h; l++)
			a[l] += a[l + h];
	return a[0];
}

// transpose makes v[i][j] what v[j][i] was, by log2(VW) perfect shuffles.
static inline __attribute__((always_inline)) void transpose(vec v[VW]) {
	typedef int32_t lanes __attribute__((vector_size(VW * 4)));
	lanes low, high;
	for (int l = 0; l < VW; l++)
		low[l] = l / 2 + (l % 2) * VW, high[l] = VW / 2 + l / 2 + (l % 2) * VW;
	for (int step = 1; step < VW; step *= 2) {
		vec t[VW];
		for (int i = 0; i < VW / 2; i++) {
			t[2 * i] = __builtin_shuffle(v[i], v[i + VW / 2], low);
			t[2 * i + 1] = __builtin_shuffle(v[i], v[i + VW / 2], high);
		}
		for (int i = 0; i < VW; i++)
			v[i] = t[i];
	}
}

#define BESIDE 8 // channels that are packed together, so that memory is written in longer runs

// pack copies rows r0 to r1 and columns c0 to c1 of (channels, H, W, N) into (rows, columns, channels, NB), images n0 to n0+NB; what lies
// outside is zero.
static void pack(const float *x, int64_t channels, int64_t H, int64_t W, int64_t N, int64_t n0,
                 int64_t r0, int64_t r1, int64_t c0, int64_t c1, float *to) {
	int64_t columns = c1 - c0, n = lesser(NB, N - n0);
	for (int64_t i0 = 0; i0 < channels; i0 += BESIDE)
		for (int64_t r = r0; r < r1; r++)
			for (int64_t c = c0; c < c1; c++) {
				float *place = to + (((r - r0) * columns + c - c0) * channels + i0) * NB;
				const float *from = x + ((i0 * H + r) * W + c) * N + n0;
				int64_t some = lesser(BESIDE, channels - i0);
				if (r < 0 || r >= H || c < 0 || c >= W) {
					memset(place, 0, some * NB * 4);
					continue;
				}
				for (int64_t i = 0; i < some; i++, place += NB, from += H * W * N)
					if (n == NB)
						memcpy(place, from, NB * 4);
					else {
						memcpy(place, from, n * 4);
						memset(place + n, 0, (NB - n) * 4);
					}
			}
}

// pack_channels copies like pack, but vectors run over channels: to (groups of VW channels, rows, columns, NB, VW), `group` floats from
// one group to the next; channels beyond the last are zero.
static void pack_channels(const float *x, int64_t channels, int64_t H, int64_t W, int64_t N, int64_t n0,
                          int64_t r0, int64_t r1, int64_t c0, int64_t c1, float *all, int64_t group) {
	int64_t n = lesser(NB, N - n0);
	for (int64_t i0 = 0; i0 < channels; i0 += VW, all += group) {
		float *to = all;
		int64_t some = lesser(VW, channels - i0);
		for (int64_t r = r0; r < r1; r++)
			for (int64_t c = c0; c < c1; c++, to += NB * VW) {
				if (r < 0 || r >= H || c < 0 || c >= W) {
					memset(to, 0, NB * VW * 4);
					continue;
				}
				const float *from = x + ((i0 * H + r) * W + c) * N + n0;
				for (int64_t k = 0; k < NB; k += VW) {
					vec v[VW];
					for (int l = 0; l < VW; l++) {
						v[l] = (vec){0};
						__builtin_prefetch(from + l * H * W * N + N + k); // the next position
						if (l < some && k + VW <= n)
							v[l] = *(const vec *)(from + l * H * W * N + k);
						else if (l < some && k < n)
							memcpy(&v[l], from + l * H * W * N + k, (n - k) * 4);
					}
					transpose(v);
					for (int l = 0; l < VW; l++)
						*(vec *)(to + (k + l) * VW) = v[l];
				}
			}
	}
}

#include "convolution.h"
#include "gradient.h"
#include "pointwise.h"
#include "winograd.h"
#include "elementwise.h"
#include "activation.h"
#include "normalisation.h"
#include "positions.h"
#include "depthwise.h"
#include "normed_depthwise.h"
#include "product.h"
#include "columns.h"
#include "attention.h"

const dk_kernels NAME(dk_kernels) = {
	TEXT(CLASS), convolution_of, elementwise_of, depthwise_of, depthwise_gradient_of, max_pool_of, max_pool_gradient_of, kernel_gradient_of, batch_norm_of, batch_norm_gradient_of,
	normed_depthwise_of, normed_depthwise_gradient_of, position_sums_of,

	column_norm_of, column_norm_gradient_of, attention_of, attention_gradient_of, product_of,
};
