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

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/learn/cpu"
)

// towards is an objective of a test: half the squared distance of the output and of an intermediate value from targets that come with the batch, and a
// penalty on one parameter. Half of its gradients are by hand, half by GoMLX.
type towards struct {
	inner, penalised string
	dims             []int // of inner
}

func (o towards) Identity() string  { return fmt.Sprintf("towards %+v", o) }
func (o towards) Outputs() []string { return []string{"logits", o.inner} }
func (o towards) Inputs() []Input {
	return []Input{{Name: "goal", Type: dtypes.Float32, Dims: []int{3}}, {Name: "inner goal", Type: dtypes.Float32, Dims: o.dims}, {Name: "strength", Type: dtypes.Float32, Whole: true, Dims: []int{1}}}
}

func (o towards) Build(s *Step) (Terms, error) {
	n := 1 / float64(s.Batch)
	away := graph.Sub(s.Output, s.Inputs["goal"])
	half := graph.MulScalar(graph.ReduceAllSum(graph.Mul(away, away)), n/2)
	other := graph.Sub(s.Outputs[o.inner], s.Inputs["inner goal"])
	rest := graph.MulScalar(graph.ReduceAllSum(graph.Mul(other, other)), n/2)
	w := s.Parameters[o.penalised]
	strength := graph.Reshape(s.Inputs["strength"])
	penalty := graph.Mul(strength, graph.ReduceAllSum(graph.Mul(w, w)))
	return Terms{Loss: graph.Add(graph.Add(half, rest), penalty), Output: graph.MulScalar(away, n),
		Outputs:    map[string]*graph.Node{o.inner: Differentiate(rest, s.Outputs[o.inner])[0]},
		Parameters: map[string]*graph.Node{o.penalised: Differentiate(penalty, w)[0]},
		Metrics:    []Metric{{"distance", graph.ReduceAllSum(graph.Abs(away))}}}, nil
}

// towardsMachine is over the network with all operators, for 4 images.
func towardsMachine(t *testing.T, parts int) (*Machine, *Batch) {
	t.Helper()
	needLibrary(t)
	backend, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMachine(MachineOptions{Backend: backend, Model: network(t), Channels: 3, Height: 6, Width: 6, Batch: 4, Accumulate: parts,
		Objective: towards{"join", "gate.w", []int{5}}, Optimizer: SGD{Momentum: 0.9}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); backend.Finalize() })
	b := madeUp(m)
	b.Floats = map[string][]float32{"goal": noise(12, 0.1, 1), "inner goal": noise(20, 0.2, 1), "strength": {0.3}}
	return m, b
}

// The gradients of an objective with several outputs, inputs of its own and a penalty are those of its loss, by finite differences in float32.
func TestObjectiveOfOnesOwn(t *testing.T) {
	m, b := towardsMachine(t, 1)
	gradients, out, err := m.Gradients(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(gradients) != len(m.Parameters()) || out.Metrics["distance"] <= 0 {
		t.Fatalf("%d gradients, %+v", len(gradients), out)
	}
	const h = 1e-2
	for _, name := range []string{"gate.w", "hidden.w", "out.w", "side.b", "conv2.w"} {
		was, err := m.Weight(name)
		if err != nil {
			t.Fatal(err)
		}
		loss := func(v float32) float64 {
			now := slices.Clone(was)
			now[1] = v
			if err := m.SetWeight(name, now); err != nil {
				t.Fatal(err)
			}
			_, out, err := m.Gradients(b)
			if err != nil {
				t.Fatal(err)
			}
			return out.Loss
		}
		want := (loss(was[1]+h) - loss(was[1]-h)) / (2 * h)
		if got := float64(gradients[name][1]); math.Abs(got-want) > 2e-2*math.Abs(want)+2e-3 {
			t.Errorf("%s: gradient %g, finite difference %g", name, got, want)
		}
		if err := m.SetWeight(name, was); err != nil {
			t.Fatal(err)
		}
	}
}

// Gradients of values that are worked out outside, pulled through the model, are the gradients of the objective that they belong to.
func TestPullIsTheGradient(t *testing.T) {
	whole := zooMachine(t, "resnet8", 1, 8, 8, 1)
	other, err := NewMachine(MachineOptions{Backend: whole.o.Backend, Model: whole.o.Model, Channels: 1, Height: 8, Width: 8, Batch: 8, Accumulate: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	b := madeUp(whole)
	want, _, err := whole.Gradients(b)
	if err != nil {
		t.Fatal(err)
	}
	values, err := other.Values(b, true, "logits")
	if err != nil {
		t.Fatal(err)
	}
	logits := values["logits"] // (N, 10)
	gradient := make([]float32, len(logits))
	for i := range 8 {
		sum := 0.0
		for c := range 10 {
			sum += math.Exp(float64(logits[i*10+c]))
		}
		for c := range 10 {
			p := math.Exp(float64(logits[i*10+c])) / sum
			if int32(c) == b.Ints[LabelsInput][i] {
				p--
			}
			gradient[i*10+c] = float32(p / 8)
		}
	}
	if err := other.Pull(b, map[string][]float32{"logits": gradient}); err != nil {
		t.Fatal(err)
	}
	got, err := other.TakeGradients()
	if err != nil {
		t.Fatal(err)
	}
	for name, list := range want {
		for i, v := range list {
			if math.Abs(float64(got[name][i]-v)) > 1e-5+1e-4*math.Abs(float64(v)) {
				t.Fatalf("%s[%d]: %g, want %g", name, i, got[name][i], v)
			}
		}
	}
	again, err := other.TakeGradients()
	if err != nil || slices.ContainsFunc(again["logits.weight"], func(v float32) bool { return v != 0 }) {
		t.Error("taking the gradients did not empty the sums", err)
	}
}

// Snapshots hold the optimizer's state, and steps after a restored one are the same.
func TestSnapshotRestores(t *testing.T) {
	for _, parts := range []int{1, 2} {
		m, b := towardsMachine(t, parts)
		step := func() Outcome {
			out, err := m.Step(b, 0.01)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		step()
		s, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		step()
		want := step()
		if err := m.Restore(s); err != nil {
			t.Fatal(err)
		}
		step()
		if got := step(); got.Loss != want.Loss {
			t.Errorf("%d parts: loss %v, want %v", parts, got.Loss, want.Loss)
		}
	}
}

// An objective with inputs that a source adds goes through the same loop: it is stopped and resumed to the same bytes.
func TestExtendedSourceResumes(t *testing.T) {
	c := config(t)
	c.Epochs, c.Accumulate = 2, 2
	source, err := DataSource(c.Data, c.Batch, c.Seed, 1)
	if err != nil {
		t.Fatal(err)
	}
	c.Source = Extend(source, "targets from the labels", func(b *Batch) error {
		list := make([]float32, 2*len(b.Indexes))
		for i, label := range b.Ints[LabelsInput] {
			list[2*i+int(label)] = 3
		}
		b.Floats = map[string][]float32{"goal": list}
		return nil
	})
	c.Objective = distance{}
	judged := 0
	c.Judge = func(_ context.Context, m *Machine) (Score, error) {
		judged++
		return Score{Accuracy: float64(judged % 2), Metrics: map[string]float64{"own": 1}}, nil
	}
	straight, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if e := straight.Epochs; judged != 2 || straight.BestEpoch != 1 || e[0].TrainMetrics["distance"] <= e[1].TrainMetrics["distance"] {
		t.Errorf("judged %d times, best epoch %d, %+v", judged, straight.BestEpoch, straight.Epochs)
	}
	c.Checkpoints, c.CheckpointEvery, judged = t.TempDir(), time.Nanosecond, 0
	for {
		ctx, cancel := context.WithCancel(context.Background())
		steps := 0
		c.Progress = func(Progress) {
			if steps++; steps == 5 {
				cancel()
			}
		}
		r, err := Train(ctx, c)
		cancel()
		if err == nil {
			if !bytes.Equal(content(t, r), content(t, straight)) {
				t.Error("other bytes")
			}
			return
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

// distance is the mean squared distance of the output from "goal".
type distance struct{}

func (distance) Identity() string  { return "distance" }
func (distance) Outputs() []string { return nil }
func (distance) Inputs() []Input {
	return []Input{{Name: "goal", Type: dtypes.Float32, Dims: []int{2}}}
}

func (distance) Build(s *Step) (Terms, error) {
	away := graph.Sub(s.Output, s.Inputs["goal"])
	total := graph.ReduceAllSum(graph.Mul(away, away))
	loss := graph.MulScalar(total, 1/float64(s.Batch))
	return Terms{Loss: loss, Output: Differentiate(loss, s.Output)[0], Metrics: []Metric{{"distance", total}}}, nil
}
