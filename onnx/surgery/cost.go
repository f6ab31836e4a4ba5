package surgery

import (
	"fmt"
	"strings"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Cost is what a node, or a whole model, takes for one image. Numbers that follow from a size that the graph leaves open count as 0.
type Cost struct {
	// MACs are the multiply-accumulate operations of convolutions and matrix products, without biases: what papers give as
	// "FLOPs" of ImageNet models (ResNet-50: 4.09 G).
	MACs int
	// FLOPs are floating point operations: two for a multiply-accumulate, one for each element that an element-wise operator, a pooling's
	// or a reduction's addition or comparison takes. An exponential or a root counts as one.
	FLOPs int
	// Parameters are the elements of float initializers; one that several nodes use is the first one's.
	Parameters int
	// Activation is the size of the outputs in bytes.
	Activation int
}

func (c *Cost) add(d Cost) {
	c.MACs += d.MACs
	c.FLOPs += d.FLOPs
	c.Parameters += d.Parameters
	c.Activation += d.Activation
}

// NodeCost is the cost of one node.
type NodeCost struct {
	Node   *protos.NodeProto
	Output Shape
	Cost
}

// Costs is what a graph takes for one image.
type Costs struct {
	Nodes []NodeCost // in order of the graph
	Total Cost
	// Peak is the largest size in bytes of all values that are needed at one moment, run in the order of the graph.
	Peak int
	// Open are the nodes whose cost is not counted, because their operator or their shape is not known.
	Open []*protos.NodeProto
}

// Costs counts what the graph takes for one image.
func (g *Graph) Costs() (*Costs, error) {
	shapes, err := g.Shapes()
	if err != nil {
		return nil, err
	}
	x := g.index()
	counted := map[string]bool{}
	c := &Costs{}
	for _, n := range g.graph().Node {
		node := NodeCost{Node: n, Output: shapes.Of(n.Output[0]).Shape}
		known := true
		for _, in := range n.Input {
			known = known && (in == "" || shapes.Of(in).Known())
			if t := x.tensors[in]; t != nil && !counted[in] && isFloat(t.DataType) {
				counted[in] = true
				elements, _ := shapes.Of(in).Shape.Elements().At(1)
				node.Parameters += elements
			}
		}
		known = known && shapes.Of(n.Output[0]).Known() || constantShape(n)
		if known {
			node.MACs, node.FLOPs = work(n, shapes)
			for _, out := range n.Output {
				node.Activation += bytesOf(shapes.Of(out))
			}
		} else {
			c.Open = append(c.Open, n)
		}
		c.Nodes = append(c.Nodes, node)
		c.Total.add(node.Cost)
	}
	c.Peak = g.peak(shapes)
	return c, nil
}

// constantShape is for operators whose work does not depend on what they measure.
func constantShape(n *protos.NodeProto) bool { return n.OpType == "Shape" || n.OpType == "Size" }

// bytesOf is the size of one image's part of a value.
func bytesOf(v Value) int {
	n, ok := v.Shape.Elements().At(1)
	if !ok || !v.Ranked {
		return 0
	}
	switch protos.TensorProto_DataType(v.Type) {
	case protos.TensorProto_INT8, protos.TensorProto_UINT8, protos.TensorProto_BOOL:
		return n
	case protos.TensorProto_FLOAT16, protos.TensorProto_BFLOAT16:
		return 2 * n
	case protos.TensorProto_INT64, protos.TensorProto_DOUBLE:
		return 8 * n
	}
	return 4 * n
}

// peak walks the graph and frees every value after its last use.
func (g *Graph) peak(s *Shapes) int {
	last := map[string]int{}
	for i, n := range g.graph().Node {
		for _, in := range n.Input {
			last[in] = i
		}
	}
	last[g.output()] = len(g.graph().Node)
	now := bytesOf(s.Of(g.input.Name))
	most := now
	alive := map[string]bool{g.input.Name: true}
	for i, n := range g.graph().Node {
		for _, out := range n.Output {
			now += bytesOf(s.Of(out))
			alive[out] = true
		}
		most = max(most, now)
		for _, list := range [][]string{n.Input, n.Output} {
			for _, name := range list {
				if alive[name] && last[name] <= i {
					now -= bytesOf(s.Of(name))
					alive[name] = false
				}
			}
		}
	}
	return most
}

// work counts a node's multiply-accumulates and floating point operations for one image.
func work(n *protos.NodeProto, s *Shapes) (macs, flops int) {
	elements := func(v Value) int { e, _ := v.Shape.Elements().At(1); return e }
	out := elements(s.Of(n.Output[0]))
	in := 0
	if len(n.Input) > 0 {
		in = elements(s.Of(n.Input[0]))
	}
	bias := func(i int) int {
		if has(n, i) {
			return out
		}
		return 0
	}
	switch n.OpType {
	case "Conv", "FusedConv", "ConvInteger":
		dims, _ := s.Of(n.Input[1]).Shape.fixed()
		macs = out * size(dims[1:])
		return macs, 2*macs + bias(2)
	case "QLinearConv":
		dims, _ := s.Of(n.Input[3]).Shape.fixed()
		macs = out * size(dims[1:])
		return macs, 2 * macs
	case "ConvTranspose":
		dims, _ := s.Of(n.Input[1]).Shape.fixed()
		macs = in * size(dims[1:])
		return macs, 2*macs + bias(2)
	case "Gemm":
		axis, _ := outputAxis(n)
		k, _ := s.Of(n.Input[1]).Shape[1-axis].At(1)
		macs = out * k
		return macs, 2*macs + bias(2)
	case "MatMul", "MatMulInteger":
		shape := s.Of(n.Input[0]).Shape
		k, _ := shape[len(shape)-1].At(1)
		macs = out * k
		return macs, 2 * macs
	case "MaxPool", "AveragePool", "LpPool":
		return 0, out * size(onnx.Ints(n, "kernel_shape"))
	case "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool":
		return 0, in
	case "BatchNormalization":
		return 0, 2 * out
	case "LayerNormalization", "InstanceNormalization", "GroupNormalization", "Softmax", "LogSoftmax":
		return 0, 5 * out
	case "Einsum":
		return einsumWork(n, s)
	}
	if strings.HasPrefix(n.OpType, "Reduce") {
		return 0, in
	}
	if moves[n.OpType] || !isFloat(s.Of(n.Output[0]).Type) {
		return 0, 0
	}
	return 0, out
}

// moves are the operators that move numbers without computing any.
var moves = map[string]bool{"Reshape": true, "Transpose": true, "Flatten": true, "Squeeze": true, "Unsqueeze": true, "Concat": true, "Split": true, "Slice": true, "Gather": true,
	"GatherElements": true, "Pad": true, "Shape": true, "Size": true, "Constant": true, "ConstantOfShape": true, "Range": true, "Expand": true, "Tile": true, "Identity": true, "Dropout": true, "Cast": true,
	"DepthToSpace": true, "SpaceToDepth": true, "Where": true}

func einsumWork(n *protos.NodeProto, s *Shapes) (macs, flops int) {
	equation := strings.ReplaceAll(onnx.Text(n, "equation", ""), " ", "")
	left, _, _ := strings.Cut(equation, "->")
	seen := map[rune]bool{}
	macs = 1
	for i, term := range strings.Split(left, ",") {
		for k, letter := range []byte(term) {
			if !seen[rune(letter)] {
				seen[rune(letter)] = true
				d, _ := s.Of(n.Input[i]).Shape[k].At(1)
				macs *= d
			}
		}
	}
	return macs, 2 * macs
}

// Text writes a number of operations for people: 4.09 G, 300 M.
func Text(n int) string {
	switch v := float64(n); {
	case v >= 1e9:
		return fmt.Sprintf("%.2f G", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.1f M", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.1f k", v/1e3)
	}
	return fmt.Sprint(n)
}
