package cpu

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapeinference"
	"github.com/gomlx/compute/shapes"
)

// matrixSide is one operand of a product as a stack of matrices.
type matrixSide struct {
	v          *value // (batch, rows, columns), or (rows, columns) without batch axes
	transposed bool   // rows and columns have changed places
	cross      []int  // dimensions that are in the result only because of this operand
}

// DotGeneral multiplies lhs and rhs: batch axes go side by side, contracting axes are summed over, the others are
// crossed. It becomes one product of matrix stacks. ONNX Runtime's product takes each side transposed or not, so an
// operand is moved in memory only when its axes are in neither order.
func (f *Function) DotGeneral(
	lhs compute.Value, lhsContractingAxes, lhsBatchAxes []int,
	rhs compute.Value, rhsContractingAxes, rhsBatchAxes []int,
	config compute.DotGeneralConfig,
) (compute.Value, error) {
	vs, err := f.operands("DotGeneral", lhs, rhs)
	if err != nil {
		return nil, err
	}
	shape, err := shapeinference.DotGeneral(vs[0].shape, lhsContractingAxes, lhsBatchAxes,
		vs[1].shape, rhsContractingAxes, rhsBatchAxes, config)
	if err != nil {
		return nil, err
	}
	dtype := vs[0].shape.DType
	if config.AccumulatorDType != dtypes.InvalidDType {
		dtype = config.AccumulatorDType
	}
	if !slices.Contains(matrixTypes, dtype) {
		return nil, fmt.Errorf("cpu device: DotGeneral of %s: %w", dtype, compute.ErrNotImplemented)
	}
	if _, ok := elementTypes[shape.DType]; !ok {
		return nil, fmt.Errorf("cpu device: DotGeneral as %s: %w", shape.DType, compute.ErrNotImplemented)
	}
	// The order of the contracting axes is free as long as both sides agree: take lhs's.
	order := argsort(lhsContractingAxes)
	a := f.matrixSide(f.convert(vs[0], dtype), lhsBatchAxes, pick(lhsContractingAxes, order), false)
	b := f.matrixSide(f.convert(vs[1], dtype), rhsBatchAxes, pick(rhsContractingAxes, order), true)
	product := f.matrixProduct(a, b)
	return f.convert(f.reshape(product, shape.Dimensions...), shape.DType), nil
}

// matrixTypes are the element types of ONNX Runtime's matrix product.
var matrixTypes = []dtypes.DType{dtypes.Float32, dtypes.Float64, dtypes.Int32, dtypes.Int64, dtypes.Uint32, dtypes.Uint64}

// matrixSide brings v into the form (batch, cross, contract), or (batch, contract, cross) when right.
func (f *Function) matrixSide(v *value, batch, contract []int, right bool) matrixSide {
	var cross []int
	for axis := range v.shape.Rank() {
		if !slices.Contains(batch, axis) && !slices.Contains(contract, axis) {
			cross = append(cross, axis)
		}
	}
	wanted, other := slices.Concat(batch, cross, contract), slices.Concat(batch, contract, cross)
	rows, columns := cross, contract
	if right {
		wanted, other = other, wanted
		rows, columns = contract, cross
	}
	side := matrixSide{}
	dimensions := v.shape.Dimensions
	for _, axis := range cross {
		side.cross = append(side.cross, dimensions[axis])
	}
	// One matrix with a single row or column is the same memory both ways round, so prefer not to call it transposed.
	if !slices.IsSorted(wanted) && slices.IsSorted(other) && v.shape.DType == dtypes.Float32 {
		side.transposed = true
		rows, columns = columns, rows
	} else {
		v = f.transpose(v, wanted...)
	}
	size := func(axes []int) int {
		n := 1
		for _, axis := range axes {
			n *= dimensions[axis]
		}
		return n
	}
	matrix := []int{size(rows), size(columns)}
	if len(batch) > 0 {
		matrix = append([]int{size(batch)}, matrix...)
	}
	side.v = f.reshape(v, matrix...)
	return side
}

// matrixProduct multiplies two stacks of matrices.
func (f *Function) matrixProduct(a, b matrixSide) *value {
	rank := a.v.shape.Rank()
	dimensions := slices.Clone(a.v.shape.Dimensions)
	if a.transposed {
		dimensions[rank-2] = a.v.shape.Dimensions[rank-1]
	}
	dimensions[rank-1] = b.v.shape.Dimensions[rank-1]
	if b.transposed {
		dimensions[rank-1] = b.v.shape.Dimensions[rank-2]
	}
	shape := shapes.Make(a.v.shape.DType, dimensions...)
	if y := f.kernelProduct(a, b, shape); y != nil {
		return y
	}
	if !a.transposed && !b.transposed {
		return f.emit("MatMul", shape, []*value{a.v, b.v})
	}
	flag := map[bool]int{true: 1}
	return f.emitOwn("FusedMatMul", shape, []*value{a.v, b.v},
		intAttribute("transA", flag[a.transposed]), intAttribute("transB", flag[b.transposed]))
}

// argsort returns the positions of list in increasing order of their elements.
func argsort(list []int) []int {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return list[i] - list[j] })
	return order
}

// pick returns list's elements at those positions.
func pick(list, positions []int) []int {
	picked := make([]int, len(positions))
	for i, p := range positions {
		picked[i] = list[p]
	}
	return picked
}
