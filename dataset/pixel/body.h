// The kernels, once for each instruction class: the file that includes this defines CLASS, its name, and WIDTH, the bytes of a
// vector. All classes give the same bytes: sums are of whole numbers, or run in one order, and no product is fused with a sum: gcc does not under an ISO standard (-std=c11), clang obeys the pragma.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels.h"

// No one asks for the flags of floating-point exceptions; with them, gcc keeps branches that it could make into choices of lanes.
#if !defined(__clang__)
#pragma GCC optimize("no-trapping-math")
#endif

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(x) PASTE(x, CLASS)
#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif
#pragma GCC diagnostic ignored "-Wpsabi"

static inline int least(int a, int b) { return a < b ? a : b; }
static inline int most(int a, int b) { return a > b ? a : b; }
static inline int clip(int v) { return most(least(v, 255), 0); }

#include "geometry.h"
#include "colour.h"
#include "neighbours.h"
#include "noise.h"
#include "jpeg.h"
#include "layout.h"

const dp_kernels PASTE(dp, CLASS) = {
	TEXT(CLASS),
#define ENTRY(name, parameters, names) name,
	DP_KERNELS(ENTRY)
#undef ENTRY
};
