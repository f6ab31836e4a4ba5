package evaluate

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer/infertest"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

func needLibrary(t *testing.T) {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
}

var classNames = []string{"cat", "dog", "<hen> & \"egg\""}

// brightest answers the class whose pixel of a grey 1×3 image is the brightest.
func brightest(classes []string) infertest.Linear {
	return infertest.Linear{Channels: 1, Height: 1, Width: 3, Classes: classes, Weights: [][]float32{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}
}

// images are six of them: four are answered rightly by brightest; the fifth, a dog, is taken for a hen with more
// confidence than the sixth, a hen, for a cat.
var images = []struct {
	label  int32
	pixels []byte
}{{0, []byte{255, 0, 0}}, {0, []byte{200, 100, 0}}, {1, []byte{0, 255, 0}}, {2, []byte{0, 0, 255}}, {1, []byte{0, 0, 255}}, {2, []byte{128, 0, 127}}}

func writeDataset(t *testing.T, path string) {
	t.Helper()
	w, err := dataset.Create(path, dataset.Info{Classes: classNames, Height: 1, Width: 3, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i, image := range images {
		s := dataset.Sample{ID: fmt.Sprintf("image-%d", i), Label: image.label, Image: image.pixels, Height: 1, Width: 3, Meta: []dataset.Pair{{Name: "line", Value: string(rune('A' + i%2))}}}
		if i == 5 {
			s.Meta = nil
		}
		if err := w.AddSample(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// input describes a file that a test wrote.
func input(path string, typ artifact.Type) []stages.Input {
	return []stages.Input{{Ref: artifact.Ref{Type: typ}, Path: path}}
}

func inputs(t *testing.T, dir string, baseline bool) map[string][]stages.Input {
	t.Helper()
	data := filepath.Join(dir, "data")
	writeDataset(t, data)
	in := map[string][]stages.Input{"data": input(data, artifact.Dataset), "model": input(brightest(classNames).Write(t, dir, "model.onnx"), artifact.Model)}
	if baseline {
		always := brightest(classNames)
		always.Weights = [][]float32{{1, 1, 1}, {0, 0, 0}, {0, 0, 0}} // always answers cat
		in["baseline"] = input(always.Write(t, dir, "baseline.onnx"), artifact.Model)
	}
	return in
}

func device() stages.Device {
	return stages.Device{Backend: "cpu", Version: ort.Version() + ", " + kernel.Class(), ISA: ort.ISA(), Precision: "fp32", Threads: 1}
}

func TestConformance(t *testing.T) {
	needLibrary(t)
	for name, f := range map[string]stagetest.Fixture{
		"pinned.json": {},
		"pinned-baseline.json": {Args: stages.Args{Values: map[string]any{"top_k": []any{1.0, 2.0}, "probabilities": true, "batch": 2.0, "worst": 1.0,
			"slices": []any{"line"}, "corruptions": list(corruptionNames()), "severities": []any{5.0, 1.0}, "views": list(viewNames), "resamples": 50.0},
			Blocks: []stages.BlockArgs{{Type: "latency", Args: stages.Args{Values: map[string]any{"batches": []any{1.0, 2.0}, "thread_counts": []any{1.0}, "runs": 3.0}}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			f.Kind, f.Device, f.PinFile = Kind, device(), filepath.Join("testdata", name)
			f.Inputs = func(t *testing.T, dir string) map[string][]stages.Input { return inputs(t, dir, name != "pinned.json") }
			stagetest.Run(t, f)
		})
	}
}

// said is a Reporter that keeps values and measurements.
type said struct {
	mu       sync.Mutex // guards the maps
	values   map[string]any
	measured map[string]float64
	progress func()
}

func (s *said) Progress(stages.Progress) {
	if s.progress != nil {
		s.progress()
	}
}
func (s *said) Log(string) {}
func (s *said) Value(name string, v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[name] = v
}
func (s *said) Measure(name string, v float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.measured[name] = v
}

func list(names []string) (out []any) {
	for _, n := range names {
		out = append(out, n)
	}
	return out
}

// run evaluates; its outputs lie in the folder that it returns.
func run(t *testing.T, ctx context.Context, in map[string][]stages.Input, args map[string]any, progress func()) (*said, string, error) {
	t.Helper()
	needLibrary(t)
	e := &evaluate{}
	if _, problems := stages.Decode(e, stages.Args{Values: args}, nil); stages.HasErrors(problems) {
		t.Fatal(problems)
	}
	s := &said{values: map[string]any{}, measured: map[string]float64{}, progress: progress}
	job := (&stages.Job{Inputs: in, OutDir: t.TempDir(), Device: device(), Resources: stages.Resources{CPUs: 1}}).WithReporter(s)
	return s, job.OutDir, e.Run(ctx, job)
}

func TestValues(t *testing.T) {
	s, out, err := run(t, t.Context(), inputs(t, t.TempDir(), true), map[string]any{"top_k": []any{2.0, 9.0}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"accuracy": 4.0 / 6, "accuracy_top2": 5.0 / 6, "accuracy_top9": 1, "baseline_accuracy": 2.0 / 6, "accuracy_drop": -2.0 / 6,
		"precision": (2.0/3 + 1 + 0.5) / 3, "recall": (1 + 0.5 + 0.5) / 3} {
		if got, _ := s.values[name].(float64); math.Abs(got-want) > 1e-12 {
			t.Errorf("%s = %v, want %v", name, s.values[name], want)
		}
	}
	if dog := s.values["per_class"].(map[string]any)["dog"].(map[string]any); dog["recall"] != 0.5 || dog["images"] != 2 {
		t.Errorf("dog = %v", dog)
	}
	// Of the eight pairs of a hen and another image, image 3 ties with image 4 and image 5 stands below it.
	if hen := s.values["per_class"].(map[string]any)[classNames[2]].(map[string]any); hen["auroc"] != 0.8125 {
		t.Errorf("hen = %v", hen)
	}
	if s.measured["images_per_second"] <= 0 || s.measured["latency"] <= 0 {
		t.Errorf("measured %v", s.measured)
	}
	b, err := os.ReadFile(filepath.Join(out, "metrics"))
	if err != nil {
		t.Fatal(err)
	}
	var metrics struct {
		Accuracy  float64
		TopK      map[string]float64 `json:"top_k"`
		Confusion [][]int
		Baseline  struct{ Gained, Lost, Same int }
	}
	if err := json.Unmarshal(b, &metrics); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	// The model alone is right about image 2 (dog) and 3 (hen); both answer cat for 0, 1 and 5.
	if metrics.Accuracy != s.values["accuracy"] || fmt.Sprint(metrics.Confusion) != "[[2 0 0] [0 1 1] [1 0 1]]" || metrics.TopK["2"] != 5.0/6 || fmt.Sprint(metrics.Baseline) != "{2 0 3}" {
		t.Errorf("metrics = %+v", metrics)
	}
}

func TestPredictions(t *testing.T) {
	_, out, err := run(t, t.Context(), inputs(t, t.TempDir(), false), map[string]any{"probabilities": true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(out, "predictions"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1+len(images) || strings.Join(rows[0], " ") != `id label predicted correct confidence loss p_cat p_dog p_<hen> & "egg"` {
		t.Fatalf("%d rows, head %q", len(rows), rows[0])
	}
	// Softmax of (0, 0, 1): e/(e+2) and 1/(e+2); −log of the latter is 1.551445.
	if want := fmt.Sprintf("image-4|dog|%s|false|0.576117|1.551445|0.211942|0.211942|0.576117", classNames[2]); strings.Join(rows[5], "|") != want {
		t.Errorf("row %q, want %q", strings.Join(rows[5], "|"), want)
	}
}

func TestReport(t *testing.T) {
	_, out, err := run(t, t.Context(), inputs(t, t.TempDir(), true), map[string]any{"worst": 1.0}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(out, "report"))
	if err != nil {
		t.Fatal(err)
	}
	html := string(b)
	for _, want := range []string{"66.67\u00a0%", "&#43;33.33\u00a0pp", "dog taken for &lt;hen&gt; &amp; &#34;egg&#34;: 1", "data:image/png", "image-4", "McNemar"} {
		if !strings.Contains(html, want) {
			t.Errorf("the report lacks %s", want)
		}
	}
	if strings.Contains(html, "image-5") {
		t.Error("worst = 1 shows the second-worst mistake")
	}
}

func TestProblems(t *testing.T) {
	dir := t.TempDir()
	good := inputs(t, dir, false)
	with := func(port, path string, typ artifact.Type) map[string][]stages.Input {
		in := map[string][]stages.Input{"data": good["data"], "model": good["model"]}
		in[port] = input(path, typ)
		return in
	}
	text := filepath.Join(dir, "text.onnx")
	if err := os.WriteFile(text, []byte("hello"), 0o666); err != nil {
		t.Fatal(err)
	}
	bigger := brightest(classNames)
	bigger.Width = 4
	bigger.Weights = [][]float32{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}}
	nan := brightest(classNames)
	nan.Weights = [][]float32{{float32(math.NaN()), 0, 0}, {0, 1, 0}, {0, 0, 1}}
	more := brightest(nil)
	more.Weights = append(more.Weights, []float32{0, 0, 0})
	for name, c := range map[string]struct {
		in                   map[string][]stages.Input
		arg, summary, detail string
	}{
		"order":    {with("model", brightest([]string{"dog", "cat", classNames[2]}).Write(t, dir, "order.onnx"), artifact.Model), "model", "Classes do not agree", `Class 0 is "dog" for the model but "cat"`},
		"count":    {with("model", more.Write(t, dir, "more.onnx"), artifact.Model), "model", "Classes do not agree", "4 outputs, but the images have 3 classes"},
		"size":     {with("model", bigger.Write(t, dir, "bigger.onnx"), artifact.Model), "model", "Model does not fit", "it takes images with width 4, but these have 3"},
		"text":     {with("baseline", text, artifact.Model), "baseline", "Model does not fit", "not an ONNX model"},
		"diverged": {with("model", nan.Write(t, dir, "nan.onnx"), artifact.Model), "model", "Model gives no usable answers", "NaN"},
	} {
		_, _, err := run(t, t.Context(), c.in, nil, nil)
		var p stages.Problem
		if !errors.As(err, &p) || p.Arg != c.arg || p.Summary != c.summary || !strings.Contains(p.Detail, c.detail) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestArgumentProblems(t *testing.T) {
	for name, c := range map[string]struct {
		args    map[string]any
		arg     string
		summary string
	}{
		"twice":     {map[string]any{"top_k": []any{5.0, 5.0}}, "top_k", "Repeated number"},
		"zero":      {map[string]any{"top_k": []any{0.0}}, "top_k", "Value out of range"},
		"deviation": {map[string]any{"mean": []any{0.5}}, "mean", "Mean and deviation do not match"},
		"std":       {map[string]any{"mean": []any{0.5}, "std": []any{0.0}}, "std", "Value out of range"},
	} {
		_, problems := stages.Decode(&evaluate{}, stages.Args{Values: c.args}, nil)
		if len(problems) != 1 || problems[0].Arg != c.arg || problems[0].Summary != c.summary {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

func TestCancelledInTheMiddle(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, out, err := run(t, ctx, inputs(t, t.TempDir(), false), map[string]any{"batch": 1.0}, cancel)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	if entries, _ := os.ReadDir(out); len(entries) > 0 {
		t.Errorf("a cancelled run wrote %v", entries)
	}
}
