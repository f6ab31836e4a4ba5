package surgery

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/onnx"
)

// answers runs the model in ONNX Runtime on two fixed images. It skips the test where there is no ONNX Runtime.
func answers(t testing.TB, m *onnx.Model) []float32 {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	in := m.Input()
	s, err := infer.Open(path, infer.Options{Threads: 1, Batch: 2, Channels: in.Channels, Height: in.Height, Width: in.Width})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := s.Info().Channels * s.Info().Height * s.Info().Width * s.Info().Batch
	images := make([]float32, n)
	for i := range images {
		images[i] = float32(0.5 + 0.5*math.Sin(float64(i)*0.7+float64(i*i%97)))
	}
	out, err := s.Logits(context.Background(), images, s.Info().Batch)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// distance is the largest difference of two answers, as a share of the largest number of the first.
func distance(t testing.TB, a, b []float32) float64 {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%d numbers and %d", len(a), len(b))
	}
	most, scale := 0.0, 1e-12
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if math.IsNaN(d) {
			t.Fatal("an answer is not a number")
		}
		most, scale = math.Max(most, d), math.Max(scale, math.Abs(float64(a[i])))
	}
	return most / scale
}

// model returns the graph as a model.
func model(t testing.TB, g *Graph) *onnx.Model {
	t.Helper()
	m, err := g.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// cutEvery chooses every third channel of each group, of those with at least three.
func cutEvery(groups *Groups) []Cut {
	var cuts []Cut
	for _, group := range groups.List {
		c := Cut{Group: group}
		for k := 1; k < group.Channels; k += 3 {
			c.Channels = append(c.Channels, k)
		}
		cuts = append(cuts, c)
	}
	return cuts
}

// silence makes the output independent of the channels in cuts, by zeroing what reads them.
func silence(t testing.TB, g *Graph, cuts []Cut) {
	t.Helper()
	for _, c := range cuts {
		for _, m := range c.Group.Members {
			if m.Role != Consumes {
				continue
			}
			dims, data, ok := g.index().floats(m.Tensor)
			if !ok {
				t.Fatalf("%s is no float32 initializer", m.Tensor)
			}
			gone := map[int]bool{}
			for _, k := range c.Channels {
				for _, at := range m.Index[k] {
					gone[at] = true
				}
			}
			inner := size(dims[m.Axis+1:])
			for i := range data {
				if gone[i/inner%dims[m.Axis]] {
					data[i] = 0
				}
			}
			g.setFloats(m.Tensor, dims, data)
		}
	}
}

// checkSurgery applies every surgery to a model and compares the answers before and after.
func checkSurgery(t *testing.T, m *onnx.Model) {
	before := answers(t, m)
	g := Edit(m)
	shapes, err := g.Shapes()
	if err != nil {
		t.Fatal("shapes: ", err)
	}
	for _, n := range shapes.Unknown {
		t.Errorf("operator %s is not known", n.OpType)
	}
	if err := g.Simplify(); err != nil {
		t.Fatal("simplify: ", err)
	}
	if d := distance(t, before, answers(t, model(t, g))); d > 1e-4 {
		t.Errorf("simplifying changed the answers by %.2g", d)
	}
	if shapes, err = g.Shapes(); err != nil {
		t.Fatal("shapes: ", err)
	}
	open := 0
	for _, n := range g.Nodes() {
		if !shapes.Of(n.Output[0]).Known() {
			if open++; open < 4 {
				t.Errorf("the shape of %s %q is not known: %v", n.OpType, n.Output[0], shapes.Of(n.Output[0]).Shape)
			}
		}
	}
	count, err := g.FoldNormalization()
	if err != nil {
		t.Fatal("fold: ", err)
	}
	if d := distance(t, before, answers(t, model(t, g))); d > 1e-3 {
		t.Errorf("folding %d normalizations changed the answers by %.2g", count, d)
	}
	checkPruning(t, model(t, g))
}

func checkPruning(t *testing.T, m *onnx.Model) {
	g := Edit(m)
	groups, err := g.Groups()
	if err != nil {
		t.Fatal("groups: ", err)
	}
	cuts := cutEvery(groups)
	exact := cuts[:0]
	channels, mixed := 0, 0
	for _, c := range cuts {
		channels += c.Group.Channels
		if c.Group.Mixed {
			mixed++
		} else {
			exact = append(exact, c)
		}
	}
	silence(t, g, exact)
	before := answers(t, model(t, g))
	size := m.Parameters()
	if err := groups.Prune(exact...); err != nil {
		t.Fatal("prune: ", err)
	}
	after := model(t, g)
	if d := distance(t, before, answers(t, after)); d > 1e-3 {
		t.Errorf("removing silent channels changed the answers by %.2g", d)
	}
	t.Logf("%d groups (%d mixed), %d channels, parameters %d → %d", len(groups.List), mixed, channels, size, after.Parameters())
	if mixed == 0 {
		return
	}
	g = Edit(m)
	if groups, err = g.Groups(); err != nil {
		t.Fatal(err)
	}
	if err := groups.Prune(cutEvery(groups)...); err != nil {
		t.Fatal("prune with mixed groups: ", err)
	}
	answers(t, model(t, g)) // it runs
	t.Logf("with mixed groups %d parameters", model(t, g).Parameters())
}

// TestSuite goes through a folder of ONNX files: those that testdata/export.py writes.
func TestSuite(t *testing.T) {
	folder := os.Getenv("DARKROOM_MODELS")
	if folder == "" {
		t.Skip("DARKROOM_MODELS names no folder of ONNX files (testdata/export.py writes some)")
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
			checkSurgery(t, m)
		})
	}
}
