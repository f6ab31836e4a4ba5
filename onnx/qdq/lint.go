// Package qdq reads the pairs of QuantizeLinear and DequantizeLinear in a model: where they stand and what TensorRT makes of them.
//
// Rules of the room: it looks and changes nothing. It knows the rules of TensorRT's explicit quantization, not its program.
package qdq

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Finding is a place in a model where quantization would not do in TensorRT what it promises. Refused says that TensorRT does not
// build the model at all; otherwise layers stay in float or are not fused. The rules are those of TensorRT's guide to explicit quantization.
type Finding struct {
	Node    string `json:"node"` // operator and name
	Text    string `json:"text"` // full sentences
	Refused bool   `json:"refused"`
}

// foreign are operators of quantized models that TensorRT's parser does not have.
var foreign = []string{"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul", "QGemm", "FusedConv", "QAttention", "DynamicQuantizeMatMul", "MatMulNBits"}

// linter walks a model with the producer and the consumers of each value at hand.
type linter struct {
	model     *onnx.Model
	producer  map[string]*protos.NodeProto
	consumers map[string][]*protos.NodeProto
	findings  []Finding
}

// Lint returns what in the model's Q/DQ placement TensorRT would refuse or not fuse, in order of the graph.
func Lint(m *onnx.Model) []Finding {
	l := &linter{model: m, producer: map[string]*protos.NodeProto{}, consumers: map[string][]*protos.NodeProto{}}
	for _, n := range m.Graph().Node {
		for _, out := range n.Output {
			l.producer[out] = n
		}
		for _, in := range n.Input {
			l.consumers[in] = append(l.consumers[in], n)
		}
	}
	for _, n := range m.Graph().Node {
		switch n.OpType {
		case "QuantizeLinear", "DequantizeLinear":
			l.parameters(n)
			l.placement(n)
		case "Conv", "ConvTranspose", "Gemm", "MatMul":
			l.product(n)
		case "Add":
			l.residual(n)
		default:
			if slices.Contains(foreign, n.OpType) {
				l.say(n, true, "TensorRT has no operator %s. Quantize with target = \"tensorrt\", which writes QuantizeLinear and DequantizeLinear pairs.", n.OpType)
			}
		}
	}
	return l.findings
}

func (l *linter) say(n *protos.NodeProto, refused bool, text string, args ...any) {
	l.findings = append(l.findings, Finding{onnx.NodeText(n), fmt.Sprintf(text, args...), refused})
}

// parameters checks scale and zero point, which must be constants, the zero point 0 of a signed type.
func (l *linter) parameters(n *protos.NodeProto) {
	if len(n.Input) < 2 || !l.constant(n.Input[1]) {
		l.say(n, true, "Its scale is computed while the model runs. TensorRT needs scales that are constants.")
		return
	}
	if len(n.Input) < 3 || n.Input[2] == "" {
		l.say(n, true, "It has no zero point, so its type is unsigned (uint8). TensorRT takes int8 alone: give it a zero point of int8.")
		return
	}
	t := l.initializer(n.Input[2])
	switch {
	case t == nil:
		l.say(n, true, "Its zero point is computed while the model runs. TensorRT needs a constant 0.")
	case t.DataType == int32(protos.TensorProto_UINT8):
		l.say(n, true, "It quantizes to uint8, but TensorRT takes int8. Quantize with target = \"tensorrt\".")
	case !allZero(t):
		l.say(n, true, "Its zero point is not 0, but TensorRT quantizes symmetrically. Quantize with target = \"tensorrt\".")
	}
	if n.OpType == "DequantizeLinear" {
		l.axis(n)
	}
}

// axis checks that a kernel with a scale for each channel has them along its output channels.
func (l *linter) axis(n *protos.NodeProto) {
	scale := l.initializer(n.Input[1])
	if scale == nil || len(scale.Dims) == 0 || len(scale.Dims) == 1 && scale.Dims[0] == 1 || l.initializer(n.Input[0]) == nil && !l.quantizedWeight(n) {
		return
	}
	for _, c := range l.consumers[n.Output[0]] {
		want := map[string]int{"Conv": 0, "ConvTranspose": 1}
		if axis, ok := want[c.OpType]; ok && onnx.Int(n, "axis", 1) != axis {
			l.say(n, true, "The kernel of %s has its scales along axis %d. TensorRT wants them along the output channels, axis %d.", onnx.NodeText(c), onnx.Int(n, "axis", 1), axis)
		}
	}
}

// quantizedWeight reports whether n dequantizes what a QuantizeLinear made of an initializer.
func (l *linter) quantizedWeight(n *protos.NodeProto) bool {
	q := l.producer[n.Input[0]]
	return q != nil && q.OpType == "QuantizeLinear" && l.constant(q.Input[0])
}

// placement checks that pairs stand before operators, not inside what TensorRT fuses into one.
func (l *linter) placement(n *protos.NodeProto) {
	if n.OpType == "DequantizeLinear" {
		from := l.producer[n.Input[0]]
		if from == nil && l.initializer(n.Input[0]) == nil {
			l.say(n, true, "It dequantizes an input of the model. TensorRT wants the model's input in float, with a pair behind it.")
		}
		return
	}
	for _, c := range l.consumers[n.Output[0]] {
		if c.OpType != "DequantizeLinear" {
			l.say(n, true, "%s takes its result as int8. TensorRT wants a DequantizeLinear behind every QuantizeLinear.", onnx.NodeText(c))
		}
	}
	from := l.producer[n.Input[0]]
	if from == nil || !isProduct(from) {
		return
	}
	for _, next := range l.behindPair(n) {
		switch next.OpType {
		case "BatchNormalization":
			l.say(n, false, "The pair stands between %s and its %s, so neither is fused. Fold the normalization before quantizing.", onnx.NodeText(from), onnx.NodeText(next))
		case "Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish":
			l.say(n, false, "The pair stands between %s and its activation %s, which TensorRT would fuse. Put it behind the activation.", onnx.NodeText(from), onnx.NodeText(next))
		}
	}
}

// behindPair returns what takes the dequantized result of q.
func (l *linter) behindPair(q *protos.NodeProto) []*protos.NodeProto {
	var out []*protos.NodeProto
	for _, dq := range l.consumers[q.Output[0]] {
		if dq.OpType == "DequantizeLinear" {
			out = append(out, l.consumers[dq.Output[0]]...)
		}
	}
	return out
}

func isProduct(n *protos.NodeProto) bool {
	return slices.Contains([]string{"Conv", "ConvTranspose", "Gemm", "MatMul"}, n.OpType)
}

// product checks that both operands are quantized or neither: with one alone TensorRT computes in float.
func (l *linter) product(n *protos.NodeProto) {
	if len(n.Input) < 2 {
		return
	}
	a, b := l.dequantized(n.Input[0]), l.dequantized(n.Input[1])
	switch {
	case a && !b:
		l.say(n, false, "Its input is quantized, but its weights are not, so it is computed in float. Quantize both or neither.")
	case b && !a:
		l.say(n, false, "Its weights are quantized, but its input is not, so they are dequantized and it is computed in float. Quantize both or neither.")
	}
	if a && b {
		for _, c := range l.consumers[n.Output[0]] {
			if c.OpType == "BatchNormalization" {
				l.say(n, false, "%s behind it is not folded, so the result is rounded before it is normalized. Fold the normalization before quantizing.", onnx.NodeText(c))
			}
		}
	}
}

// residual checks the sum of a convolution and a skip branch: the pair belongs on the skip branch alone, then all three fuse.
func (l *linter) residual(n *protos.NodeProto) {
	if len(n.Input) != 2 {
		return
	}
	for i, in := range n.Input {
		other := n.Input[1-i]
		if dq := l.producer[in]; dq != nil && dq.OpType == "DequantizeLinear" {
			if q := l.producer[dq.Input[0]]; q != nil && q.OpType == "QuantizeLinear" {
				if p := l.producer[q.Input[0]]; p != nil && isProduct(p) && l.dequantized(p.Input[0]) && !isProductOutput(l, other) {
					l.say(n, false, "The pair stands between %s and this sum, so they do not fuse. Put it on the skip branch alone.", onnx.NodeText(p))
				}
			}
			continue
		}
		if p := l.producer[in]; p != nil && isProduct(p) && l.dequantized(p.Input[0]) && !l.dequantized(other) && !l.constant(other) && !isProductOutput(l, other) {
			l.say(n, false, "Its skip branch is not quantized, so %s and this sum do not fuse in int8. Put a pair on the skip branch.", onnx.NodeText(p))
		}
	}
}

// isProductOutput reports whether the value comes straight from a product, which is then the one that fuses.
func isProductOutput(l *linter, value string) bool {
	p := l.producer[value]
	return p != nil && isProduct(p)
}

func (l *linter) dequantized(value string) bool {
	n := l.producer[value]
	return n != nil && n.OpType == "DequantizeLinear"
}

func (l *linter) initializer(name string) *protos.TensorProto {
	for _, t := range l.model.Graph().Initializer {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// constant reports whether the value is an initializer or the output of a Constant.
func (l *linter) constant(name string) bool {
	n := l.producer[name]
	return l.initializer(name) != nil || n != nil && n.OpType == "Constant"
}

func allZero(t *protos.TensorProto) bool {
	for _, v := range t.Int32Data {
		if v != 0 {
			return false
		}
	}
	for _, b := range t.RawData {
		if b != 0 {
			return false
		}
	}
	return true
}

// Types says which element types a model computes in.
type Types struct {
	Float32, Float16, BFloat16 bool
	Int8                       bool // it has Q/DQ pairs
}

// TypesOf looks at the model's input, initializers, casts and pairs.
func TypesOf(m *onnx.Model) Types {
	var t Types
	note := func(elem int32) {
		switch protos.TensorProto_DataType(elem) {
		case protos.TensorProto_FLOAT:
			t.Float32 = true
		case protos.TensorProto_FLOAT16:
			t.Float16 = true
		case protos.TensorProto_BFLOAT16:
			t.BFloat16 = true
		}
	}
	for _, v := range m.Graph().Initializer {
		if len(v.Dims) > 0 { // scales and other scalars are not what the model computes in
			note(v.DataType)
		}
	}
	for _, n := range m.Graph().Node {
		switch n.OpType {
		case "Cast":
			note(int32(onnx.Int(n, "to", 0)))
		case "QuantizeLinear", "DequantizeLinear":
			t.Int8 = true
		}
	}
	return t
}
