package pretrain

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

var device = stages.Device{Backend: "cpu", Version: ort.Version() + ", " + kernel.Class(), ISA: ort.ISA(), Precision: "fp32", Threads: 1}

func needLibrary(t testing.TB) {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
}

// writeStripes makes colour images of four classes: stripes of two widths in two directions, of any colour and phase.
func writeStripes(t *testing.T, path string, n int, seed uint64) stages.Input {
	t.Helper()
	w, err := dataset.Create(path, dataset.Info{Classes: []string{"fine across", "fine down", "broad across", "broad down"}, Height: 16, Width: 16, Channels: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s := dataset.NewStream(seed, "image", uint64(i))
		label := i % 4
		width := 2 + 2*(label/2)
		phase := s.Intn(2 * width)
		var colours [2][3]float64
		for k := range 3 {
			colours[0][k], colours[1][k] = s.In(0, 120), s.In(130, 250)
		}
		image := make([]byte, 0, 768)
		for y := range 16 {
			for x := range 16 {
				at := y
				if label%2 == 1 {
					at = x
				}
				for k := range 3 {
					image = append(image, byte(colours[(at+phase)/width%2][k]+s.In(0, 5)))
				}
			}
		}
		if err := w.Add(fmt.Sprint(i), int32(label), image); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return stages.Input{Path: path, Ref: artifact.Ref{Type: artifact.Dataset}}
}

func inputs(t *testing.T, dir string) map[string][]stages.Input {
	return map[string][]stages.Input{"data": {writeStripes(t, filepath.Join(dir, "data"), 48, 1)}, "probe": {writeStripes(t, filepath.Join(dir, "probe"), 40, 2)}}
}

func args(v map[string]any) stages.Args { return stages.Args{Values: v} }

func TestConformance(t *testing.T) {
	needLibrary(t)
	stagetest.Run(t, stagetest.Fixture{Kind: Kind, Seed: 3, Device: device, Inputs: inputs, Interrupt: 7,
		Args: args(map[string]any{"model": "resnet8", "epochs": 2.0, "batch": 12.0, "projection": []any{16.0, 8.0}, "neighbours": 5.0})})
}

// The target network of byol is in the checkpoints too.
func TestKilledBYOL(t *testing.T) {
	needLibrary(t)
	stagetest.Killed(t, stagetest.Fixture{Kind: Kind, Seed: 3, Device: device, Inputs: inputs,
		Args: args(map[string]any{"method": "byol", "model": "resnet8", "epochs": 5.0, "batch": 12.0, "projection": []any{16.0, 8.0}, "prediction": []any{16.0}, "target_decay": 0.9, "neighbours": 5.0})}, 4)
}

func TestKilledRuns(t *testing.T) {
	needLibrary(t)
	stagetest.Killed(t, stagetest.Fixture{Kind: Kind, Seed: 3, Device: device, Inputs: inputs,
		Args: args(map[string]any{"model": "resnet8", "epochs": 4.0, "batch": 12.0, "projection": []any{16.0, 8.0}, "neighbours": 5.0})}, 4)
}

type said struct{ values map[string]any }

func (s *said) Progress(stages.Progress) {}
func (s *said) Log(string)               {}
func (s *said) Measure(string, float64)  {}
func (s *said) Value(name string, v any) { s.values[name] = v }

// run executes the kind on the ports of in, by default those of the fixture.
func run(t *testing.T, a stages.Args, in map[string][]stages.Input) (*stages.Job, map[string]any, error) {
	t.Helper()
	needLibrary(t)
	dir := t.TempDir()
	connected := map[string]bool{}
	for port := range in {
		connected[port] = true
	}
	s := Kind.New()
	if _, problems := stages.Decode(s, a, connected); stages.HasErrors(problems) {
		t.Fatal(problems)
	}
	r := &said{map[string]any{}}
	job := &stages.Job{Kind: "pretrain", Args: a, Inputs: in, OutDir: filepath.Join(dir, "out"), ScratchDir: filepath.Join(dir, "scratch"), Seed: 1, Device: device}
	if err := os.Mkdir(job.OutDir, 0o777); err != nil {
		t.Fatal(err)
	}
	return job, r.values, s.Run(t.Context(), job.WithReporter(r))
}

// What is learned without labels tells classes better than the backbone did before.
func TestItLearnsWithoutLabels(t *testing.T) {
	dir := t.TempDir()
	in := map[string][]stages.Input{"data": {writeStripes(t, filepath.Join(dir, "data"), 256, 1)}, "probe": {writeStripes(t, filepath.Join(dir, "probe"), 80, 2)}, "test": {writeStripes(t, filepath.Join(dir, "test"), 80, 3)}}
	a := args(map[string]any{"model": "resnet8", "epochs": 6.0, "batch": 64.0, "learning_rate": 0.1, "projection": []any{32.0, 16.0}, "neighbours": 10.0})
	a.Blocks = []stages.BlockArgs{{Type: "views", Args: args(map[string]any{"scale": 0.6})}}
	job, got, err := run(t, a, in)
	if err != nil {
		t.Fatal(err)
	}
	before, after := got["knn_before"].(float64), got["knn_accuracy"].(float64)
	if after < before+0.1 && after < 0.9 {
		t.Errorf("neighbours tell %g of the classes, %g before", after, before)
	}
	m, err := onnx.Load(job.Output("model"))
	if err != nil {
		t.Fatal(err)
	}
	if m.Output().Name != onnx.FeaturesName || m.Output().Classes != 64 || got["width"] != 64 {
		t.Errorf("the backbone gives %+v", m.Output())
	}
	for _, tensor := range m.Graph().Initializer {
		if strings.HasPrefix(tensor.Name, "projection") {
			t.Errorf("the projection is still there: %s", tensor.Name)
		}
	}
}

func TestOtherMethods(t *testing.T) {
	for _, c := range []map[string]any{
		{"method": "simsiam", "projection": []any{32.0, 32.0}, "prediction": []any{8.0}},
		{"method": "byol", "projection": []any{32.0, 16.0}, "prediction": []any{32.0}},
		{"accumulate": 3.0},
	} {
		c["model"], c["epochs"], c["batch"] = "resnet8", 1.0, 12.0
		dir := t.TempDir()
		_, got, err := run(t, args(c), map[string][]stages.Input{"data": {writeStripes(t, filepath.Join(dir, "data"), 24, 1)}})
		if err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		if got["knn_accuracy"] != nil || got["loss"] == nil {
			t.Errorf("%v: values %v", c, got)
		}
	}
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	data := writeStripes(t, filepath.Join(dir, "data"), 24, 1)
	if _, _, err := run(t, args(map[string]any{"model": "resnet8", "epochs": 1.0, "batch": 25.0}), map[string][]stages.Input{"data": {data}}); err == nil || !strings.Contains(err.Error(), "more than the 24") {
		t.Errorf("a batch that is too large: %v", err)
	}
	b := onnx.NewBuilder("flat", 3, 16, 16)
	x := b.Node("Conv", "conv", []string{onnx.InputName, b.Tensor("w", []int{2, 3, 3, 3}, make([]float32, 54))}, onnx.IntsOf("kernel_shape", 3, 3))
	x = b.Node("Flatten", "flatten", []string{b.Node("Relu", "relu", []string{x})})
	b.Node("Gemm", onnx.OutputName, []string{x, b.Tensor("fc", []int{392, 4}, make([]float32, 392*4))})
	m, err := b.Model(4, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "model")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	in := map[string][]stages.Input{"data": {data}, "model": {{Path: path, Ref: artifact.Ref{Type: artifact.Model}}}}
	if _, _, err := run(t, args(map[string]any{"epochs": 1.0, "batch": 12.0}), in); err == nil || !strings.Contains(err.Error(), "without a pooling") {
		t.Errorf("a backbone without a pooling: %v", err)
	}
	for _, c := range []struct {
		args      map[string]any
		connected map[string]bool
		want      string
	}{
		{map[string]any{"model": "resnet8", "epochs": 1.0, "batch": 1.0}, map[string]bool{"data": true}, "no other image to tell"},
		{map[string]any{"model": "resnet8", "epochs": 1.0, "temperature": 0.0}, map[string]bool{"data": true}, "temperature"},
		{map[string]any{"model": "resnet8", "epochs": 1.0}, map[string]bool{"data": true, "test": true}, "no \"probe\""},
		{map[string]any{"model": "resnet8", "epochs": 1.0, "mean": []any{0.5}}, map[string]bool{"data": true}, "1 numbers in \"mean\" and 0"},
	} {
		_, problems := stages.Decode(Kind.New(), args(c.args), c.connected)
		if len(problems) != 1 || !strings.Contains(problems[0].Arg+problems[0].Detail, c.want) {
			t.Errorf("%v: %v, want %q", c.args, problems, c.want)
		}
	}
}
