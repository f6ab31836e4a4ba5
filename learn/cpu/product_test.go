package cpu

import (
	"fmt"
	"testing"

	"github.com/gomlx/compute"
)

// TestProducts compares products of matrices large enough for package kernel with ONNX Runtime's.
func TestProducts(t *testing.T) {
	ours, plain := newBackend(t, 2), plainBackend(t)
	for _, c := range []struct {
		left, right []int
		l, r        int // the axes that are summed over
	}{
		{[]int{96, 70}, []int{96, 160}, 0, 0},
		{[]int{70, 96}, []int{96, 165}, 1, 0},
		{[]int{41, 200}, []int{67, 200}, 1, 1},
		{[]int{41, 224}, []int{67, 224}, 1, 1},
		{[]int{130, 64}, []int{70, 130}, 0, 1},
		{[]int{8, 700}, []int{700, 100}, 1, 0},
		{[]int{9, 2000}, []int{33, 2000}, 1, 1},
		{[]int{96, 71}, []int{160, 96}, 0, 1},
		{[]int{71, 1100}, []int{50, 1100}, 1, 1}, // ranges that are tasks of their own
		{[]int{1091, 13}, []int{1091, 49}, 0, 0},
		{[]int{1100, 19}, []int{65, 1100}, 0, 1},
		{[]int{25, 700}, []int{700, 611}, 1, 0}, // ranges one after the other
	} {
		build := func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
			y, err := f.DotGeneral(p[0], []int{c.l}, nil, p[1], []int{c.r}, nil, compute.DotGeneralConfig{})
			return []compute.Value{y}, err
		}
		dimensions := [][]int{c.left, c.right}
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			if n := operatorsOf(t, ours, dimensions, build)["Product"]; n != 1 {
				t.Errorf("%d of the kernel's products", n)
			}
			compare(t, execute(t, ours, dimensions, build), execute(t, plain, dimensions, build), 2e-5)
		})
	}
}

// denseOf builds a dense layer of features that lie outermost, (D, T, N), with a bias and a way around it, and the gradients of matrix and bias. Where they
// are not to be joined, what lies between is seen from outside.
func denseOf(joined bool, columns bool) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	return func(plain compute.Function, p []compute.Value) ([]compute.Value, error) {
		f := &testFunction{Function: plain}
		var d [2][]int
		for i := range d {
			shape, err := plain.Builder().OpShape(p[i])
			if err != nil {
				return nil, err
			}
			d[i] = shape.Dimensions
		}
		in, out := d[0], []int{d[1][1], d[0][1], d[0][2]} // x (D, T, N), w (D, O)
		flat := f.must(f.Reshape(p[0], in[0], in[1]*in[2]))
		product := f.must(f.DotGeneral(p[1], []int{0}, nil, flat, []int{0}, nil, compute.DotGeneralConfig{}))
		biased := f.must(f.Add(f.must(f.Reshape(product, out...)), f.wide(p[2], out)))
		y := f.must(f.Add(p[3], biased))
		v := f.must(f.Mul(y, p[3])) // what flows back
		gw := f.must(f.DotGeneral(flat, []int{1}, nil, f.must(f.Reshape(v, out[0], out[1]*out[2])), []int{1}, nil, compute.DotGeneralConfig{}))
		axes := []int{1, 2}
		if columns { // not the gradient of the bias, though of its shape
			axes = []int{0, 1}
		}
		results := []compute.Value{y, gw, f.must(f.ReduceSum(v, axes...))}
		if !joined {
			results = append(results, product, biased)
		}
		return results, f.err
	}
}

// TestDenseLayer compares a dense layer that is one operator, and its gradients, with their parts, and looks that it is so.
func TestDenseLayer(t *testing.T) {
	b, plain := newBackend(t, 2), plainBackend(t)
	for _, c := range []struct{ in, tokens, images, out int }{{96, 13, 16, 40}, {70, 65, 32, 32}, {33, 7, 49, 50}, {9, 400, 8, 21}} {
		dimensions := [][]int{{c.in, c.tokens, c.images}, {c.in, c.out}, {c.out}, {c.out, c.tokens, c.images}}
		for _, columns := range []bool{false, true} {
			want := execute(t, plain, dimensions, denseOf(true, columns))
			compare(t, execute(t, b, dimensions, denseOf(true, columns)), want, 3e-5)
			compare(t, execute(t, b, dimensions, denseOf(false, columns))[:3], want, 3e-5)
			counts := operatorsOf(t, b, dimensions, denseOf(true, columns))
			if counts["AddedProduct"] != 1 || (counts["SummedProduct"] == 1) == columns || (counts["ReduceSum"] == 1) != columns || counts["Add"] > 0 {
				t.Errorf("%+v: a dense layer is %v", c, counts)
			}
		}
	}
}

// operatorsOf counts the operators of a computation once what can be joined is.
func operatorsOf(t *testing.T, b compute.Backend, dimensions [][]int, build func(f compute.Function, p []compute.Value) ([]compute.Value, error)) map[string]int {
	t.Helper()
	main := newBuilder(b.(*Backend), "operators").main
	results, err := build(main, parametersOf(t, main, dimensions...))
	if err == nil {
		err = main.Return(results, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	main.combine()
	counts := map[string]int{}
	for _, n := range main.neededNodes() {
		counts[n.operator]++
	}
	return counts
}

// BenchmarkProduct times the three products of a dense layer of a small vision transformer, batch 32.
func BenchmarkProduct(b *testing.B) {
	for _, size := range [][2]int{{192, 768}, {768, 192}, {192, 576}, {192, 192}} {
		in, out := size[0], size[1]
		for i, c := range []struct {
			name        string
			left, right []int
			l, r        int
		}{{"forward", []int{in, out}, []int{in, 2080}, 0, 0}, {"images", []int{in, out}, []int{out, 2080}, 1, 0}, {"weights", []int{in, 2080}, []int{out, 2080}, 1, 1}} {
			b.Run(fmt.Sprintf("%d-%d/%s", in, out, c.name), func(b *testing.B) {
				device := newBackend(b, 1)
				e := compiled(b, device, [][]int{c.left, c.right}, func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
					y, err := f.DotGeneral(p[0], []int{c.l}, nil, p[1], []int{c.r}, nil, compute.DotGeneralConfig{})
					return []compute.Value{y}, err
				})
				inputs := []compute.Buffer{ramp(b, device, uint32(i), c.left...), ramp(b, device, 7, c.right...)}
				for b.Loop() {
					results, err := e.Execute(inputs, nil, 0)
					if err != nil {
						b.Fatal(err)
					}
					if err := results[0].Finalize(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(2*float64(in*out*2080)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gflop/s")
			})
		}
	}
}
