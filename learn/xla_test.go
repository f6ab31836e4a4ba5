package learn

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/darkroom-dev/darkroom/learn/mixed"
	"github.com/darkroom-dev/darkroom/learn/xla"
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
			t.Skip("no PJRT plugin for the processor: run `make setup-xla`, or set DARKROOM_PJRT_CPU to the path of one")
		}
		path = found[0]
	}
	return path
}

// xlaDevice is XLA on the processor.
func xlaDevice(t testing.TB) compute.Backend {
	t.Helper()
	b, err := xla.New(xla.Options{Plugin: processorPlugin(t), Platform: "cpu"})
	if err != nil {
		t.Fatal(err)
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

// A training goes on XLA as it does on the processor's own device, in float32 as far as rounding lets it, and in a mixed precision nearly so.
func TestXLATrainsLikeTheProcessor(t *testing.T) {
	device := xlaDevice(t)
	c := config(t)
	c.Epochs = 2
	want := losses(t, c)
	for _, k := range []struct {
		name      string
		narrow    dtypes.DType
		tolerance float64
	}{{"float32", 0, 1e-5}, {"bfloat16", dtypes.BFloat16, 0.05}, {"float16", dtypes.Float16, 0.01}} {
		t.Run(k.name, func(t *testing.T) {
			c.Backend = device
			if k.narrow != 0 {
				b, err := mixed.New(device, k.narrow)
				if err != nil {
					t.Fatal(err)
				}
				c.Backend = b
			}
			got := losses(t, c)
			for i := range want {
				if math.Abs(got[i]-want[i]) > k.tolerance*math.Max(1, want[i]) {
					t.Errorf("loss %d is %g, on the processor's own device %g", i, got[i], want[i])
				}
			}
		})
	}
}

// Two training steps of each family give the same losses on XLA as on the processor's own device.
func TestXLAStepsLikeTheProcessor(t *testing.T) {
	device := xlaDevice(t)
	for _, c := range []struct {
		model           string
		size            int
		tolerance, half float64
	}{{"vit_tiny", 16, 2e-4, 0.05}} {
		t.Run(c.model, func(t *testing.T) {
			own := zooMachine(t, c.model, 3, c.size, 4, 1)
			b := madeUp(own)
			var want []float64
			for range 2 {
				out, err := own.Step(b, 0.01)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, out.Loss)
			}
			narrow, err := mixed.New(device, dtypes.BFloat16)
			if err != nil {
				t.Fatal(err)
			}
			for backend, tolerance := range map[compute.Backend]float64{device: c.tolerance, narrow: c.half} {
				o := own.o
				o.Backend = backend
				m, err := NewMachine(o)
				if err != nil {
					t.Fatal(err)
				}
				for i := range want {
					out, err := m.Step(b, 0.01)
					if err != nil {
						t.Fatal(err)
					}
					if math.Abs(out.Loss-want[i]) > tolerance*math.Max(1, want[i]) {
						t.Errorf("%s, step %d: loss %g, on the processor's own device %g", backend.Description(), i+1, out.Loss, want[i])
					}
				}
				m.Close()
			}
		})
	}
}
