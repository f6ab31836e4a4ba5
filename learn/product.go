package learn

import (
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/core/graph"
)

// stack is an operand of a product of stacks of matrices. Its node has the axes that tell the stacks apart first, then those of the matrix.
type stack struct {
	value    value
	stacks   int // how many axes tell the stacks apart
	contract int // the axis of the node that is summed over
	other    int // the axis of the node that is in the result
}

// part is one axis of a value's node: part number i of what an ONNX axis consists of.
type part struct{ axis, i int }

// multiplyStacks is the product of (…, M, K) and (…, K, O) for each element of the axes before. What lies between those axes moves
// once, here: the products of the gradients read the same memory, and give their results in the order that they are needed in.
func (l *lowering) multiplyStacks(a, b value) (value, error) {
	rank := a.rank()
	a, b, err := l.sameStacks(a, b)
	if err != nil {
		return value{}, err
	}
	a, b = l.whole(l.whole(a, rank-2), rank-1), l.whole(l.whole(b, rank-2), rank-1)
	var order []part
	for i, parts := range a.axes[:rank-2] {
		for k := range parts {
			order = append(order, part{i, k})
		}
	}
	slices.SortFunc(order, func(p, q part) int { return a.axes[p.axis][p.i] - a.axes[q.axis][q.i] })
	x, y := l.stack(a, order, rank-1, rank-2), l.stack(b, order, rank-2, rank-1)
	// Where b has the columns of the result before what is summed over, so has the result: what is kept features first stays so.
	left, right := x, y
	if y.other < y.contract {
		left, right = y, x
	}
	z := value{node: times(left, right), axes: make(layout, rank), last: -1, batched: a.batched || b.batched, trained: a.trained || b.trained}
	for i := range rank - 2 {
		z.axes[i] = make([]int, len(a.axes[i]))
	}
	for at, p := range order {
		z.axes[p.axis][p.i] = at
		if a.axes[p.axis][p.i] == a.last {
			z.last = at
		}
	}
	z.axes[rank-2], z.axes[rank-1] = []int{len(order)}, []int{len(order) + 1}
	if left == y {
		z.axes[rank-2], z.axes[rank-1] = z.axes[rank-1], z.axes[rank-2]
	}
	return l.record(z, []value{left.value, right.value}, func(v *graph.Node) []*graph.Node {
		n := len(order)
		byRow, byColumn := &stack{value{node: v}, n, n + 1, n}, &stack{value{node: v}, n, n, n + 1} // summed over columns, over rows
		gl, gr := (*graph.Node)(nil), (*graph.Node)(nil)
		flipped := func(s *stack) *stack { return &stack{s.value, s.stacks, s.other, s.contract} }
		if left.contract < left.other {
			gl = times(flipped(right), byRow)
		} else {
			gl = times(byRow, flipped(right))
		}
		if right.contract < right.other {
			gr = times(flipped(left), byColumn)
		} else {
			gr = times(byColumn, flipped(left))
		}
		return []*graph.Node{gl, gr}
	}), nil
}

// sameStacks repeats what broadcasts, and splits the axes before the matrices alike.
func (l *lowering) sameStacks(a, b value) (value, value, error) {
	rank := a.rank()
	sa, sb := a.shape(), b.shape()
	wide := make([]int, rank-2)
	for i := range wide {
		if sa[i] != sb[i] && sa[i] != 1 && sb[i] != 1 {
			return a, b, fmt.Errorf("stacks of matrices of shape %v and %v do not broadcast", sa, sb)
		}
		wide[i] = max(sa[i], sb[i])
	}
	a, b = l.expand(a, append(slices.Clone(wide), sa[rank-2:]...)), l.expand(b, append(slices.Clone(wide), sb[rank-2:]...))
	sizesOf := func(v value) [][]int {
		sizes := make([][]int, rank)
		for i, parts := range v.axes {
			sizes[i] = pick(v.dims(), parts)
		}
		return sizes
	}
	a, b = l.slim(a), l.slim(b)
	for i := range wide {
		if _, ok := refine(pick(a.dims(), a.axes[i]), pick(b.dims(), b.axes[i])); !ok {
			a, b = l.slim(l.whole(a, i)), l.slim(l.whole(b, i))
		}
	}
	pa, pb := sizesOf(a), sizesOf(b)
	for i := range wide {
		list, _ := refine(pa[i], pb[i])
		pa[i], pb[i] = list, list
	}
	return l.split(a, pa), l.split(b, pb), nil
}

// stack brings the parts of v that tell its matrices apart to the front.
func (l *lowering) stack(v value, order []part, contract, other int) *stack {
	var front []int
	for _, p := range order {
		front = append(front, v.axes[p.axis][p.i])
	}
	c, o := v.axes[contract][0], v.axes[other][0]
	v = l.permute(v, append(front, min(c, o), max(c, o)))
	return &stack{v, len(order), v.axes[contract][0], v.axes[other][0]}
}

// times multiplies two stacks of matrices: (stacks, left's other, right's other).
func times(left, right *stack) *graph.Node {
	s := count(left.stacks)
	return graph.Dot(left.value.node, right.value.node).General([]int{left.contract}, s, []int{right.contract}, s)
}
