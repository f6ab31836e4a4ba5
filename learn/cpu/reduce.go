package cpu

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapeinference"
	"github.com/gomlx/compute/shapes"
)

// reductions maps reductions to the ONNX operator that is the same.
var reductions = map[compute.OpType]string{
	compute.OpTypeReduceSum: "ReduceSum", compute.OpTypeReduceProduct: "ReduceProd",
	compute.OpTypeReduceMax: "ReduceMax", compute.OpTypeReduceMin: "ReduceMin",
}

func (f *Function) reduceOperation(op compute.OpType, x compute.Value, axes []int) (compute.Value, error) {
	vs, err := f.operands(op.String(), x)
	if err != nil {
		return nil, err
	}
	return f.reduce(op, vs[0], axes)
}

// reduce removes the axes, or all when there are none named.
func (f *Function) reduce(op compute.OpType, v *value, axes []int) (*value, error) {
	axes = slices.Clone(axes)
	if len(axes) == 0 {
		for axis := range v.shape.Rank() {
			axes = append(axes, axis)
		}
	}
	if len(axes) == 0 {
		return v, nil // of a scalar
	}
	slices.Sort(axes)
	if len(slices.Compact(slices.Clone(axes))) != len(axes) {
		return nil, fmt.Errorf("cpu device: %s: an axis is named twice in %v", op, axes)
	}
	shape, err := shapeinference.Reduce(v.shape, axes)
	if err != nil {
		return nil, err
	}
	if sum := f.positionSum(op, v, axes, shape); sum != nil {
		return sum, nil
	}
	computed := reductionType(v.shape.DType)
	reduced := f.emit(reductions[op], shapes.Make(computed, shape.Dimensions...),
		[]*value{f.convert(v, computed), f.integers(axes...)}, intAttribute("keepdims", 0))
	return f.convert(reduced, v.shape.DType), nil
}

// reductionType returns the type in which values of dtype are reduced: ONNX Runtime has no reductions of the narrow
// integers, which int64 holds; wrapping around when they are converted back is what their own sum would do.
func reductionType(dtype dtypes.DType) dtypes.DType {
	switch dtype {
	case dtypes.Int8, dtypes.Uint8, dtypes.Int16, dtypes.Uint16, dtypes.Uint32:
		return dtypes.Int64
	}
	return dtype
}

// ReduceSum sums over the axes.
func (f *Function) ReduceSum(x compute.Value, axes ...int) (compute.Value, error) {
	return f.reduceOperation(compute.OpTypeReduceSum, x, axes)
}

// ReduceProduct multiplies over the axes.
func (f *Function) ReduceProduct(x compute.Value, axes ...int) (compute.Value, error) {
	return f.reduceOperation(compute.OpTypeReduceProduct, x, axes)
}

// ReduceMax returns the greatest over the axes.
func (f *Function) ReduceMax(x compute.Value, axes ...int) (compute.Value, error) {
	return f.reduceOperation(compute.OpTypeReduceMax, x, axes)
}

// ReduceMin returns the least over the axes.
func (f *Function) ReduceMin(x compute.Value, axes ...int) (compute.Value, error) {
	return f.reduceOperation(compute.OpTypeReduceMin, x, axes)
}

// ReduceLogicalAnd returns whether all hold over the axes.
func (f *Function) ReduceLogicalAnd(x compute.Value, axes ...int) (compute.Value, error) {
	return f.reduceLogical(compute.OpTypeReduceMin, x, axes)
}

// ReduceLogicalOr returns whether any holds over the axes.
func (f *Function) ReduceLogicalOr(x compute.Value, axes ...int) (compute.Value, error) {
	return f.reduceLogical(compute.OpTypeReduceMax, x, axes)
}

func (f *Function) reduceLogical(op compute.OpType, x compute.Value, axes []int) (compute.Value, error) {
	vs, err := f.operands(op.String(), x)
	if err != nil {
		return nil, err
	}
	if vs[0].shape.DType != dtypes.Bool {
		return nil, fmt.Errorf("cpu device: logical reduction of %s; booleans are needed", vs[0].shape)
	}
	reduced, err := f.reduce(op, f.convert(vs[0], dtypes.Int32), axes)
	if err != nil {
		return nil, err
	}
	return f.convert(reduced, dtypes.Bool), nil
}

// ArgMinMax returns the position along the axis of the least or greatest element, the first of equal ones.
func (f *Function) ArgMinMax(x compute.Value, axis int, outputDType dtypes.DType, isMin bool) (compute.Value, error) {
	vs, err := f.operands("ArgMinMax", x)
	if err != nil {
		return nil, err
	}
	shape, err := shapeinference.ArgMinMax(vs[0].shape, axis, outputDType)
	if err != nil {
		return nil, err
	}
	if _, ok := elementTypes[outputDType]; !ok {
		return nil, fmt.Errorf("cpu device: ArgMinMax as %s: %w", outputDType, compute.ErrNotImplemented)
	}
	operator := "ArgMax"
	if isMin {
		operator = "ArgMin"
	}
	position := f.emit(operator, shapes.Make(dtypes.Int64, shape.Dimensions...), vs, intAttribute("axis", axis), intAttribute("keepdims", 0))
	return f.convert(position, outputDType), nil
}

// FusedSoftmax returns exp(x)/Σexp(x) along the axis, of x less its greatest element so that nothing overflows.
func (f *Function) FusedSoftmax(x compute.Value, axis int) (compute.Value, error) {
	v, err := f.float(compute.OpTypeFusedSoftmax, x)
	if err != nil {
		return nil, err
	}
	if axis < 0 || axis >= v.shape.Rank() {
		return nil, fmt.Errorf("cpu device: FusedSoftmax: no axis %d in %s", axis, v.shape)
	}
	return f.emit("Softmax", v.shape, []*value{v}, intAttribute("axis", axis)), nil
}
