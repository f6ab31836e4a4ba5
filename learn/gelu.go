package learn

import (
	"math"

	"github.com/gomlx/compute-onnx/support/protos"
)

// A GELU is exported in its parts, x·(erf(x/√2) + 1)·½ with the factors in any order. The last of them becomes the whole, of which the device knows more than
// of its parts; those are lowered too, but nobody reads them.

// geluInput returns what the product n is the GELU of; ok is false when it is something else.
func (l *lowering) geluInput(n *protos.NodeProto) (x string, ok bool) {
	if n.OpType != "Mul" || !l.fusedGelu {
		return "", false
	}
	for _, names := range l.threeFactors(n) {
		for i := range names { // one is ½, one erf(x/√2) + 1, one x
			for j := range names {
				k := 3 - i - j
				if i == j || !l.isKnown(names[i], 0.5) {
					continue
				}
				if of, ok := l.shiftedErf(names[j]); ok && of == names[k] {
					return of, true
				}
			}
		}
	}
	return "", false
}

// threeFactors lists the ways in which a product is one of three factors.
func (l *lowering) threeFactors(n *protos.NodeProto) [][3]string {
	var list [][3]string
	for i := range 2 {
		if inner := l.makers[n.Input[i]]; inner != nil && inner.OpType == "Mul" {
			list = append(list, [3]string{n.Input[1-i], inner.Input[0], inner.Input[1]})
		}
	}
	return list
}

// shiftedErf returns x of erf(x/√2) + 1.
func (l *lowering) shiftedErf(name string) (x string, ok bool) {
	sum := l.makers[name]
	if sum == nil || sum.OpType != "Add" {
		return "", false
	}
	for i := range 2 {
		erf := l.makers[sum.Input[i]]
		if erf == nil || erf.OpType != "Erf" || !l.isKnown(sum.Input[1-i], 1) {
			continue
		}
		z := l.makers[erf.Input[0]]
		switch {
		case z == nil:
		case z.OpType == "Div" && l.isKnown(z.Input[1], math.Sqrt2):
			return z.Input[0], true
		case z.OpType == "Mul" && l.isKnown(z.Input[1], math.Sqrt2/2):
			return z.Input[0], true
		case z.OpType == "Mul" && l.isKnown(z.Input[0], math.Sqrt2/2):
			return z.Input[1], true
		}
	}
	return "", false
}

// isKnown reports whether the value is that number, as exactly as float32 has it.
func (l *lowering) isKnown(name string, number float64) bool {
	c, ok := l.knownInput(&protos.NodeProto{Input: []string{name}}, 0)
	return ok && len(c.data) == 1 && float32(c.data[0]) == float32(number)
}
