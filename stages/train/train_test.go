package train

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

func needLibrary(t *testing.T) {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip(err)
	}
}

// device is this machine as a device class.
var device = stages.Device{Backend: "cpu", Version: ort.Version() + ", " + kernel.Class(), ISA: ort.ISA(), Precision: "fp32", Threads: 1}

// write makes a dataset of n images of size×size pixels of three classes: bright above, bright below, or noise.
func write(t *testing.T, path string, n, size int, first uint64, policy *dataset.Policy) stages.Input {
	t.Helper()
	w, err := dataset.Create(path, dataset.Info{Classes: []string{"above", "below", "noise"}, Height: size, Width: size, Channels: 1, Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s := dataset.NewStream(7, "image", first+uint64(i))
		label := i % 3
		image := make([]byte, size*size)
		for p := range image {
			v := s.In(40, 120)
			if label == 0 && p < len(image)/2 || label == 1 && p >= len(image)/2 {
				v += 100
			}
			image[p] = byte(v)
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
	policy, err := dataset.NewPolicy([]dataset.Operation{{Name: "horizontal_flip"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]stages.Input{
		"data":       {write(t, filepath.Join(dir, "data"), 70, 8, 0, policy)},
		"validation": {write(t, filepath.Join(dir, "validation"), 20, 8, 1000, nil)},
	}
}

func TestConformance(t *testing.T) {
	needLibrary(t)
	stagetest.Run(t, stagetest.Fixture{Kind: Kind, Seed: 3, Device: device, Inputs: inputs, Interrupt: 9,
		Args: stages.Args{Values: map[string]any{"model": "resnet8", "epochs": 2.0, "batch": 16.0}}})
}

// spoken keeps what a stage says.
type spoken struct {
	sync.Mutex
	lines    []string
	values   map[string]any
	measured map[string]float64
}

func (s *spoken) Progress(stages.Progress) {}
func (s *spoken) Log(line string)          { s.Lock(); s.lines = append(s.lines, line); s.Unlock() }
func (s *spoken) Measure(name string, v float64) {
	s.Lock()
	defer s.Unlock()
	if s.measured == nil {
		s.measured = map[string]float64{}
	}
	s.measured[name] = v
}
func (s *spoken) Value(name string, value any) { s.Lock(); s.values[name] = value; s.Unlock() }

// run decodes args and runs the kind; it returns the folder of outputs and what was said.
func run(t *testing.T, args stages.Args, in map[string][]stages.Input) (string, *spoken, error) {
	t.Helper()
	needLibrary(t)
	connected := map[string]bool{}
	for port := range in {
		connected[port] = true
	}
	stage := Kind.New()
	if _, problems := stages.Decode(stage, args, connected); len(problems) > 0 {
		t.Fatal(problems)
	}
	said := &spoken{values: map[string]any{}}
	job := &stages.Job{Kind: "train", Version: Kind.Version, Args: args, Inputs: in, OutDir: t.TempDir(), ScratchDir: t.TempDir(), Seed: 5, Device: device}
	err := stage.Run(context.Background(), job.WithReporter(said))
	return job.OutDir, said, err
}

func values(pairs ...any) stages.Args {
	v := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		v[pairs[i].(string)] = pairs[i+1]
	}
	return stages.Args{Values: v}
}

func TestTrainedModelGoesOn(t *testing.T) {
	in := inputs(t, t.TempDir())
	out, said, err := run(t, values("model", "resnet8", "epochs", 4.0, "batch", 16.0), in)
	if err != nil {
		t.Fatal(err)
	}
	if a := said.values["accuracy"].(float64); a < 0.9 {
		t.Errorf("accuracy %g after four epochs of an easy task", a)
	}
	for _, name := range []string{"curves/curves.json", "curves/events.out.tfevents.0.darkroom", "report", "last"} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	model := stages.Input{Path: filepath.Join(out, "model"), Ref: artifact.Ref{Type: artifact.Model}}
	in["model"] = []stages.Input{model}
	_, again, err := run(t, values("epochs", 1.0, "batch", 16.0, "learning_rate", 0.001), in)
	if err != nil {
		t.Fatal(err)
	}
	if a := again.values["accuracy"].(float64); a < 0.9 {
		t.Errorf("accuracy %g when a trained model goes on for one epoch", a)
	}
	delete(in, "model")
	in["init"] = []stages.Input{model}
	_, again, err = run(t, values("model", "resnet8", "epochs", 1.0, "batch", 16.0, "learning_rate", 0.001), in)
	if err != nil {
		t.Fatal(err)
	}
	if a := again.values["accuracy"].(float64); a < 0.9 {
		t.Errorf("accuracy %g with trained weights as the start", a)
	}
}

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

func TestProblems(t *testing.T) {
	dir := t.TempDir()
	small := map[string][]stages.Input{"data": {write(t, filepath.Join(dir, "small"), 30, 4, 0, nil)}}
	few := map[string][]stages.Input{"data": {write(t, filepath.Join(dir, "few"), 30, 8, 0, nil)}}
	other := map[string][]stages.Input{"data": few["data"], "validation": {write(t, filepath.Join(dir, "other"), 30, 9, 0, nil)}}
	for name, c := range map[string]struct {
		args    stages.Args
		in      map[string][]stages.Input
		arg     string
		summary string
	}{
		"too small":  {values("model", "resnet8", "epochs", 1.0, "batch", 8.0), small, "model", "Images are too small"},
		"batch":      {values("model", "resnet8", "epochs", 1.0), few, "batch", "Training cannot start"},
		"validation": {values("model", "resnet8", "epochs", 1.0, "batch", 8.0), other, "validation", "Training cannot start"},
		"channels":   {values("model", "resnet8", "epochs", 1.0, "batch", 8.0, "mean", []any{0.1, 0.2}, "std", []any{1.0, 1.0}), few, "mean", "Mean and deviation do not match"},
		"diverged":   {values("model", "resnet8", "epochs", 9.0, "batch", 8.0, "learning_rate", 1e30), few, "learning_rate", "Training diverged"},
	} {
		_, _, err := run(t, c.args, c.in)
		var p stages.Problem
		if !errors.As(err, &p) || p.Summary != c.summary || p.Arg != c.arg || !strings.HasSuffix(p.Detail, ".") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "batch" && !strings.Contains(p.Detail, "batch = 30 or less") {
			t.Errorf("no way out of %s", p.Detail)
		}
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		args stages.Args
		arg  string
	}{
		"zero epochs": {values("model", "resnet8", "epochs", 0.0), "epochs"},
		"zoo":         {values("model", "resnet9", "epochs", 1.0), "model"},
		"rate":        {values("model", "resnet8", "epochs", 1.0, "learning_rate", 0.0), "learning_rate"},
		"mean":        {values("model", "resnet8", "epochs", 1.0, "mean", []any{0.5}), "mean"},
		"warm-up": {stages.Args{Values: map[string]any{"model": "resnet8", "epochs": 1.0},
			Blocks: []stages.BlockArgs{{Type: "schedule", Label: "cosine", Args: values("warmup", 2.0)}}}, "epochs"},
	} {
		_, problems := stages.Decode(Kind.New(), c.args, map[string]bool{"data": true})
		if len(problems) != 1 || problems[0].Arg != c.arg {
			t.Errorf("%s: %+v", name, problems)
		}
	}
}

// Where the augmentation changes the size of the images, the model takes images of the size that it leaves, and so do the validation images.
func TestAugmentationThatChangesTheSize(t *testing.T) {
	dir := t.TempDir()
	policy, err := dataset.NewPolicy([]dataset.Operation{{Name: "random_resized_crop", Args: map[string]any{"height": 8.0, "width": 8.0}}, {Name: "horizontal_flip"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	in := map[string][]stages.Input{"data": {write(t, filepath.Join(dir, "data"), 70, 12, 0, policy)}, "validation": {write(t, filepath.Join(dir, "validation"), 20, 8, 1000, nil)}}
	out, said, err := run(t, values("model", "resnet8", "epochs", 5.0, "batch", 16.0), in)
	if err != nil {
		t.Fatal(err)
	}
	if a := said.values["accuracy"].(float64); a < 0.8 {
		t.Errorf("accuracy %g", a)
	}
	if got := load(t, filepath.Join(out, "model")).Input(); got.Height != 8 || got.Width != 8 {
		t.Errorf("the model takes images of %d×%d", got.Width, got.Height)
	}
	page, err := os.ReadFile(filepath.Join(out, "report"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "70 images of 8×8") {
		t.Error("the report does not say what size was trained on")
	}
	// The trained model goes on with the same images, and not with others.
	in["model"] = []stages.Input{{Path: filepath.Join(out, "model"), Ref: artifact.Ref{Type: artifact.Model}}}
	if _, _, err := run(t, values("epochs", 1.0, "batch", 16.0), in); err != nil {
		t.Error(err)
	}
	delete(in, "model")
	in["validation"] = []stages.Input{write(t, filepath.Join(dir, "stored"), 20, 12, 1000, nil)}
	_, _, err = run(t, values("model", "resnet8", "epochs", 1.0, "batch", 16.0), in)
	if p := problemOf(err); p.Arg != "validation" || !strings.Contains(p.Detail, "trained on images of 8×8, as the augmentation leaves those of 12×12, and the validation images are 12×12") || !strings.Contains(p.Detail, "center_crop or resize and materialise = 1") {
		t.Errorf("validation images as they are stored: %v", err)
	}
	in["data"], in["model"] = []stages.Input{write(t, filepath.Join(dir, "plain"), 70, 12, 0, nil)}, []stages.Input{{Path: filepath.Join(out, "model"), Ref: artifact.Ref{Type: artifact.Model}}}
	if _, _, err = run(t, values("epochs", 1.0, "batch", 16.0), in); problemOf(err).Arg != "model" {
		t.Errorf("a model for 8×8 on images of 12×12: %v", err)
	}
	varying, err := dataset.NewPolicy([]dataset.Operation{{Name: "one_of", Of: []dataset.Operation{{Name: "resize", Args: map[string]any{"height": 8.0, "width": 8.0}}, {Name: "horizontal_flip"}}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	in = map[string][]stages.Input{"data": {write(t, filepath.Join(dir, "varying"), 70, 12, 0, varying)}}
	if _, _, err = run(t, values("model", "resnet8", "epochs", 1.0, "batch", 16.0), in); problemOf(err).Arg != "data" || !strings.Contains(problemOf(err).Detail, "not all would have one size") {
		t.Errorf("images of several sizes: %v", err)
	}
}

// What a training takes is estimated, said and measured before it starts; what the stage may not have is refused.
func TestMemoryOfTheStage(t *testing.T) {
	in := map[string][]stages.Input{"data": {write(t, filepath.Join(t.TempDir(), "data"), 30, 8, 0, nil)}}
	args := values("model", "resnet8", "epochs", 1.0, "batch", 8.0)
	_, said, err := run(t, args, in)
	if err != nil {
		t.Fatal(err)
	}
	estimate, peak := said.measured["memory_estimate"], said.measured["peak_memory"]
	if estimate < 50e6 || estimate > 500e6 || peak < 20e6 {
		t.Errorf("estimated %g bytes, measured %g", estimate, peak)
	}
	if text := strings.Join(said.lines, "\n"); !strings.Contains(text, "memory: about ") || !strings.Contains(text, "values of a step ") {
		t.Errorf("the log does not say what the training takes:\n%s", text)
	}
	stage := Kind.New()
	if _, problems := stages.Decode(stage, args, map[string]bool{"data": true}); len(problems) > 0 {
		t.Fatal(problems)
	}
	job := &stages.Job{Kind: "train", Version: Kind.Version, Args: args, Inputs: in, OutDir: t.TempDir(), ScratchDir: t.TempDir(), Seed: 5, Device: device, Resources: stages.Resources{Memory: 20 << 20}}
	p := problemOf(stage.Run(context.Background(), job.WithReporter(&spoken{values: map[string]any{}})))
	if p.Arg != "batch" || p.Summary != "Out of memory" || !strings.Contains(p.Detail, "and the stage may have 20 MiB. Not even one fits: give the stage more memory in its resources block") {
		t.Errorf("%+v", p)
	}
}
