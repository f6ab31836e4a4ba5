package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// plainBackend returns a device without package kernel's operators: every operator is ONNX Runtime's.
func plainBackend(t testing.TB) compute.Backend {
	b := newBackend(t, 2)
	b.(*Backend).options.plain = true
	return b
}

// execute builds a computation on a device and returns its results for inputs that look random.
func execute(t *testing.T, b compute.Backend, dimensions [][]int, build func(f compute.Function, p []compute.Value) ([]compute.Value, error)) [][]float32 {
	t.Helper()
	e := compiled(t, b, dimensions, build)
	var inputs []compute.Buffer
	for i, d := range dimensions {
		inputs = append(inputs, ramp(t, b, uint32(i+1), d...))
	}
	out, err := e.Execute(inputs, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var lists [][]float32
	for _, buffer := range out {
		lists = append(lists, read(t, buffer))
	}
	return lists
}

// compare checks results against those of the plain device.
func compare(t *testing.T, got, want [][]float32, allowed float64) {
	t.Helper()
	for i := range want {
		for k, w := range want[i] {
			g := got[i][k]
			if g != w && !(math.Abs(float64(g-w)) <= allowed*max(1, math.Abs(float64(w)))) && !(g != g && w != w) {
				t.Fatalf("result %d, element %d = %g; want %g", i, k, g, w)
			}
		}
	}
}

// randomProgram draws a computation of elementwise operations over arrays that broadcast, some of whose values are results and some of which go through
// a reduction, which cannot be fused, and back.
func randomProgram(r *rand.Rand, shape []int) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	return func(f compute.Function, p []compute.Value) (out []compute.Value, err error) {
		r := rand.New(rand.NewPCG(r.Uint64(), 1)) // of its own, as it is built once for each device
		must := func(v compute.Value, e error) compute.Value {
			if e != nil {
				err = e
				return p[0]
			}
			return v
		}
		wide := func(v compute.Value) compute.Value {
			s, e := f.(*Function).builder.OpShape(v)
			if e != nil {
				err = e
				return v
			}
			to := s.Clone()
			to.Dimensions = slices.Clone(shape)
			axes := make([]int, len(shape))
			for i := range axes {
				axes[i] = i
			}
			return must(f.BroadcastInDim(v, to, axes))
		}
		var values []compute.Value
		for _, v := range p {
			values = append(values, wide(v))
		}
		pick := func() compute.Value { return values[r.IntN(len(values))] }
		number := func(x float32) compute.Value {
			return wide(must(f.Reshape(must(f.Constant([]float32{x})), slices.Repeat([]int{1}, len(shape))...)))
		}
		for range 24 {
			var v compute.Value
			switch r.IntN(12) {
			case 0:
				v = must(f.Add(pick(), pick()))
			case 1:
				v = must(f.Sub(pick(), number(r.Float32())))
			case 2:
				v = must(f.Mul(pick(), must(f.Tanh(pick()))))
			case 3:
				v = must(f.Max(pick(), number(0)))
			case 4:
				v = must(f.Min(pick(), must(f.Neg(pick()))))
			case 5:
				v = must(f.Where(must(f.GreaterThan(pick(), pick())), pick(), number(0)))
			case 6:
				v = must(f.Where(must(f.LogicalAnd(must(f.LessOrEqual(pick(), pick())), must(f.LogicalNot(must(f.Equal(pick(), pick())))))), pick(), pick()))
			case 7:
				v = must(f.Logistic(pick()))
			case 8:
				v = must(f.Erf(pick()))
			case 9:
				v = must(f.Exp(must(f.Neg(must(f.Abs(pick()))))))
			case 10:
				v = must(f.Div(pick(), must(f.Sqrt(must(f.Add(must(f.Abs(pick())), number(1)))))))
			case 11: // not fusible
				sum := must(f.ReduceMax(pick(), 1))
				d := slices.Clone(shape)
				d[1] = 1
				v = wide(must(f.Reshape(sum, d...)))
			}
			values = append(values, v)
			if r.IntN(8) == 0 {
				out = append(out, v)
			}
		}
		return append(out, values[len(values)-1], values[len(values)-2]), err
	}
}

// TestFusion compares random programs with what ONNX Runtime's operators give one by one.
func TestFusion(t *testing.T) {
	fused, plain := newBackend(t, 2), plainBackend(t)
	for i, shape := range [][]int{{7, 3, 5}, {4, 33, 32}, {3, 100, 64}, {1, 70, 1}, {2, 9, 1000}, {128, 5, 2}, {3, 1, 129}} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("%v/%d", shape, seed), func(t *testing.T) {
				dimensions := [][]int{shape, shape, {shape[0], 1, 1}, {1, 1, shape[2]}, {1, shape[1], 1}, {shape[0], 1, shape[2]}, {1, 1, 1}}
				build := func() func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
					return randomProgram(rand.New(rand.NewPCG(seed, uint64(i))), shape)
				}
				compare(t, execute(t, fused, dimensions, build()), execute(t, plain, dimensions, build()), 3e-6)
			})
		}
	}
}

// TestFusionIsUsed looks at the nodes of a computation: an optimizer's step is one of them.
func TestFusionIsUsed(t *testing.T) {
	b := newBackend(t, 1)
	main := newBuilder(b.(*Backend), "step").main
	d := []int{16, 16}
	p := parametersOf(t, main, d, d, d)
	decay, err := main.Constant([]float32{0.01})
	if err != nil {
		t.Fatal(err)
	}
	w := func(v compute.Value, err error) compute.Value {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	g := w(main.Add(p[0], w(main.Mul(p[1], w(main.Reshape(decay))))))
	velocity := w(main.Add(w(main.Mul(p[2], w(main.Reshape(decay)))), g))
	next := w(main.Sub(p[1], velocity))
	nodes := fuse(main.nodes, []*value{velocity.(*value), next.(*value)})
	var operators []string
	for _, n := range nodes {
		if n.constant == nil && n.operator != "Reshape" {
			operators = append(operators, n.operator)
		}
	}
	if !slices.Equal(operators, []string{"Elementwise"}) {
		t.Errorf("a step of an optimizer is %v", operators)
	}
}

// TestCollapsedAxes: a program runs over as few axes as its inputs let it.
func TestCollapsedAxes(t *testing.T) {
	whole := []int{-1, 0, 0, 0}
	for _, c := range []struct {
		dims        []int
		steps       [][]int
		want        []int
		wantedSteps [][]int
	}{
		{[]int{3, 4, 5, 6}, [][]int{whole}, []int{360}, [][]int{{-1}}},
		{[]int{3, 4, 1, 1}, [][]int{whole, {0, 0, 0, 0}}, []int{12}, [][]int{{-1}, {0}}},
		{[]int{3, 4, 5, 6}, [][]int{{6, 0, 0, 1}, whole}, []int{3, 20, 6}, [][]int{{6, 0, 1}, {-1, 0, 0}}},
		{[]int{3, 4, 5, 6}, [][]int{{1, 0, 0, 0}}, []int{3, 120}, [][]int{{1, 0}}},
		{[]int{3, 4, 5, 6}, [][]int{{0, 30, 6, 1}}, []int{3, 120}, [][]int{{0, 1}}},
		{[]int{1, 4, 1, 6}, [][]int{{0, 0, 0, 1}}, []int{4, 6}, [][]int{{0, 1}}},
		{[]int{1, 1}, [][]int{{-1, 0}}, []int{1}, [][]int{{-1}}},
	} {
		dims, steps := collapsed(c.dims, c.steps)
		if !slices.Equal(dims, c.want) || !slices.EqualFunc(steps, c.wantedSteps, slices.Equal) {
			t.Errorf("%v with %v: %v with %v; want %v with %v", c.dims, c.steps, dims, steps, c.want, c.wantedSteps)
		}
	}
}

func float32Shape(dimensions []int) shapes.Shape { return shapes.Make(dtypes.Float32, dimensions...) }

func parametersOf(t *testing.T, f *Function, dimensions ...[]int) []compute.Value {
	t.Helper()
	var list []compute.Value
	for i, d := range dimensions {
		p, err := f.Parameter(fmt.Sprint("p", i), float32Shape(d), nil)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// TestCurves compares the kernels' functions with Go's math package over all that float32 holds.
func TestCurves(t *testing.T) {
	b := newBackend(t, 1)
	var xs []float32
	for bits := uint32(0); bits < 0x7f800000; bits += 99_991 {
		xs = append(xs, math.Float32frombits(bits), -math.Float32frombits(bits))
	}
	inf := float32(math.Inf(1))
	xs = append(xs, inf, -inf, float32(math.NaN()))
	for i := range 20_000 {
		xs = append(xs, float32(i-10_000)/1000)
	}
	for _, c := range []struct {
		name  string
		apply func(f compute.Function, x compute.Value) (compute.Value, error)
		want  func(x float64) float64
	}{
		{"exp", compute.Function.Exp, math.Exp},
		{"tanh", compute.Function.Tanh, math.Tanh},
		{"erf", compute.Function.Erf, math.Erf},
		{"logistic", compute.Function.Logistic, func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := compiled(t, b, [][]int{{len(xs)}}, func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
				y, err := c.apply(f, p[0])
				if err != nil {
					return nil, err
				}
				y, err = f.Neg(y) // so that there are two to fuse
				return []compute.Value{y}, err
			})
			in, err := b.BufferFromFlatData(0, xs, float32Shape([]int{len(xs)}))
			if err != nil {
				t.Fatal(err)
			}
			out, err := e.Execute([]compute.Buffer{in}, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for i, got := range read(t, out[0]) {
				want := float32(-c.want(float64(xs[i])))
				if got == want || got != got && want != want {
					continue
				}
				// A few units in the last place; below the smallest normal number the absolute error counts.
				if !(math.Abs(float64(got)-float64(want)) <= 4e-7*math.Abs(float64(want))+1.5e-38) {
					t.Fatalf("%s(%g) = %g; want %g", c.name, xs[i], -got, -want)
				}
			}
		})
	}
}

// TestChannelwise compares convolutions of single channels, their gradients, and the greatest of windows with ONNX Runtime's operators.
func TestChannelwise(t *testing.T) {
	ours, plain := newBackend(t, 2), plainBackend(t)
	for _, v := range []convolution{
		{c: 5, h: 7, w: 6, n: 3, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}},
		{c: 4, h: 9, w: 12, n: 64, k: 5, stride: 1, dilation: 1, pad: [2]int{2, 2}},
		{c: 3, h: 12, w: 9, n: 35, k: 5, stride: 2, dilation: 1, pad: [2]int{2, 2}},
		{c: 3, h: 8, w: 8, n: 130, k: 3, stride: 2, dilation: 1, pad: [2]int{0, 1}},
		{c: 6, h: 3, w: 3, n: 17, k: 7, stride: 1, dilation: 1, pad: [2]int{3, 3}},
		{c: 2, h: 11, w: 10, n: 16, k: 3, stride: 1, dilation: 2, pad: [2]int{2, 2}},
		{c: 2, h: 6, w: 6, n: 5, k: 2, stride: 2, dilation: 1},
		{c: 3, h: 5, w: 4, n: 20, k: 1, stride: 1, dilation: 1},
	} {
		t.Run(fmt.Sprintf("%+v", v), func(t *testing.T) {
			ho, wo := v.out(v.h), v.out(v.w)
			dimensions := [][]int{{v.c, v.h, v.w, v.n}, {v.c, 1, v.k, v.k}, {v.c, ho, wo, v.n}}
			compare(t, execute(t, ours, dimensions, v.channelwise(t)), execute(t, plain, dimensions, v.channelwise(t)), 2e-5)
		})
	}
}

// alone is a convolution in which each channel meets a kernel of its own.
func (v convolution) alone(c calculator, x, kernel compute.Value) compute.Value {
	return c.ok(c.f.ConvGeneral(x, kernel, aloneAxes, []int{v.stride, v.stride}, [][2]int{v.pad, v.pad}, nil, []int{v.dilation, v.dilation}, v.c, 1))
}

// aloneGradients are the gradients of its images and its kernel, gy that of its result.
func (v convolution) aloneGradients(c calculator, x, kernel, gy compute.Value) (gx, gk compute.Value) {
	strides, dilations := []int{v.stride, v.stride}, []int{v.dilation, v.dilation}
	span := (v.k - 1) * v.dilation
	back, along := make([][2]int, 2), make([][2]int, 2)
	for i, size := range []int{v.h, v.w} {
		last := (v.out(size) - 1) * v.stride
		back[i] = [2]int{span - v.pad[0], size - last - 1 + v.pad[0]}
		along[i] = [2]int{v.pad[0], span + last + 1 - size - v.pad[0]}
	}
	gx = c.ok(c.f.ConvGeneral(gy, c.ok(c.f.Reverse(kernel, 2, 3)), aloneAxes, nil, back, strides, dilations, v.c, 1))
	gk = c.ok(c.f.ConvGeneral(x, gy, compute.ConvolveAxesConfig{InputBatch: 0, InputChannels: 3, InputSpatial: []int{1, 2}, KernelInputChannels: 3,
		KernelOutputChannels: 0, KernelSpatial: []int{1, 2}, OutputBatch: 1, OutputChannels: 0, OutputSpatial: []int{2, 3}},
		dilations, along, nil, strides, 1, v.c))
	return gx, gk
}

var aloneAxes = compute.ConvolveAxesConfig{InputBatch: 3, InputChannels: 0, InputSpatial: []int{1, 2}, KernelInputChannels: 1, KernelOutputChannels: 0,
	KernelSpatial: []int{2, 3}, OutputBatch: 3, OutputChannels: 0, OutputSpatial: []int{1, 2}}

// channelwise builds what TestChannelwise compares, of images, kernels and a gradient.
func (v convolution) channelwise(t testing.TB) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	return func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
		c := calculator{t, f}
		gx, gk := v.aloneGradients(c, p[0], p[1], p[2])
		results := []compute.Value{v.alone(c, p[0], p[1]), gx, gk}
		if v.dilation != 1 {
			return results, nil
		}
		rounded := c.ok(f.Round(p[0])) // many are equal
		window, moves, pads := []int{1, v.k, v.k, 1}, []int{1, v.stride, v.stride, 1}, [][2]int{{}, v.pad, v.pad, {}}
		for _, x := range []compute.Value{p[0], rounded} {
			results = append(results, c.ok(f.ReduceWindow(x, compute.ReduceOpMax, window, moves, nil, nil, pads)), c.ok(f.SelectAndScatterMax(x, p[2], window, moves, pads)))
		}
		return results, nil
	}
}
