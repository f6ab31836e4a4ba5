package train

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
	"github.com/darkroom-dev/darkroom/stages"
)

// A state dictionary in a safetensors file is the start of a training: what fits is taken, and the report and the log say what became of each name.
func TestWeightsFromElsewhere(t *testing.T) {
	dir := t.TempDir()
	data := write(t, filepath.Join(dir, "data"), 32, 8, 0, nil)
	m, err := zoo.Build("resnet8", zoo.Options{Classes: []string{"a", "b", "c", "d", "e"}, Channels: 1, Height: 8, Width: 8, Mean: []float64{0.5}, Std: []float64{0.25}, Seed: 9})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "blob") // artifacts have no endings
	state(t, path, m, "num_batches_tracked")
	in := map[string][]stages.Input{"data": {data}, "weights": {{Path: path, Ref: artifact.Ref{Type: artifact.File}}}}
	out, said, err := run(t, values("model", "resnet8", "epochs", 1.0, "batch", 8.0, "learning_rate", 1e-30), in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := onnx.Load(filepath.Join(out, "model"))
	if err != nil {
		t.Fatal(err)
	}
	for name, same := range map[string]bool{"conv1.weight": true, "layer3.0.conv2.weight": true, "fc.weight": false} {
		want, _ := m.Tensor(name)
		have, ok := got.Tensor(name)
		if !ok || slices.Equal(want.Data, have.Data) != same {
			t.Errorf("%s: the file's values: %v, want %v", name, !same, same)
		}
	}
	text := strings.Join(said.lines, "\n")
	for _, want := range []string{"fc.weight has dimensions [3 64] in the model, [5 64] in the file", "not in the model: num_batches_tracked", "2 have other dimensions there"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
	other, err := zoo.Build("vit_tiny", zoo.Options{Classes: []string{"a", "b"}, Channels: 1, Height: 16, Width: 16, Mean: []float64{0.5}, Std: []float64{0.25}, Seed: 9})
	if err != nil {
		t.Fatal(err)
	}
	state(t, path, other, "x")
	for _, c := range [][2]string{{"", "Weights do not fit"}, {"PK\x03\x04 and so on", "Weights cannot be read"}, {"\x10", "Weights cannot be read"}} { // in this order: the first is of what lies there
		content, want := c[0], c[1]
		if content != "" {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, _, err := run(t, values("model", "resnet8", "epochs", 1.0, "batch", 8.0), in)
		var p stages.Problem
		if !errors.As(err, &p) || p.Arg != "weights" || p.Summary != want {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// The weights of a model on "init" and those of a file are one mechanism: what matched and what did not is listed in the same words.
func TestInitListsWhatMatched(t *testing.T) {
	dir := t.TempDir()
	five, err := zoo.Build("resnet8", zoo.Options{Classes: []string{"a", "b", "c", "d", "e"}, Channels: 1, Height: 8, Width: 8, Mean: []float64{0.25}, Std: []float64{0.5}, Seed: 9})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "five")
	if err := five.Save(path); err != nil {
		t.Fatal(err)
	}
	in := map[string][]stages.Input{"data": {write(t, filepath.Join(dir, "data"), 32, 8, 0, nil)}, "init": {{Path: path, Ref: artifact.Ref{Type: artifact.Model}}}}
	out, said, err := run(t, values("model", "resnet8", "epochs", 1.0, "batch", 8.0, "learning_rate", 1e-30), in)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(said.lines, "\n")
	for _, want := range []string{"weights are those of init, 2 have other dimensions there, 0 are not in it, and 0 of its own are not used", "fc.weight has dimensions [3 64] in the model, [5 64] in init"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
	page, err := os.ReadFile(filepath.Join(out, "report"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Weights of init", "left: dimensions [3 64] in the model, [5 64] in init"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if meta := load(t, filepath.Join(out, "model")).Meta(); !slices.Equal(meta.Mean, []float64{0.25}) || !slices.Equal(meta.Std, []float64{0.5}) {
		t.Errorf("the pixels are normalised by %v and %v, not as init does", meta.Mean, meta.Std)
	}
	other, err := zoo.Build("vit_tiny", zoo.Options{Classes: []string{"a", "b"}, Channels: 1, Height: 16, Width: 16, Mean: []float64{0.5}, Std: []float64{0.25}, Seed: 9})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Save(path); err != nil {
		t.Fatal(err)
	}
	// That both normalise the pixels by vectors of the same names does not make them one architecture.
	if _, _, err := run(t, values("model", "resnet8", "epochs", 1.0, "batch", 8.0), in); problemOf(err).Summary != "Model does not fit" || problemOf(err).Arg != "init" {
		t.Errorf("another architecture: %v", err)
	}
}

// state writes the weights of a model as a safetensors file, with one more scalar.
func state(t *testing.T, path string, m *onnx.Model, more string) {
	t.Helper()
	header, data := map[string]any{}, []byte{}
	add := func(name string, dims []int, values []float32) {
		begin := len(data)
		for _, v := range values {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		header[name] = map[string]any{"dtype": "F32", "shape": dims, "data_offsets": []int{begin, len(data)}}
	}
	for _, p := range m.Graph().Initializer {
		if v, ok := m.Tensor(p.Name); ok && p.Name != onnx.NormalMean && p.Name != onnx.NormalStd {
			add(p.Name, v.Dims, v.Data)
		}
	}
	add(more, []int{}, []float32{1})
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), data...), 0o600); err != nil {
		t.Fatal(err)
	}
}
