package onnx

import (
	"github.com/gomlx/compute-onnx/support/protos"
)

// FakeQuantizeOperator is the operator of a model that is trained with the rounding of its quantized form, in the domain OwnDomain. It takes a value and a factor, and
// gives
//
//	y = s·clamp(round(x/s), low, high)    s = scale·max(factor, LeastFactor)
//
// in float32, rounding half to even as QuantizeLinear does. There are no zero points: low and high are codes from which the zero point is subtracted, so that 0
// is exact. No other tool reads such a model; it lives between onnx/quantization, which writes it and reads it back, and learn, which trains it.
const (
	FakeQuantizeOperator = "FakeQuantize"
	OwnDomain            = "darkroom"
	// LeastFactor keeps scales positive while they are trained.
	LeastFactor = 1.0 / 16
)

// FakeQuantize is what such a node says.
type FakeQuantize struct {
	Scales    []float32 // where training starts: one, or one for each position along Axis
	Axis      int
	Low, High int
}

// Node makes the node, named after its output. factor names an initializer of as many numbers as there are scales.
func (f FakeQuantize) Node(output, value, factor string) *protos.NodeProto {
	return &protos.NodeProto{OpType: FakeQuantizeOperator, Domain: OwnDomain, Name: output, Input: []string{value, factor}, Output: []string{output}, Attribute: []*protos.AttributeProto{
		{Name: "scales", Type: protos.AttributeProto_FLOATS, Floats: f.Scales}, IntOf("axis", f.Axis), IntOf("low", f.Low), IntOf("high", f.High)}}
}

// ReadFakeQuantize returns what the node says; ok is false when it is no such node.
func ReadFakeQuantize(n *protos.NodeProto) (f FakeQuantize, ok bool) {
	a := attribute(n, "scales")
	if n.OpType != FakeQuantizeOperator || n.Domain != OwnDomain || a == nil || len(a.Floats) == 0 || len(n.Input) != 2 || len(n.Output) != 1 {
		return f, false
	}
	return FakeQuantize{a.Floats, Int(n, "axis", 0), Int(n, "low", 0), Int(n, "high", 0)}, true
}

// Scale returns the scale at a position along Axis for a factor.
func (f FakeQuantize) Scale(k int, factor float32) float32 {
	return f.Scales[k] * max(factor, LeastFactor)
}
