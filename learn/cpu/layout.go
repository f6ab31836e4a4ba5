package cpu

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapeinference"
	"github.com/gomlx/compute/shapes"
)

// Reshape returns x with other dimensions over the same elements.
func (f *Function) Reshape(x compute.Value, dimensions ...int) (compute.Value, error) {
	vs, err := f.operands("Reshape", x)
	if err != nil {
		return nil, err
	}
	shape, err := shapeinference.Reshape(vs[0].shape, dimensions)
	if err != nil {
		return nil, err
	}
	return f.reshape(vs[0], shape.Dimensions...), nil
}

func (f *Function) reshape(v *value, dimensions ...int) *value {
	if slices.Equal(v.shape.Dimensions, dimensions) {
		return v
	}
	// A reshape of a reshape is one reshape.
	if v.node != nil && v.node.operator == "Reshape" {
		v = v.node.inputs[0]
		if slices.Equal(v.shape.Dimensions, dimensions) {
			return v
		}
	}
	shape := shapes.Make(v.shape.DType, dimensions...)
	if v.node != nil && v.node.constant != nil && v.shape.Size() == 1 { // a number stays known as such
		return f.constant(v.node.constant, shape)
	}
	// In ONNX a 0 means the dimension of the input, unless allowzero says otherwise.
	return f.emit("Reshape", shape, []*value{v, f.integers(dimensions...)}, intAttribute("allowzero", 1))
}

// Transpose returns x with its axes permuted: axis i of the result is axis permutation[i] of x.
func (f *Function) Transpose(x compute.Value, permutation ...int) (compute.Value, error) {
	vs, err := f.operands("Transpose", x)
	if err != nil {
		return nil, err
	}
	if _, err := shapeinference.Transpose(vs[0].shape, permutation); err != nil {
		return nil, err
	}
	return f.transpose(vs[0], permutation...), nil
}

func (f *Function) transpose(v *value, permutation ...int) *value {
	// A transpose of a transpose is one transpose.
	if v.node != nil && v.node.operator == "Transpose" {
		before := v.node.attributes[0].Ints
		v = v.node.inputs[0]
		once := make([]int, len(permutation))
		for i, axis := range permutation {
			once[i] = int(before[axis])
		}
		permutation = once
	}
	if slices.IsSorted(permutation) {
		return v
	}
	dimensions := make([]int, len(permutation))
	for i, axis := range permutation {
		dimensions[i] = v.shape.Dimensions[axis]
	}
	return f.emit("Transpose", shapes.Make(v.shape.DType, dimensions...), []*value{v}, intsAttribute("perm", permutation))
}

// BroadcastInDim returns x repeated to the output's shape; axis i of x becomes axis broadcastAxes[i].
func (f *Function) BroadcastInDim(x compute.Value, output shapes.Shape, broadcastAxes []int) (compute.Value, error) {
	vs, err := f.operands("BroadcastInDim", x)
	if err != nil {
		return nil, err
	}
	if err := shapeinference.BroadcastInDim(vs[0].shape, output, broadcastAxes, nil); err != nil {
		return nil, err
	}
	if !slices.IsSorted(broadcastAxes) {
		return nil, fmt.Errorf("cpu device: BroadcastInDim: axes %v do not increase", broadcastAxes)
	}
	dimensions := slices.Repeat([]int{1}, output.Rank())
	for i, axis := range broadcastAxes {
		dimensions[axis] = vs[0].shape.Dimensions[i]
	}
	return f.broadcast(f.reshape(vs[0], dimensions...), output.Dimensions...), nil
}

// broadcast repeats v along its axes of size 1; the rank stays.
func (f *Function) broadcast(v *value, dimensions ...int) *value {
	if slices.Equal(v.shape.Dimensions, dimensions) {
		return v
	}
	wide := f.emit("Expand", shapes.Make(v.shape.DType, dimensions...), []*value{v, f.integers(dimensions...)})
	wide.narrow = v
	return wide
}

// Slice returns the box from starts up to, not including, limits, every strides-th element.
func (f *Function) Slice(x compute.Value, starts, limits, strides []int) (compute.Value, error) {
	vs, err := f.operands("Slice", x)
	if err != nil {
		return nil, err
	}
	shape, err := shapeinference.Slice(vs[0].shape, starts, limits, strides)
	if err != nil {
		return nil, err
	}
	if len(strides) == 0 {
		strides = slices.Repeat([]int{1}, len(starts))
	}
	return f.slice(vs[0], shape.Dimensions, starts, limits, strides), nil
}

// slice leaves out the axes that are taken whole, so that ONNX Runtime copies the largest blocks.
func (f *Function) slice(v *value, dimensions, starts, limits, strides []int) *value {
	var from, to, axes, steps []int
	for axis, d := range v.shape.Dimensions {
		if starts[axis] != 0 || limits[axis] != d || strides[axis] != 1 {
			from, to = append(from, starts[axis]), append(to, limits[axis])
			axes, steps = append(axes, axis), append(steps, strides[axis])
		}
	}
	if len(axes) == 0 {
		return v
	}
	inputs := []*value{v, f.integers(from...), f.integers(to...), f.integers(axes...)}
	if slices.ContainsFunc(steps, func(s int) bool { return s != 1 }) {
		inputs = append(inputs, f.integers(steps...))
	}
	return f.emit("Slice", shapes.Make(v.shape.DType, dimensions...), inputs)
}

// Reverse returns x with the order along the axes reversed.
func (f *Function) Reverse(x compute.Value, axes ...int) (compute.Value, error) {
	vs, err := f.operands("Reverse", x)
	if err != nil {
		return nil, err
	}
	for _, axis := range axes {
		if axis < 0 || axis >= vs[0].shape.Rank() {
			return nil, fmt.Errorf("cpu device: Reverse: no axis %d in %s", axis, vs[0].shape)
		}
	}
	return f.reverse(vs[0], axes...), nil
}

func (f *Function) reverse(v *value, axes ...int) *value {
	if len(axes) == 0 {
		return v
	}
	var from, to, steps []int
	for _, axis := range axes {
		from, to, steps = append(from, -1), append(to, -v.shape.Dimensions[axis]-1), append(steps, -1)
	}
	turned := f.emit("Slice", v.shape, []*value{v, f.integers(from...), f.integers(to...), f.integers(axes...), f.integers(steps...)})
	turned.reverse = &reversal{v, axes}
	return turned
}

// Pad returns x with fillValue before, after and between its elements. Negative padding cuts off.
func (f *Function) Pad(x, fillValue compute.Value, axes ...compute.PadAxis) (compute.Value, error) {
	vs, err := f.operands("Pad", x, fillValue)
	if err != nil {
		return nil, err
	}
	if _, err := shapeinference.Pad(vs[0].shape, axes...); err != nil {
		return nil, err
	}
	if vs[1].shape.Size() != 1 || vs[1].shape.DType != vs[0].shape.DType {
		return nil, fmt.Errorf("cpu device: Pad of %s with a %s; a scalar of the same type is needed", vs[0].shape, vs[1].shape)
	}
	v := vs[0]
	before, after := make([]int, v.shape.Rank()), make([]int, v.shape.Rank())
	for axis, p := range axes {
		before[axis], after[axis] = p.Start, p.End
		if p.Interior > 0 {
			v = f.spread(v, axis, p.Interior, vs[1])
		}
	}
	return f.pad(v, before, after, vs[1]), nil
}

// pad adds before and after each axis, or cuts off where negative.
func (f *Function) pad(v *value, before, after []int, fill *value) *value {
	var amounts, tail, axes []int
	dimensions := slices.Clone(v.shape.Dimensions)
	for axis := range dimensions {
		if before[axis] != 0 || after[axis] != 0 {
			axes, amounts, tail = append(axes, axis), append(amounts, before[axis]), append(tail, after[axis])
			dimensions[axis] += before[axis] + after[axis]
		}
	}
	if len(axes) == 0 {
		return v
	}
	inputs := []*value{v, f.integers(append(amounts, tail...)...), f.reshape(fill), f.integers(axes...)}
	return f.emit("Pad", shapes.Make(v.shape.DType, dimensions...), inputs)
}

// spread puts n fill values between neighbours along the axis: each element becomes a row of itself and n fills, of
// which the last is cut.
func (f *Function) spread(v *value, axis, n int, fill *value) *value {
	d := v.shape.Dimensions
	if d[axis] <= 1 {
		return v
	}
	rows := f.reshape(v, slices.Insert(slices.Clone(d), axis+1, 1)...)
	before, after := make([]int, len(d)+1), make([]int, len(d)+1)
	after[axis+1] = n
	rows = f.pad(rows, before, after, fill)
	dimensions := slices.Clone(d)
	dimensions[axis] *= n + 1
	wide := f.reshape(rows, dimensions...)
	after = make([]int, len(d))
	after[axis] = -n
	return f.pad(wide, make([]int, len(d)), after, fill)
}

// Concatenate returns the operands one after the other along the axis.
func (f *Function) Concatenate(axis int, operands ...compute.Value) (compute.Value, error) {
	vs, err := f.operands("Concatenate", operands...)
	if err != nil {
		return nil, err
	}
	list := make([]shapes.Shape, len(vs))
	for i, v := range vs {
		list[i] = v.shape
	}
	shape, err := shapeinference.Concatenate(list, axis)
	if err != nil {
		return nil, err
	}
	if len(vs) == 1 {
		return vs[0], nil
	}
	if of := unsliced(vs, axis); of != nil {
		return of, nil
	}
	return f.emit("Concat", shape, vs, intAttribute("axis", axis)), nil
}

// Iota returns 0, 1, 2, … along the axis, repeated along the others.
func (f *Function) Iota(shape shapes.Shape, axis int) (compute.Value, error) {
	if err := f.open(); err != nil {
		return nil, err
	}
	if axis < 0 || axis >= shape.Rank() {
		return nil, fmt.Errorf("cpu device: Iota: no axis %d in %s", axis, shape)
	}
	if _, ok := elementTypes[shape.DType]; !ok || shape.DType == dtypes.Bool {
		return nil, fmt.Errorf("cpu device: Iota of %s: %w", shape, compute.ErrNotImplemented)
	}
	dimensions := slices.Repeat([]int{1}, shape.Rank())
	dimensions[axis] = shape.Dimensions[axis]
	count := make([]int, shape.Dimensions[axis])
	for i := range count {
		count[i] = i
	}
	row := f.reshape(f.convert(f.integers(count...), shape.DType), dimensions...)
	return f.broadcast(row, shape.Dimensions...), nil
}
