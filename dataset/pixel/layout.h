// Kernels that make a batch of an image: scale and shift each channel as a float.

static void planes(const uint8_t *restrict src, float *restrict dst, size_t pixels, int c, const float *scale, const float *shift) {
	if (c == 1) {
		for (size_t p = 0; p < pixels; p++)
			dst[p] = src[p] * scale[0] + shift[0];
		return;
	}
	float *restrict d0 = dst, *restrict d1 = dst + pixels, *restrict d2 = dst + 2 * pixels;
	float s0 = scale[0], s1 = scale[1], s2 = scale[2], t0 = shift[0], t1 = shift[1], t2 = shift[2];
	for (size_t p = 0; p < pixels; p++) {
		d0[p] = src[3 * p] * s0 + t0;
		d1[p] = src[3 * p + 1] * s1 + t1;
		d2[p] = src[3 * p + 2] * s2 + t2;
	}
}

// across transposes 16×16 bytes.
static inline void across(v16 v[16]) {
	const v16 low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23}, high = {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
	v16 t[16];
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 8; i++) {
			t[2 * i] = __builtin_shuffle(v[i], v[i + 8], low);
			t[2 * i + 1] = __builtin_shuffle(v[i], v[i + 8], high);
		}
		for (int i = 0; i < 16; i++)
			v[i] = t[i];
	}
}

// batch writes count images, at most 16, side by side: value i of image j goes to place j of row (i mod c)·pixels + i/c; rows are n apart.
static void batch(const uint8_t *src, int count, float *dst, size_t n, size_t pixels, int c, const float *scale, const float *shift) {
	size_t values = pixels * c, i = 0;
	if (count == 16)
		for (; i + 16 <= values; i += 16) {
			v16 v[16];
			for (int j = 0; j < 16; j++)
				memcpy(&v[j], src + j * values + i, 16);
			across(v);
			for (int k = 0; k < 16; k++) {
				size_t ch = (i + k) % c, p = (i + k) / c;
				float *restrict to = dst + (ch * pixels + p) * n, s = scale[ch], t = shift[ch];
				for (int j = 0; j < 16; j++)
					to[j] = v[k][j] * s + t;
			}
		}
	for (; i < values; i++) {
		size_t ch = i % c, p = i / c;
		for (int j = 0; j < count; j++)
			dst[(ch * pixels + p) * n + j] = src[j * values + i] * scale[ch] + shift[ch];
	}
}
