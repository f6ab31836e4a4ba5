package surgery

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// resize corrects what a node says about sizes after channels are gone.
func (r removal) resize(n *protos.NodeProto) error {
	switch n.OpType {
	case "Conv":
		in := r.labels(n.Input[0], 1)
		if groups := onnx.Int(n, "group", 1); groups > 1 && len(in) == groups {
			setAttribute(n, onnx.IntOf("group", r.kept(in)))
		}
	case "Reshape":
		return r.target(n)
	case "Expand":
		return r.target(n)
	case "Split":
		return r.split(n)
	case "Slice":
		return r.slice(n)
	case "Gather":
		return r.gather(n)
	}
	return nil
}

// labels are the channels of a value along an axis as they were before.
func (r removal) labels(value string, axis int) labels {
	if l := r.t.values[value]; axis < len(l) {
		return l[axis]
	}
	return nil
}

// input gives the node its own list of integers as input i.
func (r removal) input(n *protos.NodeProto, i int, suffix string, list []int) error {
	for len(n.Input) <= i {
		n.Input = append(n.Input, "")
	}
	name := r.t.g.fresh(n.Output[0] + suffix)
	t, err := (&array{typ: typeInt64, dims: []int{len(list)}, ints: shapeOf(list)}).encode(name)
	if err != nil {
		return err
	}
	r.t.g.setTensor(t)
	n.Input[i] = name
	return nil
}

// target corrects the shape that Reshape and Expand take.
func (r removal) target(n *protos.NodeProto) error {
	out := r.t.values[n.Output[0]]
	changed := false
	for _, l := range out {
		changed = changed || r.kept(l) < len(l)
	}
	if !changed {
		return nil
	}
	list, ok := r.t.s.fixedNumbers(n, "shape", 1)
	if !ok {
		return r.joinedTarget(n, out)
	}
	if len(list) != len(out) {
		return fmt.Errorf("its target has %d axes, its output %d", len(list), len(out))
	}
	list = append([]int(nil), list...)
	for i, l := range out {
		if list[i] > 0 && len(l) > 0 {
			list[i] = r.kept(l)
		}
	}
	return r.input(n, 1, ".target", list)
}

// joinedTarget corrects the constant parts of a target that is put together while the model runs, such as (N, 1, 192) of the number of images and two
// constants. What is computed follows from sizes that have changed too.
func (r removal) joinedTarget(n *protos.NodeProto, out []labels) error {
	x := r.t.g.index()
	join := x.producer[n.Input[1]]
	if join == nil || join.OpType != "Concat" {
		return nil
	}
	at := 0
	for k, part := range join.Input {
		dims, ok := r.t.s.numbers(join, k)
		if !ok {
			return nil
		}
		list, fixed := Shape(dims).fixed()
		first := at
		at += len(dims)
		if _, constant := x.tensors[part]; !constant || !fixed || at > len(out) {
			continue
		}
		list = append([]int(nil), list...)
		for i, l := range out[first:at] {
			if list[i] > 0 && len(l) > 0 {
				list[i] = r.kept(l)
			}
		}
		if err := r.input(join, k, ".part", list); err != nil {
			return err
		}
	}
	return nil
}

func (r removal) split(n *protos.NodeProto) error {
	shape := r.t.s.Of(n.Input[0]).Shape
	axis, err := axisOf(onnx.Int(n, "axis", 0), len(shape))
	if err != nil {
		return err
	}
	in := r.labels(n.Input[0], axis)
	if in == nil || r.kept(in) == len(in) {
		return nil
	}
	var sizes []int
	for _, out := range n.Output {
		l := r.labels(out, axis)
		if r.kept(l) == 0 {
			return fmt.Errorf("nothing would be left of its output %q", out)
		}
		sizes = append(sizes, r.kept(l))
	}
	dropAttribute(n, "num_outputs")
	if r.t.g.Opset() < 13 {
		setAttribute(n, onnx.IntsOf("split", sizes...))
		return nil
	}
	return r.input(n, 1, ".split", sizes)
}

func (r removal) slice(n *protos.NodeProto) error {
	shape := r.t.s.Of(n.Input[0]).Shape
	list, known, err := r.t.s.cuts(n, shape)
	if err != nil || !known {
		return err
	}
	changed := false
	var starts, ends, axes, steps []int
	for _, c := range list {
		if in := r.labels(n.Input[0], c.axis); in != nil && r.kept(in) < len(in) {
			changed = true
			c.start, c.end = r.kept(in[:c.start]), r.kept(in[:c.end])
			if c.end <= c.start {
				return fmt.Errorf("nothing would be left of what it takes")
			}
		}
		if c.step < 0 && c.end < 0 {
			c.end = -1 << 31 // before the first element
		}
		starts, ends, axes, steps = append(starts, c.start), append(ends, c.end), append(axes, c.axis), append(steps, c.step)
	}
	if !changed {
		return nil
	}
	if r.t.g.Opset() < 10 {
		setAttribute(n, onnx.IntsOf("starts", starts...))
		setAttribute(n, onnx.IntsOf("ends", ends...))
		setAttribute(n, onnx.IntsOf("axes", axes...))
		return nil
	}
	for i, part := range []struct {
		name string
		list []int
	}{{".starts", starts}, {".ends", ends}, {".axes", axes}, {".steps", steps}} {
		if err := r.input(n, 1+i, part.name, part.list); err != nil {
			return err
		}
	}
	return nil
}

// gather renumbers the positions that the node takes along an axis of channels.
func (r removal) gather(n *protos.NodeProto) error {
	axis, err := axisOf(onnx.Int(n, "axis", 0), len(r.t.s.Of(n.Input[0]).Shape))
	if err != nil {
		return err
	}
	in := r.labels(n.Input[0], axis)
	if in == nil || r.kept(in) == len(in) {
		return nil
	}
	list, ok := r.t.s.fixedNumbers(n, "", 1)
	if !ok {
		return fmt.Errorf("its indices are computed while the model runs")
	}
	var kept []int
	for _, k := range list {
		if k < 0 {
			k += len(in)
		}
		if !r.gone(in[k]) {
			kept = append(kept, r.kept(in[:k]))
		}
	}
	return r.input(n, 1, ".indices", kept)
}
