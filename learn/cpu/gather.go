package cpu

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapeinference"
	"github.com/gomlx/compute/shapes"
)

// Gather picks slices of the operand at the start indices. It is done for slices of one element along every indexed
// axis and of the whole of every other axis, that is for looking up rows; positions out of range take the border.
func (f *Function) Gather(
	operand, startIndices compute.Value, indexVectorAxis int,
	offsetOutputAxes, collapsedSliceAxes, startIndexMap, sliceSizes []int, indicesAreSorted bool,
) (compute.Value, error) {
	vs, err := f.operands("Gather", operand, startIndices)
	if err != nil {
		return nil, err
	}
	shape, err := shapeinference.Gather(vs[0].shape, vs[1].shape, indexVectorAxis, offsetOutputAxes,
		collapsedSliceAxes, startIndexMap, sliceSizes, indicesAreSorted)
	if err != nil {
		return nil, err
	}
	x, indices := vs[0], f.convert(vs[1], dtypes.Int64)
	var whole []int // axes of the operand that go into the result as they are, or as a single element
	for axis, d := range x.shape.Dimensions {
		indexed := slices.Contains(startIndexMap, axis)
		if (indexed && sliceSizes[axis] != 1) || (!indexed && sliceSizes[axis] != d) {
			return nil, fmt.Errorf("cpu device: Gather of partial slices %v of %s: %w", sliceSizes, x.shape, compute.ErrNotImplemented)
		}
		if !indexed {
			whole = append(whole, axis)
		}
	}
	// Bring the index vectors to the last axis and keep them in range.
	rank := indices.shape.Rank()
	if indexVectorAxis == rank {
		indices = f.reshape(indices, slices.Concat(indices.shape.Dimensions, []int{1})...)
	} else {
		order := slices.Concat(ascending(0, indexVectorAxis), ascending(indexVectorAxis+1, rank), []int{indexVectorAxis})
		indices = f.transpose(indices, order...)
	}
	batch := indices.shape.Dimensions[:indices.shape.Rank()-1]
	last := pick(x.shape.Dimensions, startIndexMap)
	for i := range last {
		last[i]--
	}
	indices = f.emit("Max", indices.shape, []*value{indices, f.integers(make([]int, len(last))...)})
	indices = f.emit("Min", indices.shape, []*value{indices, f.integers(last...)})
	// (indexed axes…, whole axes…) at (batch…, index vector) gives (batch…, whole axes…).
	moved := f.transpose(x, slices.Concat(startIndexMap, whole)...)
	rows := f.emit("GatherND", shapes.Make(x.shape.DType, slices.Concat(batch, pick(x.shape.Dimensions, whole))...), []*value{moved, indices})
	return f.arrangeGathered(rows, shape, len(batch), offsetOutputAxes, collapsedSliceAxes, x.shape.Rank()), nil
}

// arrangeGathered takes (batch…, whole axes…) to the result's shape: batch axes where no offset axis is, an axis of
// size 1 for each indexed axis that is not collapsed.
func (f *Function) arrangeGathered(rows *value, shape shapes.Shape, batch int, offsetOutputAxes, collapsed []int, operandRank int) *value {
	// Indexed axes that stay have size 1, so giving the result its dimensions in the order batch…, offset… needs no move.
	offset := operandRank - len(collapsed)
	batchAxes := make([]int, 0, batch)
	for axis := range batch + offset {
		if !slices.Contains(offsetOutputAxes, axis) {
			batchAxes = append(batchAxes, axis)
		}
	}
	order := slices.Concat(batchAxes, offsetOutputAxes)
	rows = f.reshape(rows, pick(shape.Dimensions, order)...)
	return f.transpose(rows, argsort(order)...)
}

// ascending returns from, from+1, … up to, not including, to.
func ascending(from, to int) []int {
	list := make([]int, 0, max(to-from, 0))
	for i := from; i < to; i++ {
		list = append(list, i)
	}
	return list
}
