// Kernels that need random bits: a function of a key and the place in the image alone.

// bits are 32 random bits of place i (the finaliser lowbias32 of Wellons 2018, with the key's halves before and within it).
static inline uint32_t bits(uint64_t key, uint32_t i) {
	uint32_t x = (i + (uint32_t)key) * 0x9e3779b1u;
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x ^= (uint32_t)(key >> 32);
	x *= 0x846ca68bu;
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	return x;
}

// add_noise adds table[13 bits] to each value.
static void add_noise(const uint8_t *restrict src, uint8_t *restrict dst, size_t n, uint64_t key, const int16_t *restrict table) {
	uint32_t random[BLOCK];
	int32_t add[2 * BLOCK];
	for (size_t at = 0; at < n; at += 2 * BLOCK) {
		uint32_t first = (uint32_t)(at / 2);
		for (int i = 0; i < BLOCK; i++)
			random[i] = bits(key, first + i);
		for (int i = 0; i < BLOCK; i++) {
			add[i] = table[random[i] & 8191];
			add[BLOCK + i] = table[random[i] >> 19];
		}
		int m = n - at < 2 * BLOCK ? (int)(n - at) : 2 * BLOCK;
		if (m == 2 * BLOCK)
			for (int i = 0; i < 2 * BLOCK; i++)
				dst[at + i] = (uint8_t)clip(src[at + i] + add[i]);
		else
			for (int i = 0; i < m; i++)
				dst[at + i] = (uint8_t)clip(src[at + i] + add[i]);
	}
}

// salt makes a pixel black where its bits are below pepper, else white where they are below both.
static void salt(const uint8_t *restrict src, uint8_t *restrict dst, size_t pixels, int c, uint64_t key, uint32_t pepper, uint32_t both) {
	uint8_t keep[3 * BLOCK], set[3 * BLOCK];
	for (size_t p = 0; p < pixels; p += BLOCK) {
		for (int i = 0; i < BLOCK; i++) {
			uint32_t r = bits(key, (uint32_t)p + i);
			uint8_t k = r < both ? 0 : 255, s = (r >= pepper) & (r < both) ? 255 : 0;
			for (int j = 0; j < c; j++)
				keep[i * c + j] = k, set[i * c + j] = s;
		}
		int m = (pixels - p < BLOCK ? (int)(pixels - p) : BLOCK) * c;
		for (int i = 0; i < m; i++)
			dst[p * c + i] = (src[p * c + i] & keep[i]) | set[i];
	}
}

// shade is a channel of (hue in twelfths, lightness, chroma); n is 0, 8 or 4.
static inline int shade(float h, float light, float a, float n) {
	float k = n + h;
	k = k >= 12 ? k - 12 : k;
	float v = k - 3 < 9 - k ? k - 3 : 9 - k;
	v = v < 1 ? v : 1;
	v = v > -1 ? v : -1;
	return (int)((light - a * v) * 255 + 0.5f);
}

// iso adds to the hue, in twelfths of the circle, hue[13 bits], and moves the lightness towards white by the share light[13 bits].
static void iso(const uint8_t *src, uint8_t *dst, size_t pixels, uint64_t key, const float *hue, const float *light) {
	int32_t r[BLOCK], g[BLOCK], b[BLOCK];
	uint32_t random[BLOCK];
	float dh[BLOCK], dl[BLOCK];
	for (size_t p = 0; p < pixels; p += BLOCK) {
		int n = pixels - p < BLOCK ? (int)(pixels - p) : BLOCK;
		take(src + 3 * p, n, r, g, b);
		for (int i = n; i < BLOCK; i++)
			r[i] = g[i] = b[i] = 0;
		for (int i = 0; i < BLOCK; i++)
			random[i] = bits(key, (uint32_t)p + i);
		for (int i = 0; i < BLOCK; i++) {
			dh[i] = hue[random[i] & 8191];
			dl[i] = light[random[i] >> 19];
		}
		for (int i = 0; i < BLOCK; i++) {
			int R = r[i], G = g[i], B = b[i];
			int high = R > G ? R : G, low = R < G ? R : G;
			high = high > B ? high : B;
			low = low < B ? low : B;
			int d = high - low, raw = hue_of(R, G, B, high, d);
			float h = (float)(2 * raw) / (float)most(d, 1), l = (float)(high + low) / 510;
			float room = l < 1 - l ? l : 1 - l;
			float s = room > 0 ? (float)d / 510 / room : 0;
			h = h + dh[i];
			h = h < 0 ? h + 12 : h;
			h = h >= 12 ? h - 12 : h;
			l = l + dl[i] * (1 - l);
			l = l < 0 ? 0 : l > 1 ? 1 : l;
			room = l < 1 - l ? l : 1 - l;
			s = s < 1 ? s : 1;
			float a = s * room;
			r[i] = shade(h, l, a, 0);
			g[i] = shade(h, l, a, 8);
			b[i] = shade(h, l, a, 4);
		}
		put(dst + 3 * p, n, r, g, b);
	}
}
