package learn

import (
	"math"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

func needLibrary(t testing.TB) {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip(err)
	}
}

func zooMachine(t testing.TB, name string, c, size, batch, threads int) *Machine {
	t.Helper()
	needLibrary(t)
	backend, err := cpu.New(cpu.Options{Threads: threads, Profile: os.Getenv("PROFILE")})
	if err != nil {
		t.Fatal(err)
	}
	model, err := zoo.Build(name, zoo.Options{Classes: []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}, Channels: c, Height: size, Width: size, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	p, err := makePlan(model)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMachine(MachineOptions{Backend: backend, Model: model, Channels: c, Height: size, Width: size, Batch: batch, Objective: CrossEntropy{}, Optimizer: SGD{Momentum: 0.9, WeightDecay: 5e-4}}, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); backend.Finalize() })
	fill(t, m)
	return m
}

// fill loads a batch of made-up images whose classes go round.
func fill(t testing.TB, m *Machine) {
	t.Helper()
	if err := m.load(madeUp(m), 0); err != nil {
		t.Fatal(err)
	}
}

// madeUp returns a batch of made-up images whose classes go round.
func madeUp(m *Machine) *Batch {
	b := &Batch{Images: make([]float32, m.o.Channels*m.o.Height*m.o.Width*m.o.Batch), Ints: map[string][]int32{LabelsInput: make([]int32, m.o.Batch)},
		Indexes: make([]int, m.o.Batch)}
	for i := range b.Images {
		b.Images[i] = float32(math.Mod(float64(i)*0.6180339887, 1))
	}
	classes := m.o.Model.Output().Classes
	for i := range b.Indexes {
		b.Indexes[i], b.Ints[LabelsInput][i] = i, int32(i%classes)
	}
	return b
}

func TestStepLearnsABatchByHeart(t *testing.T) {
	m := zooMachine(t, "resnet8", 1, 12, 20, 1)
	first, last, correct := 0.0, 0.0, 0.0
	for i := range 30 {
		out, err := m.step(0.05)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = out.Loss
		}
		last, correct = out.Loss, out.Metrics[AccuracyMetric]
	}
	if first < 1.5 || last > first/3 || correct < 15 {
		t.Errorf("loss %g → %g, %g of 20 right", first, last, correct)
	}
}

func BenchmarkStep(b *testing.B) {
	name := os.Getenv("MODEL")
	size, c := 28, 1
	if name == "" {
		name = "resnet8"
	}
	if name != "resnet8" {
		size, c = 32, 3
	}
	batch := 128
	for _, v := range []struct {
		name string
		to   *int
	}{{"SIZE", &size}, {"BATCH", &batch}} {
		if n, err := strconv.Atoi(os.Getenv(v.name)); err == nil {
			*v.to = n
		}
	}
	m := zooMachine(b, name, c, size, batch, 2)
	for range 2 {
		if _, err := m.step(0.01); err != nil {
			b.Fatal(err)
		}
	}
	start, busy := time.Now(), processTime(b)
	for b.Loop() {
		if _, err := m.step(0.01); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(batch*b.N)/time.Since(start).Seconds(), "images/s")
	// What other programs take from the cores does not count here.
	b.ReportMetric((processTime(b)-busy).Seconds()*1e3/float64(b.N), "cpu-ms/op")
}

// processTime returns the CPU time that this process has used.
func processTime(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
