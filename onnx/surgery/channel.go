package surgery

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// labels names the channel at every position along an axis, by its number in the tracker; nil: the axis has no channels.
type labels []int

// Role says what an axis of an initializer is to the channels along it.
type Role int

// The roles.
const (
	PerChannel Role = iota // one value or slice a channel: biases, scales, statistics, kernels of a depthwise convolution
	Produces               // the layer computes the channels: outputs of Conv, ConvTranspose, Gemm and MatMul
	Consumes               // the layer reads the channels: its inputs
)

// axisKey names an axis of an initializer.
type axisKey struct {
	tensor string
	axis   int
}

// axisUse is what the tracker remembers of an axis.
type axisUse struct {
	key    axisKey
	node   *protos.NodeProto // the first one that uses it so
	input  int
	role   Role
	labels labels
}

// tracker follows channels through a graph. Every channel that a layer makes is a number; numbers that must stand or fall together
// are united.
type tracker struct {
	g      *Graph
	s      *inference
	parent []int
	// fixed and mixed are kept at a set's root. A fixed channel cannot be removed; a mixed one enters statistics over channels, so
	// that removing it changes the others even where it is zero.
	fixed, mixed []bool
	axes         map[axisKey]*axisUse
	order        []*axisUse
	values       map[string][]labels // by value, by axis
}

// track follows the channels of every value.
func (g *Graph) track() (*tracker, error) {
	shapes, err := g.Shapes()
	if err != nil {
		return nil, err
	}
	t := &tracker{g: g, s: &inference{Shapes: shapes, x: g.index(), opset: g.Opset()}, axes: map[axisKey]*axisUse{}, values: map[string][]labels{}}
	image := make([]labels, 4)
	if g.input.Channels > 0 {
		image[1] = t.make(g.input.Channels)
		t.fix(image[1])
	}
	t.values[g.input.Name] = image
	for _, n := range g.graph().Node {
		switch n.OpType {
		case "QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear":
			return nil, fmt.Errorf("%s: the model is quantized; remove channels first and quantize then", onnx.NodeText(n))
		}
		f := trackers[n.OpType]
		if f == nil || !standard(n.Domain) || !t.ranked(n) {
			f = opaque
		}
		if err := f(t, n); err != nil {
			return nil, fmt.Errorf("%s: %w", onnx.NodeText(n), err)
		}
	}
	for _, l := range t.values[g.output()] {
		t.fix(l)
	}
	return t, nil
}

func (t *tracker) ranked(n *protos.NodeProto) bool {
	for _, list := range [][]string{n.Input, n.Output} {
		for _, name := range list {
			if name != "" && !t.s.Of(name).Ranked {
				return n.OpType == "BatchNormalization" || n.OpType == "LayerNormalization"
			}
		}
	}
	return true
}

// make returns n new channels.
func (t *tracker) make(n int) labels {
	l := make(labels, n)
	for i := range l {
		l[i] = len(t.parent)
		t.parent, t.fixed, t.mixed = append(t.parent, l[i]), append(t.fixed, false), append(t.mixed, false)
	}
	return l
}

func (t *tracker) root(c int) int {
	for t.parent[c] != c {
		t.parent[c] = t.parent[t.parent[c]]
		c = t.parent[c]
	}
	return c
}

func (t *tracker) unite(a, b int) {
	a, b = t.root(a), t.root(b)
	if a == b {
		return
	}
	if b < a {
		a, b = b, a // the older one is the root, so that nothing depends on the order of unions
	}
	t.parent[b] = a
	t.fixed[a], t.mixed[a] = t.fixed[a] || t.fixed[b], t.mixed[a] || t.mixed[b]
}

// same unites two axes position by position. Where only one has channels they cannot be removed.
func (t *tracker) same(a, b labels) labels {
	switch {
	case a == nil && b == nil:
		return nil
	case a == nil || b == nil || len(a) != len(b):
		t.fix(a)
		t.fix(b)
		if a == nil {
			return b
		}
		return a
	}
	for i := range a {
		t.unite(a[i], b[i])
	}
	return a
}

func (t *tracker) fix(l labels) {
	for _, c := range l {
		t.fixed[t.root(c)] = true
	}
}

func (t *tracker) mix(l labels) {
	for _, c := range l {
		t.mixed[t.root(c)] = true
	}
}

// isTensor says whether the node's input i is a float32 initializer.
func (t *tracker) isTensor(n *protos.NodeProto, i int) bool {
	return has(n, i) && t.s.x.tensors[n.Input[i]] != nil && isFloat(t.s.x.tensors[n.Input[i]].DataType)
}

// axis returns the channels along an axis of the node's input i, an initializer.
func (t *tracker) axis(n *protos.NodeProto, i, axis int, role Role) labels {
	key := axisKey{n.Input[i], axis}
	if use := t.axes[key]; use != nil {
		return use.labels
	}
	p := t.s.x.tensors[key.tensor]
	if p == nil || axis >= len(p.Dims) {
		return nil
	}
	use := &axisUse{key, n, i, role, t.make(int(p.Dims[axis]))}
	t.axes[key] = use
	t.order = append(t.order, use)
	return use.labels
}

// of returns the channels of the node's input i by axis, and its shape.
func (t *tracker) of(n *protos.NodeProto, i int) ([]labels, Shape) {
	shape := t.s.Of(n.Input[i]).Shape
	if l := t.values[n.Input[i]]; len(l) == len(shape) {
		return l, shape
	}
	return make([]labels, len(shape)), shape
}

func (t *tracker) set(n *protos.NodeProto, i int, l []labels) {
	if i < len(n.Output) && n.Output[i] != "" {
		t.values[n.Output[i]] = l
	}
}

// opaque is for operators whose channels cannot be followed: what enters them stays whole.
func opaque(t *tracker, n *protos.NodeProto) error {
	for i, name := range n.Input {
		if name == "" {
			continue
		}
		l, _ := t.of(n, i)
		for _, axis := range l {
			t.fix(axis)
		}
		if p := t.s.x.tensors[name]; p != nil {
			for axis := range p.Dims {
				if use := t.axes[axisKey{name, axis}]; use != nil {
					t.fix(use.labels)
				}
			}
		}
	}
	return nil
}
