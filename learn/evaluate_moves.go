package learn

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

func evaluateGather(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 2 {
		return constant{}, fmt.Errorf("it has %d inputs, not 2", len(in))
	}
	axis := onnx.Int(n, "axis", 0)
	if axis < 0 {
		axis += len(in[0].dims)
	}
	if axis < 0 || axis >= len(in[0].dims) {
		return constant{}, fmt.Errorf("its axis is %d, its input has %d", axis, len(in[0].dims))
	}
	size := in[0].dims[axis]
	chosen := in[1].ints()
	for i, k := range chosen {
		if k < 0 {
			chosen[i] = k + size
		}
		if chosen[i] < 0 || chosen[i] >= size {
			return constant{}, fmt.Errorf("index %d of %d", k, size)
		}
	}
	inner := elements(in[0].dims[axis+1:])
	dims := slices.Concat(in[0].dims[:axis], in[1].dims, in[0].dims[axis+1:])
	out := constant{dims: dims, float: in[0].float}
	for o := range elements(in[0].dims[:axis]) {
		for _, k := range chosen {
			out.data = append(out.data, in[0].data[(o*size+k)*inner:(o*size+k+1)*inner]...)
		}
	}
	return out, nil
}

func evaluateConcat(n *protos.NodeProto, in []constant) (constant, error) {
	axis := onnx.Int(n, "axis", 0)
	if len(in) == 0 {
		return constant{}, fmt.Errorf("it has no inputs")
	}
	rank := len(in[0].dims)
	if axis < 0 {
		axis += rank
	}
	if axis < 0 || axis >= rank {
		return constant{}, fmt.Errorf("its axis is %d, its input has %d", axis, rank)
	}
	dims := slices.Clone(in[0].dims)
	dims[axis] = 0
	for _, c := range in {
		if len(c.dims) != rank || !slices.Equal(c.dims[:axis], dims[:axis]) || !slices.Equal(c.dims[axis+1:], dims[axis+1:]) {
			return constant{}, fmt.Errorf("its inputs do not fit each other")
		}
		dims[axis] += c.dims[axis]
	}
	out := constant{dims: dims, float: in[0].float}
	for o := range elements(dims[:axis]) {
		for _, c := range in {
			block := elements(c.dims[axis:])
			out.data = append(out.data, c.data[o*block:(o+1)*block]...)
		}
	}
	return out, nil
}

func evaluateSlice(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) == 0 {
		return constant{}, fmt.Errorf("it has no input")
	}
	var lists [4][]int
	for i := range lists {
		if i+1 < len(in) && in[i+1].data != nil {
			lists[i] = in[i+1].ints()
		}
	}
	if len(in) == 1 {
		lists = [4][]int{onnx.Ints(n, "starts"), onnx.Ints(n, "ends"), onnx.Ints(n, "axes"), nil}
	}
	ranges, err := sliceRanges(in[0].dims, lists)
	if err != nil {
		return constant{}, err
	}
	dims := make([]int, len(ranges))
	for i, r := range ranges {
		dims[i] = r.length
	}
	return in[0].at(dims, in[0].float, func(index []int) int {
		flat := 0
		for i, d := range in[0].dims {
			flat = flat*d + ranges[i].start + index[i]*ranges[i].step
		}
		return flat
	}), nil
}

// sliceRange is what Slice takes of one axis.
type sliceRange struct{ start, step, length int }

// sliceRanges reads starts, ends, axes and steps as ONNX defines them.
func sliceRanges(dims []int, lists [4][]int) ([]sliceRange, error) {
	starts, ends, axes, steps := lists[0], lists[1], lists[2], lists[3]
	if axes == nil {
		axes = count(len(starts))
	}
	if steps == nil {
		steps = slices.Repeat([]int{1}, len(starts))
	}
	if len(ends) != len(starts) || len(axes) != len(starts) || len(steps) != len(starts) {
		return nil, fmt.Errorf("its starts, ends, axes and steps have different lengths")
	}
	ranges := make([]sliceRange, len(dims))
	for i, d := range dims {
		ranges[i] = sliceRange{0, 1, d}
	}
	for i, a := range axes {
		if a < 0 {
			a += len(dims)
		}
		if a < 0 || a >= len(dims) || steps[i] == 0 {
			return nil, fmt.Errorf("it slices axis %d of %d with step %d", axes[i], len(dims), steps[i])
		}
		d, from, to, step := dims[a], starts[i], ends[i], steps[i]
		low, high := 0, d // for start and end with a positive step
		if step < 0 {
			low, high = -1, d-1
		}
		clamp := func(v int) int {
			if v < 0 {
				v += d
			}
			return min(max(v, low), high)
		}
		from = min(max(clamp(from), 0), max(d, 0))
		to = clamp(to)
		length := 0
		if step > 0 && to > from {
			length = (to - from + step - 1) / step
		} else if step < 0 && to < from {
			length = (from - to - step - 1) / -step
		}
		ranges[a] = sliceRange{from, step, length}
	}
	return ranges, nil
}

func evaluateAxes(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) == 0 {
		return constant{}, fmt.Errorf("it has no input")
	}
	named := onnx.Ints(n, "axes")
	if len(in) > 1 && in[1].data != nil {
		named = in[1].ints()
	}
	change := squeezed
	if n.OpType == "Unsqueeze" {
		change = unsqueezed
	}
	dims, err := change(in[0].dims, named)
	return constant{dims, in[0].data, in[0].float}, err
}

func evaluateReshape(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 2 {
		return constant{}, fmt.Errorf("its shape is missing")
	}
	to, open := in[1].ints(), -1
	for i, d := range to {
		if d == 0 && i < len(in[0].dims) && onnx.Int(n, "allowzero", 0) == 0 {
			to[i] = in[0].dims[i]
		}
		if d == -1 {
			open, to[i] = i, 1
		}
	}
	if known := elements(to); open >= 0 && known > 0 {
		to[open] = len(in[0].data) / known
	}
	for _, d := range to {
		if d < 0 {
			return constant{}, fmt.Errorf("its shape is %v", in[1].ints())
		}
	}
	if elements(to) != len(in[0].data) {
		return constant{}, fmt.Errorf("its shape %v does not fit %d elements", in[1].ints(), len(in[0].data))
	}
	return constant{to, in[0].data, in[0].float}, nil
}

func evaluateTranspose(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 1 {
		return constant{}, fmt.Errorf("it has %d inputs, not 1", len(in))
	}
	rank := len(in[0].dims)
	order := onnx.Ints(n, "perm")
	if order == nil {
		order = count(rank)
		slices.Reverse(order)
	}
	if !slices.Equal(slices.Sorted(slices.Values(order)), count(rank)) {
		return constant{}, fmt.Errorf("perm %v is no order of %d axes", order, rank)
	}
	strides := make([]int, rank)
	for i := range strides {
		strides[i] = elements(in[0].dims[i+1:])
	}
	return in[0].at(pick(in[0].dims, order), in[0].float, func(index []int) int {
		flat := 0
		for i, a := range order {
			flat += index[i] * strides[a]
		}
		return flat
	}), nil
}

func evaluateExpand(_ *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 2 {
		return constant{}, fmt.Errorf("its shape is missing")
	}
	dims, err := broadcastKnown(in[0].dims, in[1].ints())
	if err != nil {
		return constant{}, err
	}
	return in[0].repeated(dims), nil
}

// evaluateScatter writes slices into a copy of its first input, in order of the indices.
func evaluateScatter(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 3 || len(in[1].dims) == 0 || onnx.Text(n, "reduction", "none") != "none" {
		return constant{}, fmt.Errorf("only the plain form with three inputs is supported")
	}
	depth := in[1].dims[len(in[1].dims)-1]
	if depth > len(in[0].dims) {
		return constant{}, fmt.Errorf("its indices have %d axes, its input %d", depth, len(in[0].dims))
	}
	block, index := elements(in[0].dims[depth:]), in[1].ints()
	places := elements(in[1].dims[:len(in[1].dims)-1])
	if len(in[2].data) != places*block {
		return constant{}, fmt.Errorf("it writes %d elements to %d places of %d", len(in[2].data), places, block)
	}
	out := constant{in[0].dims, slices.Clone(in[0].data), in[0].float}
	for p := range places {
		flat := 0
		for k := range depth {
			at := index[p*depth+k]
			if at < 0 {
				at += in[0].dims[k]
			}
			if at < 0 || at >= in[0].dims[k] {
				return constant{}, fmt.Errorf("index %d of %d", index[p*depth+k], in[0].dims[k])
			}
			flat = flat*in[0].dims[k] + at
		}
		copy(out.data[flat*block:(flat+1)*block], in[2].data[p*block:(p+1)*block])
	}
	return out, nil
}
