package quantization_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/learn/cpu"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/quantization"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

const (
	batch = 4
	side  = 16
)

// made are the images of every step, as (C, H, W, N), and as (N, C, H, W) for ONNX Runtime.
func made() (chwn, nchw []float32) {
	size := 3 * side * side
	chwn, nchw = make([]float32, size*batch), make([]float32, size*batch)
	for i := range size {
		for n := range batch {
			v := float32(0.5 + 0.5*math.Sin(float64(i)*0.37+float64(n)*1.7+float64(i*i%89)))
			chwn[i*batch+n], nchw[n*size+i] = v, v
		}
	}
	return chwn, nchw
}

// values runs a graph in ONNX Runtime on the images.
func values(t *testing.T, g *surgery.Graph, names []string) [][]float32 {
	t.Helper()
	b, err := g.Expose(names)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	p, err := infer.OpenProbe(path, names, infer.Options{Threads: 1, Channels: 3, Height: side, Width: side})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var out [][]float32
	_, images := made()
	if err := p.Run(context.Background(), images, batch, func(_ int, _ []int64, v []float32) { out = append(out, append([]float32(nil), v...)) }); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestTrainingIsWhatTheFileComputes: after some steps with fake quantization, the trainer's forward pass and ONNX Runtime's run of the exported file agree to a code or so,
// much nearer than either is to the model in float; and reading back gives exactly the scales that were trained.
func TestTrainingIsWhatTheFileComputes(t *testing.T) {
	if _, err := ort.Find(); err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
	for _, c := range []struct {
		model  string
		scheme quantization.Scheme
	}{
		{"resnet8", quantization.Scheme{Target: quantization.ONNXRuntime, PerChannel: true}},
		{"resnet8", quantization.Scheme{Target: quantization.TensorRT, PerChannel: true}},
		{"mobilenet_v3_small", quantization.Scheme{Target: quantization.ONNXRuntime}},
		{"mobilenet_v3_small", quantization.Scheme{Target: quantization.TensorRT, PerChannel: true, Reduced: true}},
	} {
		t.Run(c.model+" "+string(c.scheme.Target), func(t *testing.T) { trainAndCompare(t, c.model, c.scheme) })
	}
}

func trainAndCompare(t *testing.T, name string, s quantization.Scheme) {
	m, err := zoo.Build(name, zoo.Options{Classes: []string{"a", "b", "c"}, Channels: 3, Height: side, Width: side, Mean: []float64{0.5, 0.5, 0.5}, Std: []float64{0.3, 0.3, 0.3}, Seed: 4})
	if err != nil {
		t.Fatal(err)
	}
	if name == "mobilenet_v3_small" {
		widen(t, m)
	}
	g, err := quantization.Prepare(m)
	if err != nil {
		t.Fatal(err)
	}
	quantization.Adapt(g, s.Target)
	p, err := quantization.NewPlan(g, s)
	if err != nil {
		t.Fatal(err)
	}
	cal := quantization.NewCalibration(p, quantization.MinMax, 100)
	for i, v := range values(t, g, p.Observed) {
		if err := cal.Add(i, v); err != nil {
			t.Fatal(err)
		}
	}
	ranges := cal.Ranges()
	start, err := p.Training(ranges)
	if err != nil {
		t.Fatal(err)
	}
	unchanged(t, start, p, s, ranges)
	trained, own := train(t, start)
	back, err := quantization.ReadTrained(trained)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := quantization.NewPlan(back.Graph, s)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := back.Ranges(plan)
	if err != nil {
		t.Fatal(err)
	}
	q, err := plan.Apply(moved, back.Weights(plan, moved))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := q.Model.Tensor("features.4.block.1.1.gate.scale"); name == "mobilenet_v3_small" && s.Target == quantization.ONNXRuntime && !ok {
		t.Error("no HardSwish is computed with codes")
	}
	file := values(t, surgery.Edit(q.Model), []string{q.Model.Output().Name})[0]
	float, err := back.Graph.Model()
	if err != nil {
		t.Fatal(err)
	}
	exact := values(t, surgery.Edit(float), []string{float.Output().Name})[0]
	spread, apart, cost := 0.0, 0.0, 0.0
	for i := range file {
		mine := float64(own[i])
		spread = math.Max(spread, math.Abs(mine))
		apart = math.Max(apart, math.Abs(mine-float64(file[i])))
		cost = math.Max(cost, math.Abs(mine-float64(exact[i])))
	}
	t.Logf("largest logit %.4g, the file is %.3g apart, the model in float %.3g", spread, apart, cost)
	if spread < 0.01 || apart > 0.02*spread || apart > cost {
		t.Errorf("largest logit %.4g, the file is %.3g apart, the model in float %.3g", spread, apart, cost)
	}
	changed := 0
	for value, r := range moved {
		if r != ranges[value] {
			changed++
		}
	}
	if changed < len(moved)/2 {
		t.Errorf("%d of %d ranges were learned", changed, len(moved))
	}
}

// widen raises what normalizations give, so that a HardSwish sees numbers on both sides of its bends.
func widen(t *testing.T, m *onnx.Model) {
	t.Helper()
	for _, p := range m.Graph().Initializer {
		if v, ok := m.Tensor(p.Name); ok && strings.HasSuffix(p.Name, ".running_var") {
			for i := range v.Data {
				v.Data[i] /= 4
			}
			if err := m.SetTensor(p.Name, v.Data); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// unchanged: an untrained model read back is quantized to the same bytes as after calibration.
func unchanged(t *testing.T, start *onnx.Model, p *quantization.Plan, s quantization.Scheme, ranges map[string]quantization.Range) {
	t.Helper()
	back, err := quantization.ReadTrained(start)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := quantization.NewPlan(back.Graph, s)
	if err != nil {
		t.Fatal(err)
	}
	again, err := back.Ranges(plan)
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.Apply(ranges, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := plan.Apply(again, nil)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range a.Parameters {
		got := b.Parameters[value]
		if got.Scale != want.Scale || got.Zero != want.Zero || got.Type != want.Type {
			t.Errorf("%s: scale %g and zero point %d, they were %g and %d", value, got.Scale, got.Zero, want.Scale, want.Zero)
		}
	}
}

// train takes some steps and returns the model with its own answers, (N, classes).
func train(t *testing.T, start *onnx.Model) (*onnx.Model, []float32) {
	t.Helper()
	backend, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	m, err := learn.NewMachine(learn.MachineOptions{Backend: backend, Model: start, Channels: 3, Height: side, Width: side, Batch: batch, Objective: learn.CrossEntropy{}, Optimizer: learn.SGD{Momentum: 0.9}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	images, _ := made()
	b := &learn.Batch{Images: images, Indexes: []int{0, 1, 2, 3}, Ints: map[string][]int32{learn.LabelsInput: {0, 1, 2, 1}}}
	first, last := 0.0, 0.0
	for i := range 8 {
		out, err := m.Step(b, 0.01)
		if err != nil {
			t.Fatal(err)
		}
		if last = out.Loss; i == 0 {
			first = last
		}
	}
	if !(last < first) {
		t.Errorf("the loss went from %g to %g", first, last)
	}
	out, err := m.Values(b, false, start.Output().Name)
	if err != nil {
		t.Fatal(err)
	}
	state, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	trained, err := m.Trained(state)
	if err != nil {
		t.Fatal(err)
	}
	return trained, out[start.Output().Name]
}
