package learn

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// constant is a value that is known before anything runs: exporters compute shapes, scales and positions inside the graph. Sizes
// are fixed when a graph is lowered, so what starts from Shape is known too.
type constant struct {
	dims  []int
	data  []float64 // row-major; whole numbers and booleans (0, 1) too: shapes are far below 2⁵³
	float bool      // of a floating-point type: it may become a value of the computation
}

// maxKnown is the most elements that are computed here. Larger constants are few operations on the device.
const maxKnown = 1 << 20

func (c constant) tensor() (onnx.Tensor, bool) {
	t := onnx.Tensor{Dims: c.dims, Data: make([]float32, len(c.data))}
	for i, v := range c.data {
		t.Data[i] = float32(v)
	}
	return t, c.float
}

// ints returns a vector of whole numbers.
func (c constant) ints() []int {
	list := make([]int, len(c.data))
	for i, v := range c.data {
		list[i] = int(min(max(v, -farAway), farAway))
	}
	return list
}

// farAway stands for "to the end" in slices, which exporters write as the largest int64.
const farAway = 1 << 40

func vectorOf(list []int) constant {
	c := constant{dims: []int{len(list)}, data: make([]float64, len(list))}
	for i, v := range list {
		c.data[i] = float64(v)
	}
	return c
}

// knownInput returns the node's input i when it is known. Parameters and statistics are not: they change.
func (l *lowering) knownInput(n *protos.NodeProto, i int) (constant, bool) {
	if !has(n, i) {
		return constant{}, false
	}
	name := n.Input[i]
	if c, ok := l.known[name]; ok {
		return c, true
	}
	if v, ok := l.values[name]; ok && (v.trained || v.batched) {
		return constant{}, false
	}
	c, ok := constantOf(l.model, name)
	if ok {
		l.known[name] = c
	}
	return c, ok
}

// constantOf reads an initializer of any type that constants come in.
func constantOf(m *onnx.Model, name string) (constant, bool) {
	dims, data, float, ok := m.Numbers(name)
	if !ok || len(data) > maxKnown {
		return constant{}, false
	}
	return constant{dims, data, float}, true
}

// whole64 returns the node's input i, which must be a known list of whole numbers.
func (l *lowering) whole64(n *protos.NodeProto, i int, what string) ([]int, error) {
	c, ok := l.knownInput(n, i)
	if !ok || c.float {
		return nil, fmt.Errorf("its %s does not follow from the model and the size of the images", what)
	}
	return c.ints(), nil
}

// scalar returns the node's input i, a known number, or def when the node does not have it.
func (l *lowering) scalar(n *protos.NodeProto, i int, def float64) (float64, error) {
	if !has(n, i) {
		return def, nil
	}
	c, ok := l.knownInput(n, i)
	if !ok || len(c.data) != 1 {
		return 0, fmt.Errorf("its input %d is not a known number", i)
	}
	return c.data[0], nil
}

// fold computes the node here when all of its inputs are known; done is false when it is for the device.
func (l *lowering) fold(n *protos.NodeProto) (done bool, err error) {
	if n.OpType == "Shape" || n.OpType == "Size" {
		return l.foldShape(n)
	}
	evaluate := evaluators[n.OpType]
	if evaluate == nil || len(n.Output) != 1 {
		return false, nil
	}
	var in []constant
	for i := range n.Input {
		c, ok := l.knownInput(n, i)
		if !ok && has(n, i) {
			return false, nil
		}
		in = append(in, c)
	}
	out, err := evaluate(n, in)
	if err != nil {
		return false, err
	}
	l.known[n.Output[0]] = out
	return true, nil
}

func (l *lowering) foldShape(n *protos.NodeProto) (bool, error) {
	var shape []int
	if c, ok := l.knownInput(n, 0); ok {
		shape = c.dims
	} else {
		v, err := l.get(n, 0)
		if err != nil {
			return false, err
		}
		shape = v.shape()
	}
	if n.OpType == "Size" {
		l.known[n.Output[0]] = constant{data: []float64{float64(elements(shape))}}
		return true, nil
	}
	at := func(name string, def int) int {
		a := onnx.Int(n, name, def)
		if a < 0 {
			a += len(shape)
		}
		return min(max(a, 0), len(shape))
	}
	start, end := at("start", 0), at("end", len(shape))
	l.known[n.Output[0]] = vectorOf(shape[start:max(start, end)])
	return true, nil
}
