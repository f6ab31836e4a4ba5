package surgery

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Precision is a floating point type of 16 bits.
type Precision int

// The precisions.
const (
	Float16  Precision = iota // IEEE binary16: up to 65504
	BFloat16                  // the range of float32 with 8 bits of precision
)

func (p Precision) typ() int32 {
	if p == BFloat16 {
		return int32(protos.TensorProto_BFLOAT16)
	}
	return int32(protos.TensorProto_FLOAT16)
}

// HalfOptions say what Half converts.
type HalfOptions struct {
	Precision Precision
	// Keep answers true for nodes that stay in float32; nil: none.
	Keep func(*protos.NodeProto) bool
	// Largest are measured largest magnitudes of values; nodes that read or make one that the precision cannot hold stay in float32.
	Largest map[string]float64
}

// HalfResult says what Half did.
type HalfResult struct {
	Converted int                 // nodes that compute in 16 bits now
	Kept      []*protos.NodeProto // nodes on numbers that stay in float32
	Vanished  int                 // weights other than 0 that are 0 in 16 bits
}

// floatOnly are operators that stay in float32: their scales are of a type of their own, or backends lack them in 16 bits.
var floatOnly = map[string]bool{"Resize": true, "Upsample": true, "QuantizeLinear": true, "DequantizeLinear": true, "DynamicQuantizeLinear": true, "Range": true, "ConstantOfShape": true,
	"Einsum": true, "CumSum": true, "NonMaxSuppression": true}

// Half converts the graph's weights and computations to 16 bits. Input and output stay float32; Cast nodes stand where the type changes. What
// overflows stays in float32: nodes with a weight, or a measured value, that the precision cannot hold.
func (g *Graph) Half(o HalfOptions) (*HalfResult, error) {
	shapes, err := g.Shapes()
	if err != nil {
		return nil, err
	}
	h := &halving{g: g, o: o, s: shapes, x: g.index(), half: map[*protos.NodeProto]bool{}, casts: map[string]string{}, result: &HalfResult{}}
	for _, n := range g.graph().Node {
		if !h.computes(n) {
			continue
		}
		if h.stays(n) {
			h.result.Kept = append(h.result.Kept, n)
			continue
		}
		h.half[n] = true
		h.result.Converted++
	}
	if err := h.rewrite(); err != nil {
		return nil, err
	}
	g.RemoveDead()
	return h.result, nil
}

type halving struct {
	g      *Graph
	o      HalfOptions
	s      *Shapes
	x      *index
	half   map[*protos.NodeProto]bool
	casts  map[string]string // by value and type wanted: the value that has it
	result *HalfResult
}

// computes says whether the node reads or makes float32 numbers.
func (h *halving) computes(n *protos.NodeProto) bool {
	for _, list := range [][]string{n.Input, n.Output} {
		for _, name := range list {
			if name != "" && h.s.Of(name).Type == typeFloat {
				return true
			}
		}
	}
	return false
}

func (h *halving) stays(n *protos.NodeProto) bool {
	if floatOnly[n.OpType] || !standard(n.Domain) || h.o.Keep != nil && h.o.Keep(n) || inferrers[n.OpType] == nil {
		return true
	}
	for _, name := range slices.Concat(n.Input, n.Output) {
		if h.overflows(h.o.Largest[name]) {
			return true
		}
		if _, data, ok := h.x.floats(name); ok {
			for _, v := range data {
				if h.overflows(math.Abs(float64(v))) && !math.IsInf(float64(v), 0) {
					return true
				}
			}
		}
	}
	return false
}

func (h *halving) overflows(v float64) bool { return h.o.Precision == Float16 && v >= 65520 }

func (h *halving) rewrite() error {
	var nodes []*protos.NodeProto
	isHalf := map[string]bool{} // values that are in 16 bits now
	for _, n := range h.g.graph().Node {
		for i, in := range n.Input {
			if in == "" || h.s.Of(in).Type != typeFloat {
				continue
			}
			to, added, err := h.wanted(in, isHalf[in], h.half[n])
			if err != nil {
				return err
			}
			n.Input[i] = to
			nodes = append(nodes, added...)
		}
		nodes = append(nodes, n)
		if !h.half[n] {
			continue
		}
		if n.OpType == "Cast" && int32(onnx.Int(n, "to", 0)) == typeFloat {
			setAttribute(n, onnx.IntOf("to", int(h.o.Precision.typ())))
		}
		for i, out := range n.Output {
			if out == "" || h.s.Of(out).Type != typeFloat {
				continue
			}
			isHalf[out] = true
			if out == h.g.output() {
				inner := h.g.fresh(out + ".half")
				n.Output[i] = inner
				isHalf[inner] = true
				nodes = append(nodes, castNode(inner, out, typeFloat))
			}
		}
	}
	h.g.graph().Node = nodes
	return nil
}

// wanted returns the value, or a cast of it, in the type that a node wants, and the cast to add.
func (h *halving) wanted(name string, isHalf, wantHalf bool) (string, []*protos.NodeProto, error) {
	if isHalf == wantHalf {
		return name, nil, nil
	}
	suffix, typ := ".half", h.o.Precision.typ()
	if !wantHalf {
		suffix, typ = ".float", typeFloat
	}
	if to := h.casts[name+suffix]; to != "" {
		return to, nil, nil
	}
	to := h.g.fresh(name + suffix)
	h.casts[name+suffix] = to
	if t := h.x.tensors[name]; t != nil {
		a, err := decode(t)
		if err != nil {
			return "", nil, err
		}
		b := &array{typ: typ, dims: a.dims, floats: make([]float64, len(a.floats))}
		for i, v := range a.floats {
			b.floats[i] = round(typ, v)
			if b.floats[i] == 0 && v != 0 {
				h.result.Vanished++
			}
		}
		made, err := b.encode(to)
		if err != nil {
			return "", nil, err
		}
		h.g.setTensor(made)
		return to, nil, nil
	}
	return to, []*protos.NodeProto{castNode(name, to, typ)}, nil
}

func castNode(from, to string, typ int32) *protos.NodeProto {
	return &protos.NodeProto{OpType: "Cast", Name: fmt.Sprintf("%s.cast", to), Input: []string{from}, Output: []string{to}, Attribute: []*protos.AttributeProto{onnx.IntOf("to", int(typ))}}
}
