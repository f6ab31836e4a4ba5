package cpu

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
)

// Sums over the positions of images, (C, …, N) to (C, N), which pooling and the weighing of channels are made of.

// fewestRows is the number of rows from which package kernel's way pays: a task is a row.
const fewestRows = 8

// positionSum returns the sum over axes in the middle as one operator of package kernel; nil where it is something else.
func (f *Function) positionSum(op compute.OpType, v *value, axes []int, shape shapes.Shape) *value {
	first, last := axes[0], axes[len(axes)-1]
	if f.builder.backend.options.plain || op != compute.OpTypeReduceSum || v.shape.DType != dtypes.Float32 || last-first+1 != len(axes) ||
		last == v.shape.Rank()-1 || v.shape.Size() < fusedLeast {
		return nil
	}
	d := v.shape.Dimensions
	rows, positions, n := sizeOf(d[:first]), sizeOf(d[first:last+1]), sizeOf(d[last+1:])
	if rows < fewestRows || positions < 2 {
		return nil
	}
	geometry := append([]int{rows, positions, n, shape.Rank()}, shape.Dimensions...)
	return f.output(&node{operator: "PositionSum", domain: kernel.Domain, inputs: []*value{v}, attributes: []*protos.AttributeProto{intsAttribute("geometry", geometry)}}, shape)
}

// joinProducts makes sums of products that nothing else reads one operator each. The results are set.
func (f *Function) joinProducts() {
	nodes := f.neededNodes()
	users := usersOf(nodes, f.results)
	for _, n := range nodes {
		if n.operator != "PositionSum" {
			continue
		}
		p := n.inputs[0]
		if a, b, ok := operands(p, "Mul"); ok && len(users[p]) == 1 && a.shape.Equal(p.shape) && b.shape.Equal(p.shape) {
			n.operator, n.inputs = "PositionProductSum", []*value{a, b}
		}
	}
}

// sizeOf is the product of dimensions.
func sizeOf(dimensions []int) int {
	n := 1
	for _, d := range dimensions {
		n *= d
	}
	return n
}
