package cpu

import (
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
)

// joinDense lets a product add what a dense layer's bias and the way around it add, and sum the rows of the gradient that it reads anyway for that of
// the bias. The nodes are in topological order.
func joinDense(nodes []*node, results []*value) []*node {
	r := readersOf(nodes, results)
	joined := false
	for _, n := range nodes {
		if n.operator == "Product" && n.domain == kernel.Domain {
			joined = r.joinSums(n) || r.joinBias(n) || joined
		}
	}
	if !joined {
		return nodes
	}
	return inOrder(nodes, results)
}

// joinBias lets a product add a number to each row, and then what else is added to it.
func (r *readers) joinBias(n *node) bool {
	y := n.outputs[0]
	plus := r.only(y)
	if plus == nil {
		return false
	}
	bias, ok := rowFactor(plus, "Add", y, y.shape.Dimensions[0])
	if !ok {
		return false
	}
	n.operator, n.inputs = "BiasedProduct", append(slices.Clone(n.inputs), bias)
	sum := n.result("_biased", y.shape)
	last := r.only(plus.outputs[0])
	asReshape(plus, sum)
	// What is known of who reads them is of the values as they were.
	if more, ok := added(last, plus.outputs[0]); ok {
		n.operator, n.inputs = "AddedProduct", append(n.inputs, more)
		asReshape(last, n.result("_added", y.shape))
	}
	return true
}

// result gives n, an operator with one output, another one.
func (n *node) result(name string, shape shapes.Shape) *value {
	old := n.outputs[0]
	y := &value{function: old.function, node: n, name: old.name + name, shape: shape}
	n.outputs = []*value{y}
	return y
}

// added returns what n, if it is an addition of two arrays of one size, adds to x.
func added(n *node, x *value) (*value, bool) {
	if n == nil || n.operator != "Add" || n.domain != "" {
		return nil, false
	}
	for i, in := range n.inputs {
		other := n.inputs[1-i]
		if base(in) == base(x) && base(other) != base(x) && other.shape.Size() == x.shape.Size() && in.shape.Size() == x.shape.Size() {
			return base(other), true
		}
	}
	return nil, false
}

// joinSums lets a product whose second factor has what is summed over as neighbours sum that factor's columns, where a sum of its rows is wanted.
func (r *readers) joinSums(n *node) bool {
	columns, bk := n.outputs[0].shape.Dimensions[1], n.attributes[0].Ints[5]
	if bk != 1 {
		return false
	}
	v := base(n.inputs[1])
	sum := slices.IndexFunc(r.consumers[v], func(c *node) bool { return rowSum(c, columns) })
	if sum < 0 {
		return false
	}
	of := r.consumers[v][sum]
	y := &value{function: v.function, node: n, name: n.outputs[0].name + "_sums", shape: shapes.Make(dtypes.Float32, columns)}
	n.operator, n.outputs = "SummedProduct", append(slices.Clone(n.outputs), y)
	asReshape(of, y)
	return true
}
