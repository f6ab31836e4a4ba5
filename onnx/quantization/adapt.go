package quantization

import (
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// Adapt brings a graph that Prepare made into the form that the target's 8-bit kernels are fast at. It changes no answer beyond rounding. For ONNX Runtime's CPU provider:
//
//   - a division of the image before the first convolution goes into that convolution's weights;
//   - a HardSigmoid behind a convolution goes into its weights and becomes a Clip from 0 to 1, which the rounding to 8 bits does without further work;
//   - depthwise convolutions get channels of zeros up to a multiple of 16, where that adds an eighth at most: their kernel takes 16 channels at a time, and there is a slow one for the others;
//   - behind a pooling to one pixel stands a Transpose, which does nothing there: ONNX Runtime has the channels of 8-bit convolutions last, and changes the layout once before the
//     classifier instead of a whole image earlier.
//
// For TensorRT, which chooses layouts and kernels itself, it does nothing.
func Adapt(g *surgery.Graph, t Target) {
	if t != ONNXRuntime {
		return
	}
	for _, n := range slices.Clone(g.Nodes()) {
		switch n.OpType {
		case "Div":
			foldDivision(g, n)
		case "HardSigmoid":
			foldGate(g, n)
		case "Conv":
			fillDepthwise(g, n)
		case "GlobalAveragePool":
			turnPooled(g, n)
		}
	}
	g.RemoveDead()
}

// foldDivision puts a division of each channel by a constant into the convolution behind it. Its padding is 0 before and after the division.
func foldDivision(g *surgery.Graph, n *protos.NodeProto) {
	x := g.Index()
	dims, by, ok := x.Floats(n.Input[1])
	next := onlyUser(g, x, n.Output[0])
	if !ok || next == nil || next.OpType != "Conv" || next.Input[0] != n.Output[0] || groupsOf(next) != 1 || slices.Contains(by, 0) {
		return
	}
	wide, weights, ok := x.Floats(next.Input[1])
	if !ok || len(wide) != 4 || len(by) != 1 && (len(by) != wide[1] || !alongChannels(dims, len(by))) {
		return
	}
	inner := wide[2] * wide[3]
	for i := range weights {
		weights[i] = float32(float64(weights[i]) / float64(by[i/inner%wide[1]%len(by)]))
	}
	g.SetFloats(g.Owned(next, 1, ".weight"), wide, weights)
	next.Input[0] = n.Input[0]
}

// alongChannels says whether a constant of n numbers lies along the axis of channels of (N, C, H, W).
func alongChannels(dims []int, n int) bool {
	return len(dims) >= 3 && len(dims) <= 4 && dims[len(dims)-3] == n
}

// foldGate makes the HardSigmoid behind a convolution of its own a Clip.
func foldGate(g *surgery.Graph, n *protos.NodeProto) {
	x := g.Index()
	layer := x.Producer(n.Input[0])
	if layer == nil || layer.OpType != "Conv" || onlyUser(g, x, n.Input[0]) != n {
		return
	}
	dims, weights, ok := x.Floats(layer.Input[1])
	if !ok || len(dims) == 0 {
		return
	}
	bias := make([]float32, dims[0])
	if inputOf(layer, 2) != "" {
		if _, bias, ok = x.Floats(layer.Input[2]); !ok || len(bias) != dims[0] {
			return
		}
	}
	alpha, beta := onnx.Float(n, "alpha", 0.2), onnx.Float(n, "beta", 0.5)
	for i := range weights {
		weights[i] = float32(float64(weights[i]) * alpha)
	}
	for c := range bias {
		bias[c] = float32(float64(bias[c])*alpha + beta)
	}
	g.SetFloats(g.Owned(layer, 1, ".weight"), dims, weights)
	g.SetFloats(g.Owned(layer, 2, ".bias"), []int{len(bias)}, bias)
	low, high := n.Output[0]+".low", n.Output[0]+".high"
	g.SetFloats(low, nil, []float32{0})
	g.SetFloats(high, nil, []float32{1})
	n.OpType, n.Attribute, n.Input = "Clip", nil, []string{n.Input[0], low, high}
}

// turnPooled puts the Transpose behind a pooling that a Flatten alone reads.
func turnPooled(g *surgery.Graph, n *protos.NodeProto) {
	x := g.Index()
	next := onlyUser(g, x, n.Output[0])
	if next == nil || next.OpType != "Flatten" || onnx.Int(next, "axis", 1) != 1 {
		return
	}
	name := g.Fresh(n.Output[0] + ".turned")
	turn := &protos.NodeProto{OpType: "Transpose", Name: name, Input: []string{n.Output[0]}, Output: []string{name}, Attribute: []*protos.AttributeProto{onnx.IntsOf("perm", 0, 2, 3, 1)}}
	next.Input[0] = name
	at := slices.Index(g.Nodes(), next)
	g.SetNodes(slices.Insert(slices.Clone(g.Nodes()), at, turn))
}

// onlyUser is the node that alone reads a value which is not the graph's output; nil: there is none.
func onlyUser(g *surgery.Graph, x surgery.Index, value string) *protos.NodeProto {
	if users := x.Users(value); len(users) == 1 && value != g.Output() {
		return users[0]
	}
	return nil
}
