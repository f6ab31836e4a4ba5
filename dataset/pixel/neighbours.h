// Kernels of a pixel's surroundings. The image comes with a margin of radius pixels on each side.

// blur convolves along both axes with k[0], the middle, to k[radius], in 1/256; row holds (w + 2·radius)·c values.
static void blur(const uint8_t *padded, uint8_t *dst, int h, int w, int c, const uint16_t *k, int radius, uint16_t *restrict row) {
	int line = (w + 2 * radius) * c, n = w * c;
	uint32_t sums[BLOCK];
	for (int y = 0; y < h; y++) {
		const uint8_t *restrict mid = padded + (size_t)(y + radius) * line;
		for (int i = 0; i < line; i++)
			row[i] = mid[i] * k[0];
		for (int j = 1; j <= radius; j++) {
			const uint8_t *restrict a = mid - (size_t)j * line, *restrict b = mid + (size_t)j * line;
			uint16_t kj = k[j];
			for (int i = 0; i < line; i++)
				row[i] += (uint16_t)((a[i] + b[i]) * kj);
		}
		uint8_t *restrict to = dst + (size_t)y * n;
		const uint16_t *centre = row + radius * c;
		for (int at = 0; at < n; at += BLOCK) {
			int m = least(BLOCK, n - at);
			const uint16_t *p = centre + at;
			if (m == BLOCK) {
				for (int i = 0; i < BLOCK; i++)
					sums[i] = (uint32_t)p[i] * k[0] + 32768;
				for (int j = 1; j <= radius; j++) {
					uint32_t kj = k[j];
					const uint16_t *a = p - j * c, *b = p + j * c;
					for (int i = 0; i < BLOCK; i++)
						sums[i] += ((uint32_t)a[i] + b[i]) * kj;
				}
				for (int i = 0; i < BLOCK; i++)
					to[at + i] = (uint8_t)(sums[i] >> 16);
				continue;
			}
			for (int i = 0; i < m; i++) {
				uint32_t sum = (uint32_t)p[i] * k[0] + 32768;
				for (int j = 1; j <= radius; j++)
					sum += ((uint32_t)p[i - j * c] + p[i + j * c]) * k[j];
				to[at + i] = (uint8_t)(sum >> 16);
			}
		}
	}
}

// filter adds up count taps, each (rows down, columns right, weight in 1/16384).
static void filter(const uint8_t *padded, uint8_t *dst, int h, int w, int c, int radius, const int32_t *taps, int count) {
	int line = (w + 2 * radius) * c, n = w * c;
	int32_t sums[BLOCK];
	for (int y = 0; y < h; y++)
		for (int at = 0; at < n; at += BLOCK) {
			int m = least(BLOCK, n - at);
			for (int i = 0; i < BLOCK; i++)
				sums[i] = 8192;
			for (int t = 0; t < count; t++) {
				const uint8_t *p = padded + (size_t)(y + radius + taps[3 * t]) * line + (radius + taps[3 * t + 1]) * c + at;
				int32_t weight = taps[3 * t + 2];
				if (m == BLOCK)
					for (int i = 0; i < BLOCK; i++)
						sums[i] += p[i] * weight;
				else
					for (int i = 0; i < m; i++)
						sums[i] += p[i] * weight;
			}
			for (int i = 0; i < m; i++)
				dst[(size_t)y * n + at + i] = (uint8_t)clip(sums[i] >> 14);
		}
}

typedef uint8_t vec __attribute__((vector_size(WIDTH)));

#if defined(__AVX512BW__)
#define LOWER(a, b) ((vec)_mm512_min_epu8((__m512i)(a), (__m512i)(b)))
#define UPPER(a, b) ((vec)_mm512_max_epu8((__m512i)(a), (__m512i)(b)))
#elif defined(__AVX2__)
#define LOWER(a, b) ((vec)_mm256_min_epu8((__m256i)(a), (__m256i)(b)))
#define UPPER(a, b) ((vec)_mm256_max_epu8((__m256i)(a), (__m256i)(b)))
#elif defined(__SSE2__)
#define LOWER(a, b) ((vec)_mm_min_epu8((__m128i)(a), (__m128i)(b)))
#define UPPER(a, b) ((vec)_mm_max_epu8((__m128i)(a), (__m128i)(b)))
#else
static inline vec LOWER(vec a, vec b) {
	vec less = (vec)(a < b);
	return (a & less) | (b & ~less);
}
static inline vec UPPER(vec a, vec b) {
	vec less = (vec)(a < b);
	return (b & less) | (a & ~less);
}
#endif

// forget finds the median of count values by forgetting the smallest and the largest of half of them and one more, again and again,
// with a new one for each time (Kachelrieß, IEEE Trans. Nucl. Sci. 2009).
static inline __attribute__((always_inline)) vec forget(vec *v, int count) {
	int held = count / 2 + 2, next = held;
	for (; held > 2; held--) {
		// Pairs put the smaller ones in the front and the larger ones in the back; then the ends hold the extremes.
		int half = held / 2;
#pragma GCC unroll 32
		for (int i = 0; i < half; i++) {
			vec a = v[i], b = v[held - 1 - i];
			v[i] = LOWER(a, b);
			v[held - 1 - i] = UPPER(a, b);
		}
		int front = (held + 1) / 2; // the middle of an odd number may be either
		for (int i = 1; i < front; i++) {
			vec a = v[0], b = v[i];
			v[0] = LOWER(a, b);
			v[i] = UPPER(a, b);
		}
		for (int i = held - 2; i >= held - front; i--) {
			vec a = v[held - 1], b = v[i];
			v[held - 1] = UPPER(a, b);
			v[i] = LOWER(a, b);
		}
		// The smallest is replaced by the next value, the largest is dropped.
		if (next < count)
			v[0] = v[next++];
		else {
			v[0] = v[1];
			return v[0];
		}
	}
	return v[0];
}

static void median_row(const uint8_t *from, uint8_t *to, int n, int line, int c, int radius) {
	vec v[49];
	int side = 2 * radius + 1;
	for (int at = 0; at < n; at += WIDTH) {
		if (at + WIDTH > n && n >= WIDTH)
			at = n - WIDTH; // once more over what is done, to end with a full vector
		int m = least(WIDTH, n - at), k = 0;
		for (int y = 0; y < side; y++)
			for (int x = 0; x < side; x++, k++) {
				v[k] = (vec){0};
				memcpy(&v[k], from + (size_t)y * line + x * c + at, m == WIDTH ? WIDTH : m);
			}
		vec out = radius == 1 ? forget(v, 9) : radius == 2 ? forget(v, 25) : forget(v, 49);
		memcpy(to + at, &out, m);
	}
}

static void median(const uint8_t *padded, uint8_t *dst, int h, int w, int c, int radius) {
	int line = (w + 2 * radius) * c;
	for (int y = 0; y < h; y++)
		median_row(padded + (size_t)y * line, dst + (size_t)y * w * c, w * c, line, c, radius);
}
