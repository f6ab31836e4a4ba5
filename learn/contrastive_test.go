package learn

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/learn/cpu"
	"github.com/darkroom-dev/darkroom/onnx"
)

// contrastiveCase is an answer of testdata/contrastive.py.
type contrastiveCase struct {
	N, D            int
	Temperature     float64
	Z, P            []float64 // projections and predictions, (N, D)
	Loss            float64   // NT-Xent of Z
	Gradient        []float64
	SimSiam         float64   `json:"simsiam"`
	SimSiamGradient []float64 `json:"simsiam_gradient"` // with respect to P
	BYOL            float64   `json:"byol"`
	BYOLGradient    []float64 `json:"byol_gradient"` // with respect to P
}

func contrastiveCases(t *testing.T) []contrastiveCase {
	t.Helper()
	b, err := os.ReadFile("testdata/contrastive.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []contrastiveCase
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// near compares the lists relative to the largest number.
func near(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	size := 0.0
	for _, v := range want {
		size = max(size, math.Abs(v))
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= tolerance*size) {
			t.Errorf("%s: number %d is %g, want %g", what, i, got[i], want[i])
			return
		}
	}
}

func narrow(list []float64) []float32 {
	out := make([]float32, len(list))
	for i, v := range list {
		out[i] = float32(v)
	}
	return out
}

func wide(list []float32) []float64 {
	out := make([]float64, len(list))
	for i, v := range list {
		out[i] = float64(v)
	}
	return out
}

// transposed returns a list (rows, columns) as (columns, rows).
func transposed(list []float64, rows, columns int) []float64 {
	out := make([]float64, len(list))
	for r := range rows {
		for c := range columns {
			out[c*rows+r] = list[r*columns+c]
		}
	}
	return out
}

func TestNTXentOnTheHost(t *testing.T) {
	for _, c := range contrastiveCases(t) {
		loss, gradient, _ := NTXentGradient(narrow(c.Z), c.N, c.D, c.Temperature)
		near(t, "loss", []float64{loss}, []float64{c.Loss}, 1e-10)
		near(t, "gradient", wide(gradient), c.Gradient, 1e-6)
	}
}

// The objectives in float64 on GoMLX's own device in Go, and in float32 on ours.
func TestContrastiveObjectives(t *testing.T) {
	needLibrary(t)
	goDevice, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	defer goDevice.Finalize()
	runtime, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.Finalize()
	for _, c := range contrastiveCases(t) {
		for _, o := range []struct {
			name     string
			o        Objective
			of       string // the output that has the gradient
			loss     float64
			gradient []float64
		}{
			{"NT-Xent", NTXent{"z", c.Temperature}, "z", c.Loss, c.Gradient},
			{"SimSiam", SimSiam{"z", "p"}, "p", c.SimSiam, c.SimSiamGradient},
			{"BYOL", BYOL{"z", "p"}, "p", c.BYOL, c.BYOLGradient},
		} {
			loss, gradient := build64(t, goDevice, o.o, o.of, c)
			near(t, o.name+": loss in float64", []float64{loss}, []float64{o.loss}, 1e-10)
			near(t, o.name+": gradient in float64", gradient, o.gradient, 1e-9)
			loss, gradient = build32(t, runtime, o.o, o.of, c)
			near(t, o.name+": loss on the device", []float64{loss}, []float64{o.loss}, 1e-5)
			near(t, o.name+": gradient on the device", gradient, o.gradient, 1e-5)
		}
	}
}

// objectiveGraph is the loss and its gradient with respect to an output, as lists; z and p are (D, N), flat.
func objectiveGraph(t *testing.T, o Objective, of string, c contrastiveCase) func(z, p *graph.Node) []*graph.Node {
	return func(z, p *graph.Node) []*graph.Node {
		s := &Step{Graph: z.Graph(), Batch: c.N, Outputs: map[string]*graph.Node{"z": graph.Reshape(z, c.D, c.N), "p": graph.Reshape(p, c.D, c.N)}}
		s.Targets = map[string]*graph.Node{"z": s.Outputs["z"]}
		terms, err := buildTerms(o, s, o.Outputs())
		if err != nil {
			t.Fatal(err)
		}
		return []*graph.Node{graph.Reshape(terms.Loss, 1), graph.Reshape(terms.Outputs[of], c.D*c.N)}
	}
}

func build64(t *testing.T, b compute.Backend, o Objective, of string, c contrastiveCase) (float64, []float64) {
	t.Helper()
	out, err := graph.ExecOnceN(b, objectiveGraph(t, o, of, c), transposed(c.Z, c.N, c.D), transposed(c.P, c.N, c.D))
	if err != nil {
		t.Fatal(err)
	}
	return out[0].Value().([]float64)[0], transposed(out[1].Value().([]float64), c.D, c.N)
}

func build32(t *testing.T, b compute.Backend, o Objective, of string, c contrastiveCase) (float64, []float64) {
	t.Helper()
	out, err := graph.ExecOnceN(b, objectiveGraph(t, o, of, c), narrow(transposed(c.Z, c.N, c.D)), narrow(transposed(c.P, c.N, c.D)))
	if err != nil {
		t.Fatal(err)
	}
	return float64(out[0].Value().([]float32)[0]), transposed(wide(out[1].Value().([]float32)), c.D, c.N)
}

// A loss over a batch in four micro-batches has the gradients of the batch in one piece: nothing in this network sees other images.
func TestGradientsOfAWholeBatchInParts(t *testing.T) {
	needLibrary(t)
	b := onnx.NewBuilder("projection", 3, 4, 4)
	x := b.Node("Flatten", "flat", []string{onnx.InputName})
	x = b.Node("Relu", "relu", []string{b.Node("Gemm", "hidden", []string{x, b.Tensor("hidden.w", []int{48, 6}, noise(288, 0.4, 0.5)), b.Tensor("hidden.b", []int{6}, noise(6, 0.1, 0.5))})})
	b.Node("Gemm", onnx.OutputName, []string{x, b.Tensor("out.w", []int{6, 5}, noise(30, 0.2, 0.5))})
	model, err := b.Model(5, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	var outcomes []Outcome
	var gradients []map[string][]float32
	for _, parts := range []int{1, 4} {
		m, err := NewMachine(MachineOptions{Backend: backend, Model: model, Channels: 3, Height: 4, Width: 4, Batch: 8, Accumulate: parts, Objective: NTXent{onnx.OutputName, 0.5}})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		batch := &Batch{Images: noise(3*4*4*8, 0.3, 1), Indexes: make([]int, 8)}
		g, out, err := m.Gradients(batch)
		if err != nil {
			t.Fatal(err)
		}
		outcomes, gradients = append(outcomes, out), append(gradients, g)
	}
	near(t, "loss", []float64{outcomes[1].Loss}, []float64{outcomes[0].Loss}, 1e-6)
	if outcomes[0].Metrics[AccuracyMetric] != outcomes[1].Metrics[AccuracyMetric] {
		t.Errorf("metrics %v and %v", outcomes[0].Metrics, outcomes[1].Metrics)
	}
	for name := range gradients[0] {
		near(t, "gradient of "+name, wide(gradients[1][name]), wide(gradients[0][name]), 1e-5)
	}
}

func TestBatchesWithoutPairsAreRefused(t *testing.T) {
	for _, n := range []int{2, 5} {
		if _, err := (NTXent{"projection", 0.5}).Build(&Step{Batch: n}); err == nil {
			t.Errorf("NT-Xent took a batch of %d views", n)
		}
	}
	for _, o := range []Objective{SimSiam{"z", "p"}, BYOL{"z", "p"}} {
		if _, err := o.Build(&Step{Batch: 3}); err == nil {
			t.Errorf("%s took a batch of 3", o.Identity())
		}
	}
}

// The target network of BYOL is the average of the online weights before the step, its decay rises as in the paper, and the online weights are given.
func TestTargetNetwork(t *testing.T) {
	needLibrary(t)
	b := onnx.NewBuilder("online", 3, 4, 4)
	x := b.Node("Flatten", "flat", []string{onnx.InputName})
	x = b.Node("Gemm", "z", []string{x, b.Tensor("z.w", []int{48, 6}, noise(288, 0.4, 0.5)), b.Tensor("z.b", []int{6}, noise(6, 0.1, 0.5))})
	b.Node("Gemm", onnx.OutputName, []string{b.Node("Tanh", "tanh", []string{x}), b.Tensor("p.w", []int{6, 6}, noise(36, 0.2, 0.5))})
	model, err := b.Model(6, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	o := MachineOptions{Backend: backend, Model: model, Channels: 3, Height: 4, Width: 4, Batch: 8, Objective: BYOL{"z", onnx.OutputName},
		Average: Average{Decay: 0.9, Steps: 3, Apart: true}}
	m, err := NewMachine(o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	weights := func() map[string][]float32 {
		out := map[string][]float32{}
		for _, name := range m.Parameters() {
			if out[name], err = m.Weight(name); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	target := weights()
	for step, decay := range []float64{0.9, 1 - 0.1*(math.Cos(math.Pi/3)+1)/2, 1 - 0.1*(math.Cos(2*math.Pi/3)+1)/2} {
		batch := &Batch{Images: noise(3*4*4*8, 0.3, float64(1+step)), Indexes: make([]int, 8)}
		online, err := m.Values(batch, true, onnx.OutputName)
		if err != nil {
			t.Fatal(err)
		}
		want := byolByHand(online[onnx.OutputName], project(t, o, batch, target), 8)
		out, err := m.Step(batch, 0.5)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "loss", []float64{out.Loss}, []float64{want}, 1e-5)
		for name, now := range weights() {
			for i, v := range now {
				target[name][i] = float32(decay*float64(target[name][i]) + (1-decay)*float64(v))
			}
			average, err := floats(m.state[m.index[slotKey{averageSlot, name, 0}]])
			if err != nil {
				t.Fatal(err)
			}
			near(t, "the target's "+name, wide(average), wide(target[name]), 1e-6)
		}
	}
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	trained, err := m.Trained(s)
	if err != nil {
		t.Fatal(err)
	}
	for name, now := range weights() {
		tensor, _ := trained.Tensor(name)
		near(t, "the given "+name, wide(tensor.Data), wide(now), 0)
	}
	o.Average.Apart = false
	other, err := NewMachine(o)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Step(&Batch{Images: noise(3*4*4*8, 0.3, 1), Indexes: make([]int, 8)}, 0.5); err == nil {
		t.Error("an objective with a target was trained without one")
	}
}

// project returns z, (N, D), of the network with other weights.
func project(t *testing.T, o MachineOptions, batch *Batch, weights map[string][]float32) []float32 {
	t.Helper()
	o.Objective, o.Average = nil, Average{}
	m, err := NewMachine(o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for name, w := range weights {
		if err := m.SetWeight(name, w); err != nil {
			t.Fatal(err)
		}
	}
	values, err := m.Values(batch, true, "z")
	if err != nil {
		t.Fatal(err)
	}
	return values["z"]
}

// byolByHand is the mean of 2 - 2·cos between predictions and the other view's targets, both (n, D).
func byolByHand(p, z []float32, n int) float64 {
	d, total := len(p)/n, 0.0
	for i := range n {
		a, b := wide(p[i*d:(i+1)*d]), wide(z[(i+n/2)%n*d:][:d])
		dot, aa, bb := 0.0, 0.0, 0.0
		for k := range d {
			dot, aa, bb = dot+a[k]*b[k], aa+a[k]*a[k], bb+b[k]*b[k]
		}
		total += 2 - 2*dot/math.Sqrt(aa*bb)
	}
	return total / float64(n)
}
