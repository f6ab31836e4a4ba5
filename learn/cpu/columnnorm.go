package cpu

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapeinference"
	"github.com/gomlx/compute/shapes"

	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
)

// A batch normalisation whose feature axis is the last of two normalises each column: what a layer normalisation of features that lie outermost
// does before its scale and shift. Those, and the sums that are their gradients, the kernel does in the same pass where joinLayerNorms finds them.

// columns reports whether a normalisation of x along the axis is one of its columns.
func columns(x *value, axis int) bool {
	return x.shape.Rank() == 2 && (axis == 1 || axis == -1) && x.shape.DType == dtypes.Float32 && x.shape.Size() > 0
}

// columnGeometry is what a normalisation of columns is told.
func columnGeometry(x *value, epsilon float32) []int {
	d := x.shape.Dimensions
	return []int{d[0], d[1], int(math.Float64bits(float64(epsilon)))}
}

// columnsOf checks values with one float32 for each column of x.
func columnsOf(operation string, x *value, list ...*value) error {
	for _, v := range list {
		if v.shape.DType != dtypes.Float32 || v.shape.Rank() != 1 || v.shape.Dimensions[0] != x.shape.Dimensions[1] {
			return fmt.Errorf("cpu device: %s of %s with %s, want one float32 for each of %d features", operation, x.shape, v.shape, x.shape.Dimensions[1])
		}
	}
	return nil
}

// is reports whether v is that number everywhere.
func is(v *value, number float32) bool {
	for v.narrow != nil {
		v = v.narrow
	}
	bits, ok := scalarBits(v)
	return ok && bits == math.Float32bits(number)
}

// columnNorm is BatchNormForTraining of columns.
func (f *Function) columnNorm(x, scale, offset *value, epsilon float32) (compute.Value, compute.Value, compute.Value, error) {
	if err := columnsOf("BatchNormForTraining", x, scale, offset); err != nil {
		return nil, nil, nil, err
	}
	row := shapes.Make(dtypes.Float32, x.shape.Dimensions[1])
	out := f.emitKernel("ColumnNorm", []shapes.Shape{x.shape, row, row}, []*value{x}, columnGeometry(x, epsilon)...)
	y, err := f.timesColumns(out[0], scale)
	if err == nil && !is(offset, 0) {
		y, err = f.Add(y, f.reshape(offset, 1, x.shape.Dimensions[1]))
	}
	return y, out[1], out[2], err
}

// timesColumns multiplies each column of x by a number.
func (f *Function) timesColumns(x, by *value) (compute.Value, error) {
	if is(by, 1) {
		return x, nil
	}
	shape, err := shapeinference.BinaryOp(compute.OpTypeMul, x.shape, shapes.Make(dtypes.Float32, 1, by.shape.Dimensions[0]))
	if err != nil {
		return nil, err
	}
	return f.emit("Mul", shape, []*value{x, f.reshape(by, 1, by.shape.Dimensions[0])}), nil
}

// columnNormGradient is BatchNormGradient of columns.
func (f *Function) columnNormGradient(x, scale, mean, variance, v *value, epsilon float32) (gx, gScale, gOffset compute.Value, err error) {
	if err := columnsOf("BatchNormGradient", x, scale, mean, variance); err != nil {
		return nil, nil, nil, err
	}
	if !v.shape.Equal(x.shape) {
		return nil, nil, nil, fmt.Errorf("cpu device: BatchNormGradient of %s with a gradient of %s", x.shape, v.shape)
	}
	u, err := f.timesColumns(v, scale)
	if err != nil {
		return nil, nil, nil, err
	}
	gx = f.emitKernel("ColumnNormGradient", []shapes.Shape{x.shape}, []*value{x, mean, variance, u.(*value)}, columnGeometry(x, epsilon)...)[0]
	// Nobody asks for these of a layer normalisation, and then they are left out.
	c := x.shape.Dimensions[1]
	centred := f.emit("Sub", x.shape, []*value{x, f.reshape(mean, 1, c)})
	deviation := f.emit("Sqrt", variance.shape, []*value{f.emit("Add", variance.shape, []*value{variance, f.scalar(variance, float64(epsilon))})})
	hat := f.emit("Div", x.shape, []*value{centred, f.reshape(deviation, 1, c)})
	if gScale, err = f.ReduceSum(f.emit("Mul", x.shape, []*value{v, hat}), 0); err != nil {
		return nil, nil, nil, err
	}
	gOffset, err = f.ReduceSum(v, 0)
	return gx, gScale, gOffset, err
}

// layerNorms finds normalisations of columns that a scale and a shift of the rows follow.
type layerNorms struct {
	*readers
	gone map[*node]bool
}

// joinLayerNorms joins normalisations of columns with the scale and shift of the rows that follow, and their gradients with the sums that are the
// gradients of scale and shift. The nodes are in topological order.
func joinLayerNorms(nodes []*node, results []*value) []*node {
	j := &layerNorms{readersOf(nodes, results), map[*node]bool{}}
	for _, n := range nodes {
		if n.operator == "ColumnNorm" && n.domain == kernel.Domain {
			j.join(n)
		}
	}
	if len(j.gone) == 0 {
		return nodes
	}
	return inOrder(slices.DeleteFunc(nodes, func(n *node) bool { return j.gone[n] }), results)
}

// rowFactor returns what Mul or Add combines x, or a reshape of it, with when that is a number for each row.
func rowFactor(n *node, operator string, x *value, rows int) (*value, bool) {
	if n.operator != operator || n.domain != "" || len(n.inputs) != 2 {
		return nil, false
	}
	for i, in := range n.inputs {
		if base(in) == x && in.shape.Size() == n.outputs[0].shape.Size() && in.shape.Dimensions[0] == rows {
			return ofRows(n.inputs[1-i], rows)
		}
	}
	return nil, false
}

// join does one normalisation: y = x̂·scale + shift and, where there is a gradient, gx, Σv·x̂ and Σv.
func (j *layerNorms) join(n *node) {
	x, hat, rows := n.inputs[0], n.outputs[0], n.inputs[0].shape.Dimensions[0]
	var scale, shift *value
	var times, plus, product, sum *node
	if j.isResult(hat) {
		return
	}
	for _, c := range j.consumers[hat] {
		if factor, ok := rowFactor(c, "Mul", hat, rows); ok && times == nil {
			scale, times = factor, c
		} else if s := j.only(c.outputs[0]); c.operator == "Mul" && product == nil && s != nil && rowSum(s, rows) {
			product, sum = c, s
		} else {
			return
		}
	}
	if times == nil {
		return
	}
	if plus = j.only(times.outputs[0]); plus == nil {
		return
	}
	var ok bool
	if shift, ok = rowFactor(plus, "Add", base(times.outputs[0]), rows); !ok {
		return
	}
	if product != nil && !j.joinGradient(n, scale, product, sum) {
		return
	}
	y := &value{function: hat.function, name: hat.name + "_scaled", shape: x.shape}
	y.node = &node{operator: "LayerNorm", domain: kernel.Domain, inputs: []*value{x, scale, shift}, attributes: n.attributes, outputs: []*value{y, n.outputs[1], n.outputs[2]}}
	n.outputs[1].node, n.outputs[2].node = y.node, y.node
	asReshape(plus, y)
	j.gone[n], j.gone[times] = true, true
}

// joinGradient does the gradient of normalisation n, whose product with its own gradient sum adds up to that of the scale. It returns false where
// they do not belong together.
func (j *layerNorms) joinGradient(n *node, scale *value, product, sum *node) bool {
	x, hat, rows := n.inputs[0], n.outputs[0], n.inputs[0].shape.Dimensions[0]
	var gradient *node
	for _, c := range j.consumers[n.outputs[1]] {
		if c.operator != "ColumnNormGradient" || c.inputs[0] != x || gradient != nil {
			return false
		}
		gradient = c
	}
	if gradient == nil {
		return false
	}
	u := base(gradient.inputs[3])
	if u.node == nil || u.node.operator != "Mul" || j.only(u) != gradient {
		return false
	}
	var v *value
	for i, in := range u.node.inputs {
		if factor, ok := ofRows(in, rows); ok && factor == scale {
			v = base(u.node.inputs[1-i])
		}
	}
	if v == nil || v.shape.Size() != x.shape.Size() || !(base(product.inputs[0]) == v && base(product.inputs[1]) == hat || base(product.inputs[1]) == v && base(product.inputs[0]) == hat) {
		return false
	}
	f := x.function
	outputs := []*value{gradient.outputs[0]}
	for _, what := range []string{"_scale", "_shift"} {
		outputs = append(outputs, &value{function: f, name: gradient.outputs[0].name + what, shape: shapes.Make(dtypes.Float32, rows)})
	}
	joined := &node{operator: "LayerNormGradient", domain: kernel.Domain, inputs: []*value{x, n.outputs[1], n.outputs[2], v, scale}, attributes: gradient.attributes, outputs: outputs}
	for _, y := range outputs {
		y.node = joined
	}
	for _, c := range j.consumers[v] {
		if rowSum(c, rows) {
			asReshape(c, outputs[2])
		}
	}
	asReshape(sum, outputs[1])
	j.gone[gradient], j.gone[u.node], j.gone[product] = true, true, true
	j.joinAddition(joined)
	return true
}

// joinAddition lets the gradient of a normalisation add what flows to x by the way around it.
func (j *layerNorms) joinAddition(n *node) {
	gx := n.outputs[0]
	plus := j.only(gx)
	if other, ok := added(plus, gx); ok {
		n.operator, n.inputs = "AddedLayerNormGradient", append(n.inputs, other)
		sum := &value{function: gx.function, node: n, name: gx.name + "_added", shape: gx.shape}
		n.outputs = append([]*value{sum}, n.outputs[1:]...)
		asReshape(plus, sum)
	}
}
