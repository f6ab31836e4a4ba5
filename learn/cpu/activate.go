package cpu

import (
	"math"
	"slices"

	"github.com/gomlx/compute/shapes"
)

// An activation behind a batch normalisation becomes part of it, and the activation's gradient part of the normalisation's: what lies in between
// is never written to memory, nor is anything kept for the gradient but what the normalisation was given. The forms recognised are those that
// learn writes; another one stays as it is.

// activation numbers what a normalisation does to its output, as kernels.h does.
type activation int

const (
	linear activation = iota
	rectifier
	rectifier6
	hardSwish
	swish
)

// Where the geometry of a normalisation holds the bits of its epsilon, and which activation is part of it.
const epsilonPlace, activationFlag = 2, 3

// activate joins activations and normalisations in the computation, whose results are set.
func (f *Function) activate() {
	for _, n := range f.neededNodes() {
		if n.operator != "BatchNormGradient" {
			continue
		}
		norm := n.inputs[2].node // of the mean
		if norm == nil || norm.operator != "BatchNormTraining" || norm.inputs[0] != n.inputs[0] || norm.inputs[1] != n.inputs[1] {
			continue
		}
		kind, v := slopeOf(n.inputs[4], norm.outputs[0])
		if kind == linear {
			continue
		}
		if v := f.whole(v, n.inputs[0].shape); v != nil {
			n.attributes[0].Ints[activationFlag] = int64(kind)
			n.operator = "ActivatedBatchNormGradient"
			n.inputs = append(n.inputs[:4:4], v, norm.inputs[2])
		}
	}
	nodes := f.neededNodes()
	users := usersOf(nodes, f.results)
	for _, n := range slices.Backward(nodes) { // the longest form first
		if n.constant != nil || len(n.outputs) != 1 {
			continue
		}
		kind, y, inner := activationOf(n.outputs[0])
		if kind == linear || y.node == nil || y.node.operator != "BatchNormTraining" || y != y.node.outputs[0] || y.node.attributes[0].Ints[activationFlag] != 0 ||
			!within(append(inner, y), append(inner, n.outputs[0]), users) {
			continue
		}
		y.node.attributes[0].Ints[activationFlag] = int64(kind)
		n.outputs[0].node, y.node.outputs[0] = y.node, n.outputs[0]
		n.operator, n.outputs = "", nil // nothing reaches it any more
	}
}

// whole returns v with all its elements: the kernel reads them, where an operator repeats what it is given. nil: there is no such value.
func (f *Function) whole(v *value, shape shapes.Shape) *value {
	if v.shape.Equal(shape) {
		return v
	}
	for _, n := range f.nodes {
		for _, wide := range n.outputs {
			if wide.narrow == v && wide.shape.Equal(shape) {
				return wide
			}
		}
	}
	return nil
}

// usersOf lists, for each value, the nodes that read it, and a nil where it is a result.
func usersOf(nodes []*node, results []*value) map[*value][]*node {
	users := map[*value][]*node{}
	for _, n := range nodes {
		for _, in := range n.inputs {
			users[in] = append(users[in], n)
		}
	}
	for _, r := range results {
		users[r] = append(users[r], nil)
	}
	return users
}

// within reports whether the values are read by nothing but the nodes that make the others.
func within(values, makers []*value, users map[*value][]*node) bool {
	for _, v := range values {
		for _, user := range users[v] {
			if user == nil || len(user.outputs) != 1 || !slices.Contains(makers, user.outputs[0]) {
				return false
			}
		}
	}
	return true
}

// activationOf returns of which value z is an activation, and the values in between; linear when it is none.
func activationOf(z *value) (kind activation, y *value, inner []*value) {
	if m, ok := withNumber(z, "Min", 6); ok {
		if y, ok := withNumber(m, "Max", 0); ok {
			return rectifier6, y, []*value{m}
		}
	}
	if y, ok := withNumber(z, "Max", 0); ok {
		return rectifier, y, nil
	}
	if a, b, ok := operands(z, "Mul"); ok {
		for range 2 {
			if s, ok := unaryOf(b, "Sigmoid"); ok && s == a {
				return swish, a, []*value{b}
			}
			if inner, ok := hardGate(b, a); ok {
				return hardSwish, a, inner
			}
			a, b = b, a
		}
	}
	return linear, nil, nil
}

// hardGate reports whether g is min(max(y/6 + 1/2, 0), 1), and lists what is in between, g too.
func hardGate(g, y *value) (inner []*value, ok bool) {
	m, ok := withNumber(g, "Max", 0)
	if !ok {
		return nil, false
	}
	a, ok := withNumber(m, "Min", 1)
	if !ok {
		return nil, false
	}
	s, ok := withNumber(a, "Add", 0.5)
	if !ok {
		return nil, false
	}
	x, ok := withNumber(s, "Mul", float32(1.0/6))
	return []*value{g, m, a, s}, ok && x == y
}

// slopeOf returns v when g is the gradient of y where v is that of an activation of y; linear when it is none.
func slopeOf(g, y *value) (kind activation, v *value) {
	if v, z, ok := above(g, 0); ok {
		if kind, of, _ := activationOf(z); kind == rectifier && of == y {
			return rectifier, v
		}
	}
	if masked, z, ok := below(g, 6); ok {
		if v, same, ok := above(masked, 0); ok && same == z {
			if kind, of, _ := activationOf(z); kind == rectifier6 && of == y {
				return rectifier6, v
			}
		}
	}
	// v·gate(y) + the gradient of the gate, which v·y flows back to.
	a, b, ok := operands(g, "Add")
	if !ok {
		return linear, nil
	}
	for range 2 {
		v, gate, ok := operands(a, "Mul")
		for range 2 {
			if !ok {
				break
			}
			if s, is := unaryOf(gate, "Sigmoid"); is && s == y && sigmoidSlope(b, gate, v, y) {
				return swish, v
			}
			if _, is := hardGate(gate, y); is && hardSlope(b, gate, v, y) {
				return hardSwish, v
			}
			v, gate = gate, v
		}
		a, b = b, a
	}
	return linear, nil
}

// sigmoidSlope reports whether g is v·y·(s·(1-s)).
func sigmoidSlope(g, s, v, y *value) bool {
	a, b, ok := operands(g, "Mul")
	for range 2 {
		if ok && isProduct(a, v, y) {
			if p, q, ok := operands(b, "Mul"); ok {
				for range 2 {
					if one, same, ok := operands(q, "Sub"); ok && p == s && same == s && isNumber(one, 1) {
						return true
					}
					p, q = q, p
				}
			}
		}
		a, b = b, a
	}
	return false
}

// hardSlope reports whether g is v·y/6 where the gate is between 0 and 1, else 0.
func hardSlope(g, gate, v, y *value) bool {
	inside, ok := unless(g, gate, 0)
	if !ok {
		return false
	}
	inside, ok = unless(inside, gate, 1)
	if !ok {
		return false
	}
	p, ok := withNumber(inside, "Mul", float32(1.0/6))
	return ok && isProduct(p, v, y)
}

// operands returns the two of an ONNX operator of that name.
func operands(v *value, operator string) (a, b *value, ok bool) {
	if v.node == nil || v.node.domain != "" || v.node.operator != operator || len(v.node.inputs) != 2 {
		return nil, nil, false
	}
	return v.node.inputs[0], v.node.inputs[1], true
}

func unaryOf(v *value, operator string) (*value, bool) {
	if v.node == nil || v.node.domain != "" || v.node.operator != operator || len(v.node.inputs) != 1 {
		return nil, false
	}
	return v.node.inputs[0], true
}

// isNumber reports whether v is that number, repeated or not.
func isNumber(v *value, x float32) bool {
	bits, ok := scalarBits(source(v))
	return ok && bits == math.Float32bits(x)
}

// withNumber returns what the operator, whose operands may change places, joins with that number.
func withNumber(v *value, operator string, x float32) (*value, bool) {
	a, b, ok := operands(v, operator)
	switch {
	case ok && isNumber(b, x) && a.shape.Equal(v.shape):
		return a, true
	case ok && isNumber(a, x) && b.shape.Equal(v.shape):
		return b, true
	}
	return nil, false
}

func isProduct(p, x, y *value) bool {
	a, b, ok := operands(p, "Mul")
	return ok && (a == x && b == y || a == y && b == x)
}

// chosen returns the parts of Where(z ∘ x, a, b) with that comparison ∘.
func chosen(w *value, comparison string, x float32) (z, a, b *value, ok bool) {
	if w.node == nil || w.node.domain != "" || w.node.operator != "Where" {
		return nil, nil, nil, false
	}
	z, number, ok := operands(w.node.inputs[0], comparison)
	if !ok || !isNumber(number, x) || !z.shape.EqualDimensions(w.shape) {
		return nil, nil, nil, false
	}
	return z, w.node.inputs[1], w.node.inputs[2], true
}

// above returns v and z of Where(z > x, v, 0).
func above(w *value, x float32) (v, z *value, ok bool) {
	z, v, zero, ok := chosen(w, "Greater", x)
	return v, z, ok && isNumber(zero, 0)
}

// below returns v and z of Where(z < x, v, 0).
func below(w *value, x float32) (v, z *value, ok bool) {
	z, v, zero, ok := chosen(w, "Less", x)
	return v, z, ok && isNumber(zero, 0)
}

// unless returns v of Where(z = x, 0, v).
func unless(w, z *value, x float32) (v *value, ok bool) {
	of, zero, v, ok := chosen(w, "Equal", x)
	return v, ok && of == z && isNumber(zero, 0)
}
