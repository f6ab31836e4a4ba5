// What JPEG (ITU-T T.81) does to an image: YCbCr with halved chroma, the quantised cosine transform of 8×8 blocks, and back.

// cosines[u][x] = c(u)/2·cos((2x+1)uπ/16)
static const float cosines[8][8] = {
	{0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f},
	{0.49039264f, 0.41573481f, 0.27778512f, 0.09754516f, -0.09754516f, -0.27778512f, -0.41573481f, -0.49039264f},
	{0.46193977f, 0.19134172f, -0.19134172f, -0.46193977f, -0.46193977f, -0.19134172f, 0.19134172f, 0.46193977f},
	{0.41573481f, -0.09754516f, -0.49039264f, -0.27778512f, 0.27778512f, 0.49039264f, 0.09754516f, -0.41573481f},
	{0.35355339f, -0.35355339f, -0.35355339f, 0.35355339f, 0.35355339f, -0.35355339f, -0.35355339f, 0.35355339f},
	{0.27778512f, -0.49039264f, 0.09754516f, 0.41573481f, -0.41573481f, -0.09754516f, 0.49039264f, -0.27778512f},
	{0.19134172f, -0.46193977f, 0.46193977f, -0.19134172f, -0.19134172f, 0.46193977f, -0.46193977f, 0.19134172f},
	{0.09754516f, -0.27778512f, 0.41573481f, -0.49039264f, 0.49039264f, -0.41573481f, 0.27778512f, -0.09754516f},
};

typedef float row8 __attribute__((vector_size(32), aligned(4)));

// turn gives (M·in)ᵀ, or (Mᵀ·in)ᵀ.
static inline void turn(const float in[8][8], float out[8][8], int transposed) {
	float t[8][8];
	for (int u = 0; u < 8; u++) {
		row8 sum = {0};
		for (int k = 0; k < 8; k++) {
			row8 v;
			memcpy(&v, in[k], 32);
			sum = sum + v * (transposed ? cosines[k][u] : cosines[u][k]);
		}
		memcpy(t[u], &sum, 32);
	}
	for (int u = 0; u < 8; u++)
		for (int x = 0; x < 8; x++)
			out[x][u] = t[u][x];
}

// quantise brings every 8×8 block of (h, w) values -128 to 127, both multiples of 8, to what the table (8, 8) leaves of it.
static void quantise(const int16_t *plane, int16_t *out, int h, int w, const uint16_t *table) {
	float a[8][8], b[8][8], step[8][8], inverse[8][8];
	for (int v = 0; v < 8; v++)
		for (int u = 0; u < 8; u++) {
			step[v][u] = table[8 * v + u];
			inverse[v][u] = 1.0f / table[8 * v + u];
		}
	for (int y = 0; y < h; y += 8)
		for (int x = 0; x < w; x += 8) {
			for (int r = 0; r < 8; r++)
				for (int k = 0; k < 8; k++)
					a[r][k] = plane[(size_t)(y + r) * w + x + k];
			turn(a, b, 0); // columns of the image, transposed
			turn(b, a, 0); // now a[v][u]
			for (int v = 0; v < 8; v++)
				for (int u = 0; u < 8; u++) {
					float q = a[v][u] * inverse[v][u];
					a[v][u] = (float)(int)(q + (q < 0 ? -0.5f : 0.5f)) * step[v][u];
				}
			turn(a, b, 1);
			turn(b, a, 1);
			for (int r = 0; r < 8; r++)
				for (int k = 0; k < 8; k++) {
					float q = a[r][k] < -128 ? -128 : a[r][k] > 127 ? 127 : a[r][k];
					out[(size_t)(y + r) * w + x + k] = (int16_t)((int)(q + 128.5f) - 128);
				}
		}
}

// to_ycc fills y (stride wide, h rounded up to 16 rows) and cb, cr (half of that) with values around 0; the edge is repeated.
static void to_ycc(const uint8_t *src, int16_t *y, int16_t *cb, int16_t *cr, int h, int w, int stride) {
	int rows = (h + 15) / 16 * 16;
	int16_t bs[2][16384 + 16], rs[2][16384 + 16];
	for (int row = 0; row < rows; row++) {
		const uint8_t *p = src + (size_t)least(row, h - 1) * w * 3;
		int16_t *restrict to = y + (size_t)row * stride, *restrict b = bs[row & 1], *restrict r = rs[row & 1];
		for (int x = 0; x < w; x++) {
			int R = p[3 * x], G = p[3 * x + 1], B = p[3 * x + 2];
			to[x] = (int16_t)(((19595 * R + 38470 * G + 7471 * B + 32768) >> 16) - 128);
			b[x] = (int16_t)((-11059 * R - 21709 * G + 32768 * B + 32767) >> 16);
			r[x] = (int16_t)((32768 * R - 27439 * G - 5329 * B + 32767) >> 16);
		}
		for (int x = w; x < stride; x++)
			to[x] = to[w - 1], b[x] = b[w - 1], r[x] = r[w - 1];
		if (row & 1) {
			int16_t *restrict ob = cb + (size_t)(row / 2) * (stride / 2), *restrict or = cr + (size_t)(row / 2) * (stride / 2);
			for (int x = 0; x < stride / 2; x++) {
				int bias = 1 + (x & 1);
				ob[x] = (bs[0][2 * x] + bs[0][2 * x + 1] + bs[1][2 * x] + bs[1][2 * x + 1] + bias) >> 2;
				or[x] = (rs[0][2 * x] + rs[0][2 * x + 1] + rs[1][2 * x] + rs[1][2 * x + 1] + bias) >> 2;
			}
		}
	}
}

// widen doubles a row of chroma: three quarters of the nearer sample and one of the farther, along both axes.
static void widen(const int16_t *near, const int16_t *far, int16_t *restrict sums, int16_t *restrict to, int n) {
	for (int x = 0; x < n; x++)
		sums[x] = 3 * near[x] + far[x];
	to[0] = (4 * sums[0] + 8) >> 4;
	to[2 * n - 1] = (4 * sums[n - 1] + 7) >> 4;
	for (int x = 1; x < n; x++) {
		to[2 * x - 1] = (3 * sums[x - 1] + sums[x] + 7) >> 4;
		to[2 * x] = (3 * sums[x] + sums[x - 1] + 8) >> 4;
	}
}

// from_ycc is the way back; scratch holds 5·stride values.
static void from_ycc(const int16_t *y, const int16_t *cb, const int16_t *cr, uint8_t *dst, int h, int w, int stride, int16_t *scratch) {
	int n = (w + 1) / 2, rows = (h + 1) / 2, half = stride / 2;
	int16_t *b = scratch, *r = b + 2 * n, *sums = r + 2 * n;
	for (int row = 0; row < h; row++) {
		int near = row / 2, far = most(0, least(rows - 1, row & 1 ? near + 1 : near - 1));
		widen(cb + (size_t)near * half, cb + (size_t)far * half, sums, b, n);
		widen(cr + (size_t)near * half, cr + (size_t)far * half, sums, r, n);
		const int16_t *restrict p = y + (size_t)row * stride;
		uint8_t *restrict to = dst + (size_t)row * w * 3;
		for (int x = 0; x < w; x++) {
			int Y = p[x] + 128, B = b[x], R = r[x];
			to[3 * x] = (uint8_t)clip(Y + ((91881 * R + 32768) >> 16));
			to[3 * x + 1] = (uint8_t)clip(Y + ((-22554 * B - 46802 * R + 32768) >> 16));
			to[3 * x + 2] = (uint8_t)clip(Y + ((116130 * B + 32768) >> 16));
		}
	}
}
