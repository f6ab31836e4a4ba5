package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
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

func (s *spoken) Log(line string) { s.Lock(); s.lines = append(s.lines, line); s.Unlock() }

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
