// Package quantization writes models in which layers compute with 8 bits (or keep their weights in 8 or 4), in the form of
// QuantizeLinear and DequantizeLinear pairs that ONNX Runtime and TensorRT both read.
//
// The way of a post-training quantization:
//
//	g, err := quantization.Prepare(model)                // folded, simplified, operator set 13 or later
//	quantization.Adapt(g, target)                        // the same in a form that the target's kernels are fast at
//	_ = quantization.Equalise(g)                         // optional: SmoothQuant, cross-layer equalisation
//	plan, err := quantization.NewPlan(g, scheme)         // which nodes and values; plan.Observed names those to calibrate
//	c := quantization.NewCalibration(plan, method)       // c.Add(value, data) for every batch, as many passes as c.Passes says
//	ranges := c.Ranges()
//	quantized, err := plan.Apply(ranges)                 // a model
//
// Rules of the room: it runs no model; who calibrates hands it numbers, in an order that does not depend on timing. Sums are in float64 in that
// order, so equal numbers give equal bytes. Rounding is half to even, as ONNX has it.
package quantization

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// minimumOpset is the operator set from which on QuantizeLinear takes a scale a channel.
const minimumOpset = 13

// Target is who runs the quantized model. They differ in what they fuse.
type Target string

// The targets. For ONNX Runtime, values are uint8 with a zero point, biases int32, and there is a pair at every value between quantized
// operators, since its kernels read and write 8 bits. For TensorRT, values are int8 without a zero point, biases stay in float, and there are pairs
// only where a layer reads: it decides itself what to fuse.
const (
	ONNXRuntime Target = "onnxruntime"
	TensorRT    Target = "tensorrt"
)

// Scheme says what is quantized and how.
type Scheme struct {
	Target     Target
	PerChannel bool // a scale for each output channel of a layer's weights, else one for all
	// Reduced keeps weights to 7 bits, so that processors without VNNI do not saturate when they add pairs of products in 16 bits.
	Reduced bool
	// SlowInFloat leaves the start of a model in float as far as its nodes would be slower in 8 bits, for ONNX Runtime, by a model of its kernels.
	SlowInFloat bool
	// BoundedSwish computes a HardSwish as x·(x + 3)/6 up to a bound of x above 3, which calibration puts where that errs least, for ONNX Runtime. It saves a node and is not exact above 3.
	BoundedSwish bool
	// Exclude are patterns (path.Match) of node names or of operators; what matches stays in float.
	Exclude []string
	// Keep are nodes, by name of their first output, that stay in float besides.
	Keep map[string]bool
}

// ErrQuantized says that a model is quantized already.
var ErrQuantized = errors.New("the model is quantized already")

// Prepare returns a graph that can be quantized: simplified, normalizations folded, the operator set at least 13. It refuses models that are quantized.
func Prepare(m *onnx.Model) (*surgery.Graph, error) {
	for _, n := range m.Graph().Node {
		switch n.OpType {
		case "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "MatMulNBits":
			return nil, fmt.Errorf("%w: %s", ErrQuantized, onnx.NodeText(n))
		}
	}
	g := surgery.Edit(m)
	if err := g.Upgrade(minimumOpset); err != nil {
		return nil, err
	}
	if err := g.Simplify(); err != nil {
		return nil, err
	}
	if _, err := g.FoldNormalization(); err != nil {
		return nil, err
	}
	return g, nil
}

// CheckPatterns returns the first pattern that is malformed.
func CheckPatterns(patterns []string) (bad string, ok bool) {
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return p, false
		}
	}
	return "", true
}

// Name is what a node is called in patterns, tables and reports: its name, else its first output.
func Name(n *protos.NodeProto) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output[0]
}

// IsLayer says whether the node is a convolution or a product, which has weights of its own where it is quantized.
func IsLayer(n *protos.NodeProto) bool { return isProduct(n) }

// Matcher answers true for nodes whose name or operator one of the patterns matches.
func Matcher(patterns []string) func(*protos.NodeProto) bool {
	return func(n *protos.NodeProto) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			byName, _ := path.Match(p, Name(n))
			byOperator, _ := path.Match(p, n.OpType)
			return byName || byOperator
		})
	}
}

func (s Scheme) excludes(n *protos.NodeProto) bool {
	return s.Keep[n.Output[0]] || Matcher(s.Exclude)(n)
}

// levels is the largest code of a symmetric weight.
func (s Scheme) levels() float64 {
	if s.Reduced {
		return 63
	}
	return 127
}

// layer says whether the node is a layer with weights that can be quantized, and along which axis of its input 1 its outputs lie.
func layer(x surgery.Index, n *protos.NodeProto) (axis int, ok bool) {
	if len(n.Input) < 2 || n.Domain != "" && n.Domain != "ai.onnx" {
		return 0, false
	}
	dims, _, ok := x.Floats(n.Input[1])
	if !ok || len(dims) < 2 {
		return 0, false
	}
	switch n.OpType {
	case "Conv":
		return 0, true
	case "ConvTranspose":
		return 1, true
	case "MatMul":
		return len(dims) - 1, len(dims) == 2
	case "Gemm":
		if onnx.Int(n, "transA", 0) != 0 || onnx.Float(n, "alpha", 1) != 1 || onnx.Float(n, "beta", 1) != 1 {
			return 0, false
		}
		if onnx.Int(n, "transB", 0) != 0 {
			return 0, true
		}
		return 1, true
	}
	return 0, false
}
