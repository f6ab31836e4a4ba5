package surgery

import (
	"math"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// FoldNormalization puts every BatchNormalization that follows a Conv, ConvTranspose or Gemm of its own into that layer's weights and
// bias, and returns how many there were. A normalization elsewhere stays.
func (g *Graph) FoldNormalization() (int, error) {
	folded := map[*protos.NodeProto]bool{}
	for _, n := range g.graph().Node {
		if n.OpType != "BatchNormalization" || !standard(n.Domain) || len(n.Input) < 5 {
			continue
		}
		x := g.index()
		layer := x.producer[n.Input[0]]
		if layer == nil || len(x.users[n.Input[0]]) != 1 || n.Input[0] == g.output() || !g.foldInto(x, layer, n) {
			continue
		}
		folded[n] = true
		layer.Output[0], n.Output[0], n.Input[0] = n.Output[0], "", ""
	}
	g.remove(func(n *protos.NodeProto) bool { return folded[n] })
	g.RemoveDead()
	return len(folded), nil
}

// affine returns what a normalization multiplies and adds per channel.
func affine(x *index, n *protos.NodeProto) (scale, shift []float64, ok bool) {
	var parts [4][]float32
	for i := range parts {
		_, data, ok := x.floats(n.Input[1+i])
		if !ok || len(data) == 0 || i > 0 && len(data) != len(parts[0]) {
			return nil, nil, false
		}
		parts[i] = data
	}
	epsilon := onnx.Float(n, "epsilon", 1e-5)
	for c := range parts[0] {
		s := float64(parts[0][c]) / math.Sqrt(float64(parts[3][c])+epsilon)
		scale = append(scale, s)
		shift = append(shift, float64(parts[1][c])-float64(parts[2][c])*s)
	}
	return scale, shift, true
}

// foldInto changes layer's weights and bias; false, and no change, where it cannot. Weights that other nodes use are copied.
func (g *Graph) foldInto(x *index, layer, n *protos.NodeProto) bool {
	scale, shift, ok := affine(x, n)
	if !ok || !standard(layer.Domain) || len(layer.Input) < 2 {
		return false
	}
	dims, weights, ok := x.floats(layer.Input[1])
	if !ok {
		return false
	}
	axis, ok := outputAxis(layer)
	if !ok || len(dims) < 2 {
		return false
	}
	groups := 1
	if layer.OpType == "ConvTranspose" {
		groups = max(1, onnx.Int(layer, "group", 1))
	}
	if layer.OpType == "Gemm" && (onnx.Float(layer, "alpha", 1) != 1 || onnx.Float(layer, "beta", 1) != 1) {
		return false
	}
	if dims[axis]*groups != len(scale) {
		return false
	}
	bias := make([]float32, len(scale))
	if has(layer, 2) {
		bdims, b, ok := x.floats(layer.Input[2])
		if !ok || len(b) != len(bias) || bdims[len(bdims)-1] != len(bias) {
			return false
		}
		copy(bias, b)
	}
	inner := size(dims[axis+1:])
	for i := range weights {
		c := i / inner % dims[axis]
		if groups > 1 { // (C, O/groups, …): the outputs of a group follow those of the group before
			c += i / size(dims[1:]) / (dims[0] / groups) * dims[axis]
		}
		weights[i] = float32(float64(weights[i]) * scale[c])
	}
	for c := range bias {
		bias[c] = float32(float64(bias[c])*scale[c] + shift[c])
	}
	g.setFloats(g.owned(x, layer, 1, ".weight"), dims, weights)
	g.setFloats(g.owned(x, layer, 2, ".bias"), []int{len(bias)}, bias)
	return true
}

// outputAxis is the axis of a layer's weights (input 1) that holds its outputs.
func outputAxis(n *protos.NodeProto) (int, bool) {
	switch n.OpType {
	case "Conv":
		return 0, true
	case "ConvTranspose":
		return 1, true
	case "Gemm":
		if onnx.Int(n, "transB", 0) != 0 {
			return 0, true
		}
		return 1, true
	}
	return 0, false
}

// owned makes sure that the node's input i is an initializer that no other node uses, adding or renaming it, and returns its name.
func (g *Graph) owned(x *index, n *protos.NodeProto, i int, suffix string) string {
	for len(n.Input) <= i {
		n.Input = append(n.Input, "")
	}
	if name := n.Input[i]; name == "" || len(x.users[name]) > 1 {
		n.Input[i] = g.fresh(n.Output[0] + suffix)
	}
	return n.Input[i]
}
