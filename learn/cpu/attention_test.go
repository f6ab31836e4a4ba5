package cpu

import (
	"errors"
	"fmt"
	"testing"

	"github.com/gomlx/compute"
)

// attentionOf builds self-attention of heads over parts of one array (3·H·D, T, N), as a dense layer of features that lie outermost leaves it, with the
// gradient of that array.
func attentionOf(h, d, t, n int, scale float64) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	return func(plain compute.Function, p []compute.Value) ([]compute.Value, error) {
		f := &testFunction{Function: plain}
		var parts [3]compute.Value
		for i := range parts {
			part := f.must(f.Slice(p[0], []int{i * h * d, 0, 0}, []int{(i + 1) * h * d, t, n}, []int{1, 1, 1}))
			parts[i] = f.must(f.Transpose(f.must(f.Reshape(part, h, d, t, n)), 3, 0, 2, 1)) // (N, H, T, D)
		}
		o := &compute.ScaledDotProductAttentionConfig{Scale: scale}
		y, states, err := f.FusedScaledDotProductAttention(parts[0], parts[1], parts[2], compute.AttentionAxesLayoutBHSD, o)
		if f.err != nil || err != nil {
			return nil, errors.Join(f.err, err)
		}
		joined := f.must(f.Reshape(f.must(f.Transpose(y, 1, 3, 2, 0)), h*d, t, n))
		back := f.must(f.Transpose(f.must(f.Reshape(p[1], h, d, t, n)), 3, 0, 2, 1))
		gq, gk, gv, err := f.FusedScaledDotProductAttentionVJP(parts[0], parts[1], parts[2], compute.AttentionAxesLayoutBHSD, o, y, states, back)
		if err != nil {
			return nil, err
		}
		var gs []compute.Value
		for _, g := range []compute.Value{gq, gk, gv} {
			gs = append(gs, f.must(f.Reshape(f.must(f.Transpose(g, 1, 3, 2, 0)), h*d, t, n)))
		}
		return []compute.Value{joined, f.must(f.Concatenate(0, gs...))}, f.err
	}
}

// attentionParts is the same of products and softmax.
func attentionParts(h, d, t, n int, scale float32) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	return func(plain compute.Function, p []compute.Value) ([]compute.Value, error) {
		f := &testFunction{Function: plain}
		times := func(a compute.Value, i int, b compute.Value, j int) compute.Value { // (H, N, …)
			return f.must(f.DotGeneral(a, []int{i}, []int{0, 1}, b, []int{j}, []int{0, 1}, compute.DotGeneralConfig{}))
		}
		heads := func(v compute.Value) compute.Value {
			return f.must(f.Transpose(f.must(f.Reshape(v, h, d, t, n)), 0, 3, 2, 1)) // (H, N, T, D)
		}
		var parts [3]compute.Value
		for i := range parts {
			parts[i] = heads(f.must(f.Slice(p[0], []int{i * h * d, 0, 0}, []int{(i + 1) * h * d, t, n}, []int{1, 1, 1})))
		}
		q, k, v, g := parts[0], parts[1], parts[2], heads(p[1])
		square := float32Shape([]int{h, n, t, t})
		factor := f.must(f.BroadcastInDim(f.must(f.Constant([]float32{scale})), square, nil))
		weights := f.must(f.FusedSoftmax(f.must(f.Mul(times(q, 3, k, 3), factor)), 3))
		gw := times(g, 3, v, 3)
		sum := f.must(f.Reshape(f.must(f.ReduceSum(f.must(f.Mul(gw, weights)), 3)), h, n, t, 1))
		gs := f.must(f.Mul(f.must(f.Mul(weights, f.must(f.Sub(gw, f.must(f.BroadcastInDim(sum, square, []int{0, 1, 2, 3})))))), factor))
		out := func(v compute.Value) compute.Value {
			return f.must(f.Reshape(f.must(f.Transpose(v, 0, 3, 2, 1)), h*d, t, n))
		}
		all := f.must(f.Concatenate(0, out(times(gs, 3, k, 2)), out(times(gs, 2, q, 2)), out(times(weights, 2, g, 2))))
		return []compute.Value{out(times(weights, 3, v, 2)), all}, f.err
	}
}

// TestAttention compares attention in one operator with its parts by ONNX Runtime, and looks that nothing is moved.
func TestAttention(t *testing.T) {
	b, plain := newBackend(t, 2), plainBackend(t)
	for _, c := range []struct{ h, d, t, n int }{{3, 64, 65, 32}, {2, 8, 13, 20}, {1, 5, 7, 3}, {2, 3, 2, 17}, {4, 32, 49, 16}, {1, 1, 1, 1}} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			dimensions := [][]int{{3 * c.h * c.d, c.t, c.n}, {c.h * c.d, c.t, c.n}}
			build := attentionOf(c.h, c.d, c.t, c.n, 0.7)
			compare(t, execute(t, b, dimensions, build), execute(t, plain, dimensions, attentionParts(c.h, c.d, c.t, c.n, 0.7)), 2e-5)
			counts := operatorsOf(t, b, dimensions, build)
			if counts["Attention"] != 1 || counts["AttentionGradient"] != 1 || counts["Transpose"]+counts["Slice"]+counts["Concat"] > 0 {
				t.Errorf("attention is %v", counts)
			}
		})
	}
}

// TestAttentionRefuses what the kernel does not compute, so that whoever asks falls back.
func TestAttentionRefuses(t *testing.T) {
	main := newBuilder(newBackend(t, 1).(*Backend), "attention").main
	p := parametersOf(t, main, []int{2, 3, 4, 5}, []int{2, 3, 6, 5})
	for name, call := range map[string]func() error{
		"a mask": func() error {
			_, _, err := main.FusedScaledDotProductAttention(p[0], p[0], p[0], compute.AttentionAxesLayoutBHSD, &compute.ScaledDotProductAttentionConfig{Causal: true})
			return err
		},
		"more keys than queries": func() error {
			_, _, err := main.FusedScaledDotProductAttention(p[0], p[1], p[1], compute.AttentionAxesLayoutBHSD, nil)
			return err
		},
	} {
		if err := call(); !errors.Is(err, compute.ErrNotImplemented) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
