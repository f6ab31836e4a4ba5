package cpu

import "math"

// A GELU, x·Φ(x), and its gradient v·(Φ(x) + x·φ(x)), as learn writes them, are an instruction each: the way back computes Φ again, so that nothing but x is
// kept. Another form stays as it is.

// geluSlope is the operator of a GELU's gradient, of x and what flows back.
const geluSlope = "GeluSlope"

// ownInstruction reports whether an operator is part of a program even when it is alone: ONNX has none such, or computes it with more error.
func ownInstruction(operator string) bool { return operator == geluSlope || operator == "Gelu" }

// joinGelus finds them. The results are set.
func (f *Function) joinGelus() {
	for _, n := range f.neededNodes() {
		if n.operator != "Mul" || n.domain != "" || !fusible(n) {
			continue
		}
		y := n.outputs[0]
		a, b := n.inputs[0], n.inputs[1]
		if !a.shape.Equal(y.shape) || !b.shape.Equal(y.shape) {
			continue
		}
		for range 2 {
			if isNormal(b, a) {
				n.operator, n.inputs = "Gelu", []*value{a}
				break
			}
			if x, ok := geluSlopeOf(b); ok {
				n.operator, n.inputs = geluSlope, []*value{x, a}
				break
			}
			a, b = b, a
		}
	}
}

// isNormal reports whether p is Φ(x), (erf(x·√½) + 1)·½.
func isNormal(p, x *value) bool {
	s, ok := withNumber(p, "Mul", 0.5)
	if !ok {
		return false
	}
	e, ok := withNumber(s, "Add", 1)
	if !ok {
		return false
	}
	z, ok := unaryOf(e, "Erf")
	if !ok {
		return false
	}
	of, ok := withNumber(z, "Mul", float32(math.Sqrt2/2))
	return ok && of == x
}

// geluSlopeOf returns x when s is Φ(x) + x·(exp(x·x·-½)·1/√(2π)).
func geluSlopeOf(s *value) (*value, bool) {
	phi, rest, ok := operands(s, "Add")
	for range 2 {
		if !ok {
			return nil, false
		}
		x, density, is := operands(rest, "Mul")
		for range 2 {
			if is && isNormal(phi, x) && isDensity(density, x) {
				return x, true
			}
			x, density = density, x
		}
		phi, rest = rest, phi
	}
	return nil, false
}

// isDensity reports whether d is exp(x·x·-½)·1/√(2π).
func isDensity(d, x *value) bool {
	e, ok := withNumber(d, "Mul", float32(1/math.Sqrt(2*math.Pi)))
	if !ok {
		return false
	}
	half, ok := unaryOf(e, "Exp")
	if !ok {
		return false
	}
	square, ok := withNumber(half, "Mul", -0.5)
	return ok && isProduct(square, x, x)
}
