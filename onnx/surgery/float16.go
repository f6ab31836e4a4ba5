package surgery

import "math"

// minHalf is the smallest normal float16; tinyHalf the smallest above 0.
const (
	minHalf  = 0x1p-14
	tinyHalf = 0x1p-24
)

// toHalf rounds to the nearest float16, ties to even; what is beyond the range becomes infinite.
func toHalf(v float32) uint16 {
	b := math.Float32bits(v)
	sign := uint16(b >> 16 & 0x8000)
	if v != v {
		return sign | 0x7e00
	}
	magnitude := math.Abs(float64(v))
	switch {
	case magnitude >= 65520: // half way between 65504, the largest, and the next power of two
		return sign | 0x7c00
	case magnitude < minHalf:
		return sign | uint16(math.RoundToEven(magnitude/tinyHalf))
	}
	// Rounding may carry into the exponent, which gives the right number all the same.
	m := b & 0x7fffffff
	m += 0xfff + m>>13&1
	return sign | uint16((m-(112<<23))>>13)
}

func fromHalf(h uint16) float64 {
	sign := 1.0
	if h&0x8000 != 0 {
		sign = -1
	}
	exponent, fraction := int(h>>10&31), float64(h&1023)
	switch exponent {
	case 0:
		return sign * fraction * tinyHalf
	case 31:
		if fraction != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1+fraction/1024, exponent-15)
}

// toBrain rounds to the nearest bfloat16, ties to even.
func toBrain(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

func fromBrain(h uint16) float64 { return float64(math.Float32frombits(uint32(h) << 16)) }
