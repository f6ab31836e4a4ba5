// Kernels that move pixels.

#define BLOCK 64 // values or pixels that are worked on together

typedef uint8_t v16 __attribute__((vector_size(16)));

static void mirror(const uint8_t *src, uint8_t *dst, int h, int w, int c) {
	const v16 order3 = {12, 13, 14, 9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2, 15}, order1 = {15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
	int step = c == 3 ? 5 : 16;
	for (int y = 0; y < h; y++, src += w * c, dst += w * c) {
		int x = 0;
		// Of three channels a vector holds five pixels; its last byte goes over what is written later, so some pixels must follow.
		for (; x + step + (c == 3) <= w; x += step) {
			v16 v;
			memcpy(&v, src + (w - x - step) * c, 16);
			v = __builtin_shuffle(v, c == 3 ? order3 : order1);
			memcpy(dst + x * c, &v, 16);
		}
		for (; x < w; x++)
			for (int k = 0; k < c; k++)
				dst[x * c + k] = src[(w - 1 - x) * c + k];
	}
}

// A row of 15-bit values is blended from two rows of the image, and the row of the result from pairs of its pixels.
static void resize(const uint8_t *src, int sw, int c, uint8_t *dst, int dh, int dw, int first, int last, const int32_t *xs, const int16_t *xw,
                   const int32_t *ys, const int16_t *yw, int16_t *row) {
	int n = (last - first) * c;
	for (int y = 0; y < dh; y++, dst += dw * c) {
		const uint8_t *a = src + ((size_t)ys[2 * y] * sw + first) * c, *b = src + ((size_t)ys[2 * y + 1] * sw + first) * c;
		int16_t wa = yw[2 * y], wb = yw[2 * y + 1];
		for (int i = 0; i < n; i++)
			row[i] = a[i] * wa + b[i] * wb; // weights sum up to 128
		int x = 0;
#if defined(__SSE4_1__)
		if (c == 3) {
			const __m128i pairs = _mm_setr_epi8(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, -1, -1, -1, -1), half = _mm_set1_epi32(1 << 20);
			const __m128i pack = _mm_setr_epi8(0, 4, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
			for (; x < dw - 1; x++) { // the last pixel would be written with a byte too many
				__m128i p = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(row + xs[x])), pairs);
				int32_t w;
				memcpy(&w, xw + 2 * x, 4);
				p = _mm_srli_epi32(_mm_add_epi32(_mm_madd_epi16(p, _mm_set1_epi32(w)), half), 21);
				int32_t out = _mm_cvtsi128_si32(_mm_shuffle_epi8(p, pack));
				memcpy(dst + 3 * x, &out, 4);
			}
		}
#endif
		for (; x < dw; x++)
			for (int k = 0; k < c; k++)
				dst[x * c + k] = (row[xs[x] + k] * xw[2 * x] + row[xs[x] + c + k] * xw[2 * x + 1] + (1 << 20)) >> 21;
	}
}

// scale weighs, for each pixel of the result, ny rows from ys[y] on and, in these, nx pixels from xs[x] on, an even number. Weights sum up to
// 1/16384. The rows become one of 15-bit values first.
static void scale(const uint8_t *src, int sw, int c, uint8_t *dst, int dh, int dw, const int32_t *xs, const int16_t *xw, int nx, const int32_t *ys, const int16_t *yw, int ny,
                  int16_t *restrict row) {
	int n = sw * c;
	int32_t sums[BLOCK];
	for (int y = 0; y < dh; y++, dst += dw * c) {
		const uint8_t *from = src + (size_t)ys[y] * n;
		for (int at = 0; at < n; at += BLOCK) {
			int m = least(BLOCK, n - at);
			for (int i = 0; i < BLOCK; i++)
				sums[i] = 64;
			for (int k = 0; k < ny; k++) {
				const uint8_t *restrict p = from + (size_t)k * n + at;
				int32_t w = yw[y * ny + k];
				if (m == BLOCK)
					for (int i = 0; i < BLOCK; i++)
						sums[i] += p[i] * w;
				else
					for (int i = 0; i < m; i++)
						sums[i] += p[i] * w;
			}
			for (int i = 0; i < m; i++)
				row[at + i] = (int16_t)(sums[i] >> 7);
		}
		int x = 0;
#if defined(__SSE4_1__)
		if (c == 3) {
			const __m128i pairs = _mm_setr_epi8(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, -1, -1, -1, -1), half = _mm_set1_epi32(1 << 20);
			const __m128i pack = _mm_setr_epi8(0, 4, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
			for (; x < dw - 1; x++) {
				const int16_t *p = row + xs[x] * 3, *w = xw + x * nx;
				__m128i sum = half;
				for (int k = 0; k < nx; k += 2, p += 6) {
					int32_t pair;
					memcpy(&pair, w + k, 4);
					sum = _mm_add_epi32(sum, _mm_madd_epi16(_mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)p), pairs), _mm_set1_epi32(pair)));
				}
				int32_t out = _mm_cvtsi128_si32(_mm_shuffle_epi8(_mm_srai_epi32(sum, 21), pack));
				memcpy(dst + 3 * x, &out, 4);
			}
		}
#endif
		for (; x < dw; x++)
			for (int ch = 0; ch < c; ch++) {
				int32_t sum = 1 << 20;
				for (int k = 0; k < nx; k++)
					sum += row[(xs[x] + k) * c + ch] * xw[x * nx + k];
				dst[x * c + ch] = (uint8_t)(sum >> 21);
			}
	}
}

// Positions in the source are in units of 1/128 pixel.
#define FINE 7
#define ONE (1 << FINE)

enum { CONSTANT, REPLICATE, REFLECT, REFLECT_101 };

// outside brings an index into 0 to n-1; -1 is the border's constant.
static int outside(int i, int n, int border) {
	if (i >= 0 && i < n)
		return i;
	if (border == CONSTANT)
		return -1;
	if (border == REPLICATE || n == 1)
		return i < 0 ? 0 : n - 1;
	int period = border == REFLECT ? 2 * n : 2 * n - 2;
	i = (i % period + period) % period;
	return i < n ? i : period - i - (border == REFLECT);
}

static void sample_edge(const uint8_t *src, int h, int w, int c, int sx, int sy, uint8_t *dst, int border, const uint8_t *fill) {
	int x = sx >> FINE, y = sy >> FINE, fx = sx & (ONE - 1), fy = sy & (ONE - 1);
	int xs[2] = {outside(x, w, border), outside(x + 1, w, border)}, ys[2] = {outside(y, h, border), outside(y + 1, h, border)};
	int weights[4] = {(ONE - fx) * (ONE - fy), fx * (ONE - fy), (ONE - fx) * fy, fx * fy};
	for (int k = 0; k < c; k++) {
		int sum = 1 << (2 * FINE - 1);
		for (int t = 0; t < 4; t++) {
			int px = xs[t & 1], py = ys[t >> 1];
			sum += weights[t] * (px < 0 || py < 0 ? fill[k] : src[((size_t)py * w + px) * c + k]);
		}
		dst[k] = sum >> (2 * FINE);
	}
}

// sample_row takes n pixels from the positions X, Y.
static void sample_row(const uint8_t *restrict src, int h, int w, int c, const int32_t *restrict X, const int32_t *restrict Y, int n, uint8_t *restrict dst, int border,
                       const uint8_t *fill, int32_t *restrict at, uint32_t *restrict top, uint32_t *restrict bottom) {
	// An inner position's offset and weights; the others have the offset -1. Three bytes of eight that are read lie behind the pair.
	int right = w - (c == 3 ? 2 : 1), lower = h - 1;
	for (int i = 0; i < n; i++) {
		int x = X[i] >> FINE, y = Y[i] >> FINE, fx = X[i] & (ONE - 1), fy = Y[i] & (ONE - 1);
		at[i] = (x >= 0) & (y >= 0) & (x < right) & (y < lower) ? (y * w + x) * c : -1;
		top[i] = (uint32_t)((ONE - fx) * (ONE - fy)) | (uint32_t)(fx * (ONE - fy)) << 16;
		bottom[i] = (uint32_t)((ONE - fx) * fy) | (uint32_t)(fx * fy) << 16;
	}
	int i = 0;
#if defined(__SSE4_1__)
	if (c == 3) {
		const __m128i pairs = _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1), half = _mm_set1_epi32(1 << (2 * FINE - 1));
		const __m128i pack = _mm_setr_epi8(0, 4, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
		for (; i < n - 1; i++) {
			if (at[i] < 0) {
				sample_edge(src, h, w, 3, X[i], Y[i], dst + 3 * i, border, fill);
				continue;
			}
			const uint8_t *p = src + at[i];
			__m128i a = _mm_shuffle_epi8(_mm_loadl_epi64((const __m128i *)p), pairs), b = _mm_shuffle_epi8(_mm_loadl_epi64((const __m128i *)(p + 3 * w)), pairs);
			a = _mm_add_epi32(_mm_madd_epi16(a, _mm_set1_epi32(top[i])), _mm_madd_epi16(b, _mm_set1_epi32(bottom[i])));
			a = _mm_shuffle_epi8(_mm_srli_epi32(_mm_add_epi32(a, half), 2 * FINE), pack);
			int32_t out = _mm_cvtsi128_si32(a);
			memcpy(dst + 3 * i, &out, 4);
		}
	}
#endif
	for (; i < n; i++) {
		if (at[i] < 0) {
			sample_edge(src, h, w, c, X[i], Y[i], dst + c * i, border, fill);
			continue;
		}
		const uint8_t *p = src + at[i], *q = p + c * w;
		int32_t a = top[i] & 0xffff, b = top[i] >> 16, d = bottom[i] & 0xffff, e = bottom[i] >> 16;
		for (int k = 0; k < c; k++)
			dst[c * i + k] = (p[k] * a + p[k + c] * b + q[k] * d + q[k + c] * e + (1 << (2 * FINE - 1))) >> (2 * FINE);
	}
}

// fixed turns a place in pixels into a position, to the nearest; places far outside are all alike.
static inline int32_t fixed(double v) {
	v = v < -40000 ? -40000 : v > 40000 ? 40000 : v;
	return (int32_t)(v * ONE + (65536 * ONE + 0.5)) - 65536 * ONE;
}

static void warp(const uint8_t *src, int h, int w, int c, uint8_t *dst, int dh, int dw, const double *m, int border, const uint8_t *fill, int32_t *scratch) {
	int32_t *X = scratch, *Y = X + dw, *at = Y + dw;
	uint32_t *top = (uint32_t *)(at + dw), *bottom = top + dw;
	int flat = m[6] == 0 && m[7] == 0 && m[8] == 1;
	for (int y = 0; y < dh; y++) {
		double bx = m[1] * y + m[2], by = m[4] * y + m[5], bz = m[7] * y + m[8];
		if (flat)
			for (int x = 0; x < dw; x++) {
				X[x] = fixed(m[0] * x + bx);
				Y[x] = fixed(m[3] * x + by);
			}
		else
			for (int x = 0; x < dw; x++) {
				double z = m[6] * x + bz;
				z = z > 1e-9 ? z : 1e-9;
				X[x] = fixed((m[0] * x + bx) / z);
				Y[x] = fixed((m[3] * x + by) / z);
			}
		sample_row(src, h, w, c, X, Y, dw, dst + (size_t)y * dw * c, border, fill, at, top, bottom);
	}
}

static void remap(const uint8_t *src, int h, int w, int c, uint8_t *dst, const float *dx, const float *dy, int border, const uint8_t *fill, int32_t *scratch) {
	int32_t *X = scratch, *Y = X + w, *at = Y + w;
	uint32_t *top = (uint32_t *)(at + w), *bottom = top + w;
	for (int y = 0; y < h; y++, dx += w, dy += w) {
		for (int x = 0; x < w; x++) {
			X[x] = fixed((double)dx[x] + x);
			Y[x] = fixed((double)dy[x] + y);
		}
		sample_row(src, h, w, c, X, Y, w, dst + (size_t)y * w * c, border, fill, at, top, bottom);
	}
}

// smooth convolves along both axes with the symmetric kernel k[0], the middle, to k[radius]; the edge is repeated. scratch holds a
// row with radius more on both sides. dst may be src.
static void smooth(const float *src, float *dst, int h, int w, const float *k, int radius, float *scratch) {
	float *columns = scratch, *row = scratch + (size_t)h * w; // (h, w), then a row
	for (int y = 0; y < h; y++) {
		float *restrict to = columns + (size_t)y * w;
		const float *mid = src + (size_t)y * w;
		for (int x = 0; x < w; x++)
			to[x] = mid[x] * k[0];
		for (int j = 1; j <= radius; j++) {
			const float *restrict a = src + (size_t)most(y - j, 0) * w, *restrict b = src + (size_t)least(y + j, h - 1) * w;
			float kj = k[j];
			for (int x = 0; x < w; x++)
				to[x] += (a[x] + b[x]) * kj;
		}
	}
	for (int y = 0; y < h; y++) {
		const float *from = columns + (size_t)y * w;
		for (int x = 0; x < w + 2 * radius; x++)
			row[x] = from[least(most(x - radius, 0), w - 1)];
		float *restrict to = dst + (size_t)y * w;
		const float *restrict mid = row + radius;
		for (int x = 0; x < w; x++)
			to[x] = mid[x] * k[0];
		for (int j = 1; j <= radius; j++) {
			float kj = k[j];
			for (int x = 0; x < w; x++)
				to[x] += (mid[x - j] + mid[x + j]) * kj;
		}
	}
}
