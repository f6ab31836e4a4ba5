package learn

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() {
	register([]string{"Flatten"}, flatten)
	register([]string{"Reshape"}, reshape)
	register([]string{"Transpose"}, transpose)
	register([]string{"Squeeze", "Unsqueeze"}, squeeze)
	register([]string{"Expand"}, expand)
}

func flatten(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	axis := onnx.Int(n, "axis", 1)
	if axis < 0 {
		axis += x.rank()
	}
	if axis < 0 || axis > x.rank() {
		return fmt.Errorf("axis %d of an input with %d dimensions", axis, x.rank())
	}
	shape := x.shape()
	l.values[n.Output[0]] = l.reshape(x, []int{elements(shape[:axis]), elements(shape[axis:])})
	return nil
}

func reshape(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	shape, err := l.whole64(n, 1, "shape")
	if err != nil {
		return err
	}
	to, err := l.reshapeTo(n, x, shape)
	if err != nil {
		return err
	}
	l.values[n.Output[0]] = l.reshape(x, to)
	return nil
}

// reshapeTo fills in what a Reshape leaves open: 0 is the input's dimension, -1 what is left. A shape that was exported for a
// fixed number of images is scaled to the number that there are.
func (l *lowering) reshapeTo(n *protos.NodeProto, x value, shape []int) ([]int, error) {
	from := x.shape()
	to, open, known := slices.Clone(shape), -1, 1
	for i, d := range to {
		switch {
		case d == 0 && i < len(from) && onnx.Int(n, "allowzero", 0) == 0:
			to[i] = from[i]
		case d == -1 && open < 0:
			open = i
			continue
		case d < 1:
			return nil, fmt.Errorf("its shape %v is not supported", shape)
		}
		known *= to[i]
	}
	size := elements(from)
	fits := func() bool { return known == size || open >= 0 && size%known == 0 }
	if exported := l.model.Input().Batch; exported > 0 && x.batched && exported != l.batch {
		i := slices.IndexFunc(to, func(d int) bool { return d%exported == 0 })
		scale := i >= 0 && known != size && known*l.batch/exported == size
		if open >= 0 { // then a number that was taken from the images at hand is right already
			scale = i >= 0 && i != open && !(x.holdsBatch(0) && to[i] == from[0])
		}
		if scale {
			to[i] = to[i] / exported * l.batch
			known = known / exported * l.batch
		}
	}
	if !fits() {
		return nil, fmt.Errorf("its shape %v does not fit %d elements, which the input of shape %v has: the images may have another size than the model is for", shape, size, from)
	}
	if open >= 0 {
		to[open] = size / known
	}
	return to, nil
}

func transpose(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	order := onnx.Ints(n, "perm")
	if order == nil {
		order = count(x.rank())
		slices.Reverse(order)
	}
	if sorted := slices.Clone(order); !slices.Equal(slices.Sorted(slices.Values(sorted)), count(x.rank())) {
		return fmt.Errorf("perm %v is no order of %d axes", order, x.rank())
	}
	axes := make(layout, len(order))
	for i, a := range order {
		axes[i] = x.axes[a]
	}
	x.axes = axes
	l.values[n.Output[0]] = x
	return nil
}

// axesOf returns the axes that a node names, as an input since operator set 13 (18 for some) or as an attribute before; nil where it names none.
func (l *lowering) axesOf(n *protos.NodeProto, input int) ([]int, error) {
	if has(n, input) {
		return l.whole64(n, input, "axes")
	}
	return onnx.Ints(n, "axes"), nil
}

func squeeze(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	named, err := l.axesOf(n, 1)
	if err != nil {
		return err
	}
	shape := x.shape()
	if n.OpType == "Unsqueeze" {
		shape, err = unsqueezed(shape, named)
	} else {
		shape, err = squeezed(shape, named)
	}
	if err != nil {
		return err
	}
	l.values[n.Output[0]] = l.reshape(x, shape)
	return nil
}

func unsqueezed(shape, named []int) ([]int, error) {
	rank := len(shape) + len(named)
	out := slices.Repeat([]int{-1}, rank)
	for _, a := range named {
		if a < 0 {
			a += rank
		}
		if a < 0 || a >= rank || out[a] == 1 {
			return nil, fmt.Errorf("axes %v do not fit %d dimensions", named, rank)
		}
		out[a] = 1
	}
	for i := range out {
		if out[i] < 0 {
			out[i], shape = shape[0], shape[1:]
		}
	}
	return out, nil
}

func squeezed(shape, named []int) ([]int, error) {
	drop := make([]bool, len(shape))
	for i, d := range shape {
		drop[i] = len(named) == 0 && d == 1
	}
	for _, a := range named {
		if a < 0 {
			a += len(shape)
		}
		if a < 0 || a >= len(shape) || shape[a] != 1 {
			return nil, fmt.Errorf("axes %v of shape %v are not of size 1", named, shape)
		}
		drop[a] = true
	}
	var out []int
	for i, d := range shape {
		if !drop[i] {
			out = append(out, d)
		}
	}
	return out, nil
}

func expand(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	shape, err := l.whole64(n, 1, "shape")
	if err != nil {
		return err
	}
	from := slices.Concat(slices.Repeat([]int{1}, max(len(shape)-x.rank(), 0)), x.shape())
	to := slices.Concat(slices.Repeat([]int{1}, max(x.rank()-len(shape), 0)), shape)
	for i := range to {
		switch {
		case to[i] == 1 || to[i] == -1:
			to[i] = from[i]
		case to[i] < 1 || from[i] != 1 && from[i] != to[i]:
			return fmt.Errorf("a value of shape %v does not expand to %v", x.shape(), shape)
		}
	}
	l.values[n.Output[0]] = l.expand(l.lift(x, len(to)), to)
	return nil
}

// expand repeats v along its ONNX axes of size 1 to the shape.
func (l *lowering) expand(v value, shape []int) value {
	have := v.shape()
	if slices.Equal(have, shape) {
		return v
	}
	v = l.slim(v)
	dims := slices.Clone(v.dims())
	axes := slices.Clone(v.axes)
	var added []int
	for i, d := range shape {
		if have[i] == 1 && d != 1 {
			axes[i] = []int{len(dims)}
			added = append(added, len(dims))
			dims = append(dims, d)
		}
	}
	narrow := slices.Clone(dims)
	for _, a := range added {
		narrow[a] = 1
	}
	y := graph.BroadcastToDims(graph.Reshape(v.node, narrow...), dims...)
	was := v.dims()
	return l.moved(v, y, axes, v.last, func(g *graph.Node) *graph.Node { return graph.Reshape(graph.ReduceSum(g, added...), was...) })
}
