package learn

import (
	"context"
	"math"
	"path/filepath"
	"testing"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/learn/cpu"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

// The weights that training writes back give, in ONNX Runtime and from the file, the answers of the trainer's own forward pass.
func TestTrainedFileAgreesWithTheTrainer(t *testing.T) {
	needLibrary(t)
	zooModel := func(name string, channels, size int) *onnx.Model {
		m, err := zoo.Build(name, zoo.Options{Classes: []string{"a", "b", "c"}, Channels: channels, Height: size, Width: size,
			Mean: noise64(channels, 0.4), Std: noise64(channels, 0.3), Seed: 2})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for name, model := range map[string]*onnx.Model{
		"resnet8": zooModel("resnet8", 1, 12), "resnet20": zooModel("resnet20", 3, 9), "resnet18 small": zooModel("resnet18", 3, 16),
		"vit_tiny": zooModel("vit_tiny", 3, 16), "all operators": network(t),
	} {
		t.Run(name, func(t *testing.T) { agree(t, model) })
	}
}

func noise64(n int, v float64) []float64 {
	list := make([]float64, n)
	for i := range list {
		list[i] = v + 0.05*float64(i)
	}
	return list
}

// agree trains the model a few steps, in which the loss must fall, and compares the trained file's answers.
func agree(t *testing.T, model *onnx.Model) {
	t.Helper()
	backend, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	p, err := makePlan(model)
	if err != nil {
		t.Fatal(err)
	}
	in := model.Input()
	const batch = 4
	m, err := newMachine(MachineOptions{Backend: backend, Model: model, Channels: in.Channels, Height: in.Height, Width: in.Width, Batch: batch,
		Objective: CrossEntropy{}, Optimizer: SGD{Momentum: 0.9}}, p)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b := madeUp(m)
	copy(b.Ints[LabelsInput], []int32{0, 1, 2, 1})
	for i, v := range noise(len(b.Images), 0.7, 0.5) {
		b.Images[i] = v + 0.5
	}
	first, last := 0.0, 0.0
	for i := range 6 {
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
	own, err := m.logits()
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
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := trained.Save(path); err != nil {
		t.Fatal(err)
	}
	fixed := batch
	if in.Batch > 0 {
		fixed = in.Batch // of the file
	}
	session, err := infer.Open(path, infer.Options{Threads: 1, Batch: fixed, Channels: in.Channels, Height: in.Height, Width: in.Width})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	images := make([]float32, len(b.Images)) // (N, C, H, W)
	rows := len(images) / batch
	for row := range rows {
		for i := range batch {
			images[i*rows+row] = b.Images[row*batch+i]
		}
	}
	theirs, err := session.Logits(context.Background(), images, batch)
	if err != nil {
		t.Fatal(err)
	}
	classes, spread := len(own)/batch, 0.0
	for i := range batch {
		for c := range classes {
			a, b := float64(own[c*batch+i]), float64(theirs[i*classes+c])
			if math.Abs(a-b) > 1e-4 {
				t.Errorf("image %d, class %d: %g here, %g in ONNX Runtime", i, c, a, b)
			}
			spread = math.Max(spread, math.Abs(a))
		}
	}
	if spread < 1e-2 {
		t.Errorf("all logits are near 0 (%g), so that nothing was compared", spread)
	}
	if len(p.statistics) == 0 {
		return
	}
	before, _ := model.Tensor(p.statistics[0].name)
	after, _ := trained.Tensor(p.statistics[0].name)
	if before.Data[0] == after.Data[0] {
		t.Error("training did not move the running statistics")
	}
}
