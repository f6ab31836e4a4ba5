package learn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/learn/mixed"
)

// halfDevice computes products in float16, in Go, one operation at a time: the pool of GoMLX's device in Go locks up where a convolution wants
// workers that operations beside it have.
func halfDevice(t *testing.T) compute.Backend {
	t.Helper()
	inner, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	b, err := mixed.New(inner, dtypes.Float16)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The states that PyTorch 2's GradScaler goes through with the same numbers: _scale, _growth_tracker.
func TestTheScaleGoesAsPyTorchs(t *testing.T) {
	backend := halfDevice(t)
	g := graph.NewGraph(backend, "scale")
	next := nextScale(graph.Parameter(g, "old", shapes.Make(dtypes.Float32, 3)), graph.Parameter(g, "finite", shapes.Make(dtypes.Bool)))
	if err := g.Compile(next); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		old    []float32
		finite bool
		want   []float32
	}{
		{"a good step counts", []float32{65536, 0, 0}, true, []float32{65536, 1, 0}},
		{"the last of a row doubles", []float32{65536, 1999, 4}, true, []float32{131072, 0, 4}},
		{"the one before does not", []float32{65536, 1998, 4}, true, []float32{65536, 1999, 4}},
		{"a bad one halves and begins the row again", []float32{65536, 1999, 4}, false, []float32{32768, 0, 5}},
		{"below 1", []float32{1, 3, 17}, false, []float32{0.5, 0, 18}},
		{"not beyond the bound", []float32{scaleMost, 1999, 0}, true, []float32{scaleMost, 0, 0}},
	} {
		old, err := backend.BufferFromFlatData(0, c.old, shapes.Make(dtypes.Float32, 3))
		if err != nil {
			t.Fatal(err)
		}
		finite, err := backend.BufferFromFlatData(0, []bool{c.finite}, shapes.Make(dtypes.Bool))
		if err != nil {
			t.Fatal(err)
		}
		out, err := g.Executable().Execute([]compute.Buffer{old, finite}, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := floats(out[0])
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v, %v", c.name, got, c.want, err)
		}
	}
}

func halfMachine(t *testing.T, accumulate int) (*Machine, *Batch) {
	t.Helper()
	m, err := NewMachine(MachineOptions{Backend: halfDevice(t), Model: network(t), Channels: 3, Height: 6, Width: 6, Batch: 4, Accumulate: accumulate,
		Objective: CrossEntropy{}, Optimizer: SGD{Momentum: 0.9}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	b := &Batch{Images: noise(3*6*6*4, 0.3, 0.5), Ints: map[string][]int32{LabelsInput: {0, 1, 2, 1}}, Indexes: []int{0, 1, 2, 3}}
	for i := range b.Images {
		b.Images[i] += 0.5
	}
	return m, b
}

func state(t *testing.T, m *Machine, kinds ...slotKind) [][]float32 {
	t.Helper()
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]float32
	for i, list := range s.tensors {
		if slices.Contains(kinds, m.slots[i].kind) {
			out = append(out, list)
		}
	}
	return out
}

// A step whose gradients are not finite moves neither weights nor momentum; the next good one does, whole batches and micro-batches alike.
func TestAStepThatOverflowsIsSkipped(t *testing.T) {
	for _, accumulate := range []int{1, 2} {
		m, b := halfMachine(t, accumulate)
		if err := m.replace(m.index[scaleKey], []float32{math.MaxFloat32 / 4, 7, 0}); err != nil {
			t.Fatal(err)
		}
		before := state(t, m, parameterSlot, momentSlot)
		out, err := m.Step(b, 0.1)
		if err != nil || math.IsNaN(out.Loss) || math.IsInf(out.Loss, 0) {
			t.Fatalf("loss %g, %v", out.Loss, err)
		}
		same := func() bool {
			return slices.EqualFunc(before, state(t, m, parameterSlot, momentSlot), func(a, b []float32) bool { return slices.Equal(a, b) })
		}
		if !same() {
			t.Errorf("accumulating %d: the weights moved", accumulate)
		}
		if s, err := m.LossScale(); err != nil || s.Skipped != 1 || s.Scale != math.MaxFloat32/8 {
			t.Errorf("accumulating %d: %+v, %v", accumulate, s, err)
		}
		if err := m.replace(m.index[scaleKey], []float32{1024, 0, 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Step(b, 0.1); err != nil {
			t.Fatal(err)
		}
		if same() {
			t.Errorf("accumulating %d: a good step moved nothing", accumulate)
		}
		if s, err := m.LossScale(); err != nil || s != (LossScale{1024, 1}) {
			t.Errorf("accumulating %d: %+v, %v", accumulate, s, err)
		}
	}
}

// Gradients that vanish in float16 survive with a scale: a loss whose gradient is tiny still moves the weights.
func TestScalingKeepsSmallGradients(t *testing.T) {
	moved := func(scale float32) bool {
		m, b := halfMachine(t, 1)
		m.o.Objective = tiny{}
		if err := m.replace(m.index[scaleKey], []float32{scale, 0, 0}); err != nil {
			t.Fatal(err)
		}
		g, _, err := m.Gradients(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range g["out.w"] {
			if v != 0 {
				return true
			}
		}
		return false
	}
	if moved(1) {
		t.Error("the gradients do not vanish: the test shows nothing")
	}
	if !moved(65536) {
		t.Error("the gradients vanished")
	}
}

// tiny is a cross entropy of next to no weight.
type tiny struct{ CrossEntropy }

func (t tiny) Build(s *Step) (Terms, error) {
	terms, err := t.CrossEntropy.Build(s)
	if err == nil {
		terms.Output = graph.MulScalar(terms.Output, 1e-8)
	}
	return terms, err
}

// A training in float16 that is stopped and goes on ends in the bytes of one that was not; the scale is part of the checkpoint.
func TestAStoppedTrainingInFloat16EndsInTheSameBytes(t *testing.T) {
	c := config(t)
	c.Backend, c.Epochs = halfDevice(t), 2
	straight, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.Checkpoints, c.CheckpointEvery = t.TempDir(), time.Nanosecond
	ctx, cancel := context.WithCancel(context.Background())
	steps := 0
	c.Progress = func(Progress) {
		if steps++; steps == 4 {
			cancel()
		}
	}
	if _, err := Train(ctx, c); !errors.Is(err, context.Canceled) {
		t.Fatalf("not stopped: %v", err)
	}
	c.Progress = nil
	resumed, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content(t, straight), content(t, resumed)) {
		t.Error("other bytes")
	}
}

// steep is a cross entropy whose gradients do not fit into float16 with the first scales.
type steep struct{ CrossEntropy }

func (s steep) Build(step *Step) (Terms, error) {
	terms, err := s.CrossEntropy.Build(step)
	if err == nil {
		terms.Loss, terms.Output = graph.MulScalar(terms.Loss, 8), graph.MulScalar(terms.Output, 8)
	}
	return terms, err
}

// The steps that loss scaling skips are counted, in the log, in the curves and in what TensorBoard shows, until a scale fits; the training then learns.
func TestSkippedStepsAreCounted(t *testing.T) {
	c := config(t)
	c.Backend, c.Epochs, c.Objective, c.LearningRate = halfDevice(t), 2, steep{}, 0.005
	var lines []string
	c.Log = func(line string) { lines = append(lines, line) }
	r, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	first, last := r.Epochs[0], r.Epochs[1]
	if first.Skipped == 0 || first.Skipped >= first.Step || first.LossScale != scaleFirst/math.Pow(2, float64(first.Skipped)) {
		t.Errorf("%d of %d steps skipped, the scale is %g", first.Skipped, first.Step, first.LossScale)
	}
	if last.Skipped < first.Skipped || !(last.TrainLoss < first.TrainLoss) {
		t.Errorf("epoch 2: %+v, after %+v", last, first)
	}
	if want := fmt.Sprintf("steps skipped so far, since their gradients were not finite in float16: %d; the loss is scaled by %g now", first.Skipped, first.LossScale); !slices.Contains(lines, want) {
		t.Errorf("the log lacks %q: %q", want, lines)
	}
	shown := map[string]float64{}
	for _, s := range (Curves{Epochs: r.Epochs}).scalars(first) {
		shown[s.tag] = s.value
	}
	if shown["skipped_steps"] != float64(first.Skipped) || shown["loss_scale"] != first.LossScale {
		t.Errorf("TensorBoard shows %v", shown)
	}
}
