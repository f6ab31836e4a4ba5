// The Gaussian error linear unit, x·Φ(x) (Hendrycks and Gimpel 2016), and its gradient. For a = |x| the tail 1 - Φ(a) is exp(-a²/2) times a function that
// falls slowly and is a polynomial of eight terms in 1/(1 + 0.3·a), fitted for the least relative error, 1.2e-7. With rounding Φ is right to 2.3e-7
// absolute, x·Φ(x) to 1e-7·(1 + |x|) absolute; for x down to -5 also relative to 1e-6, where 1 + erf(x/√2) has lost all places.

// decay is e to the s for s up to 0, which does not fall below e⁻⁸⁶; not a number stays.
static inline vec decay(vec s) {
	s = choose_of(s < -86.0f, (vec){0} - 86.0f, s);
	vec shifted = s * 1.44269504089f + 12582912.0f; // 1.5·2²³ makes it whole
	vec n = shifted - 12582912.0f;
	vec r = (s - n * 0.693145751953125f) - n * 1.42860682030941723e-6f;
	vec p = 1.39504764e-3f * r + 8.36888235e-3f;
	p = p * r + 4.1666206e-2f;
	p = p * r + 0.16666518f;
	p = p * r + 0.5f;
	p = p * (r * r) + r + 1.0f;
	return (vec)((mask)p + ((mask)shifted << 23));
}

// normal returns Φ(x), and in falls exp(-x²/2).
static inline vec normal(vec x, vec *falls) {
	*falls = decay(x * x * -0.5f);
	vec t = 1.0f / (0.3f * absolute(x) + 1.0f);
	vec p = 0.03608882427215576f * t - 0.15893366932868958f;
	p = p * t + 0.20934627950191498f;
	p = p * t - 0.05644999444484711f;
	p = p * t + 0.13003256916999817f;
	p = p * t + 0.09946507960557938f;
	p = p * t + 0.12082631140947342f;
	p = p * t + 0.1196245402097702f;
	vec tail = p * t * *falls;
	return choose_of(x < 0.0f, tail, 1.0f - tail);
}

static inline vec gelu(vec x) {
	vec falls;
	return x * normal(x, &falls);
}

// gelu_slope is v·(Φ(x) + x·φ(x)).
static inline vec gelu_slope(vec x, vec v) {
	vec falls, phi = normal(x, &falls);
	return v * (x * (falls * 0.3989422804f) + phi);
}
