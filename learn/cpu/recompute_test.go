package cpu

import (
	"math"
	"testing"

	"github.com/gomlx/compute"
)

// geluAndBack builds a GELU as PyTorch's exporter writes it, of x plus a bias, something that cannot be fused between, and its gradient. Where it is not
// to be computed again, what lies between is seen from outside.
func geluAndBack(d []int, again bool) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	return func(plain compute.Function, p []compute.Value) ([]compute.Value, error) {
		f := &testFunction{Function: plain}
		number := func(x float64) compute.Value {
			return f.must(f.Reshape(f.must(f.Constant([]float32{float32(x)})), 1, 1, 1))
		}
		wide := func(v compute.Value) compute.Value {
			return f.must(f.BroadcastInDim(v, float32Shape(d), []int{0, 1, 2}))
		}
		root, one, half := wide(number(math.Sqrt2)), wide(number(1)), wide(number(0.5))
		x := f.must(f.Add(p[0], f.wide(p[1], d)))
		z := f.must(f.Div(x, root))
		s := f.must(f.Add(f.must(f.Erf(z)), one))
		y := f.must(f.Mul(f.must(f.Mul(x, s)), half))
		v := f.must(f.Mul(wide(f.must(f.Reshape(f.must(f.ReduceMax(y, 1)), d[0], 1, d[2]))), half))
		slope := f.must(f.Mul(f.must(f.Exp(f.must(f.Neg(f.must(f.Mul(z, z)))))), wide(number(2/math.SqrtPi))))
		g := f.must(f.Add(f.must(f.Mul(v, s)), f.must(f.Div(f.must(f.Mul(f.must(f.Mul(v, x)), slope)), root))))
		results := []compute.Value{y, g}
		if !again {
			results = append(results, x, z, s)
		}
		return results, f.err
	}
}

// TestRecomputation: the gradient of an activation computes again what it needs, and the bits stay the same.
func TestRecomputation(t *testing.T) {
	b := newBackend(t, 2)
	for _, d := range [][]int{{7, 13, 9}, {16, 65, 32}} {
		dimensions := [][]int{d, {d[0]}}
		compare(t, execute(t, b, dimensions, geluAndBack(d, true)), execute(t, b, dimensions, geluAndBack(d, false))[:2], 0)
		compare(t, execute(t, b, dimensions, geluAndBack(d, true)), execute(t, plainBackend(t), dimensions, geluAndBack(d, true)), 3e-6)
		main := newBuilder(b.(*Backend), "gelu").main
		results, err := geluAndBack(d, true)(main, parametersOf(t, main, dimensions...))
		if err == nil {
			err = main.Return(results, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		main.combine()
		for _, n := range main.neededNodes() {
			if n.operator == "Elementwise" && len(n.outputs) != 1 {
				t.Errorf("%v: a fused operator writes %d arrays", d, len(n.outputs))
			}
		}
	}
}
