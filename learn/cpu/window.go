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
	if reduction == compute.ReduceOpMax {
		if g := f.largestOfWindow(v, shape.Dimensions, windowDimensions, strides, inputDilations, windowDilations, paddings); g != nil {
			return f.emitKernel("LargestOfWindow", []shapes.Shape{shape}, []*value{v}, g...)[0], nil
		}
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

// SelectAndScatterMax adds each element of source, one per window of the operand, to the place of the window's greatest
// element, the first of equal ones: the gradient of max-pooling.
func (f *Function) SelectAndScatterMax(operand, source compute.Value, windowDimensions, windowStrides []int, paddings [][2]int) (compute.Value, error) {
	return f.selectAndScatter(compute.ReduceOpMax, operand, source, windowDimensions, windowStrides, paddings)
}

// SelectAndScatterMin is SelectAndScatterMax for the least element.
func (f *Function) SelectAndScatterMin(operand, source compute.Value, windowDimensions, windowStrides []int, paddings [][2]int) (compute.Value, error) {
	return f.selectAndScatter(compute.ReduceOpMin, operand, source, windowDimensions, windowStrides, paddings)
}

func (f *Function) selectAndScatter(reduction compute.ReduceOpType, operand, source compute.Value, window, strides []int, paddings [][2]int) (compute.Value, error) {
	vs, err := f.operands("SelectAndScatter", operand, source)
	if err != nil {
		return nil, err
	}
	x, v := vs[0], vs[1]
	if _, err := shapeinference.SelectAndScatter(x.shape, v.shape, window, strides, paddings); err != nil {
		return nil, err
	}
	if reduction == compute.ReduceOpMax && x.shape.DType == v.shape.DType && x.shape.Rank() == v.shape.Rank() {
		moves := strides
		if len(moves) == 0 {
			moves = window
		}
		if g := f.largestOfWindow(x, v.shape.Dimensions, window, moves, nil, nil, paddings); g != nil {
			return f.emitKernel("LargestOfWindowGradient", []shapes.Shape{x.shape}, []*value{x, v}, g...)[0], nil
		}
	}
	chosen, err := f.ReduceWindow(x, reduction, window, strides, nil, nil, paddings)
	if err != nil {
		return nil, err
	}
	extreme := chosen.(*value)
	if !slices.Equal(extreme.shape.Dimensions, v.shape.Dimensions) || x.shape.DType != v.shape.DType {
		return nil, fmt.Errorf("cpu device: SelectAndScatter of %s with a source %s; the windows give %s", x.shape, v.shape, extreme.shape)
	}
	if len(strides) == 0 {
		strides = window
	}
	before, after := make([]int, x.shape.Rank()), make([]int, x.shape.Rank())
	for axis, p := range paddings {
		before[axis], after[axis] = p[0], p[1]
	}
	padded := f.pad(x, before, after, f.neutral(reduction, x.shape.DType))
	zero := f.convert(f.constant([]float32{0}, shapes.Make(dtypes.Float32)), x.shape.DType)
	var open, sum *value // windows whose element is not found yet; what is scattered so far, with the padding
	for _, offset := range offsets(window) {
		hit := f.emit("Equal", boolean(v.shape), []*value{f.windowSlice(padded, offset, strides, v.shape.Dimensions), extreme})
		if open == nil {
			open = f.emit("Not", hit.shape, []*value{hit})
		} else {
			hit = f.emit("And", hit.shape, []*value{hit, open})
			open = f.emit("And", hit.shape, []*value{open, f.emit("Not", hit.shape, []*value{hit})})
		}
		part := f.scatterBack(f.emit("Where", v.shape, []*value{hit, v, zero}), offset, strides, padded.shape.Dimensions, zero)
		if sum == nil {
			sum = part
			continue
		}
		sum = f.emit("Add", part.shape, []*value{sum, part})
	}
	for axis := range before {
		before[axis], after[axis] = -before[axis], -after[axis]
	}
	return f.pad(sum, before, after, zero), nil
}

// offsets lists the positions in a window, the last axis fastest.
func offsets(window []int) [][]int {
	list := [][]int{nil}
	for _, size := range window {
		var longer [][]int
		for _, head := range list {
			for i := range size {
				longer = append(longer, append(slices.Clone(head), i))
			}
		}
		list = longer
	}
	return list
}

// windowSlice returns from every window the element at that offset.
func (f *Function) windowSlice(v *value, offset, strides, counts []int) *value {
	limits := make([]int, len(offset))
	for axis := range offset {
		limits[axis] = offset[axis] + (counts[axis]-1)*strides[axis] + 1
	}
	return f.slice(v, counts, offset, limits, strides)
}

// scatterBack undoes windowSlice: v's elements at their places, zeroes elsewhere.
func (f *Function) scatterBack(v *value, offset, strides, dimensions []int, zero *value) *value {
	after := make([]int, len(offset))
	for axis := range offset {
		v = f.spread(v, axis, strides[axis]-1, zero)
		after[axis] = dimensions[axis] - v.shape.Dimensions[axis] - offset[axis]
	}
	return f.pad(v, offset, after, zero)
}
