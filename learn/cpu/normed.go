package cpu

import (
	"slices"

	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
)

// Networks of inverted residuals normalise, convolve each channel alone and normalise again. Where nothing else sees what the convolution reads, all
// three are one operator, and so are their gradients: a channel passes through them in the cache, and what the convolution reads is not kept for
// the gradients but computed again.

// normedDepthwise is such a place in a computation.
type normedDepthwise struct {
	before, convolution, after                             *node
	afterGradient, imageGradient, gradient, beforeGradient *node
}

// joinNormed joins normalisations, activated or not, with the convolution of single channels between them. The results are set.
func (f *Function) joinNormed() {
	nodes := f.neededNodes()
	users := usersOf(nodes, f.results)
	joined := false
	for _, n := range nodes {
		if n.operator != "Depthwise" {
			continue
		}
		if place, ok := normedPlace(n, users); ok {
			f.nodes = append(f.nodes, place.forward(users), place.backward(users))
			joined = true
		}
	}
	if joined {
		f.nodes = ordered(f.neededNodes())
	}
}

// normedPlace finds what belongs to a convolution of single channels, if all of it is there.
func normedPlace(n *node, users map[*value][]*node) (normedDepthwise, bool) {
	none := normedDepthwise{}
	x, y := n.inputs[0], n.outputs[0]
	d := normedDepthwise{before: x.node, convolution: n, after: reader(users[y], "BatchNormTraining", 0, y)}
	if d.before == nil || d.before.operator != "BatchNormTraining" || x != d.before.outputs[0] || d.after == nil {
		return none, false
	}
	d.afterGradient, d.gradient = gradientOf(d.after, users), reader(users[x], "DepthwiseGradient", 0, x)
	d.beforeGradient = gradientOf(d.before, users)
	if d.afterGradient == nil || d.gradient == nil || d.beforeGradient == nil || len(users[x]) != 2 {
		return none, false
	}
	gy, gx := d.afterGradient.outputs[0], d.beforeGradient.inputs[4]
	d.imageGradient = reader(users[gy], "Depthwise", 0, gy)
	if d.imageGradient == nil || d.gradient.inputs[1] != gy || len(users[gy]) != 2 || gx != d.imageGradient.outputs[0] || len(users[gx]) != 1 ||
		d.imageGradient.inputs[1] != n.inputs[1] {
		return none, false
	}
	return d, true
}

// reader returns the only node of that operator among them whose input i is v.
func reader(among []*node, operator string, i int, v *value) *node {
	var found *node
	for _, n := range among {
		if n != nil && n.operator == operator && n.inputs[i] == v {
			if found != nil {
				return nil
			}
			found = n
		}
	}
	return found
}

// gradientOf returns the gradient of a normalisation, with the same activation.
func gradientOf(norm *node, users map[*value][]*node) *node {
	for _, operator := range []string{"BatchNormGradient", "ActivatedBatchNormGradient"} {
		g := reader(users[norm.outputs[1]], operator, 2, norm.outputs[1])
		if g != nil && g.inputs[0] == norm.inputs[0] && g.inputs[1] == norm.inputs[1] && activationIn(g) == activationIn(norm) {
			return g
		}
	}
	return nil
}

// activationIn is the activation that is part of a normalisation or of its gradient.
func activationIn(n *node) int64 { return n.attributes[0].Ints[activationFlag] }

// forward makes one operator of the normalisations and the convolution.
func (d normedDepthwise) forward(users map[*value][]*node) *node {
	before, after := d.before, d.after
	n := &node{operator: "NormedDepthwise", domain: kernel.Domain,
		inputs:  slices.Concat(before.inputs, d.convolution.inputs[1:], after.inputs[1:]),
		outputs: slices.Concat(after.outputs[:1], before.outputs[1:], d.convolution.outputs, after.outputs[1:])}
	if sum := positionSumOf(after.outputs[0], users); sum != nil {
		n.operator, n.outputs = "NormedDepthwiseSum", append(n.outputs, sum)
	}
	return d.made(n, d.convolution.attributes[0].Ints, d.imageGradient.attributes[0].Ints, nil)
}

// backward makes one operator of their gradients.
func (d normedDepthwise) backward(users map[*value][]*node) *node {
	before, after := d.before, d.after
	n := &node{operator: "NormedDepthwiseGradient", domain: kernel.Domain,
		inputs: slices.Concat(before.inputs, d.beforeGradient.inputs[2:4], d.convolution.inputs[1:],
			after.inputs, d.afterGradient.inputs[2:4], d.afterGradient.inputs[4:5]),
		outputs: slices.Concat(d.beforeGradient.outputs, d.gradient.outputs, d.afterGradient.outputs[1:])}
	if v, gate, rest, ok := weighed(d.afterGradient.inputs[4], users); ok {
		n.operator = "WeighedNormedDepthwiseGradient"
		n.inputs = append(n.inputs[:len(n.inputs)-1], v, gate, rest)
	}
	plane, dims := d.gradient.attributes[0].Ints[:planeLength], d.gradient.attributes[0].Ints[planeLength:]
	return d.made(n, plane, d.imageGradient.attributes[0].Ints, dims)
}

// positionSumOf returns the sum of z (C, H, W, N) over its positions, (C, N), if that is asked for.
func positionSumOf(z *value, users map[*value][]*node) *value {
	d := z.shape.Dimensions
	for _, n := range users[z] {
		if n == nil {
			continue
		}
		if sum := reader(users[z], "PositionSum", 0, z); sum != nil {
			return sum.outputs[0]
		}
		if y := n.outputs[0]; n.operator == "Reshape" && y.shape.Rank() == 3 && y.shape.Dimensions[0] == d[0] && y.shape.Dimensions[2] == d[3] {
			if sum := reader(users[y], "PositionSum", 0, y); sum != nil && sum.outputs[0].shape.Rank() == 2 {
				return sum.outputs[0]
			}
		}
	}
	return nil
}

// weighed returns u, gate and rest of a value u·gate + rest (C, H, W, N) that is read once, where gate and rest are of (C, 1, 1, N): what flows back
// through channels that are weighed by a function of their means.
func weighed(v *value, users map[*value][]*node) (u, gate, rest *value, ok bool) {
	a, b, ok := operands(v, "Add")
	if !ok || len(users[v]) != 1 {
		return nil, nil, nil, false
	}
	d := v.shape.Dimensions
	narrow := []int{d[0], 1, 1, d[3]}
	for range 2 {
		u, gate, ok := operands(a, "Mul")
		for range 2 {
			if !ok {
				break
			}
			g, r := source(gate), source(b)
			if u.shape.Equal(v.shape) && slices.Equal(g.shape.Dimensions, narrow) && slices.Equal(r.shape.Dimensions, narrow) && len(users[a]) == 1 {
				return u, g, r, true
			}
			u, gate = gate, u
		}
		a, b = b, a
	}
	return nil, nil, nil, false
}

// planeLength is the number of integers that say how a convolution moves, DK_PLANE_INTS in kernels.h.
const planeLength = 22

// made completes an operator, which its outputs are of from now on.
func (d normedDepthwise) made(n *node, plane, image, rest []int64) *node {
	list := slices.Concat(plane, image)
	for _, norm := range []*node{d.before, d.after} {
		list = append(list, norm.attributes[0].Ints[epsilonPlace], activationIn(norm))
	}
	geometry := intsAttribute("geometry", nil)
	geometry.Ints = append(list, rest...)
	n.attributes = append(n.attributes, geometry)
	for _, v := range n.outputs {
		v.node = n
	}
	return n
}

// ordered returns nodes so that each comes after those that it needs, otherwise as they were.
func ordered(nodes []*node) []*node {
	done := map[*node]bool{}
	var list []*node
	var place func(n *node)
	place = func(n *node) {
		if n == nil || done[n] {
			return
		}
		done[n] = true
		for _, in := range n.inputs {
			if in != nil {
				place(in.node)
			}
		}
		list = append(list, n)
	}
	for _, n := range nodes {
		place(n)
	}
	return list
}
