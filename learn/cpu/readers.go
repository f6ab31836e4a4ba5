package cpu

import (
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"
)

// readers knows which nodes of a computation read each value.
type readers struct {
	consumers map[*value][]*node // through reshapes, by what they are reshapes of
	results   []*value
}

func readersOf(nodes []*node, results []*value) *readers {
	r := &readers{map[*value][]*node{}, results}
	for _, n := range nodes {
		if n.operator == "Reshape" {
			continue
		}
		for _, in := range n.inputs {
			if in != nil {
				r.consumers[base(in)] = append(r.consumers[base(in)], n)
			}
		}
	}
	return r
}

// only returns the one node that reads v, when there is just one and v is no result.
func (r *readers) only(v *value) *node {
	if list := r.consumers[base(v)]; len(list) == 1 && !r.isResult(v) {
		return list[0]
	}
	return nil
}

func (r *readers) isResult(v *value) bool {
	return slices.ContainsFunc(r.results, func(result *value) bool { return base(result) == base(v) })
}

// base is what v is a reshape of.
func base(v *value) *value {
	for v.node != nil && v.node.operator == "Reshape" {
		v = v.node.inputs[0]
	}
	return v
}

// ofRows returns the vector with a number for each row that v repeats along all other axes.
func ofRows(v *value, rows int) (*value, bool) {
	v = source(v)
	if v.shape.Size() != rows || v.shape.Rank() == 0 || v.shape.Dimensions[0] != rows {
		return nil, false
	}
	b := base(v)
	return b, b.shape.Rank() == 1
}

// rowSum reports whether n sums a value with so many rows along all axes but the first.
func rowSum(n *node, rows int) bool {
	if n.operator != "ReduceSum" || n.outputs[0].shape.Size() != rows {
		return false
	}
	d := n.inputs[0].shape.Dimensions
	axes := constantIntegers(n.inputs[1])
	if len(d) < 2 || len(axes) != len(d)-1 || d[0] != rows {
		return false
	}
	for i, axis := range axes { // in order
		if int(axis) != i+1 {
			return false
		}
	}
	return true
}

// inOrder returns the nodes and what else they need, each behind all that it needs and else in the given order. What no result needs is left out.
func inOrder(nodes []*node, results []*value) []*node {
	wanted, done := needed(results), map[*node]bool{}
	var list []*node
	var place func(n *node)
	place = func(n *node) {
		if done[n] || !wanted[n] {
			return
		}
		done[n] = true
		for _, in := range n.inputs {
			if in != nil && in.node != nil {
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

// asReshape makes n, an operator with one output, a reshape of v.
func asReshape(n *node, v *value) {
	shape := v.function.integers(n.outputs[0].shape.Dimensions...)
	*n = node{operator: "Reshape", inputs: []*value{v, shape}, attributes: []*protos.AttributeProto{intAttribute("allowzero", 1)}, outputs: n.outputs}
}
