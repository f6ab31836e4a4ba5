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

func zooMachine(t testing.TB, name string, c, size, batch, threads int) *machine {
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
	m, err := newMachine(backend, model, p, stepOptions{image: imageShape{c, size, size}, batch: batch, optimizer: SGD{Momentum: 0.9, WeightDecay: 5e-4}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.close(); backend.Finalize() })
	for i := range m.pixels {
		m.pixels[i] = float32(math.Mod(float64(i)*0.6180339887, 1))
	}
	for i := range m.targets {
		m.targets[i] = int32(i % 10)
	}
	return m
}

func TestStepLearnsABatchByHeart(t *testing.T) {
	m := zooMachine(t, "resnet8", 1, 12, 20, 1)
	first, last, correct := 0.0, 0.0, 0.0
	for i := range 30 {
		loss, right, err := m.step(0.05)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = loss
		}
		last, correct = loss, right
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
		if _, _, err := m.step(0.01); err != nil {
			b.Fatal(err)
		}
	}
	start, busy := time.Now(), processTime(b)
	for b.Loop() {
		if _, _, err := m.step(0.01); err != nil {
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
