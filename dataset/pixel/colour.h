// Kernels of single pixels.

#if defined(__AVX512VBMI__)
// A table of 256 bytes is four vectors.
typedef struct {
	__m512i part[4];
} table512;

static inline table512 load_table(const uint8_t *t) {
	return (table512){{_mm512_loadu_si512(t), _mm512_loadu_si512(t + 64), _mm512_loadu_si512(t + 128), _mm512_loadu_si512(t + 192)}};
}

static inline __m512i lookup512(const table512 *t, __m512i v) {
	__m512i low = _mm512_permutex2var_epi8(t->part[0], v, t->part[1]), high = _mm512_permutex2var_epi8(t->part[2], v, t->part[3]);
	return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(v), high);
}
#endif

static void lookup(const uint8_t *restrict src, uint8_t *restrict dst, size_t pixels, int c, const uint8_t *table, int per_channel) {
	size_t i = 0, n = pixels * c;
	if (c == 1 || !per_channel) {
#if defined(__AVX512VBMI__)
		table512 t = load_table(table);
		for (; i + 64 <= n; i += 64)
			_mm512_storeu_si512(dst + i, lookup512(&t, _mm512_loadu_si512(src + i)));
#endif
		for (; i < n; i++)
			dst[i] = table[src[i]];
		return;
	}
#if defined(__AVX512VBMI__)
	table512 a = load_table(table), b = load_table(table + 256), d = load_table(table + 512);
	const uint64_t every = 0x9249249249249249; // every third bit from bit 0 on
	for (; i + 192 <= n; i += 192)
		for (int part = 0; part < 3; part++) {
			// Byte 0 of the parts is of channel 0, 1 and 2.
			__mmask64 second = part == 0 ? every << 1 : part == 1 ? every : every << 2, third = part == 0 ? every << 2 : part == 1 ? every << 1 : every;
			__m512i v = _mm512_loadu_si512(src + i + 64 * part), out = lookup512(&a, v);
			out = _mm512_mask_mov_epi8(out, second, lookup512(&b, v));
			_mm512_storeu_si512(dst + i + 64 * part, _mm512_mask_mov_epi8(out, third, lookup512(&d, v)));
		}
#endif
	for (; i < n; i += 3) {
		dst[i] = table[src[i]];
		dst[i + 1] = table[256 + src[i + 1]];
		dst[i + 2] = table[512 + src[i + 2]];
	}
}

static void histogram(const uint8_t *src, size_t pixels, int c, uint32_t *counts) {
	uint32_t even[3 * 256] = {0}, odd[3 * 256] = {0}; // neighbours are often equal: two counters do not wait for each other
	size_t i = 0;
	if (c == 3) {
		for (; i + 2 <= pixels; i += 2, src += 6) {
			even[src[0]]++, even[256 + src[1]]++, even[512 + src[2]]++;
			odd[src[3]]++, odd[256 + src[4]]++, odd[512 + src[5]]++;
		}
		if (i < pixels)
			even[src[0]]++, even[256 + src[1]]++, even[512 + src[2]]++;
	} else {
		for (; i + 4 <= pixels; i += 4, src += 4)
			even[src[0]]++, even[256 + src[1]]++, odd[src[2]]++, odd[256 + src[3]]++;
		for (; i < pixels; i++)
			even[*src++]++;
		for (int v = 0; v < 256; v++)
			even[v] += even[256 + v] + odd[256 + v];
	}
	for (int v = 0; v < 256 * c; v++)
		counts[v] = even[v] + odd[v];
}

// Pixels are worked on in blocks, each channel in an array of its own.

static inline void take(const uint8_t *restrict src, int n, int32_t *restrict r, int32_t *restrict g, int32_t *restrict b) {
	for (int i = 0; i < n; i++) {
		r[i] = src[3 * i];
		g[i] = src[3 * i + 1];
		b[i] = src[3 * i + 2];
	}
}

static inline void put(uint8_t *restrict dst, int n, const int32_t *restrict r, const int32_t *restrict g, const int32_t *restrict b) {
	for (int i = 0; i < n; i++) {
		dst[3 * i] = (uint8_t)clip(r[i]);
		dst[3 * i + 1] = (uint8_t)clip(g[i]);
		dst[3 * i + 2] = (uint8_t)clip(b[i]);
	}
}

// luma is the weight of Rec. 601 in 1/16384.
static inline int luma(int r, int g, int b) { return (r * 4899 + g * 9617 + b * 1868 + 8192) >> 14; }

static void grey(const uint8_t *src, uint8_t *dst, size_t pixels, int channels) {
	int32_t r[BLOCK], g[BLOCK], b[BLOCK];
	for (size_t p = 0; p < pixels; p += BLOCK) {
		int n = pixels - p < BLOCK ? (int)(pixels - p) : BLOCK;
		take(src + 3 * p, n, r, g, b);
		for (int i = 0; i < BLOCK; i++)
			r[i] = luma(r[i], g[i], b[i]);
		if (channels == 3)
			put(dst + 3 * p, n, r, r, r);
		else
			for (int i = 0; i < n; i++)
				dst[p + i] = (uint8_t)r[i];
	}
}

static void saturate(const uint8_t *src, uint8_t *dst, size_t pixels, int factor) {
	int32_t r[BLOCK], g[BLOCK], b[BLOCK];
	for (size_t p = 0; p < pixels; p += BLOCK) {
		int n = pixels - p < BLOCK ? (int)(pixels - p) : BLOCK;
		take(src + 3 * p, n, r, g, b);
		for (int i = 0; i < BLOCK; i++) {
			int base = luma(r[i], g[i], b[i]) * (256 - factor) + 128;
			r[i] = (r[i] * factor + base) >> 8;
			g[i] = (g[i] * factor + base) >> 8;
			b[i] = (b[i] * factor + base) >> 8;
		}
		put(dst + 3 * p, n, r, g, b);
	}
}

static void shuffle(const uint8_t *restrict src, uint8_t *restrict dst, size_t pixels, int a, int b, int d) {
	v16 order;
	for (int i = 0; i < 15; i += 3)
		order[i] = i + a, order[i + 1] = i + b, order[i + 2] = i + d;
	order[15] = 15;
	size_t p = 0;
	for (; p + 6 <= pixels; p += 5) {
		v16 v;
		memcpy(&v, src + 3 * p, 16);
		v = __builtin_shuffle(v, order);
		memcpy(dst + 3 * p, &v, 16);
	}
	for (; p < pixels; p++) {
		dst[3 * p] = src[3 * p + a];
		dst[3 * p + 1] = src[3 * p + b];
		dst[3 * p + 2] = src[3 * p + d];
	}
}

// ramp is the share of a channel at a distance of k (0 to 6) from where it is full: 0 below 1, 1 between 2 and 4, 0 above 5, shifted.
static inline float ramp(float k) {
	float v = k < 4 - k ? k : 4 - k;
	v = v < 1 ? v : 1;
	return v > 0 ? v : 0;
}

static inline int channel(float v, float s, float h, float n) {
	float k = n + h;
	k = k >= 6 ? k - 6 : k;
	return (int)(v - v * s * ramp(k) + 0.5f);
}

// hue_of is the hue times the chroma d, in sixths of the circle, of a pixel whose largest channel is v.
static inline int hue_of(int r, int g, int b, int v, int d) {
	int red = -(v == r), green = -(v == g) & ~red;
	return ((g - b) & red) | ((b - r + 2 * d) & green) | ((r - g + 4 * d) & ~(red | green));
}

// hsv works on the hue in 180 steps, and saturation and value in 256, as whole numbers.
static void hsv(const uint8_t *src, uint8_t *dst, size_t pixels, int hue, int saturation, int value) {
	int32_t r[BLOCK], g[BLOCK], b[BLOCK];
	for (size_t p = 0; p < pixels; p += BLOCK) {
		int n = pixels - p < BLOCK ? (int)(pixels - p) : BLOCK;
		take(src + 3 * p, n, r, g, b);
		for (int i = n; i < BLOCK; i++)
			r[i] = g[i] = b[i] = 0;
		for (int i = 0; i < BLOCK; i++) {
			int R = r[i], G = g[i], B = b[i];
			int v = R > G ? R : G, low = R < G ? R : G;
			v = v > B ? v : B;
			low = low < B ? low : B;
			int d = v - low, raw = hue_of(R, G, B, v, d);
			float fd = (float)most(d, 1), fv = (float)most(v, 1);
			int h = (int)((float)(raw * 30) / fd + 180.5f) - 180; // raw/d is -1 to 5
			int s = (int)((float)(d * 255) / fv + 0.5f);
			h += hue;
			h += 180 & -(h < 0);
			h += 180 & -(h < 0);
			h -= 180 & -(h >= 180);
			h -= 180 & -(h >= 180);
			int s2 = clip(s + saturation) & -(s != 0);
			float V = (float)clip(v + value), S = (float)s2 / 255.0f, H = (float)h / 30.0f;
			r[i] = channel(V, S, H, 5);
			g[i] = channel(V, S, H, 3);
			b[i] = channel(V, S, H, 1);
		}
		put(dst + 3 * p, n, r, g, b);
	}
}

// CIE Lab of sRGB under D65, in the whole numbers that OpenCV counts with, since a step of the lightness can become many in clahe: linear holds
// 256 values in 1/2040, root f(t) in 1/32768 at t = i/2040.
static void to_lab(const uint8_t *src, uint8_t *lab, size_t pixels, const uint16_t *linear, const uint16_t *root) {
	int32_t r[BLOCK], g[BLOCK], b[BLOCK], fx[BLOCK], fy[BLOCK], fz[BLOCK];
	for (size_t p = 0; p < pixels; p += BLOCK) {
		int n = pixels - p < BLOCK ? (int)(pixels - p) : BLOCK;
		take(src + 3 * p, n, r, g, b);
		for (int i = 0; i < n; i++) {
			int R = linear[r[i]], G = linear[g[i]], B = linear[b[i]];
			fx[i] = (R * 1777 + G * 1541 + B * 778 + 2048) >> 12;
			fy[i] = (R * 871 + G * 2929 + B * 296 + 2048) >> 12;
			fz[i] = (R * 73 + G * 448 + B * 3575 + 2048) >> 12;
		}
		for (int i = 0; i < n; i++) {
			int X = root[fx[i]], Y = root[fy[i]], Z = root[fz[i]];
			lab[p + i] = (uint8_t)clip((Y * 296 - 1336934 + 16384) >> 15);
			lab[pixels + p + i] = (uint8_t)clip(((X - Y) * 500 + (128 << 15) + 16384) >> 15);
			lab[2 * pixels + p + i] = (uint8_t)clip(((Y - Z) * 200 + (128 << 15) + 16384) >> 15);
		}
	}
}

static inline float cube(float f) {
	float t = f * f * f, flat = (f - 16.0f / 116) / 7.787f;
	return f > 6.0f / 29 ? t : flat;
}

static inline int step4095(float v) {
	v = v < 0 ? 0 : v > 1 ? 1 : v;
	return (int)(v * 4095 + 0.5f);
}

// gamma holds 4096 bytes for linear values 0 to 1.
static void from_lab(const uint8_t *lab, uint8_t *dst, size_t pixels, const uint8_t *gamma) {
	int32_t r[BLOCK], g[BLOCK], b[BLOCK];
	for (size_t p = 0; p < pixels; p += BLOCK) {
		int n = pixels - p < BLOCK ? (int)(pixels - p) : BLOCK;
		for (int i = 0; i < n; i++) {
			float fy = ((float)lab[p + i] / 2.55f + 16) / 116;
			float fx = fy + ((float)lab[pixels + p + i] - 128) / 500, fz = fy - ((float)lab[2 * pixels + p + i] - 128) / 200;
			float x = cube(fx) * 0.950456f, y = cube(fy), z = cube(fz) * 1.088754f;
			float R = x * 3.240479f, G = x * -0.969256f, B = x * 0.055648f;
			R = R + y * -1.53715f, G = G + y * 1.875991f, B = B + y * -0.204043f;
			R = R + z * -0.498535f, G = G + z * 0.041556f, B = B + z * 1.057311f;
			r[i] = step4095(R), g[i] = step4095(G), b[i] = step4095(B);
		}
		for (int i = 0; i < n; i++) {
			dst[3 * (p + i)] = gamma[r[i]];
			dst[3 * (p + i) + 1] = gamma[g[i]];
			dst[3 * (p + i) + 2] = gamma[b[i]];
		}
	}
}

// tiles looks every value up in the tables of the four tiles around it, weighted by 1/256 along each axis.
static void tiles(const uint8_t *src, uint8_t *dst, int h, int w, int rows, int columns, int th, int tw, const uint8_t *tables) {
	for (int y = 0; y < h; y++) {
		int py = y * 256 / th - 128, ty = py >> 8, wy = py & 255;
		const uint8_t *up = tables + (size_t)most(ty, 0) * columns * 256, *down = tables + (size_t)least(ty + 1, rows - 1) * columns * 256;
		for (int x = 0; x < w; x++) {
			int px = x * 256 / tw - 128, tx = px >> 8, wx = px & 255;
			int left = most(tx, 0) * 256 + src[(size_t)y * w + x], right = least(tx + 1, columns - 1) * 256 + src[(size_t)y * w + x];
			int a = up[left] * (256 - wx) + up[right] * wx, b = down[left] * (256 - wx) + down[right] * wx;
			dst[(size_t)y * w + x] = (a * (256 - wy) + b * wy + 32768) >> 16;
		}
	}
}

static void blend(const uint8_t *restrict a, const uint8_t *restrict b, uint8_t *restrict dst, size_t n, uint32_t weight) {
	for (size_t i = 0; i < n; i++)
		dst[i] = (a[i] * weight + b[i] * (65536 - weight) + 32768) >> 16;
}
