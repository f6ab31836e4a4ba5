package cpu

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapeinference"
	"github.com/gomlx/compute/shapes"
)

// windowOperators maps the reductions of a window to the operator that joins two elements.
var windowOperators = map[compute.ReduceOpType]string{
	compute.ReduceOpSum: "Add", compute.ReduceOpProduct: "Mul", compute.ReduceOpMax: "Max", compute.ReduceOpMin: "Min",
}

// ReduceWindow reduces each window of the input. A window is a box and every reduction here is associative, so the axes
// are done one after the other, each by joining one slice per position in the window, in order.
func (f *Function) ReduceWindow(
	input compute.Value, reduction compute.ReduceOpType,
	windowDimensions, strides, inputDilations, windowDilations []int, paddings [][2]int,
) (compute.Value, error) {
	vs, err := f.operands("ReduceWindow", input)
	if err != nil {
		return nil, err
	}
	v := vs[0]
	shape, err := shapeinference.ReduceWindow(v.shape, windowDimensions, strides, inputDilations, windowDilations, paddings)
	if err != nil {
		return nil, err
	}
	operator, ok := windowOperators[reduction]
	neutral := f.neutral(reduction, v.shape.DType)
	if !ok || neutral == nil {
		return nil, fmt.Errorf("cpu device: ReduceWindow %s of %s: %w", reduction, v.shape.DType, compute.ErrNotImplemented)
	}
	if len(strides) == 0 {
		strides = windowDimensions
	}
	for axis, d := range inputDilations {
		v = f.spread(v, axis, d-1, neutral)
	}
	before, after := make([]int, v.shape.Rank()), make([]int, v.shape.Rank())
	for axis, p := range paddings {
		before[axis], after[axis] = p[0], p[1]
	}
	v = f.pad(v, before, after, neutral)
	windowDilations = orOnes(windowDilations, v.shape.Rank())
	for axis := range v.shape.Rank() {
		v = f.reduceWindowAxis(v, operator, axis, windowDimensions[axis], strides[axis], windowDilations[axis], shape.Dimensions[axis])
	}
	return v, nil
}

// reduceWindowAxis reduces windows along one axis to count results.
func (f *Function) reduceWindowAxis(v *value, operator string, axis, window, stride, dilation, count int) *value {
	if window == 1 && stride == 1 {
		return v
	}
	dimensions := slices.Clone(v.shape.Dimensions)
	dimensions[axis] = count
	var joined *value
	for i := range window {
		starts, limits := make([]int, len(dimensions)), slices.Clone(v.shape.Dimensions)
		steps := slices.Repeat([]int{1}, len(dimensions))
		starts[axis], steps[axis] = i*dilation, stride
		limits[axis] = starts[axis] + (count-1)*stride + 1
		part := f.slice(v, dimensions, starts, limits, steps)
		if joined == nil {
			joined = part
			continue
		}
		joined = f.emit(operator, part.shape, []*value{joined, part})
	}
	return joined
}

// neutral returns the constant that changes nothing in a reduction, nil where there is none for the type.
func (f *Function) neutral(reduction compute.ReduceOpType, dtype dtypes.DType) *value {
	numbers := map[compute.ReduceOpType]float64{
		compute.ReduceOpSum: 0, compute.ReduceOpProduct: 1, compute.ReduceOpMax: math.Inf(-1), compute.ReduceOpMin: math.Inf(1),
	}
	x := numbers[reduction]
	scalar := shapes.Make(dtype)
	switch dtype {
	case dtypes.Float32:
		return f.constant([]float32{float32(x)}, scalar)
	case dtypes.Float64:
		return f.constant([]float64{x}, scalar)
	case dtypes.Int32:
		return f.constant([]int32{int32(min(max(x, math.MinInt32), math.MaxInt32))}, scalar)
	case dtypes.Int64:
		n := int64(0)
		switch reduction {
		case compute.ReduceOpProduct:
			n = 1
		case compute.ReduceOpMax:
			n = math.MinInt64
		case compute.ReduceOpMin:
			n = math.MaxInt64
		}
		return f.constant([]int64{n}, scalar)
	}
	return nil
}

// CumSum returns the running sum along the axis.
func (f *Function) CumSum(x compute.Value, axis int, options compute.CumSumOptions) (compute.Value, error) {
	vs, err := f.operands("CumSum", x)
	if err != nil {
		return nil, err
	}
	shape, err := shapeinference.CumSum(vs[0].shape, axis)
	if err != nil {
		return nil, err
	}
	computed := reductionType(shape.DType)
	flag := map[bool]int{true: 1}
	position := f.constant([]int64{int64(axis)}, shapes.Make(dtypes.Int64))
	sum := f.emit("CumSum", shapes.Make(computed, shape.Dimensions...), []*value{f.convert(vs[0], computed), position},
		intAttribute("exclusive", flag[options.Exclusive]), intAttribute("reverse", flag[options.Reverse]))
	return f.convert(sum, shape.DType), nil
}
