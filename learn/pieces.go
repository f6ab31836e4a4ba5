package learn

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() {
	register([]string{"Concat"}, concat)
	register([]string{"Slice"}, slice)
	register([]string{"Split"}, split)
	register([]string{"Gather"}, gather)
	register([]string{"Pad"}, pad)
}

// concat puts values one after the other along an axis. What has one image where others have the batch is repeated.
func concat(l *lowering, n *protos.NodeProto) error {
	var in []value
	leader := 0
	for i := range n.Input {
		v, err := l.get(n, i)
		if err != nil {
			return err
		}
		in = append(in, v)
		if old := in[leader]; v.batched && !old.batched || v.batched == old.batched && elements(v.shape()) > elements(old.shape()) {
			leader = i
		}
	}
	if len(in) == 0 {
		return fmt.Errorf("it has no inputs")
	}
	axis, err := in[0].axis(onnx.Int(n, "axis", 0))
	if err != nil {
		return err
	}
	if in[leader].holdsBatch(axis) {
		return fmt.Errorf("it joins batches")
	}
	rank := in[leader].rank()
	first := l.whole(in[leader], count(rank)...)
	order := make([]int, rank) // of the ONNX axes in the node
	for i := range order {
		order[first.axes[i][0]] = i
	}
	var nodes []*graph.Node
	var sizes []int
	for i, v := range in {
		if v.rank() != rank {
			return fmt.Errorf("its inputs have %d and %d dimensions", rank, v.rank())
		}
		shape := first.shape()
		shape[axis] = v.shape()[axis]
		for k, d := range v.shape() {
			if d != shape[k] && (d != 1 || k != 0) {
				return fmt.Errorf("its inputs of shape %v and %v do not fit each other", first.shape(), v.shape())
			}
		}
		in[i] = l.to(l.expand(v, shape), order...)
		nodes, sizes = append(nodes, in[i].node), append(sizes, shape[axis])
	}
	at := first.axes[axis][0]
	l.define(n, 0, first.like(graph.Concatenate(nodes, at)), in, func(v *graph.Node) []*graph.Node {
		var gs []*graph.Node
		from := 0
		for _, s := range sizes {
			gs = append(gs, cut(v, at, sliceRange{from, 1, s}))
			from += s
		}
		return gs
	})
	return nil
}

// cut takes a range of one axis.
func cut(x *graph.Node, axis int, r sliceRange) *graph.Node {
	specs := make([]graph.SliceAxisSpec, x.Rank())
	for i := range specs {
		specs[i] = graph.AxisRange()
	}
	if r.step < 0 {
		last := r.start + (r.length-1)*r.step
		specs[axis] = graph.AxisRange(last, r.start+1).Stride(-r.step)
		return graph.Reverse(graph.Slice(x, specs...), axis)
	}
	specs[axis] = graph.AxisRange(r.start, r.start+(r.length-1)*r.step+1).Stride(r.step)
	return graph.Slice(x, specs...)
}

// uncut is the gradient of cut of an axis of that size.
func uncut(v *graph.Node, axis, size int, r sliceRange) *graph.Node {
	if r.step < 0 {
		v = graph.Reverse(v, axis)
		r = sliceRange{r.start + (r.length-1)*r.step, -r.step, r.length}
	}
	pads := make([]graph.PadAxis, v.Rank())
	pads[axis] = graph.PadAxis{Start: r.start, End: size - r.start - (r.length-1)*r.step - 1, Interior: r.step - 1}
	return graph.Pad(v, graph.ScalarZero(v.Graph(), v.DType()), pads...)
}

// take defines output i of the node as a range of one ONNX axis, or returns it when i is below 0.
func (l *lowering) take(x value, axis int, r sliceRange) value {
	x = l.whole(x, axis)
	at, size := x.axes[axis][0], x.shape()[axis]
	if r == (sliceRange{0, 1, size}) {
		return x
	}
	y := l.moved(x, cut(x.node, at, r), x.axes, x.last, nil)
	if n := len(l.tape); n > 0 && l.tape[n-1].output == y.id {
		l.tape[n-1].piece = &piece{at, size, r}
	}
	return y
}

func slice(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	lists := [4][]int{onnx.Ints(n, "starts"), onnx.Ints(n, "ends"), onnx.Ints(n, "axes"), nil}
	for i, what := range []string{"starts", "ends", "axes", "steps"} {
		if has(n, i+1) {
			if lists[i], err = l.whole64(n, i+1, what); err != nil {
				return err
			}
		}
	}
	shape := x.shape()
	ranges, err := sliceRanges(shape, lists)
	if err != nil {
		return err
	}
	for axis, r := range ranges {
		if r == (sliceRange{0, 1, shape[axis]}) {
			continue
		}
		if r.length < 1 || x.holdsBatch(axis) {
			return fmt.Errorf("it takes %d of %d along axis %d, which is not supported", r.length, shape[axis], axis)
		}
		x = l.take(x, axis, r)
	}
	l.values[n.Output[0]] = x
	return nil
}

func split(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	axis, err := x.axis(onnx.Int(n, "axis", 0))
	if err != nil {
		return err
	}
	sizes := onnx.Ints(n, "split")
	if has(n, 1) {
		if sizes, err = l.whole64(n, 1, "split"); err != nil {
			return err
		}
	}
	size := x.shape()[axis]
	if sizes == nil {
		each := (size + len(n.Output) - 1) / len(n.Output)
		for left := size; left > 0; left -= each {
			sizes = append(sizes, min(each, left))
		}
	}
	total := 0
	for _, s := range sizes {
		if s < 1 {
			return fmt.Errorf("it splits %d elements into %v", size, sizes)
		}
		total += s
	}
	if total != size || len(sizes) != len(n.Output) {
		return fmt.Errorf("it splits %d elements into %v for %d outputs", size, sizes, len(n.Output))
	}
	x = l.whole(x, axis) // once, so that the parts' gradients meet at one place
	from := 0
	for i, s := range sizes {
		if n.Output[i] != "" {
			l.values[n.Output[i]] = l.take(x, axis, sliceRange{from, 1, s})
		}
		from += s
	}
	return nil
}

// gather looks up known positions along an axis. One position is a slice. Many are a product with a matrix that has one 1 in each
// row, forward and back: exact, and what attention's tables of relative positions need is small.
func gather(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	axis, err := x.axis(onnx.Int(n, "axis", 0))
	if err != nil {
		return err
	}
	if c, ok := l.knownInput(n, 1); ok && x.rank() == 1 && slices.Equal(c.ints(), count(x.shape()[0])) {
		l.values[n.Output[0]] = l.reshape(x, c.dims) // everything in its order: PyTorch's as_strided
		return nil
	}
	if x.holdsBatch(axis) {
		return fmt.Errorf("it picks images from the batch")
	}
	c, ok := l.knownInput(n, 1)
	if !ok || c.float || len(c.data) == 0 {
		return fmt.Errorf("its positions do not follow from the model and the size of the images")
	}
	shape, at := x.shape(), c.ints()
	for i, k := range at {
		if k < 0 {
			at[i] += shape[axis]
		}
		if at[i] < 0 || at[i] >= shape[axis] {
			return fmt.Errorf("position %d of %d", k, shape[axis])
		}
	}
	to := slices.Concat(shape[:axis], c.dims, shape[axis+1:])
	if len(at) == 1 {
		l.values[n.Output[0]] = l.reshape(l.take(x, axis, sliceRange{at[0], 1, 1}), to)
		return nil
	}
	if len(at)*shape[axis] > 1<<24 {
		return fmt.Errorf("it looks up %d positions of %d, which is too many", len(at), shape[axis])
	}
	one := onnx.Tensor{Dims: []int{shape[axis], len(at)}, Data: make([]float32, shape[axis]*len(at))}
	for i, k := range at {
		one.Data[k*len(at)+i] = 1
	}
	// With the axis last, the product with (size, positions) looks up.
	order := slices.Concat(x.axes[:axis], x.axes[axis+1:], layout{x.axes[axis]})
	moved := x
	moved.axes = order
	table := value{node: l.constant(one), axes: plain(2), last: -1, id: l.next()}
	y, err := l.multiply(l.atLeastMatrix(moved), table)
	if err != nil {
		return err
	}
	last := y.axes[y.rank()-1]
	y.axes = slices.Concat(y.axes[y.rank()-len(order):y.rank()-len(order)+axis], layout{last}, y.axes[y.rank()-len(order)+axis:y.rank()-1])
	l.values[n.Output[0]] = l.reshape(y, to)
	return nil
}

// atLeastMatrix gives a vector a first axis of size 1.
func (l *lowering) atLeastMatrix(v value) value { return l.lift(v, max(v.rank(), 2)) }

// pad adds a known number around values, or mirrors or repeats them where the mode says so.
func pad(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	if mode := onnx.Text(n, "mode", "constant"); mode != "constant" {
		return fmt.Errorf("mode %q is not supported, only constant", mode)
	}
	amounts := onnx.Ints(n, "pads")
	if has(n, 1) {
		if amounts, err = l.whole64(n, 1, "pads"); err != nil {
			return err
		}
	}
	axes := count(x.rank())
	if has(n, 3) {
		if axes, err = l.whole64(n, 3, "axes"); err != nil {
			return err
		}
	}
	fill, err := l.scalar(n, 2, onnx.Float(n, "value", 0))
	if err != nil {
		return err
	}
	if len(amounts) != 2*len(axes) {
		return fmt.Errorf("its pads %v do not fit %d axes", amounts, len(axes))
	}
	shape := x.shape()
	for i, axis := range axes {
		before, after := amounts[i], amounts[i+len(axes)]
		if before == 0 && after == 0 {
			continue
		}
		if axis, err = x.axis(axis); err != nil {
			return err
		}
		if x.holdsBatch(axis) || shape[axis]+before+after < 1 || before < -shape[axis] || after < -shape[axis] {
			return fmt.Errorf("it pads axis %d of %d elements with %d and %d", axis, shape[axis], before, after)
		}
		x = l.pad(x, axis, before, after, fill)
	}
	l.values[n.Output[0]] = x
	return nil
}

// pad adds before and after an ONNX axis, or cuts off where negative.
func (l *lowering) pad(x value, axis, before, after int, fill float64) value {
	x = l.whole(x, axis)
	at, rank := x.axes[axis][0], len(x.dims())
	around := func(before, after int) []graph.PadAxis {
		pads := make([]graph.PadAxis, rank)
		pads[at] = graph.PadAxis{Start: before, End: after}
		return pads
	}
	y := graph.Pad(x.node, number(x.node, fill), around(before, after)...)
	return l.moved(x, y, x.axes, x.last, func(g *graph.Node) *graph.Node {
		return graph.Pad(g, graph.ScalarZero(l.g, l.dtype), around(-before, -after)...)
	})
}
