package learn

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/darkroom-dev/darkroom/learn/cpu"
	"github.com/darkroom-dev/darkroom/learn/mixed"
	"github.com/darkroom-dev/darkroom/learn/xla"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

// processorPlugin returns a PJRT plugin that computes on the processor, on which the way through XLA is tested without a GPU.
func processorPlugin(t testing.TB) string {
	t.Helper()
	path := os.Getenv("DARKROOM_PJRT_CPU")
	if path == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skip(err)
		}
		found, _ := filepath.Glob(filepath.Join(cache, "darkroom", "xla-cpu", "lib", "python3*", "site-packages", "xla_plugins", "xla_cpu_pjrt", "xla_cpu_pjrt.so"))
		if len(found) == 0 {
			t.Skip("no PJRT plugin for the processor: run `make setup-xla KIND=cpu`, or set DARKROOM_PJRT_CPU to the path of one")
		}
		path = found[0]
	}
	return path
}

// xlaDevice is XLA on the processor, used like one on a GPU: it shares no memory with the trainer.
func xlaDevice(t testing.TB) compute.Backend {
	t.Helper()
	b, err := xla.New(xla.Options{Plugin: processorPlugin(t), Platform: "cpu", Apart: true})
	if err != nil {
		t.Fatal(err)
	}
	if b.HasSharedBuffers() {
		t.Error("it shares memory with the trainer")
	}
	t.Cleanup(b.Finalize)
	return b
}

func losses(t *testing.T, c Config) []float64 {
	t.Helper()
	r, err := Train(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var list []float64
	for _, e := range r.Epochs {
		list = append(list, e.TrainLoss, e.Validation.Loss)
	}
	return list
}

// A training goes on XLA as it does on the processor's own device, as far as rounding lets it.
func TestXLATrainsLikeTheProcessor(t *testing.T) {
	device := xlaDevice(t)
	c := config(t)
	c.Epochs = 2
	want := losses(t, c)
	c.Backend = device
	for i, got := range losses(t, c) {
		if math.Abs(got-want[i]) > 1e-5*math.Max(1, want[i]) {
			t.Errorf("loss %d is %g, on the processor's own device %g", i, got, want[i])
		}
	}
}

// Training steps give the same losses on XLA as on the processor's own device, and nearly the same ones in a mixed precision.
func TestXLAStepsLikeTheProcessor(t *testing.T) {
	needLibrary(t)
	device := xlaDevice(t)
	own, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Finalize()
	narrow := func(d dtypes.DType) compute.Backend {
		b, err := mixed.New(device, d)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	transformer, err := zoo.Build("vit_tiny", zoo.Options{Classes: []string{"a", "b", "c"}, Channels: 3, Height: 16, Width: 16, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		model     *onnx.Model
		backend   compute.Backend
		tolerance float64
	}{
		{"float32", network(t), device, 1e-4}, {"bfloat16", network(t), narrow(dtypes.BFloat16), 0.05}, {"float16", network(t), narrow(dtypes.Float16), 0.01},
		{"transformer", transformer, device, 2e-4},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, got := steps(t, own, c.model), steps(t, c.backend, c.model)
			for i := range want {
				if math.Abs(got[i]-want[i]) > c.tolerance*math.Max(1, want[i]) {
					t.Errorf("step %d: loss %g, on the processor's own device %g", i+1, got[i], want[i])
				}
			}
		})
	}
}

// steps trains a few steps on made-up images and returns their losses.
func steps(t *testing.T, backend compute.Backend, model *onnx.Model) []float64 {
	t.Helper()
	in := model.Input()
	m, err := NewMachine(MachineOptions{Backend: backend, Model: model, Channels: in.Channels, Height: in.Height, Width: in.Width, Batch: 4,
		Objective: CrossEntropy{}, Optimizer: SGD{Momentum: 0.9}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b := madeUp(m)
	var list []float64
	for range 3 {
		out, err := m.Step(b, 0.01)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, out.Loss)
	}
	return list
}
