// Activations that a normalisation applies by itself, and their gradients, as functions of what the activation is given. They are written so that
// a loop over a row is compiled once for each: the activation is a constant there.

// ACTIVATIONS runs the statement for an activation with KIND as its constant.
#define ACTIVATIONS(kind, statement) \
	switch (kind) { \
	case DK_RECTIFIER: { enum { KIND = DK_RECTIFIER }; statement; } break; \
	case DK_RECTIFIER_6: { enum { KIND = DK_RECTIFIER_6 }; statement; } break; \
	case DK_HARD_SWISH: { enum { KIND = DK_HARD_SWISH }; statement; } break; \
	case DK_SWISH: { enum { KIND = DK_SWISH }; statement; } break; \
	default: { enum { KIND = DK_LINEAR }; statement; } \
	}

// bounded is a within 0 and most; not a number stays.
static inline vec bounded(vec a, float most) {
	a = (vec)((mask)a & ~(a < 0.0f));
	return choose_of(a > most, (vec){0} + most, a);
}

#define GATE_SLOPE (1.0f / 6)

// activated is the activation of y.
static inline __attribute__((always_inline)) vec activated(int kind, vec y) {
	switch (kind) {
	case DK_RECTIFIER:
		return (vec)((mask)y & ~(y < 0.0f)); // not a number stays
	case DK_RECTIFIER_6:
		return bounded(y, 6);
	case DK_HARD_SWISH:
		return y * bounded(y * GATE_SLOPE + 0.5f, 1);
	case DK_SWISH:
		return y * sigmoid(y);
	}
	return y;
}

// through is the gradient of y where v is that of its activation. At a kink it is that of learn/activation.go.
static inline __attribute__((always_inline)) vec through(int kind, vec y, vec v) {
	switch (kind) {
	case DK_RECTIFIER:
		return (vec)((mask)v & (y > 0.0f));
	case DK_RECTIFIER_6:
		return (vec)((mask)v & (y > 0.0f) & (y < 6.0f));
	case DK_HARD_SWISH: {
		vec gate = bounded(y * GATE_SLOPE + 0.5f, 1);
		mask flat = (gate == 0.0f) | (gate == 1.0f);
		return v * (gate + (vec)((mask)(y * GATE_SLOPE) & ~flat));
	}
	case DK_SWISH: {
		vec s = sigmoid(y);
		return v * (s + y * (s * (1.0f - s)));
	}
	}
	return v;
}
