package learn

import (
	"math"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

// noise returns n numbers within ±scale, a function of n's place in the golden ratio's sequence.
func noise(n int, start, scale float64) []float32 {
	list := make([]float32, n)
	for i := range list {
		_, f := math.Modf((float64(i) + start) * 0.6180339887498949)
		list[i] = float32((2*f - 1) * scale)
	}
	return list
}

// network uses every supported operator once or more, for images of 3 channels and 6×6 pixels and 3 classes.
func network(t testing.TB) *onnx.Model {
	t.Helper()
	b := onnx.NewBuilder("all operators", 3, 6, 6)
	tensor := func(name string, dims ...int) string {
		n := 1
		for _, d := range dims {
			n *= d
		}
		return b.Tensor(name, dims, noise(n, float64(len(name)), 0.7))
	}
	node := b.Node
	x := node("Sub", "centre", []string{onnx.InputName, b.Tensor("mean", []int{1, 3, 1, 1}, []float32{0.4, 0.5, 0.6})})
	x = node("Div", "scale", []string{x, b.Tensor("std", []int{1, 3, 1, 1}, []float32{0.2, 0.3, 0.25})})
	x = node("Conv", "conv1", []string{x, tensor("conv1.w", 4, 3, 3, 3), tensor("conv1.b", 4)}, onnx.IntsOf("pads", 1, 1, 1, 1))
	x = node("BatchNormalization", "norm", []string{x, tensor("norm.s", 4), tensor("norm.b", 4), b.Tensor("norm.m", []int{4}, make([]float32, 4)), b.Tensor("norm.v", []int{4}, []float32{1, 1, 1, 1})})
	x = node("Relu", "relu", []string{x})
	y := node("MaxPool", "max", []string{x}, onnx.IntsOf("kernel_shape", 3, 3), onnx.IntsOf("strides", 2, 2), onnx.IntsOf("pads", 1, 1, 1, 1))
	z := node("Conv", "conv2", []string{x, tensor("conv2.w", 4, 4, 3, 3)}, onnx.IntsOf("pads", 1, 1, 1, 1), onnx.IntsOf("strides", 2, 2))
	s := node("Conv", "conv3", []string{x, tensor("conv3.w", 4, 4, 1, 1)}, onnx.IntsOf("strides", 2, 2))
	x = node("Add", "add", []string{node("Add", "add0", []string{y, z}), s})
	x = node("Conv", "depthwise", []string{x, tensor("depthwise.w", 4, 1, 3, 3), tensor("depthwise.b", 4)}, onnx.IntOf("group", 4), onnx.IntsOf("pads", 1, 1, 1, 1))
	x = node("Conv", "depthwise2", []string{x, tensor("depthwise2.w", 4, 1, 2, 2)}, onnx.IntOf("group", 4), onnx.IntsOf("pads", 1, 1, 0, 0), onnx.IntsOf("strides", 1, 1))
	x = node("Mul", "gate", []string{x, tensor("gate.w", 4, 1, 1)})
	a := node("AveragePool", "average", []string{x}, onnx.IntsOf("kernel_shape", 2, 2), onnx.IntsOf("pads", 0, 0, 1, 1))
	g := node("Conv", "grouped", []string{a, tensor("grouped.w", 4, 2, 1, 1)}, onnx.IntOf("group", 2))
	f := node("Flatten", "flat", []string{node("Identity", "same", []string{g})})
	h := node("MatMul", "hidden", []string{f, tensor("hidden.w", 36, 5)})
	p := node("Flatten", "pooled", []string{node("GlobalAveragePool", "pool", []string{x})})
	q := node("Gemm", "side", []string{p, tensor("side.w", 4, 5), tensor("side.b", 5)})
	node("Gemm", onnx.OutputName, []string{node("Mul", "join", []string{h, q}), tensor("out.w", 3, 5), tensor("out.b", 3)}, onnx.IntOf("transB", 1))
	m, err := b.Model(3, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// lossOf compiles (images, weights…) → (loss, gradients…) in float64 on GoMLX's own device in Go.
func lossOf(t *testing.T, m *onnx.Model, p *plan, batch int, labels []int32) func(weights [][]float64) (float64, [][]float64) {
	t.Helper()
	backend, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	in := m.Input()
	g := graph.NewGraph(backend, "gradients")
	err = build(func() error {
		images := graph.Parameter(g, "images", shapes.Make(dtypes.Float64, in.Channels, in.Height, in.Width, batch))
		weights := map[string]*graph.Node{}
		for _, w := range p.parameters {
			weights[w.name] = graph.Parameter(g, w.name, shapes.Make(dtypes.Float64, w.dims...))
		}
		l, logits, err := lower(m, images, weights, p, true)
		if err != nil {
			return err
		}
		terms := CrossEntropy{Targets: Targets{Smoothing: 0.1}}.terms(logits, map[string]*graph.Node{LabelsInput: graph.Const(g, labels)})
		gradients := l.gradients(terms.Output)
		outputs := []*graph.Node{terms.Loss}
		for _, w := range p.parameters {
			outputs = append(outputs, gradients[w.name])
		}
		return g.Compile(outputs...)
	})
	if err != nil {
		t.Fatal(err)
	}
	pixels := make([]float64, in.Channels*in.Height*in.Width*batch)
	for i, v := range noise(len(pixels), 0.3, 0.5) {
		pixels[i] = float64(v) + 0.5
	}
	return func(weights [][]float64) (float64, [][]float64) {
		inputs := []compute.Buffer{buffer(t, backend, pixels, in.Channels, in.Height, in.Width, batch)}
		for i, w := range p.parameters {
			inputs = append(inputs, buffer(t, backend, weights[i], w.dims...))
		}
		out, err := g.Executable().Execute(inputs, make([]bool, len(inputs)), 0)
		if err != nil {
			t.Fatal(err)
		}
		var lists [][]float64
		for _, b := range out {
			shape, err := b.Shape()
			if err != nil {
				t.Fatal(err)
			}
			list := make([]float64, shape.Size())
			if err := b.ToFlatData(list); err != nil {
				t.Fatal(err)
			}
			lists = append(lists, list)
		}
		return lists[0][0], lists[1:]
	}
}

func buffer(t *testing.T, backend compute.Backend, data []float64, dims ...int) compute.Buffer {
	t.Helper()
	b, err := backend.BufferFromFlatData(0, data, shapes.Make(dtypes.Float64, dims...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGradientsAreFiniteDifferences(t *testing.T) {
	m := network(t)
	p, err := makePlan(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.parameters) != 16 || len(p.statistics) != 2 || p.isParameter("mean") || p.isParameter("std") {
		t.Fatalf("parameters %v, statistics %v", p.parameters, p.statistics)
	}
	for name, largest := range checkGradients(t, m, p, 12) {
		// A bias before a batch normalisation has no effect; every other parameter has one.
		if (largest < 1e-6) != (name == "conv1.b") {
			t.Errorf("%s: the largest gradient is %g", name, largest)
		}
	}
}

// A kernel without a middle, at both strides, with and without padding, one with gaps, and in groups of several channels.
func TestGradientsOfEvenKernels(t *testing.T) {
	for _, c := range []struct{ size, kernel, stride, pad, dilation, channels, groups int }{{4, 2, 2, 0, 1, 3, 1}, {5, 2, 1, 0, 1, 3, 1}, {6, 4, 2, 1, 1, 3, 1}, {7, 4, 1, 2, 1, 3, 1}, {6, 2, 1, 0, 3, 3, 1},
		{5, 2, 2, 1, 1, 6, 2}, {6, 4, 1, 1, 1, 4, 2}} {
		b := onnx.NewBuilder("even", 2, c.size, c.size)
		x := b.Node("Conv", "first", []string{onnx.InputName, b.Tensor("w1", []int{c.channels, 2, 1, 1}, noise(2*c.channels, 2, 0.7))})
		each := c.channels / c.groups
		x = b.Node("Conv", "even", []string{x, b.Tensor("w2", []int{4, each, c.kernel, c.kernel}, noise(4*each*c.kernel*c.kernel, 1, 0.7))}, onnx.IntOf("group", c.groups),
			onnx.IntsOf("strides", c.stride, c.stride), onnx.IntsOf("pads", c.pad, c.pad, c.pad, c.pad), onnx.IntsOf("dilations", c.dilation, c.dilation))
		x = b.Node("Flatten", "flat", []string{b.Node("GlobalAveragePool", "pool", []string{b.Node("Sigmoid", "curve", []string{x})})})
		b.Node("MatMul", onnx.OutputName, []string{x, b.Tensor("w3", []int{4, 3}, noise(12, 3, 0.7))})
		m, err := b.Model(3, onnx.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := makePlan(m)
		if err != nil {
			t.Fatal(err)
		}
		checkGradients(t, m, p, 6)
	}
}

// checkGradients compares the gradient of every parameter with finite differences, of large ones that of about so many elements. It
// returns the largest gradient of each.
func checkGradients(t *testing.T, m *onnx.Model, p *plan, sample int) map[string]float64 {
	t.Helper()
	f := lossOf(t, m, p, 5, []int32{0, 1, 2, 1, 0})
	weights := make([][]float64, len(p.parameters))
	for i, w := range p.parameters {
		tensor, _ := m.Tensor(w.name)
		for _, v := range tensor.Data {
			weights[i] = append(weights[i], float64(v))
		}
	}
	_, gradients := f(weights)
	const h = 1e-5
	all := map[string]float64{}
	for i, w := range p.parameters {
		step := max(1, len(weights[i])/sample)
		for k := 0; k < len(weights[i]); k += step {
			was := weights[i][k]
			weights[i][k] = was + h
			up, _ := f(weights)
			weights[i][k] = was - h
			down, _ := f(weights)
			weights[i][k] = was
			want, got := (up-down)/(2*h), gradients[i][k]
			all[w.name] = math.Max(all[w.name], math.Abs(want))
			if math.Abs(got-want) > 1e-6+1e-5*math.Abs(want) {
				t.Errorf("%s[%d]: gradient %.9g, finite difference %.9g", w.name, k, got, want)
			}
		}
	}
	return all
}

// The CPU device computes the same gradients as the reference, most of them in other ways.
func TestGradientsOnTheDevice(t *testing.T) {
	sameGradients(t, network(t), []int32{0, 1, 2, 1, 0}, 1e-4)
}

// So it does for whole networks, in which its passes join what stands side by side in them. The reference is in float64: what is left is rounding.
func TestGradientsOfNetworksOnTheDevice(t *testing.T) {
	for name, size := range map[string]int{"resnet8": 8, "mobilenet_v3_small": 32, "efficientnet_b0": 32, "vit_tiny": 32} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && (name == "efficientnet_b0" || name == "vit_tiny") {
				t.Skip("the reference takes seconds")
			}
			m, err := zoo.Build(name, zoo.Options{Classes: []string{"a", "b", "c"}, Channels: 3, Height: size, Width: size, Mean: noise64(3, 0.4), Std: noise64(3, 0.3), Seed: 2})
			if err != nil {
				t.Fatal(err)
			}
			labels := make([]int32, 16) // the innermost axis, of which kernels take 16 at once
			for i := range labels {
				labels[i] = int32(i * i % 3)
			}
			sameGradients(t, m, labels, 2e-3)
		})
	}
}

// sameGradients compares the gradients of each parameter on the device with the reference's, by the root of their mean square.
func sameGradients(t *testing.T, m *onnx.Model, labels []int32, tolerance float64) {
	t.Helper()
	needLibrary(t)
	p, err := makePlan(m)
	if err != nil {
		t.Fatal(err)
	}
	weights := make([][]float64, len(p.parameters))
	for i, w := range p.parameters {
		tensor, _ := m.Tensor(w.name)
		for _, v := range tensor.Data {
			weights[i] = append(weights[i], float64(v))
		}
	}
	loss, want := lossOf(t, m, p, len(labels), labels)(weights)
	got, out := deviceGradients(t, m, p, labels, "")
	if math.Abs(out.Loss-loss) > 1e-5*max(1, loss) {
		t.Errorf("loss %g; want %g", out.Loss, loss)
	}
	for i, w := range p.parameters {
		size, far := 0.0, 0.0 // squares
		for k := range want[i] {
			size, far = size+want[i][k]*want[i][k], far+(float64(got[w.name][k])-want[i][k])*(float64(got[w.name][k])-want[i][k])
		}
		n := float64(len(want[i]))
		if far, size = math.Sqrt(far/n), math.Sqrt(size/n); far > 2e-5+tolerance*size {
			t.Errorf("%s: its gradients are off by %g, of %g", w.name, far, size)
		}
	}
}

// Whatever file passes onnx's checks is either planned or refused with an error.
func FuzzMakePlan(f *testing.F) {
	b, err := network(f).Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := onnx.Parse(b)
		if err != nil {
			return
		}
		p, err := makePlan(m)
		if err != nil {
			return
		}
		for _, w := range p.parameters {
			if _, ok := m.Tensor(w.name); !ok {
				t.Errorf("the parameter %q is no float32 initializer", w.name)
			}
		}
	})
}
