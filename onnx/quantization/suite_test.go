package quantization

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

// TestSuite takes networks the whole way: folded, pruned, quantized for both targets and in 16 bits, saved, loaded, and run by ONNX Runtime. Those are the smallest of
// the zoo's families; with DARKROOM_MODELS, a folder of ONNX files (onnx/surgery/testdata/export.py writes some), all of the zoo and these files.
func TestSuite(t *testing.T) {
	folder := os.Getenv("DARKROOM_MODELS")
	names := []string{"resnet8", "wide_resnet16_2", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "vit_tiny"}
	if folder != "" {
		names = zoo.Names()
	} else if testing.Short() {
		names = names[:1]
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			m := build(t, name)
			if name == "mobilenet_v2" {
				liven(t, m)
			}
			wholeWay(t, m)
		})
	}
	if folder == "" {
		return
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.onnx"))
	if err != nil || len(files) == 0 {
		t.Fatal("no ONNX files in ", folder)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			m, err := onnx.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			wholeWay(t, m)
		})
	}
}

// liven doubles what normalizations give back. Without it the numbers of this untrained network die away to 1e-8, which the fused Gemm of ONNX Runtime 1.30 loses at
// its extended level of optimization (1.1 dB, unfused 24.6 dB).
func liven(t *testing.T, m *onnx.Model) {
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

// wholeWay compares answers: random weights give the least that a form can keep, a broken one gives noise.
func wholeWay(t *testing.T, m *onnx.Model) {
	before := logits(t, m)
	half := surgery.Edit(m)
	if err := half.Simplify(); err != nil {
		t.Fatal("simplify: ", err)
	}
	if _, err := half.Half(surgery.HalfOptions{}); err != nil {
		t.Fatal("float16: ", err)
	}
	halved, err := half.Model()
	if err != nil {
		t.Fatal("float16: ", err)
	}
	compare(t, "float16", before, logits(t, reload(t, halved)), 40)
	quantized(t, "", m, before)
	narrow := pruned(t, m)
	quantized(t, "pruned, ", narrow, logits(t, reload(t, narrow)))
}

// pruned is a model without every third channel.
func pruned(t *testing.T, m *onnx.Model) *onnx.Model {
	g := prepare(t, m)
	whole, err := g.Model() // folded: exporters write equal weights once, and folding makes them differ
	if err != nil {
		t.Fatal("fold: ", err)
	}
	groups, err := g.Groups()
	if err != nil {
		t.Fatal("groups: ", err)
	}
	var cuts []surgery.Cut
	for _, group := range groups.List {
		c := surgery.Cut{Group: group}
		for k := 1; k < group.Channels; k += 3 {
			c.Channels = append(c.Channels, k)
		}
		cuts = append(cuts, c)
	}
	if err := groups.Prune(cuts...); err != nil {
		t.Fatal("prune: ", err)
	}
	narrow, err := g.Model()
	if err != nil {
		t.Fatal("prune: ", err)
	}
	if narrow.Parameters() >= whole.Parameters() {
		t.Errorf("pruned, it has %d parameters of %d", narrow.Parameters(), whole.Parameters())
	}
	return narrow
}

func quantized(t *testing.T, what string, m *onnx.Model, before []float32) {
	for _, target := range []Target{ONNXRuntime, TensorRT} {
		g := prepare(t, m)
		Adapt(g, target)
		p, ranges := static(t, g, m.Input(), Scheme{Target: target, PerChannel: true, SlowInFloat: true}, MinMax)
		q, err := p.Apply(ranges, nil)
		if err != nil {
			t.Fatalf("%sint8 for %s: %v", what, target, err)
		}
		compare(t, what+"int8 for "+string(target), before, logits(t, reload(t, q.Model)), 10)
	}
}

// reload saves and loads.
func reload(t *testing.T, m *onnx.Model) *onnx.Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	again, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func compare(t *testing.T, what string, a, b []float32, decibels float64) {
	t.Helper()
	d := snr(a, b)
	t.Logf("%s: %.1f dB", what, d)
	if !(d >= decibels) {
		t.Errorf("%s: the answers are %.1f dB apart from those before, at least %.0f wanted", what, d, decibels)
	}
}
