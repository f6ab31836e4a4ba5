package surgery

import (
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// batchPrime stands for the open batch size where shapes are factored: no axis of a model has it as a factor.
const batchPrime = 1000003

func concreteDims(s Shape) ([]int, bool) {
	dims := make([]int, len(s))
	for i, d := range s {
		n, ok := d.At(batchPrime)
		if !ok || n < 1 {
			return nil, false
		}
		dims[i] = n
	}
	return dims, true
}

// trackReshape splits both shapes into the shortest runs of axes with equal products, and follows the channels within each.
func trackReshape(t *tracker, n *protos.NodeProto) error {
	x, shape := t.of(n, 0)
	from, ok := concreteDims(shape)
	to, ok2 := concreteDims(t.s.Of(n.Output[0]).Shape)
	if !ok || !ok2 || t.isTensor(n, 0) {
		return opaque(t, n)
	}
	out := make([]labels, len(to))
	i, j := 0, 0
	for i < len(from) || j < len(to) {
		a, b := i, j
		p, q := 1, 1
		if i < len(from) {
			p, i = from[i], i+1
		}
		if j < len(to) {
			q, j = to[j], j+1
		}
		for p != q {
			switch {
			case p < q && i < len(from):
				p *= from[i]
				i++
			case q < p && j < len(to):
				q *= to[j]
				j++
			default:
				return opaque(t, n)
			}
		}
		t.regroup(x[a:i], from[a:i], out[b:j], to[b:j], i < len(from))
	}
	t.set(n, 0, out)
	return nil
}

// regroup follows channels from the axes from to the axes to, whose products are equal. inner says that further axes follow.
func (t *tracker) regroup(x []labels, from []int, out []labels, to []int, inner bool) {
	tracked, wide := -1, 0
	for i, l := range x {
		if l != nil && from[i] > 1 {
			tracked = i
			wide++
		}
	}
	if wide != 1 {
		for _, l := range x {
			t.fix(l)
		}
		return
	}
	l := x[tracked]
	if at, only := onlyWide(to); only {
		// axes merge into one: every channel's elements
		after := size(from[tracked+1:])
		out[at] = make(labels, to[at])
		for k := range out[at] {
			out[at][k] = l[k/after%from[tracked]]
		}
		return
	}
	if _, only := onlyWide(from); !only {
		t.fix(l)
		return
	}
	// One axis becomes several; channels can be followed along one of them. In (C) → (groups, C/groups), before spatial axes, that is the last
	// one, which a channel shuffle exchanges with the groups. In (…, parts, heads, features), the last axes of tokens, it is the heads.
	var axes []int
	for i, d := range to {
		if d > 1 {
			axes = append(axes, i)
		}
	}
	at := axes[len(axes)-1]
	if !inner {
		at = axes[len(axes)-2]
	}
	after := size(to[at+1:])
	out[at] = make(labels, to[at])
	for k := range out[at] {
		out[at][k] = l[k*after]
	}
	for k, c := range l {
		t.unite(c, out[at][k/after%to[at]])
	}
}

// onlyWide returns the index of the only axis that is not 1.
func onlyWide(dims []int) (int, bool) {
	at, n := 0, 0
	for i, d := range dims {
		if d > 1 {
			at = i
			n++
		}
	}
	return at, n == 1
}

func trackTranspose(t *tracker, n *protos.NodeProto) error {
	x, _ := t.of(n, 0)
	perm, err := permutation(n, len(x))
	if err != nil {
		return err
	}
	out := make([]labels, len(x))
	for i, p := range perm {
		out[i] = x[p]
	}
	t.set(n, 0, out)
	return nil
}

func trackConcat(t *tracker, n *protos.NodeProto) error {
	shape := t.s.Of(n.Output[0]).Shape
	axis, err := axisOf(onnx.Int(n, "axis", 0), len(shape))
	if err != nil {
		return err
	}
	out, open := make([]labels, len(shape)), make([]bool, len(shape))
	tracked := false
	for i := range n.Input {
		l, _ := t.of(n, i)
		for k := range l {
			switch {
			case k == axis:
				tracked = tracked || l[k] != nil
			case l[k] == nil:
				open[k] = open[k] || !t.isTensor(n, i)
			case out[k] == nil:
				out[k] = l[k]
			default:
				out[k] = t.same(out[k], l[k])
			}
		}
	}
	for i := range n.Input {
		if !t.isTensor(n, i) {
			continue
		}
		for k := range out {
			if k != axis && out[k] != nil {
				t.same(out[k], t.axis(n, i, k, PerChannel))
			}
		}
	}
	for k := range out {
		if open[k] {
			t.fix(out[k])
		}
	}
	if tracked {
		out[axis] = t.chain(n, axis)
	}
	t.set(n, 0, out)
	return nil
}

// chain concatenates the channels of the node's inputs along axis; what has none gets some that stay.
func (t *tracker) chain(n *protos.NodeProto, axis int) labels {
	var all labels
	for i := range n.Input {
		l, in := t.of(n, i)
		part := l[axis]
		if part == nil {
			if !in[axis].fixed() {
				t.fix(all)
				return nil
			}
			part = t.make(in[axis].Size)
			t.fix(part)
		}
		all = slices.Concat(all, part)
	}
	return all
}

func trackSplit(t *tracker, n *protos.NodeProto) error {
	x, shape := t.of(n, 0)
	axis, err := axisOf(onnx.Int(n, "axis", 0), len(shape))
	if err != nil {
		return err
	}
	sizes, err := t.s.splitSizes(n, shape[axis])
	if err != nil {
		return err
	}
	at := 0
	for i, d := range sizes {
		out := append([]labels(nil), x...)
		if x[axis] != nil {
			if !d.fixed() {
				return opaque(t, n)
			}
			out[axis] = x[axis][at : at+d.Size]
			at += d.Size
		}
		t.set(n, i, out)
	}
	return nil
}

func trackSlice(t *tracker, n *protos.NodeProto) error {
	x, shape := t.of(n, 0)
	list, known, err := t.s.cuts(n, shape)
	if err != nil {
		return err
	}
	if !known {
		return opaque(t, n)
	}
	out := append([]labels(nil), x...)
	for _, c := range list {
		if x[c.axis] == nil {
			continue
		}
		if c.step != 1 {
			return opaque(t, n)
		}
		out[c.axis] = x[c.axis][c.start:max(c.start, c.end)]
	}
	t.set(n, 0, out)
	return nil
}

func trackGather(t *tracker, n *protos.NodeProto) error {
	x, shape := t.of(n, 0)
	axis, err := axisOf(onnx.Int(n, "axis", 0), len(shape))
	if err != nil {
		return err
	}
	indices := t.s.Of(n.Input[1]).Shape
	taken := make([]labels, len(indices))
	if x[axis] != nil {
		list, ok := t.s.numbers(n, 1)
		if dims, fixed := Shape(list).fixed(); ok && fixed && len(indices) == 1 && t.s.x.tensors[n.Input[1]] != nil && len(t.s.x.users[n.Input[1]]) == 1 {
			for _, k := range dims {
				if k < 0 {
					k += len(x[axis])
				}
				taken[0] = append(taken[0], x[axis][k])
			}
		} else {
			t.fix(x[axis])
		}
	}
	t.set(n, 0, slices.Concat(x[:axis], taken, x[axis+1:]))
	return nil
}

func trackExpand(t *tracker, n *protos.NodeProto) error {
	x, in := t.of(n, 0)
	shape := t.s.Of(n.Output[0]).Shape
	out := make([]labels, len(shape))
	for i := range x {
		at := len(shape) - len(in) + i
		switch {
		case in[i] == Fixed(1):
		case t.isTensor(n, 0):
			out[at] = t.axis(n, 0, i, PerChannel)
		default:
			out[at] = x[i]
		}
	}
	t.set(n, 0, out)
	return nil
}

func trackPad(t *tracker, n *protos.NodeProto) error {
	x, shape := t.of(n, 0)
	pads, ok := t.s.fixedNumbers(n, "pads", 1)
	for i := range x {
		if !ok || len(pads) != 2*len(shape) || pads[i] != 0 || pads[len(shape)+i] != 0 {
			t.fix(x[i])
		}
	}
	t.set(n, 0, x)
	return nil
}

func trackReduce(t *tracker, n *protos.NodeProto) error {
	x, shape := t.of(n, 0)
	axes, given, err := t.s.axes(n, len(shape))
	if err != nil {
		return err
	}
	if !given && onnx.Int(n, "noop_with_empty_axes", 0) != 0 {
		t.set(n, 0, x)
		return nil
	}
	var out []labels
	for i, l := range x {
		if given && !slices.Contains(axes, i) {
			out = append(out, l)
			continue
		}
		switch n.OpType {
		case "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare": // a channel of zeros adds nothing
		case "ReduceMean":
			t.mix(l)
		default:
			t.fix(l)
		}
		if onnx.Int(n, "keepdims", 1) != 0 {
			out = append(out, nil)
		}
	}
	t.set(n, 0, out)
	return nil
}
