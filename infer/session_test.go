package infer

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/infer/infertest"
	"github.com/darkroom-dev/darkroom/infer/ort"
)

func needLibrary(t testing.TB) {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
}

// brightest has one class for each of the four pixels of a grey 2×2 image: its logits are the pixels.
func brightest() infertest.Linear {
	return infertest.Linear{Channels: 1, Height: 2, Width: 2, Classes: []string{"a", "b", "c", "d"},
		Weights: [][]float32{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}}}
}

func open(t *testing.T, m infertest.Linear, o Options) *Session {
	t.Helper()
	needLibrary(t)
	s, err := Open(m.Write(t, t.TempDir(), "m.onnx"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func pixels(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(i%7) / 7
	}
	return out
}

func TestLogitsAreThoseOfTheGraph(t *testing.T) {
	s := open(t, brightest(), Options{Batch: 3})
	want := Info{Metadata: Metadata{Classes: []string{"a", "b", "c", "d"}}, Input: "image", Output: "logits", Channels: 1, Height: 2, Width: 2, Outputs: 4, Batch: 3}
	if !reflect.DeepEqual(s.Info(), want) {
		t.Errorf("Info = %+v", s.Info())
	}
	for _, n := range []int{0, 1, 3, 7} {
		images := pixels(4 * n)
		got, err := s.Logits(t.Context(), images, n)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(images) || n > 0 && !reflect.DeepEqual(got, images) {
			t.Errorf("%d images: %v, want %v", n, got, images)
		}
	}
}

func TestAnswersDoNotDependOnNeighbours(t *testing.T) {
	m := infertest.Linear{Channels: 3, Height: 5, Width: 5, Weights: make([][]float32, 3)}
	for c := range m.Weights {
		for i := range 75 {
			m.Weights[c] = append(m.Weights[c], float32(math.Sin(float64(c*75+i))))
		}
	}
	for _, threads := range []int{1, 2, 3} {
		s := open(t, m, Options{Batch: 8, Threads: threads})
		images := pixels(75 * 20)
		all, err := s.Logits(t.Context(), images, 20)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			one, err := s.Logits(t.Context(), images[i*75:(i+1)*75], 1)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(one, all[i*3:(i+1)*3]) {
				t.Errorf("%d threads, image %d alone: %v, among others %v", threads, i, one, all[i*3:(i+1)*3])
			}
		}
	}
}

func TestFixedBatchOpenSizeAndNormalisation(t *testing.T) {
	m := brightest()
	m.Batch = 2
	if s := open(t, m, Options{Batch: 9}); s.Info().Batch != 2 {
		t.Errorf("a model with a fixed batch of 2 runs %d images", s.Info().Batch)
	}
	m = brightest()
	m.Channels, m.Height, m.Width = 0, 0, 0
	s := open(t, m, Options{Channels: 1, Height: 2, Width: 2, Mean: []float64{0.5}, Std: []float64{0.25}})
	got, err := s.Logits(t.Context(), []float32{0, 0.25, 0.5, 1}, 1)
	if err != nil || !reflect.DeepEqual(got, []float32{-2, -1, 0, 2}) {
		t.Errorf("normalised logits = %v, %v", got, err)
	}
	m = brightest()
	m.Properties = map[string]string{meanProperty: "[0.5]", stdProperty: "[0.25]"}
	s = open(t, m, Options{Mean: []float64{0.5}, Std: []float64{0.25}})
	if got, err := s.Logits(t.Context(), []float32{0, 0.25, 0.5, 1}, 1); err != nil || got[3] != 1 {
		t.Errorf("a model that normalises by itself gave %v, %v", got, err)
	}
}

func TestRefusedModels(t *testing.T) {
	needLibrary(t)
	change := func(f func(*protos.ModelProto)) infertest.Linear {
		m := brightest()
		m.Change = f
		return m
	}
	for name, c := range map[string]struct {
		model infertest.Linear
		o     Options
		want  string
	}{
		"two inputs": {change(func(m *protos.ModelProto) {
			m.Graph.Input = append(m.Graph.Input, infertest.Port("extra", protos.TensorProto_FLOAT, 1))
		}), Options{}, "it has 2 inputs (image, extra)"},
		"bytes": {change(func(m *protos.ModelProto) {
			m.Graph.Input[0] = infertest.Port("image", protos.TensorProto_UINT8, 0, 1, 2, 2)
			m.Graph.Node = []*protos.NodeProto{
				{OpType: "Cast", Input: []string{"image"}, Output: []string{"float"}, Attribute: []*protos.AttributeProto{{Name: "to", Type: protos.AttributeProto_INT, I: 1}}},
				{OpType: "Flatten", Input: []string{"float"}, Output: []string{"flat"}}, m.Graph.Node[1]}
		}), Options{}, "not a float32 tensor"},
		"channels last": {infertest.Linear{Channels: 8, Height: 8, Width: 3, Weights: [][]float32{make([]float32, 192)}}, Options{}, "channels last"},
		"open and channels last": {change(func(m *protos.ModelProto) {
			m.Graph.Input[0] = infertest.Port("image", protos.TensorProto_FLOAT, 0, 0, 0, 3)
		}), Options{Channels: 3, Height: 2, Width: 2}, "channels last"},
		"flat input":  {change(func(m *protos.ModelProto) { m.Graph.Input[0] = infertest.Port("image", protos.TensorProto_FLOAT, 0, 4) }), Options{}, "has shape (?, 4); images have (N, C, H, W)"},
		"size":        {brightest(), Options{Height: 3, Width: 2, Channels: 1}, "it takes images with height 2, but these have 3"},
		"open size":   {infertest.Linear{Channels: 1, Weights: [][]float32{{1}}}, Options{}, "leaves the height of images open"},
		"channels":    {infertest.Linear{Channels: 2, Height: 2, Width: 2, Weights: [][]float32{make([]float32, 8)}}, Options{}, "2 channels"},
		"class count": {infertest.Linear{Channels: 1, Height: 1, Width: 1, Weights: [][]float32{{1}}, Classes: []string{"a", "b"}}, Options{}, "it names 2 classes but gives 1 logits"},
		"metadata":    {infertest.Linear{Channels: 1, Height: 1, Width: 1, Weights: [][]float32{{1}}, Properties: map[string]string{"darkroom.mean": "x"}}, Options{}, "darkroom.mean is not the JSON"},
		"outputs": {change(func(m *protos.ModelProto) {
			m.Graph.Node[1].Output[0] = "scores"
			m.Graph.Output = []*protos.ValueInfoProto{infertest.Port("scores", protos.TensorProto_FLOAT, 0, 4), infertest.Port("flat", protos.TensorProto_FLOAT, 0, 4)}
		}), Options{}, "none is named logits"},
		"unknown operator": {change(func(m *protos.ModelProto) { m.Graph.Node[0].OpType = "Flattten" }), Options{}, "ONNX Runtime refuses it"},
		"wrong shapes":     {change(func(m *protos.ModelProto) { m.Graph.Initializer[0].Dims = []int64{2, 8} }), Options{}, "ONNX Runtime refuses it"},
	} {
		s, err := Open(c.model.Write(t, t.TempDir(), "m.onnx"), c.o)
		var problem *ModelError
		if !errors.As(err, &problem) || !strings.Contains(problem.Detail, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if s != nil {
			t.Errorf("%s: a session came with the error", name)
		}
	}
}

func TestRefusedFiles(t *testing.T) {
	needLibrary(t)
	dir := t.TempDir()
	whole, err := os.ReadFile(brightest().Write(t, dir, "whole.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		bytes []byte
		want  string
	}{
		"empty":     {nil, "the file is empty"},
		"text":      {[]byte("<html>not found</html>"), "not an ONNX model"},
		"truncated": {whole[:len(whole)/2], "not an ONNX model, or it is truncated"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, c.bytes, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "missing"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestCancelledLogits(t *testing.T) {
	s := open(t, brightest(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Logits(ctx, pixels(4), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Logits = %v", err)
	}
	if _, err := s.Logits(t.Context(), pixels(4), 1); err != nil {
		t.Errorf("after a cancelled run: %v", err)
	}
	if _, err := s.Logits(t.Context(), pixels(5), 1); err == nil {
		t.Error("5 numbers were taken for an image of 4")
	}
}

func FuzzMetadata(f *testing.F) {
	f.Add(`["a","b"]`, `"classification"`, "[0.5]", "[0.25]")
	f.Add(`["a","a"]`, ``, "[]", "[0]")
	f.Add(`null`, `null`, "null", "null")
	f.Fuzz(func(t *testing.T, classes, task, mean, std string) {
		texts := map[string]string{classesProperty: classes, taskProperty: task, meanProperty: mean, stdProperty: std}
		m, err := parseMetadata(func(name string) (string, bool) { v, ok := texts[name]; return v, ok })
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, c := range m.Classes {
			if seen[c] {
				t.Fatalf("the class %q was accepted twice", c)
			}
			seen[c] = true
		}
		if len(m.Mean) != len(m.Std) {
			t.Fatal("means and deviations of different length were accepted")
		}
	})
}
