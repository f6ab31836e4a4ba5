#ifndef DARKROOM_PIXEL_H
#define DARKROOM_PIXEL_H

#include <stddef.h>
#include <stdint.h>

// One line for each kernel: its name, its parameters, and their names. Images are (H, W, C) bytes without gaps, C 1 or 3.
// The functions of the same name in Go say what each does.
#define DP_KERNELS(K) \
	K(mirror, (const uint8_t *src, uint8_t *dst, int h, int w, int c), (src, dst, h, w, c)) \
	K(resize, (const uint8_t *src, int sw, int c, uint8_t *dst, int dh, int dw, int first, int last, const int32_t *xs, const int16_t *xw, \
	           const int32_t *ys, const int16_t *yw, int16_t *row), (src, sw, c, dst, dh, dw, first, last, xs, xw, ys, yw, row)) \
	K(scale, (const uint8_t *src, int sw, int c, uint8_t *dst, int dh, int dw, const int32_t *xs, const int16_t *xw, int nx, const int32_t *ys, const int16_t *yw, int ny, \
	          int16_t *row), (src, sw, c, dst, dh, dw, xs, xw, nx, ys, yw, ny, row)) \
	K(warp, (const uint8_t *src, int h, int w, int c, uint8_t *dst, int dh, int dw, const double *m, int border, const uint8_t *fill, int32_t *scratch), \
	  (src, h, w, c, dst, dh, dw, m, border, fill, scratch)) \
	K(remap, (const uint8_t *src, int h, int w, int c, uint8_t *dst, const float *dx, const float *dy, int border, const uint8_t *fill, int32_t *scratch), \
	  (src, h, w, c, dst, dx, dy, border, fill, scratch)) \
	K(smooth, (const float *src, float *dst, int h, int w, const float *k, int radius, float *scratch), (src, dst, h, w, k, radius, scratch)) \
	K(lookup, (const uint8_t *src, uint8_t *dst, size_t pixels, int c, const uint8_t *table, int per_channel), (src, dst, pixels, c, table, per_channel)) \
	K(histogram, (const uint8_t *src, size_t pixels, int c, uint32_t *counts), (src, pixels, c, counts)) \
	K(grey, (const uint8_t *src, uint8_t *dst, size_t pixels, int channels), (src, dst, pixels, channels)) \
	K(saturate, (const uint8_t *src, uint8_t *dst, size_t pixels, int factor), (src, dst, pixels, factor)) \
	K(shuffle, (const uint8_t *src, uint8_t *dst, size_t pixels, int a, int b, int d), (src, dst, pixels, a, b, d)) \
	K(hsv, (const uint8_t *src, uint8_t *dst, size_t pixels, int hue, int saturation, int value), (src, dst, pixels, hue, saturation, value)) \
	K(to_lab, (const uint8_t *src, uint8_t *lab, size_t pixels, const uint16_t *linear, const uint16_t *root), (src, lab, pixels, linear, root)) \
	K(from_lab, (const uint8_t *lab, uint8_t *dst, size_t pixels, const uint8_t *gamma), (lab, dst, pixels, gamma)) \
	K(tiles, (const uint8_t *src, uint8_t *dst, int h, int w, int rows, int columns, int th, int tw, const uint8_t *tables), \
	  (src, dst, h, w, rows, columns, th, tw, tables)) \
	K(blur, (const uint8_t *padded, uint8_t *dst, int h, int w, int c, const uint16_t *k, int radius, uint16_t *row), (padded, dst, h, w, c, k, radius, row)) \
	K(filter, (const uint8_t *padded, uint8_t *dst, int h, int w, int c, int radius, const int32_t *taps, int count), \
	  (padded, dst, h, w, c, radius, taps, count)) \
	K(median, (const uint8_t *padded, uint8_t *dst, int h, int w, int c, int radius), (padded, dst, h, w, c, radius)) \
	K(add_noise, (const uint8_t *src, uint8_t *dst, size_t n, uint64_t key, const int16_t *table), (src, dst, n, key, table)) \
	K(salt, (const uint8_t *src, uint8_t *dst, size_t pixels, int c, uint64_t key, uint32_t pepper, uint32_t both), (src, dst, pixels, c, key, pepper, both)) \
	K(iso, (const uint8_t *src, uint8_t *dst, size_t pixels, uint64_t key, const float *hue, const float *light), (src, dst, pixels, key, hue, light)) \
	K(quantise, (const int16_t *plane, int16_t *out, int h, int w, const uint16_t *table), (plane, out, h, w, table)) \
	K(to_ycc, (const uint8_t *src, int16_t *y, int16_t *cb, int16_t *cr, int h, int w, int stride), (src, y, cb, cr, h, w, stride)) \
	K(from_ycc, (const int16_t *y, const int16_t *cb, const int16_t *cr, uint8_t *dst, int h, int w, int stride, int16_t *scratch), (y, cb, cr, dst, h, w, stride, scratch)) \
	K(blend, (const uint8_t *a, const uint8_t *b, uint8_t *dst, size_t n, uint32_t weight), (a, b, dst, n, weight)) \
	K(planes, (const uint8_t *src, float *dst, size_t pixels, int c, const float *scale, const float *shift), (src, dst, pixels, c, scale, shift)) \
	K(batch, (const uint8_t *src, int count, float *dst, size_t n, size_t pixels, int c, const float *scale, const float *shift), \
	  (src, count, dst, n, pixels, c, scale, shift))

typedef struct {
	const char *isa;
#define FIELD(name, parameters, names) void (*name) parameters;
	DP_KERNELS(FIELD)
#undef FIELD
} dp_kernels;

extern const dp_kernels dp_avx512, dp_avx2, dp_baseline;

// dp_find returns the kernels of that instruction class, or NULL when there are none or the processor cannot run them.
const dp_kernels *dp_find(const char *isa);

// dp_NAME calls the kernel of that class.
#define CALL(name, parameters, names) void dp_##name(const dp_kernels *class, DP_UNWRAP parameters);
#define DP_UNWRAP(...) __VA_ARGS__
DP_KERNELS(CALL)
#undef CALL

#endif
