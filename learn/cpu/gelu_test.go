package cpu

import (
	"math"
	"testing"

	"github.com/gomlx/compute"
)

// geluOf builds a GELU and its gradient as learn writes them, with something that cannot be fused between. Where they are not to be recognised, what lies between
// is seen from outside.
func geluOf(d []int, recognised bool) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	return func(plain compute.Function, p []compute.Value) ([]compute.Value, error) {
		f := &testFunction{Function: plain}
		number := func(x float64) compute.Value {
			return f.must(f.BroadcastInDim(f.must(f.Constant([]float32{float32(x)})), float32Shape(d), nil))
		}
		x := p[0]
		add := f.must(f.Add(f.must(f.Erf(f.must(f.Mul(x, number(math.Sqrt2/2))))), number(1)))
		phi := f.must(f.Mul(add, number(0.5)))
		y := f.must(f.Mul(x, phi))
		v := f.must(f.Sign(y))
		v = f.must(f.Add(p[1], f.must(f.Mul(v, number(0)))))
		density := f.must(f.Mul(f.must(f.Exp(f.must(f.Mul(f.must(f.Mul(x, x)), number(-0.5))))), number(1/math.Sqrt(2*math.Pi))))
		g := f.must(f.Mul(v, f.must(f.Add(phi, f.must(f.Mul(x, density))))))
		results := []compute.Value{y, g}
		if !recognised {
			results = append(results, phi)
		}
		return results, f.err
	}
}

// TestGelu compares the instructions for a GELU and its gradient with Go's math package, and looks that they are used.
func TestGelu(t *testing.T) {
	b := newBackend(t, 1)
	var xs []float32
	for i := range 40_000 {
		xs = append(xs, float32(i-20_000)/1500)
	}
	inf := float32(math.Inf(1))
	xs = append(xs, 0, float32(math.Copysign(0, -1)), 1e-30, -1e-30, 100, -100, 1e20, -1e20, inf, float32(math.NaN()))
	d := []int{len(xs)}
	e := compiled(t, b, [][]int{d, d}, geluOf(d, true))
	ones := make([]float32, len(xs))
	for i := range ones {
		ones[i] = 1
	}
	var in []compute.Buffer
	for _, list := range [][]float32{xs, ones} {
		buffer, err := b.BufferFromFlatData(0, list, float32Shape(d))
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, buffer)
	}
	out, err := e.Execute(in, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ys, gs := read(t, out[0]), read(t, out[1])
	for i, x := range xs {
		a := float64(x)
		tail := math.Erfc(-a/math.Sqrt2) / 2
		want, slope := a*tail, tail+a*math.Exp(-a*a/2)/math.Sqrt(2*math.Pi)
		if math.IsInf(a, 1) || a > 1e10 {
			want, slope = a, 1
		}
		if a < -1e10 {
			want, slope = 0, 0
		}
		if !near(float64(ys[i]), want, 1e-7*(1+math.Abs(want))) || a < 0 && a > -5 && !near(float64(ys[i]), want, 1.2e-6*math.Abs(want)) {
			t.Fatalf("gelu(%g) = %g; want %g", x, ys[i], want)
		}
		if !math.IsInf(a, 0) && math.Abs(a) < 1e10 && !near(float64(gs[i]), slope, 4e-7) {
			t.Fatalf("the slope of gelu at %g is %g; want %g", x, gs[i], slope)
		}
	}
}

func near(a, b, by float64) bool { return a == b || a != a && b != b || math.Abs(a-b) <= by }

// TestGeluIsUsed: learn's way to write it is recognised, and is the same as one operator by one.
func TestGeluIsUsed(t *testing.T) {
	b, plain := newBackend(t, 2), plainBackend(t)
	for _, d := range [][]int{{5, 17, 3}, {16, 65, 32}} {
		compare(t, execute(t, b, [][]int{d, d}, geluOf(d, true)), execute(t, plain, [][]int{d, d}, geluOf(d, true)), 5e-7)
		compare(t, execute(t, b, [][]int{d, d}, geluOf(d, true)), execute(t, b, [][]int{d, d}, geluOf(d, false))[:2], 5e-7)
		counts := operatorsOf(t, b, [][]int{d, d}, geluOf(d, true))
		if counts["Erf"]+counts["Exp"] > 0 || counts["Elementwise"] != 2 {
			t.Errorf("%v: a GELU is %v", d, counts)
		}
	}
}
