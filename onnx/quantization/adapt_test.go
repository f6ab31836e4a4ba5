package quantization

import (
	"math"
	"testing"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

func count(g *surgery.Graph, operator string) int {
	n := 0
	for _, node := range g.Nodes() {
		if node.OpType == operator {
			n++
		}
	}
	return n
}

// TestAdapt: the answers stay, and what ONNX Runtime is slow at is gone. For TensorRT nothing changes.
func TestAdapt(t *testing.T) {
	m := build(t, "mobilenet_v3_small")
	before := logits(t, m)
	g := prepare(t, m)
	Adapt(g, TensorRT)
	if count(g, "HardSigmoid") != 9 || count(g, "Div") != 1 || count(g, "Transpose") != 0 {
		t.Error("adapted for TensorRT, the graph has changed")
	}
	Adapt(g, ONNXRuntime)
	after, err := g.Model()
	if err != nil {
		t.Fatal(err)
	}
	if d := snr(before, logits(t, after)); d < 90 {
		t.Errorf("the answers are %.1f dB apart", d)
	}
	if count(g, "HardSigmoid") != 0 || count(g, "Div") != 0 || count(g, "Clip") != 9 || count(g, "Transpose") != 1 {
		t.Errorf("%d HardSigmoid, %d Div, %d Clip, %d Transpose", count(g, "HardSigmoid"), count(g, "Div"), count(g, "Clip"), count(g, "Transpose"))
	}
	for _, n := range g.Nodes() {
		if groups := groupsOf(n); n.OpType == "Conv" && groups > 1 && groups%16 != 0 {
			t.Errorf("%s has %d channels", n.Name, groups)
		}
	}
}

// Where a channel more would be read by something that is not known, or too many were needed, a depthwise convolution stays as it is.
func TestDepthwiseStays(t *testing.T) {
	for name, c := range map[string]struct {
		channels int
		more     func(b *onnx.Builder, x string) string // behind the depthwise convolution
		want     int
	}{
		"filled":        {31, func(_ *onnx.Builder, x string) string { return x }, 32},
		"too thin":      {8, func(_ *onnx.Builder, x string) string { return x }, 8},
		"a sigmoid":     {31, func(b *onnx.Builder, x string) string { return b.Node("Sigmoid", "s", []string{x}) }, 31},
		"read twice":    {31, func(b *onnx.Builder, x string) string { return b.Node("Add", "a", []string{x, x}) }, 31},
		"clipped above": {31, func(b *onnx.Builder, x string) string { return clip(b, x, 0.5, 6) }, 31},
		"clipped at 0":  {31, func(b *onnx.Builder, x string) string { return clip(b, x, 0, 6) }, 32},
	} {
		b := onnx.NewBuilder("d", 3, 8, 8)
		weights := func(name string, dims ...int) string {
			data := make([]float32, size(dims))
			for i := range data {
				data[i] = float32(math.Sin(float64(i * i)))
			}
			return b.Tensor(name, dims, data)
		}
		x := b.Node("Relu", "r", []string{b.Node("Conv", "first", []string{onnx.InputName, weights("w1", c.channels, 3, 1, 1)})})
		x = c.more(b, b.Node("Conv", "depthwise", []string{x, weights("w2", c.channels, 1, 3, 3), weights("b2", c.channels)}, onnx.IntOf("group", c.channels)))
		x = b.Node("GlobalAveragePool", "p", []string{b.Node("Conv", "last", []string{x, weights("w3", 4, c.channels, 1, 1)})})
		b.Node("Flatten", onnx.OutputName, []string{x})
		m, err := b.Model(4, onnx.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		before := logits(t, m)
		g := prepare(t, m)
		Adapt(g, ONNXRuntime)
		after, err := g.Model()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := snr(before, logits(t, after)); d < 90 {
			t.Errorf("%s: the answers are %.1f dB apart", name, d)
		}
		for _, n := range g.Nodes() {
			if n.Name == "depthwise" && groupsOf(n) != c.want {
				t.Errorf("%s: it has %d channels, want %d", name, groupsOf(n), c.want)
			}
		}
	}
}

func clip(b *onnx.Builder, x string, low, high float32) string {
	return b.Node("Clip", "c", []string{x, b.Tensor("low", nil, []float32{low}), b.Tensor("high", nil, []float32{high})})
}

// swishes is a network with two HardSwish, whose inputs go up to about high.
func swishes(t testing.TB, high float32) *onnx.Model {
	t.Helper()
	b := onnx.NewBuilder("s", 3, 8, 8)
	weights := func(name string, scale float32, dims ...int) string {
		data := make([]float32, size(dims))
		for i := range data {
			data[i] = scale * float32(math.Sin(float64(i*i)+1))
		}
		return b.Tensor(name, dims, data)
	}
	x := b.Node("HardSwish", "h1", []string{b.Node("Conv", "c1", []string{onnx.InputName, weights("w1", high/2, 16, 3, 1, 1), weights("b1", 0.1, 16)})})
	x = b.Node("HardSwish", "h2", []string{b.Node("Conv", "c2", []string{x, weights("w2", 1.0/4, 16, 16, 1, 1), weights("b2", high/2, 16)})})
	x = b.Node("GlobalAveragePool", "p", []string{b.Node("Conv", "c3", []string{x, weights("w3", 1.0/4, 4, 16, 1, 1), weights("b3", 0.1, 4)})})
	b.Node("Flatten", onnx.OutputName, []string{x})
	m, err := b.Model(4, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestHardSwish: with codes it is what it is in float of the numbers that the codes stand for, and stays in float where codes from −3 on would be too coarse.
func TestHardSwish(t *testing.T) {
	for _, c := range []struct {
		high    float32
		float   int // HardSwish nodes that stay
		clipped int
	}{{8, 0, 2}, {2.2, 0, 0}, {0.2, 2, 0}} {
		m := swishes(t, c.high)
		g := prepare(t, m)
		p, ranges := static(t, g, m.Input(), Scheme{Target: ONNXRuntime, PerChannel: true}, MinMax)
		q, err := p.Apply(ranges, nil)
		if err != nil {
			t.Fatal(err)
		}
		after := surgery.Edit(q.Model)
		if float, clipped := count(after, "HardSwish"), count(after, "Clip"); float != c.float || clipped != c.clipped {
			t.Errorf("up to %g: %d HardSwish in float, %d Clip; ranges %v", c.high, float, clipped, ranges)
		}
		if d := snr(logits(t, m), logits(t, reload(t, q.Model))); d < 25 {
			t.Errorf("up to %g: %.1f dB", c.high, d)
		}
		if c.float > 0 {
			continue
		}
		_, data := look(t, after, m.Input(), []string{"c1.dequantized", "h1"})
		for i, x := range data[0] {
			want := float64(x) * math.Min(math.Max(float64(x)+3, 0), 6) / 6
			if math.Abs(want-float64(data[1][i])) > 1e-5 {
				t.Fatalf("up to %g: HardSwish of %g is %g, want %g", c.high, x, data[1][i], want)
			}
		}
	}
}

// TestBoundedSwish: no codes are clipped, the bound is where it errs least, and what it costs is small where few numbers are above 3.
func TestBoundedSwish(t *testing.T) {
	m := swishes(t, 4)
	g := prepare(t, m)
	p, ranges := static(t, g, m.Input(), Scheme{Target: ONNXRuntime, PerChannel: true, BoundedSwish: true}, MinMax)
	q, err := p.Apply(ranges, nil)
	if err != nil {
		t.Fatal(err)
	}
	after := surgery.Edit(q.Model)
	if count(after, "HardSwish") != 0 || count(after, "Clip") != 0 {
		t.Error("a HardSwish or a Clip is left")
	}
	if r := ranges["c1"]; !(r.High > 3.1 && r.High < 5) {
		t.Errorf("the first HardSwish is bounded at %g", r.High)
	}
	before, d := logits(t, m), 0.0
	if d = snr(before, logits(t, q.Model)); d < 15 {
		t.Errorf("%.1f dB", d)
	}
	for _, other := range []float64{3, 6} { // any other bound is worse
		ranges["c1"] = Range{ranges["c1"].Low, other}
		worse, err := p.Apply(ranges, nil)
		if err != nil {
			t.Fatal(err)
		}
		if e := snr(before, logits(t, worse.Model)); e > d {
			t.Errorf("bounded at %g it is %.1f dB, where calibration put it %.1f dB", other, e, d)
		}
	}
}

// TestSlowInFloat: the thin convolutions at the start of a large image stay in float, a network with wide ones is quantized whole.
func TestSlowInFloat(t *testing.T) {
	for name, want := range map[string]map[string]bool{ // by layer: whether it is quantized
		"mobilenet_v3_small": {"features.0.0": false, "features.1.block.0.0": false, "features.2.block.0.0": true, "features.12.0": true, onnx.OutputName: true},
		"resnet18":           {"conv1": true, "layer1.0.conv1": true, onnx.OutputName: true},
	} {
		m, err := zoo.Build(name, zoo.Options{Classes: []string{"a", "b"}, Channels: 3, Height: 224, Width: 224, Mean: []float64{0.5, 0.5, 0.5}, Std: []float64{0.2, 0.2, 0.2}, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		g := prepare(t, m)
		Adapt(g, ONNXRuntime)
		for _, slow := range []bool{true, false} {
			p, err := NewPlan(g, Scheme{Target: ONNXRuntime, SlowInFloat: slow})
			if err != nil {
				t.Fatal(err)
			}
			quantized := map[string]bool{}
			for _, n := range p.Nodes {
				quantized[n.Name] = true
			}
			for layer, is := range want {
				if quantized[layer] != (is || !slow) {
					t.Errorf("%s, slow nodes in float %v: %s is quantized: %v", name, slow, layer, quantized[layer])
				}
			}
		}
	}
}
