package cpu

import (
	"fmt"
	"math"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// Attention is one operator of package kernel, and its gradient another. Both work on (heads, features, tokens, images), as a dense layer of
// features that lie outermost leaves them, and read the parts of one product for queries, keys and values where they lie: nothing is moved.

// attentionSide is what attention reads: (H, D, T, N) from an element of a value on.
type attentionSide struct {
	v     *value
	start int
}

// attentionOperands checks that it is the self-attention that the kernel computes, and returns queries, keys, values and what else is given as it reads
// them, and their dimensions.
func (f *Function) attentionOperands(layout compute.AttentionAxesLayout, options *compute.ScaledDotProductAttentionConfig, list []*value) (sides []attentionSide, geometry []int, err error) {
	order := []int{1, 3, 2, 0} // of (N, H, T, D)
	if layout == compute.AttentionAxesLayoutBSHD {
		order = []int{2, 3, 1, 0}
	}
	plain := compute.ScaledDotProductAttentionConfig{}
	if options != nil {
		plain = *options
	}
	scale := plain.Scale
	plain.Scale, plain.QuantizedMatmuls = 0, false
	q := list[0].shape
	if f.builder.backend.options.plain || plain != (compute.ScaledDotProductAttentionConfig{}) || q.Rank() != 4 || q.DType != dtypes.Float32 || q.Size() == 0 {
		return nil, nil, fmt.Errorf("cpu device: attention over %s: %w", q, compute.ErrNotImplemented)
	}
	for _, v := range list {
		if !v.shape.Equal(q) {
			return nil, nil, fmt.Errorf("cpu device: attention over %s and %s: %w", q, v.shape, compute.ErrNotImplemented)
		}
		sides = append(sides, inside(f.transpose(v, order...)))
	}
	d := pick(q.Dimensions, order)
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(d[1]))
	}
	return sides, append(d, sides[0].start, sides[1].start, sides[2].start, int(math.Float64bits(scale))), nil
}

// inside finds what v is a range of the first axis of.
func inside(v *value) attentionSide {
	s := attentionSide{v: v}
	for s.v.node != nil {
		if s.v.node.operator == "Reshape" {
			s.v = s.v.node.inputs[0]
			continue
		}
		from, ok := firstAxisSlice(s.v)
		if !ok {
			break
		}
		of := s.v.node.inputs[0]
		s = attentionSide{of, s.start + from*(of.shape.Size()/of.shape.Dimensions[0])}
	}
	return s
}

// firstAxisSlice returns where the slice v of the first axis alone begins.
func firstAxisSlice(v *value) (from int, ok bool) {
	n := v.node
	if n == nil || n.operator != "Slice" || n.domain != "" || len(n.inputs) != 4 || v.reverse != nil {
		return 0, false
	}
	axes, starts := constantIntegers(n.inputs[3]), constantIntegers(n.inputs[1])
	if len(axes) != 1 || axes[0] != 0 || len(starts) != 1 || starts[0] < 0 {
		return 0, false
	}
	return int(starts[0]), true
}

func constantIntegers(v *value) []int64 {
	if v == nil || v.node == nil {
		return nil
	}
	list, _ := v.node.constant.([]int64)
	return list
}

// FusedScaledDotProductAttention returns softmax(scale·q·kᵀ)·v of float32 without a mask, where queries, keys and values have one shape, and the softmax as
// what the gradient needs.
func (f *Function) FusedScaledDotProductAttention(query, key, val compute.Value, layout compute.AttentionAxesLayout, options *compute.ScaledDotProductAttentionConfig) (compute.Value, []compute.Value, error) {
	vs, err := f.operands("FusedScaledDotProductAttention", query, key, val)
	if err != nil {
		return nil, nil, err
	}
	s, g, err := f.attentionOperands(layout, options, vs)
	if err != nil {
		return nil, nil, err
	}
	out := f.emitKernel("Attention", []shapes.Shape{shapes.Make(dtypes.Float32, g[:4]...), shapes.Make(dtypes.Float32, g[0], g[2], g[2], g[3])},
		[]*value{s[0].v, s[1].v, s[2].v}, g...)
	return f.fromHeads(out[0], layout), []compute.Value{out[1]}, nil
}

// fromHeads is (H, D, T, N) in the order of the layout.
func (f *Function) fromHeads(v *value, layout compute.AttentionAxesLayout) *value {
	if layout == compute.AttentionAxesLayoutBSHD {
		return f.transpose(v, 3, 2, 0, 1)
	}
	return f.transpose(v, 3, 0, 2, 1)
}

// FusedScaledDotProductAttentionVJP returns the gradients of what FusedScaledDotProductAttention was given, parts of one array.
func (f *Function) FusedScaledDotProductAttentionVJP(query, key, val compute.Value, layout compute.AttentionAxesLayout, options *compute.ScaledDotProductAttentionConfig,
	_ compute.Value, states []compute.Value, dOutput compute.Value) (compute.Value, compute.Value, compute.Value, error) {
	if len(states) != 1 {
		return nil, nil, nil, fmt.Errorf("cpu device: gradient of attention with %d states, want 1", len(states))
	}
	vs, err := f.operands("FusedScaledDotProductAttentionVJP", query, key, val, dOutput, states[0])
	if err != nil {
		return nil, nil, nil, err
	}
	s, g, err := f.attentionOperands(layout, options, vs[:4])
	if err != nil {
		return nil, nil, nil, err
	}
	back := f.transpose(vs[3], 1, 3, 2, 0)
	if layout == compute.AttentionAxesLayoutBSHD {
		back = f.transpose(vs[3], 2, 3, 1, 0)
	}
	all := f.emitKernel("AttentionGradient", []shapes.Shape{shapes.Make(dtypes.Float32, 3*g[0]*g[1], g[2], g[3])}, []*value{s[0].v, s[1].v, s[2].v, vs[4], back}, g...)[0]
	var out [3]compute.Value
	for i := range out {
		from := i * g[0] * g[1]
		part := f.slice(all, []int{g[0] * g[1], g[2], g[3]}, []int{from, 0, 0}, []int{from + g[0]*g[1], g[2], g[3]}, []int{1, 1, 1})
		out[i] = f.fromHeads(f.reshape(part, g[:4]...), layout)
	}
	return out[0], out[1], out[2], nil
}

// unsliced returns the value that the slices make up again one after the other along the axis, or nil.
func unsliced(vs []*value, axis int) *value {
	next := 0
	var of *value
	for _, v := range vs {
		from, ok := firstAxisSlice(v)
		if axis != 0 || !ok || from != next || of != nil && v.node.inputs[0] != of {
			return nil
		}
		of = v.node.inputs[0]
		next += v.shape.Dimensions[0]
	}
	if of == nil || next != of.shape.Dimensions[0] {
		return nil
	}
	return of
}
