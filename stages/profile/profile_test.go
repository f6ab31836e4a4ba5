package profile

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/infer/infertest"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

func needLibrary(t *testing.T) {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
}

func device() stages.Device {
	return stages.Device{Backend: "cpu", Version: ort.Version() + ", " + kernel.Class(), ISA: ort.ISA(), Precision: "fp32", Threads: 1}
}

func linear() infertest.Linear {
	return infertest.Linear{Channels: 1, Height: 2, Width: 2, Classes: []string{"a", "b"}, Weights: [][]float32{{1, 0, 0, 0}, {0, 1, 0, 0}}}
}

func input(path string, typ artifact.Type) []stages.Input {
	return []stages.Input{{Ref: artifact.Ref{Type: typ}, Path: path}}
}

var (
	decimals = regexp.MustCompile(`[0-9]+\.[0-9]+`)
	headings = regexp.MustCompile(`<h[12][^>]*>[^<]*`)
)

// mask blanks out times; of the report, whose bars and orders follow from them, it leaves the title and the sections.
func mask(output string, content []byte) []byte {
	if output == "latency" {
		return decimals.ReplaceAll(content, []byte("#"))
	}
	return bytes.Join(headings.FindAll(content, -1), []byte("\n"))
}

func TestConformance(t *testing.T) {
	needLibrary(t)
	stagetest.Run(t, stagetest.Fixture{Kind: Kind, Device: device(), Mask: mask,
		Args: stages.Args{Values: map[string]any{"batches": []any{1.0, 3.0}, "thread_counts": []any{1.0, 2.0}, "warmup": 2.0, "runs": 6.0}},
		Inputs: func(t *testing.T, dir string) map[string][]stages.Input {
			return map[string][]stages.Input{"model": input(linear().Write(t, dir, "model.onnx"), artifact.Model)}
		}})
}

type said struct {
	sync.Mutex
	values   map[string]any
	measured map[string]float64
}

func (s *said) Progress(stages.Progress)       {}
func (s *said) Log(string)                     {}
func (s *said) Value(name string, v any)       { s.Lock(); s.values[name] = v; s.Unlock() }
func (s *said) Measure(name string, v float64) { s.Lock(); s.measured[name] = v; s.Unlock() }

func run(t *testing.T, model string, args map[string]any) ([]infer.Latency, *said, error) {
	t.Helper()
	needLibrary(t)
	p := &profile{}
	schema, problems := stages.Decode(p, stages.Args{Values: args}, nil)
	if stages.HasErrors(problems) {
		return nil, nil, problems[0]
	}
	s := &said{values: map[string]any{}, measured: map[string]float64{}}
	job := (&stages.Job{Inputs: map[string][]stages.Input{"model": input(model, artifact.Model)}, OutDir: t.TempDir(), ScratchDir: t.TempDir(), Device: device()}).WithReporter(s)
	if err := p.Run(t.Context(), job); err != nil {
		return nil, nil, err
	}
	for _, m := range schema.Measurements {
		if s.measured[m.Name] <= 0 {
			t.Errorf("%s was not measured", m.Name)
		}
	}
	if left, _ := os.ReadDir(job.ScratchDir); len(left) > 0 {
		t.Errorf("the profiler's files were left: %v", left)
	}
	f, err := os.Open(job.Output("latency"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := infer.ReadLatencies(f)
	if err != nil {
		t.Fatal(err)
	}
	return rows, s, nil
}

func TestTable(t *testing.T) {
	rows, s, err := run(t, linear().Write(t, t.TempDir(), "m.onnx"), map[string]any{"batches": []any{4.0, 1.0}, "runs": 20.0})
	if err != nil {
		t.Fatal(err)
	}
	var model, nodes int
	for _, l := range rows {
		if l.Threads != 1 || l.Runs != 20 || !(l.P10 <= l.Median && l.Median <= l.P90) {
			t.Errorf("%+v", l)
		}
		if l.Index < 0 {
			model++
			if l.Median <= 0 {
				t.Errorf("%+v", l)
			}
		} else if nodes++; l.Operator == "" || l.Node == "" || !strings.HasPrefix(l.Shape, map[int]string{1: "1x", 4: "4x"}[l.Batch]) {
			t.Errorf("%+v", l)
		}
	}
	if model != 2 || nodes != 2*s.values["nodes"].(int) || nodes == 0 || rows[0].Batch != 1 || rows[0].Index != -1 {
		t.Errorf("%d and %d rows: %+v", model, nodes, rows)
	}
}

// Narrower models have rows of their own, by which an estimate at a measured width is what was measured.
func TestWidths(t *testing.T) {
	m, err := zoo.Build("resnet8", zoo.Options{Classes: []string{"a", "b"}, Channels: 3, Height: 16, Width: 16})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	rows, s, err := run(t, path, map[string]any{"batches": []any{2.0}, "runs": 5.0, "widths": []any{0.5, 0.25}, "round_to": 8.0})
	if err != nil {
		t.Fatal(err)
	}
	layers := map[float64]map[string]int{}
	var whole []infer.Latency
	for _, l := range rows {
		if l.Index < 0 {
			whole = append(whole, l)
			continue
		}
		if layers[l.Width] == nil {
			layers[l.Width] = map[string]int{}
		}
		if l.Layer != "" {
			layers[l.Width][l.Layer] = l.MACs
		}
	}
	if len(whole) != 3 || whole[0].Width != 1 || whole[2].Width != 0.25 || whole[1].MACs >= whole[0].MACs || rows[0].Width != 1 {
		t.Fatalf("%+v", whole)
	}
	if n := s.values["nodes"].(int); n == 0 || len(layers[1]) != 10 || len(layers[0.25]) != 10 || n < 10 {
		t.Errorf("%d nodes, layers %v", n, layers)
	}
	e, err := infer.NewEstimator(rows, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Milliseconds(layers[1]); math.Abs(got/whole[0].Median-1) > 0.2 { // times that noise made rise again count as equal
		t.Errorf("the model itself is estimated to take %g ms and took %g", got, whole[0].Median)
	}
}

func TestProblems(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.onnx")
	if err := os.WriteFile(text, []byte("hello"), 0o666); err != nil {
		t.Fatal(err)
	}
	open := linear()
	open.Channels, open.Height, open.Width = 0, 0, 0
	fixed := linear()
	fixed.Batch = 2
	for _, c := range []struct {
		model string
		args  map[string]any
		arg   string
		err   string
	}{
		{text, nil, "model", "not an ONNX model"},
		{open.Write(t, dir, "open.onnx"), nil, "model", "leaves the channels of images open: it must be given"},
		{fixed.Write(t, dir, "fixed.onnx"), nil, "batches", "The model takes 2 images a run and no other number, so it cannot be timed with 1."},
		{text, map[string]any{"batches": []any{}}, "batches", ""},
		{text, map[string]any{"batches": []any{1.0, 1.0}}, "batches", "holds 1 twice"},
		{text, map[string]any{"runs": 1.0}, "runs", ""},
		{text, map[string]any{"widths": []any{0.5}}, "model", ""},
		{text, map[string]any{"widths": []any{0.5, 0.5}}, "widths", "holds 0.5 twice"},
		{text, map[string]any{"round_to": 8.0}, "round_to", "Add widths"},
	} {
		_, _, err := run(t, c.model, c.args)
		var p stages.Problem
		if !errors.As(err, &p) || p.Arg != c.arg || !strings.Contains(p.Detail, c.err) {
			t.Errorf("%s, %v: %v", filepath.Base(c.model), c.args, err)
		}
	}
	if _, _, err := run(t, filepath.Join(dir, "open.onnx"), map[string]any{"channels": 1.0, "height": 2.0, "width": 2.0, "runs": 5.0}); err != nil {
		t.Errorf("with a size: %v", err)
	}
}
