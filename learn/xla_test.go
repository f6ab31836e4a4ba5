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

// grouped is a network of convolutions with groups of every kind, for images of 3 channels and 13×11 pixels and 3 classes: of single channels with each stride,
// dilation and uneven padding, of single channels with two results each, and of several channels.
func grouped(t *testing.T) *onnx.Model {
	t.Helper()
	b := onnx.NewBuilder("grouped", 3, 13, 11)
	x, channels := onnx.InputName, 3
	conv := func(name string, out, group, kernel, stride, dilation int, pads ...int) {
		w := b.Tensor(name+".w", []int{out, channels / group, kernel, kernel}, noise(out*channels/group*kernel*kernel, float64(len(name)), 0.6))
		y := b.Node("Conv", name, []string{x, w, b.Tensor(name+".b", []int{out}, noise(out, 3, 0.2))}, onnx.IntOf("group", group), onnx.IntsOf("pads", pads...),
			onnx.IntsOf("strides", stride, stride), onnx.IntsOf("dilations", dilation, dilation))
		x, channels = b.Node("HardSwish", name+".active", []string{y}), out
	}
	conv("stem", 8, 1, 3, 1, 1, 1, 1, 1, 1)
	conv("single", 8, 8, 3, 1, 1, 1, 1, 1, 1)
	conv("dilated", 8, 8, 3, 1, 2, 2, 2, 2, 2)
	conv("doubled", 16, 8, 3, 1, 1, 0, 1, 2, 0)
	conv("wide", 16, 16, 7, 1, 1, 3, 3, 3, 3)
	conv("strided", 16, 16, 5, 2, 1, 2, 2, 2, 2)
	conv("pairs", 12, 4, 3, 1, 1, 1, 1, 1, 1)
	conv("halves", 6, 2, 1, 1, 1, 0, 0, 0, 0)
	conv("steps", 6, 3, 2, 2, 1, 0, 0, 1, 1)
	x = b.Node("Flatten", "flat", []string{b.Node("GlobalAveragePool", "pool", []string{x})})
	b.Node("Gemm", onnx.OutputName, []string{x, b.Tensor("fc.w", []int{3, channels}, noise(3*channels, 5, 0.7)), b.Tensor("fc.b", []int{3}, noise(3, 7, 0.1))}, onnx.IntOf("transB", 1))
	m, err := b.Model(3, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Convolutions with groups, alone and in a network with normalisations and gates, have the gradients on XLA that they have on the processor's own device.
func TestXLAGradientsOfGroupedConvolutions(t *testing.T) {
	needLibrary(t)
	device := xlaDevice(t)
	own, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Finalize()
	for name, m := range map[string]*onnx.Model{"every kind of groups": grouped(t), "mobilenet": exports(t)["mobilenet_v3_dynamo18"]} {
		t.Run(name, func(t *testing.T) {
			want, got := gradientsOn(t, own, m), gradientsOn(t, device, m)
			for _, p := range sortedKeys(want) {
				largest, off := 0.0, 0.0
				for i, w := range want[p] {
					largest, off = math.Max(largest, math.Abs(float64(w))), math.Max(off, math.Abs(float64(got[p][i]-w)))
				}
				if off > 1e-4*largest+1e-6 {
					t.Errorf("%s: %g off, the largest gradient is %g", p, off, largest)
				}
			}
		})
	}
}

// gradientsOn returns the gradients of the loss on made-up images by parameter.
func gradientsOn(t *testing.T, backend compute.Backend, model *onnx.Model) map[string][]float32 {
	t.Helper()
	in := model.Input()
	m, err := NewMachine(MachineOptions{Backend: backend, Model: model, Channels: in.Channels, Height: in.Height, Width: in.Width, Batch: 4, Objective: CrossEntropy{}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	g, _, err := m.Gradients(madeUp(m))
	if err != nil {
		t.Fatal(err)
	}
	return g
}
