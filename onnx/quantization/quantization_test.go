package quantization

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/qdq"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

const images = 8

// pixels are the calibration images of every test, (images, C, H, W).
func pixels(in onnx.Input) []float32 {
	x := make([]float32, images*in.Channels*in.Height*in.Width)
	for i := range x {
		x[i] = float32(0.5 + 0.5*math.Sin(float64(i)*0.37+float64(i*i%89)))
	}
	return x
}

func build(t testing.TB, name string) *onnx.Model {
	t.Helper()
	m, err := zoo.Build(name, zoo.Options{Classes: []string{"a", "b", "c", "d"}, Channels: 3, Height: 32, Width: 32, Mean: []float64{0.5, 0.5, 0.5}, Std: []float64{0.2, 0.2, 0.2}, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// look runs the graph in ONNX Runtime and returns the named values for the calibration images. It skips the test where there is no ONNX Runtime.
func look(t testing.TB, g *surgery.Graph, in onnx.Input, values []string) (dims [][]int64, data [][]float32) {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
	b, err := g.Expose(values)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.onnx")
	write(t, path, b)
	p, err := infer.OpenProbe(path, values, infer.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Run(context.Background(), pixels(in), images, func(_ int, d []int64, v []float32) {
		dims, data = append(dims, d), append(data, append([]float32(nil), v...))
	}); err != nil {
		t.Fatal(err)
	}
	return dims, data
}

func logits(t testing.TB, m *onnx.Model) []float32 {
	t.Helper()
	_, data := look(t, surgery.Edit(m), m.Input(), []string{m.Output().Name})
	return data[0]
}

// snr compares two answers, in decibels.
func snr(a, b []float32) float64 {
	signal, noise := 0.0, 1e-30
	for i := range a {
		signal += float64(a[i]) * float64(a[i])
		noise += (float64(a[i]) - float64(b[i])) * (float64(a[i]) - float64(b[i]))
	}
	return 10 * math.Log10(signal/noise)
}

func prepare(t testing.TB, m *onnx.Model) *surgery.Graph {
	t.Helper()
	g, err := Prepare(m)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// static plans and calibrates.
func static(t testing.TB, g *surgery.Graph, in onnx.Input, s Scheme, method Method) (*Plan, map[string]Range) {
	t.Helper()
	p, err := NewPlan(g, s)
	if err != nil {
		t.Fatal(err)
	}
	c := NewCalibration(p, method, 99.99)
	for pass := range c.Passes() {
		if pass > 0 {
			c.NextPass()
		}
		_, data := look(t, g, in, p.Observed)
		for i := range data {
			if err := c.Add(i, data[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return p, c.Ranges()
}

// TestStatic: every target, calibrator and family gives answers near to those before, TensorRT's linter finds nothing in what is for TensorRT, and equal
// numbers give equal bytes.
func TestStatic(t *testing.T) {
	for _, c := range []struct {
		model   string
		scheme  Scheme
		method  Method
		atLeast float64 // decibels
	}{
		{"resnet20", Scheme{Target: ONNXRuntime, PerChannel: true}, MSE, 20},
		{"resnet20", Scheme{Target: ONNXRuntime, PerChannel: true}, MinMax, 20},
		{"resnet8", Scheme{Target: ONNXRuntime, PerChannel: true}, MovingAverage, 20},
		{"resnet8", Scheme{Target: ONNXRuntime, PerChannel: true}, Percentile, 18},
		{"resnet8", Scheme{Target: ONNXRuntime, PerChannel: true}, Entropy, 12},
		{"resnet20", Scheme{Target: ONNXRuntime, PerChannel: false, Reduced: true}, MSE, 12},
		{"resnet20", Scheme{Target: TensorRT, PerChannel: true}, MSE, 20},
		{"mobilenet_v3_small", Scheme{Target: ONNXRuntime, PerChannel: true}, MSE, 10},
		{"mobilenet_v3_small", Scheme{Target: TensorRT, PerChannel: true}, MSE, 10},
		{"vit_tiny", Scheme{Target: TensorRT, PerChannel: true}, MinMax, 15},
	} {
		name := c.model + " " + string(c.scheme.Target) + " " + string(c.method)
		m := build(t, c.model)
		before := logits(t, m)
		g := prepare(t, m)
		p, ranges := static(t, g, m.Input(), c.scheme, c.method)
		q, err := p.Apply(ranges, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := snr(before, logits(t, q.Model)); d < c.atLeast {
			t.Errorf("%s: the answers are %.1f dB apart from those before, at least %.0f wanted", name, d, c.atLeast)
		}
		if c.scheme.Target == TensorRT {
			for _, f := range qdq.Lint(q.Model) {
				t.Errorf("%s: %s: %s", name, f.Node, f.Text)
			}
		}
		again, err := p.Apply(ranges, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := q.Model.Bytes()
		b, _ := again.Model.Bytes()
		old, _ := m.Bytes()
		if string(a) != string(b) {
			t.Errorf("%s: applied twice, the bytes differ", name)
		}
		if len(a)*10 > len(old)*4 {
			t.Errorf("%s: %d bytes of %d", name, len(a), len(old))
		}
	}
}

func TestWithoutImages(t *testing.T) {
	for _, c := range []struct {
		name    string
		model   string
		change  func(g *surgery.Graph) (int, error)
		atLeast float64
		share   float64
	}{
		{"weights in 8 bits", "resnet20", func(g *surgery.Graph) (int, error) {
			return WeightOnly(g, Scheme{PerChannel: true}, 8, 32)
		}, 30, 0.32},
		{"weights in 4 bits", "resnet20", func(g *surgery.Graph) (int, error) {
			return WeightOnly(g, Scheme{PerChannel: true}, 4, 32)
		}, 5, 0.2},
		{"a transformer's weights in 4 bits", "vit_tiny", func(g *surgery.Graph) (int, error) {
			return WeightOnly(g, Scheme{PerChannel: true}, 4, 32)
		}, 10, 0.2},
		{"a transformer, dynamically", "vit_tiny", func(g *surgery.Graph) (int, error) { return Dynamic(g, Scheme{PerChannel: true}) }, 20, 0.3},
	} {
		m := build(t, c.model)
		before := logits(t, m)
		g := prepare(t, m)
		n, err := c.change(g)
		if err != nil || n == 0 {
			t.Fatalf("%s: %d layers, %v", c.name, n, err)
		}
		q, err := g.Model()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if d := snr(before, logits(t, q)); d < c.atLeast {
			t.Errorf("%s: %.1f dB", c.name, d)
		}
		a, _ := q.Bytes()
		b, _ := m.Bytes()
		if share := float64(len(a)) / float64(len(b)); share > c.share {
			t.Errorf("%s: %.2f of the size", c.name, share)
		}
	}
}

func TestRefusals(t *testing.T) {
	m := build(t, "resnet8")
	g := prepare(t, m)
	p, ranges := static(t, g, m.Input(), Scheme{Target: ONNXRuntime}, MinMax)
	q, err := p.Apply(ranges, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(q.Model); !errors.Is(err, ErrQuantized) || !strings.Contains(err.Error(), "Linear node") {
		t.Errorf("a quantized model: %v", err)
	}
	if _, err := surgery.Edit(q.Model).Groups(); err == nil || !strings.Contains(err.Error(), "quantized") {
		t.Errorf("pruning a quantized model: %v", err)
	}
	if _, err := NewPlan(g, Scheme{Target: ONNXRuntime, Exclude: []string{"*"}}); err == nil {
		t.Error("nothing was left to quantize, and that was accepted")
	}
	c := NewCalibration(p, MinMax, 0)
	if err := c.Add(0, []float32{1, float32(math.NaN())}); err == nil || !strings.Contains(err.Error(), "not finite") {
		t.Errorf("not a number: %v", err)
	}
	if bad, ok := CheckPatterns([]string{"a*", "[b"}); ok || bad != "[b" {
		t.Error("a malformed pattern was accepted")
	}
}

func TestExclude(t *testing.T) {
	m := build(t, "resnet8")
	p, err := NewPlan(prepare(t, m), Scheme{Target: ONNXRuntime, Exclude: []string{"Add", "*layer1*"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range p.Nodes {
		if n.OpType == "Add" || strings.Contains(Name(n), "layer1") {
			t.Errorf("%s is quantized", Name(n))
		}
	}
}
