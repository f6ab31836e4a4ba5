package learn

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Attention is exported in its parts: softmax(scale·q·kᵀ)·v (Vaswani et al. 2017), with the scale anywhere. Where the device has it as one operation, the
// last of the products becomes that; the parts are lowered too, but nobody reads them.

// leastAttended is the number of images from which the device's operation pays: its vectors run over images.
const leastAttended = 8

// attention returns softmax(scale·q·kᵀ)·v when the product n is the end of that over (N, H, T, D), where queries, keys and values have one shape; ok is
// false when it is something else.
func (l *lowering) attention(n *protos.NodeProto) (y value, ok bool) {
	if !l.fusedAttention || l.batch < leastAttended {
		return value{}, false
	}
	softmax := l.makers[n.Input[0]]
	if softmax == nil || softmax.OpType != "Softmax" || l.model.OpsetVersion() < 13 {
		return value{}, false
	}
	if axis := onnx.Int(softmax, "axis", -1); axis != -1 && axis != 3 {
		return value{}, false
	}
	name, scale := l.unscaled(softmax.Input[0], 1)
	scores := l.makers[name]
	if scores == nil || scores.OpType != "MatMul" {
		return value{}, false
	}
	q, scale := l.unscaled(scores.Input[0], scale)
	k, scale := l.unscaled(scores.Input[1], scale)
	in := []value{l.values[q], l.values[k], l.values[n.Input[1]]}
	for i, v := range in {
		if i == 1 && v.rank() == 4 { // keys are (N, H, D, T)
			v.axes = layout{v.axes[0], v.axes[1], v.axes[3], v.axes[2]}
			in[i] = v
		}
		if v.rank() != 4 || !v.batched || !v.holdsBatch(0) || len(v.axes[0]) != 1 || !sameShape(v, in[0]) {
			return value{}, false
		}
	}
	return l.attend(in, scale), true
}

func sameShape(a, b value) bool {
	sa, sb := a.shape(), b.shape()
	for i := range sa {
		if sa[i] != sb[i] {
			return false
		}
	}
	return true
}

// unscaled follows products with known numbers and quotients by them back from a value, and returns the first that is none, and scale times the numbers.
func (l *lowering) unscaled(name string, scale float64) (string, float64) {
	for {
		n := l.makers[name]
		if n == nil {
			return name, scale
		}
		switch n.OpType {
		case "Identity":
			name = n.Input[0]
			continue
		case "Mul", "Div":
			if c, ok := l.knownInput(n, 1); ok && len(c.data) == 1 {
				if name = n.Input[0]; n.OpType == "Div" {
					scale /= c.data[0]
				} else {
					scale *= c.data[0]
				}
				continue
			}
			if c, ok := l.knownInput(n, 0); ok && len(c.data) == 1 && n.OpType == "Mul" {
				name, scale = n.Input[1], scale*c.data[0]
				continue
			}
		}
		return name, scale
	}
}

// attend is attention over q, k and v (N, H, T, D). All, with the result, are kept (H, D, T, N).
func (l *lowering) attend(in []value, scale float64) value {
	var nodes []*graph.Node
	for i, v := range in {
		in[i] = l.to(v, 1, 3, 2, 0)
		nodes = append(nodes, graph.TransposeAllAxes(in[i].node, 3, 0, 2, 1))
	}
	y, _ := graph.BackendFusedScaledDotProductAttention(nodes[0], nodes[1], nodes[2], compute.AttentionAxesLayoutBHSD, &compute.ScaledDotProductAttentionConfig{Scale: scale})
	out := value{node: graph.TransposeAllAxes(y, 1, 3, 2, 0), axes: layout{{3}, {0}, {2}, {1}}, last: 3}
	return l.derive(out, in, func(v *graph.Node) []*graph.Node {
		whole := y.Inputs()[0] // y is one of the results of this
		var gs []*graph.Node
		for _, g := range graph.VJPRegistration[whole.Type()](whole, []*graph.Node{graph.TransposeAllAxes(v, 3, 0, 2, 1)}, shapes.Make(v.DType())) {
			gs = append(gs, graph.TransposeAllAxes(g, 1, 3, 2, 0))
		}
		return gs
	})
}
