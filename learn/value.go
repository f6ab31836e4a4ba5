package learn

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/gomlx/core/graph"
)

// value is an ONNX value in the computation. How it is kept is free: each of its ONNX axes consists of any number of
// axes of the node, anywhere. So Transpose and most Reshapes move nothing, and what needs an order asks for it.
type value struct {
	node *graph.Node
	axes layout
	// batched says that it depends on the images. What in returns is then kept with ONNX's first axis last.
	batched bool
	// trained says that it depends on a parameter, so that it has a gradient.
	trained bool
	// last is the axis of the node along which the images lie: the batch, which is preferred as the innermost. -1: none, or not known any more.
	last int
	id   int // in the tape
}

// layout lists for each ONNX axis the axes of the node that it consists of, the outermost first. Axes of size 1 may be in none.
type layout [][]int

// plain is ONNX's own order.
func plain(rank int) layout {
	axes := make(layout, rank)
	for i := range axes {
		axes[i] = []int{i}
	}
	return axes
}

// imageOrder has ONNX's first axis as the last.
func imageOrder(rank int) layout {
	axes := make(layout, rank)
	for i := range axes {
		axes[i] = []int{(i + rank - 1) % rank}
	}
	return axes
}

// dims returns the value's dimensions as they are kept.
func (v value) dims() []int { return v.node.Shape().Dimensions }

// shape returns the value's dimensions in ONNX's order.
func (v value) shape() []int {
	shape := make([]int, len(v.axes))
	for i, parts := range v.axes {
		shape[i] = elements(pick(v.dims(), parts))
	}
	return shape
}

func (v value) rank() int { return len(v.axes) }

// holdsBatch says that the images are told apart along ONNX axis a.
func (v value) holdsBatch(a int) bool { return v.last >= 0 && slices.Contains(v.axes[a], v.last) }

// axis returns a non-negative axis, or an error when the value has no such axis.
func (v value) axis(a int) (int, error) {
	if a < 0 {
		a += v.rank()
	}
	if a < 0 || a >= v.rank() {
		return 0, fmt.Errorf("it has no axis %d, its input has %d", a, v.rank())
	}
	return a, nil
}

func elements(list []int) int {
	n := 1
	for _, d := range list {
		n *= d
	}
	return n
}

func pick(list, at []int) []int {
	out := make([]int, len(at))
	for i, a := range at {
		out[i] = list[a]
	}
	return out
}

// moved records that to is v kept in another way, whose gradient back takes to v's.
func (l *lowering) moved(v value, node *graph.Node, axes layout, last int, back func(g *graph.Node) *graph.Node) value {
	to := value{node: node, axes: axes, batched: v.batched, trained: v.trained, last: last}
	return l.record(to, []value{v}, func(g *graph.Node) []*graph.Node { return []*graph.Node{back(g)} })
}

// permute reorders the node's axes: axis i becomes what was order[i].
func (l *lowering) permute(v value, order []int) value {
	if slices.IsSorted(order) {
		return v
	}
	inverse := make([]int, len(order))
	for i, a := range order {
		inverse[a] = i
	}
	axes := make(layout, len(v.axes))
	for i, parts := range v.axes {
		for _, p := range parts {
			axes[i] = append(axes[i], inverse[p])
		}
	}
	last := -1
	if v.last >= 0 {
		last = inverse[v.last]
	}
	return l.moved(v, graph.TransposeAllAxes(v.node, order...), axes, last, func(g *graph.Node) *graph.Node { return graph.TransposeAllAxes(g, inverse...) })
}

// regroup gives the node other dimensions over the same elements in the same order.
func (l *lowering) regroup(v value, dims []int, axes layout, last int) value {
	if slices.Equal(dims, v.dims()) {
		v.axes, v.last = axes, last // the same node, so the same place in the tape
		return v
	}
	was := v.dims()
	return l.moved(v, graph.Reshape(v.node, dims...), axes, last, func(g *graph.Node) *graph.Node { return graph.Reshape(g, was...) })
}

// slim drops the node's axes of size 1.
func (l *lowering) slim(v value) value {
	at := make([]int, len(v.dims()))
	var dims []int
	for i, d := range v.dims() {
		at[i] = -1
		if d != 1 {
			at[i] = len(dims)
			dims = append(dims, d)
		}
	}
	axes := make(layout, len(v.axes))
	for i, parts := range v.axes {
		for _, p := range parts {
			if at[p] >= 0 {
				axes[i] = append(axes[i], at[p])
			}
		}
	}
	last := -1
	if v.last >= 0 {
		last = at[v.last]
	}
	return l.regroup(v, dims, axes, last)
}

// to keeps v with one axis for each of ONNX's, in the given order of them.
func (l *lowering) to(v value, order ...int) value {
	full := v.shape()
	v = l.slim(v)
	var parts []int
	for _, a := range order {
		parts = append(parts, v.axes[a]...)
	}
	last := -1
	axes := make(layout, len(order))
	for i, a := range order {
		axes[a] = []int{i}
		if v.last >= 0 && slices.Contains(v.axes[a], v.last) {
			last = i
		}
	}
	return l.regroup(l.permute(v, parts), pick(full, order), axes, last)
}

// whole keeps each of the named ONNX axes as exactly one axis of the node, and moves no more than it must.
func (l *lowering) whole(v value, axes ...int) value {
	for _, a := range axes {
		if len(v.axes[a]) != 1 {
			v = l.join(v, a)
		}
	}
	return v
}

// join makes one axis of the node of the parts of ONNX axis a.
func (l *lowering) join(v value, a int) value {
	parts := v.axes[a]
	if len(parts) == 0 { // of size 1
		axes := slices.Clone(v.axes)
		axes[a] = []int{len(v.dims())}
		return l.regroup(v, append(slices.Clone(v.dims()), 1), axes, v.last)
	}
	var order []int // the parts go where the last of them is
	for i := range v.dims() {
		if i == parts[len(parts)-1] {
			order = append(order, parts...)
		} else if !slices.Contains(parts, i) {
			order = append(order, i)
		}
	}
	v = l.permute(v, order)
	first, n := v.axes[a][0], len(parts)
	dims := slices.Clone(v.dims())
	dims = slices.Replace(dims, first, first+n, elements(dims[first:first+n]))
	at := func(i int) int {
		switch {
		case i < first:
			return i
		case i < first+n:
			return first
		}
		return i - n + 1
	}
	joined := make(layout, len(v.axes))
	for i, list := range v.axes {
		for _, p := range list {
			joined[i] = append(joined[i], at(p))
		}
	}
	joined[a] = []int{first}
	last := v.last
	if last >= 0 {
		last = at(last)
	}
	return l.regroup(v, dims, joined, last)
}

// split cuts the axes of the node so that ONNX axis i consists of the sizes[i], a refinement of what it consists of now, none 1.
func (l *lowering) split(v value, sizes [][]int) value {
	v = l.slim(v)
	pieces := make([][]int, len(v.dims())) // of each axis of the node
	for i, parts := range v.axes {
		next := 0
		for _, p := range parts {
			for left := v.dims()[p]; left > 1; next++ {
				pieces[p] = append(pieces[p], sizes[i][next])
				left /= sizes[i][next]
			}
		}
	}
	var dims []int
	first := make([]int, len(pieces))
	for p, list := range pieces {
		first[p] = len(dims)
		dims = append(dims, list...)
	}
	axes := make(layout, len(v.axes))
	for i, parts := range v.axes {
		for _, p := range parts {
			for k := range pieces[p] {
				axes[i] = append(axes[i], first[p]+k)
			}
		}
	}
	last := v.last
	if last >= 0 {
		last = first[last]
	}
	return l.regroup(v, dims, axes, last)
}

// refine returns the coarsest list of factors that both lists are groups of; ok is false when there is none. Ones are left out.
func refine(a, b []int) (list []int, ok bool) {
	isOne := func(d int) bool { return d == 1 }
	a, b = slices.DeleteFunc(slices.Clone(a), isOne), slices.DeleteFunc(slices.Clone(b), isOne)
	for len(a) > 0 && len(b) > 0 {
		x, y := &a[len(a)-1], &b[len(b)-1]
		f := min(*x, *y)
		if *x%f != 0 || *y%f != 0 {
			return nil, false
		}
		list = append(list, f)
		if *x /= f; *x == 1 {
			a = a[:len(a)-1]
		}
		if *y /= f; *y == 1 {
			b = b[:len(b)-1]
		}
	}
	slices.Reverse(list)
	return list, len(a) == 0 && len(b) == 0
}

// reshape gives v other ONNX dimensions over the same elements.
func (l *lowering) reshape(v value, to []int) value {
	v = l.slim(v)
	var parts []int
	for _, p := range v.axes {
		parts = append(parts, p...)
	}
	flat := value{node: v.node, axes: layout{parts}, batched: v.batched, trained: v.trained, last: v.last, id: v.id}
	factors, ok := refine(pick(v.dims(), parts), to)
	if !ok {
		flat = l.to(flat, 0)
		factors, flat.last = slices.DeleteFunc(slices.Clone(to), func(d int) bool { return d == 1 }), -1
	}
	flat = l.split(flat, [][]int{factors})
	axes := make(layout, len(to))
	next := 0
	for i, d := range to {
		for left := d; left > 1; next++ {
			axes[i] = append(axes[i], flat.axes[0][next])
			left /= flat.dims()[flat.axes[0][next]]
		}
	}
	flat.axes = axes
	return flat
}

// align brings both operands of an elementwise operator into one order of axes, with 1 where one is repeated. The values' nodes then
// broadcast against each other, and axes is the layout of the result.
func (l *lowering) align(a, b value) (x, y *aligned, axes layout, last int, err error) {
	rank := max(a.rank(), b.rank())
	a, b = l.lift(a, rank), l.lift(b, rank)
	sa, sb := a.shape(), b.shape()
	sizes := [2][][]int{make([][]int, rank), make([][]int, rank)}
	for i := range rank {
		switch {
		case sa[i] == 1 || sb[i] == 1:
			sizes[0][i], _ = refine(pick(a.dims(), a.axes[i]), []int{sa[i]})
			sizes[1][i], _ = refine(pick(b.dims(), b.axes[i]), []int{sb[i]})
		case sa[i] != sb[i]:
			return nil, nil, nil, 0, fmt.Errorf("operands of shape %v and %v do not broadcast", sa, sb)
		default:
			list, ok := refine(pick(a.dims(), a.axes[i]), pick(b.dims(), b.axes[i]))
			if !ok {
				a, b, list = l.whole(a, i), l.whole(b, i), []int{sa[i]}
			}
			sizes[0][i], sizes[1][i] = list, list
		}
	}
	a, b = l.split(a, sizes[0]), l.split(b, sizes[1])
	// The larger operand stays as it is, the other one's axes follow its order; those it does not have come first.
	if elements(sb) > elements(sa) || elements(sb) == elements(sa) && b.batched && !a.batched {
		y, x, axes, last = l.follow(b, a)
	} else {
		x, y, axes, last = l.follow(a, b)
	}
	return x, y, axes, last, nil
}

// lift adds axes of size 1 in front.
func (l *lowering) lift(v value, rank int) value {
	v.axes = append(make(layout, rank-v.rank()), v.axes...)
	return v
}

// aligned is an operand with the node that broadcasts.
type aligned struct {
	value value // as the tape knows it
	node  *graph.Node
}

// narrow sums the gradient g over the axes along which the operand was repeated.
func (a *aligned) narrow(g *graph.Node) *graph.Node {
	var axes []int
	for i, d := range a.node.Shape().Dimensions {
		if d == 1 && g.Shape().Dimensions[i] != 1 {
			axes = append(axes, i)
		}
	}
	if len(axes) > 0 {
		g = graph.ReduceSum(g, axes...)
	}
	return graph.Reshape(g, a.value.dims()...)
}

// follow keeps leader, and brings follower, both split alike, into its order.
func (l *lowering) follow(leader, follower value) (x, y *aligned, axes layout, last int) {
	place := slices.Repeat([]int{-1}, len(follower.dims())) // in the result, of each of the follower's axes
	var extra []int
	for i, parts := range follower.axes {
		for k, p := range parts {
			if len(leader.axes[i]) > 0 {
				place[p] = leader.axes[i][k]
			} else {
				extra = append(extra, p)
			}
		}
	}
	axes = make(layout, leader.rank())
	for i, parts := range leader.axes {
		for _, p := range parts {
			axes[i] = append(axes[i], p+len(extra))
		}
	}
	for p, at := range place {
		place[p] = at + len(extra)
	}
	for k, p := range extra {
		place[p] = k
	}
	for i, parts := range follower.axes {
		if len(leader.axes[i]) == 0 {
			axes[i] = pick(place, parts)
		}
	}
	order := make([]int, len(place))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return place[a] - place[b] })
	total := len(extra) + len(leader.dims())
	dims := slices.Repeat([]int{1}, total)
	for p, at := range place {
		dims[at] = follower.dims()[p]
	}
	follower = l.permute(follower, order)
	last = -1
	if leader.last >= 0 {
		last = leader.last + len(extra)
	}
	wide := append(slices.Repeat([]int{1}, len(extra)), leader.dims()...)
	return &aligned{leader, graph.Reshape(leader.node, wide...)}, &aligned{follower, graph.Reshape(follower.node, dims...)}, axes, last
}

// like is the value of a node that is kept as v is.
func (v value) like(node *graph.Node) value {
	return value{node: node, axes: v.axes, last: v.last}
}

// define sets the node's output i to y, whose gradient flows to the inputs by backward.
func (l *lowering) define(n *protos.NodeProto, i int, y value, inputs []value, backward func(g *graph.Node) []*graph.Node) {
	if i < len(n.Output) && n.Output[i] != "" {
		l.values[n.Output[i]] = l.derive(y, inputs, backward)
	}
}

// derive records y, which is made of the inputs. What y depends on follows from them.
func (l *lowering) derive(y value, inputs []value, backward func(g *graph.Node) []*graph.Node) value {
	for _, in := range inputs {
		y.batched = y.batched || in.batched
		y.trained = y.trained || in.trained
	}
	return l.record(y, inputs, backward)
}

// record gives y its place in the tape.
func (l *lowering) record(y value, inputs []value, backward func(g *graph.Node) []*graph.Node) value {
	y.id = l.next()
	if l.training && y.trained {
		r := record{output: y.id, backward: backward}
		for _, in := range inputs {
			r.inputs = append(r.inputs, in.id)
			r.trained = append(r.trained, in.trained)
		}
		l.tape = append(l.tape, r)
	}
	return y
}

// next returns a new place in the tape.
func (l *lowering) next() int {
	l.places++
	return l.places
}
