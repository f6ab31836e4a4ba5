package cpu

import (
	"errors"
	"fmt"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/compute/support/testutil"
)

// TestByHand compares with results worked out by hand, for what the compliance suite leaves out.
func TestByHand(t *testing.T) {
	b := newBackend(t, 1)
	m := [][]float32{{1, 2, 3}, {4, 5, 6}}
	type operation = func(f compute.Function, p []compute.Value) (compute.Value, error)
	zero := func(f compute.Function) compute.Value {
		v, err := f.Constant([]float32{0})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		name   string
		inputs []any
		apply  operation
		want   string
	}{
		{"pad between and around", []any{m}, func(f compute.Function, p []compute.Value) (compute.Value, error) {
			return f.Pad(p[0], zero(f), compute.PadAxis{Start: 1}, compute.PadAxis{Interior: 1, End: 1})
		}, "[[0 0 0 0 0 0] [1 0 2 0 3 0] [4 0 5 0 6 0]]"},
		{"pad moves", []any{m}, func(f compute.Function, p []compute.Value) (compute.Value, error) {
			return f.Pad(p[0], zero(f), compute.PadAxis{}, compute.PadAxis{Start: 1, End: -1})
		}, "[[0 1 2] [0 4 5]]"},
		{"pad cuts between", []any{[]float32{1, 2}}, func(f compute.Function, p []compute.Value) (compute.Value, error) {
			return f.Pad(p[0], zero(f), compute.PadAxis{Start: -1, Interior: 2, End: 1})
		}, "[0 0 2 0]"},
		{"reverse one axis", []any{m}, func(f compute.Function, p []compute.Value) (compute.Value, error) { return f.Reverse(p[0], 1) }, "[[3 2 1] [6 5 4]]"},
		{"reverse two axes", []any{m}, func(f compute.Function, p []compute.Value) (compute.Value, error) { return f.Reverse(p[0], 1, 0) }, "[[6 5 4] [3 2 1]]"},
		{"slice with strides", []any{m}, func(f compute.Function, p []compute.Value) (compute.Value, error) {
			return f.Slice(p[0], []int{1, 0}, []int{2, 3}, []int{1, 2})
		}, "[[4 6]]"},
		// (2,3)ᵀ·(2,3): contract the first axes of both.
		{"product of transposes", []any{m, m}, func(f compute.Function, p []compute.Value) (compute.Value, error) {
			return f.DotGeneral(p[0], []int{0}, nil, p[1], []int{0}, nil, compute.DotGeneralConfig{})
		}, "[[17 22 27] [22 29 36] [27 36 45]]"},
		{"product over two axes in another order", []any{m, [][]float32{{1, 0}, {0, 1}, {1, 1}}}, func(f compute.Function, p []compute.Value) (compute.Value, error) {
			return f.DotGeneral(p[0], []int{0, 1}, nil, p[1], []int{1, 0}, nil, compute.DotGeneralConfig{})
		}, "15"}, // 1·1 + 2·0 + 3·1 + 4·0 + 5·1 + 6·1
		{"product with the batch last", []any{m, m}, func(f compute.Function, p []compute.Value) (compute.Value, error) {
			return f.DotGeneral(p[0], []int{0}, []int{1}, p[1], []int{0}, []int{1}, compute.DotGeneralConfig{})
		}, "[17 29 45]"},
		{"outer product", []any{[]float32{1, 2}, []float32{3, 4}}, func(f compute.Function, p []compute.Value) (compute.Value, error) {
			return f.DotGeneral(p[0], nil, nil, p[1], nil, nil, compute.DotGeneralConfig{})
		}, "[[3 4] [6 8]]"},
		{"rows beyond the ends", []any{m, [][]int32{{7}, {0}, {-3}}}, func(f compute.Function, p []compute.Value) (compute.Value, error) {
			return f.Gather(p[0], p[1], 1, []int{1}, []int{0}, []int{0}, []int{1, 3}, false)
		}, "[[4 5 6] [1 2 3] [1 2 3]]"},
		{"windows of two", []any{m}, func(f compute.Function, p []compute.Value) (compute.Value, error) {
			return f.ReduceWindow(p[0], compute.ReduceOpSum, []int{1, 2}, []int{1, 1}, nil, nil, [][2]int{{0, 0}, {1, 0}})
		}, "[[1 3 5] [4 9 11]]"},
		{"remainder has the sign of the first", []any{[]int32{7, -7}, []int32{3, 3}}, func(f compute.Function, p []compute.Value) (compute.Value, error) { return f.Rem(p[0], p[1]) }, "[1 -1]"},
		{"sum of narrow integers", []any{[]uint8{200, 100}}, func(f compute.Function, p []compute.Value) (compute.Value, error) { return f.ReduceSum(p[0]) }, "44"},
		{"counting", nil, func(f compute.Function, _ []compute.Value) (compute.Value, error) {
			return f.Iota(shapes.Make(dtypes.Float32, 2, 2), 0)
		}, "[[0 0] [1 1]]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := testutil.Exec1(b, c.inputs, c.apply)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != c.want {
				t.Errorf("%v; want %s", got, c.want)
			}
		})
	}
}

// TestMissingKernel compiles an operation that ONNX Runtime has not for its element type.
func TestMissingKernel(t *testing.T) {
	b := newBackend(t, 1)
	_, err := testutil.Exec1(b, []any{[]uint64{1, 2}}, func(f compute.Function, p []compute.Value) (compute.Value, error) { return f.ReduceProduct(p[0]) })
	if !errors.Is(err, compute.ErrNotImplemented) {
		t.Fatalf("ReduceProduct of uint64: %v; want compute.ErrNotImplemented", err)
	}
}
