package train

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/recipe"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

// blockArgs is a block with a label or, where that is "", without one.
func blockArgs(name, label string, pairs ...any) stages.BlockArgs {
	return stages.BlockArgs{Type: name, Label: label, Args: values(pairs...)}
}

// full is arguments that use most of a recipe.
func full() stages.Args {
	args := values("model", "resnet8", "epochs", 3.0, "batch", 16.0, "accumulate", 2.0, "learning_rate", 0.01, "dropout", 0.1, "drop_path", 0.1, "balanced", true, "monitor", "loss")
	args.Blocks = []stages.BlockArgs{
		blockArgs("loss", "focal", "gamma", 1.5, "balanced", true, "smoothing", 0.1),
		blockArgs("optimizer", "adamw", "beta2", 0.99),
		blockArgs("schedule", "one_cycle", "rise", 0.4),
		blockArgs("clip", "", "norm", 1.0),
		blockArgs("freeze", "", "share", 0.3, "epochs", 2.0, "steps", 2.0),
		blockArgs("rates", "", "decay", 0.9),
		blockArgs("ema", "", "decay", 0.9),
		blockArgs("early_stopping", "", "patience", 2.0),
	}
	return args
}

func TestConformanceOfAFullRecipe(t *testing.T) {
	needLibrary(t)
	stagetest.Run(t, stagetest.Fixture{Kind: Kind, Seed: 3, Device: device, Inputs: inputs, Interrupt: 9, Args: full(), PinFile: "testdata/pinned_recipe.json"})
}

// Every optimizer, schedule and loss trains an easy task, and so does the mean of weights.
func TestEveryVariantTrains(t *testing.T) {
	in := inputs(t, t.TempDir())
	rates := map[string]float64{"sgd": 0.05, "adam": 0.005, "adamw": 0.005, "lars": 10, "lamb": 0.02, "muon": 0.005}
	check := func(name string, args stages.Args) {
		t.Helper()
		_, said, err := run(t, args, in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if a := said.values["accuracy"].(float64); a < 0.6 {
			t.Errorf("%s: accuracy %g", name, a)
		}
	}
	base := func(rate float64, blocks ...stages.BlockArgs) stages.Args {
		args := values("model", "resnet8", "epochs", 4.0, "batch", 16.0, "learning_rate", rate)
		args.Blocks = blocks
		return args
	}
	for _, o := range recipe.Optimizers {
		check(o.Name, base(rates[o.Name], blockArgs("optimizer", o.Name)))
	}
	for _, s := range recipe.Schedules {
		var pairs []any
		if s.Name == "cosine_warm_restarts" {
			pairs = []any{"period", 2.0}
		}
		if s.Name == "step" {
			pairs = []any{"at", []any{2.0, 3.0}}
		}
		check(s.Name, base(0.05, blockArgs("schedule", s.Name, pairs...)))
	}
	for _, l := range recipe.Losses {
		check(l.Name, base(0.05, blockArgs("loss", l.Name)))
	}
	check("swa", base(0.05, blockArgs("swa", "", "from", 3.0)))
}

// A model whose classes are others gets a fresh classifier, which the log and the report say; the rest is kept where it is frozen.
func TestOtherClassesGetAFreshClassifier(t *testing.T) {
	dir := t.TempDir()
	in := inputs(t, dir)
	out, _, err := run(t, values("model", "resnet8", "epochs", 2.0, "batch", 16.0), in)
	if err != nil {
		t.Fatal(err)
	}
	model := filepath.Join(out, "model")
	two := map[string][]stages.Input{"data": {twoClasses(t, filepath.Join(dir, "two"))}, "model": {{Path: model, Ref: artifact.Ref{Type: artifact.Model}}}}
	args := values("epochs", 2.0, "batch", 8.0)
	args.Blocks = []stages.BlockArgs{blockArgs("freeze", "", "share", 0.95)}
	out, said, err := run(t, args, two)
	if err != nil {
		t.Fatal(err)
	}
	log := strings.Join(said.lines, "\n")
	if !strings.Contains(log, "the classifier of 3 classes is replaced by a fresh one of 2: ") {
		t.Errorf("log:\n%s", log)
	}
	page, err := os.ReadFile(filepath.Join(out, "report"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "The classifier of 3 classes is replaced") {
		t.Error("the report does not say that the classifier is fresh")
	}
	before, after := load(t, model), load(t, filepath.Join(out, "model"))
	if got := after.Meta().Classes; len(got) != 2 || got[0] != "up" {
		t.Errorf("classes %q", got)
	}
	a, _ := before.Tensor("conv1.weight")
	b, _ := after.Tensor("conv1.weight")
	if len(a.Data) == 0 || a.Data[0] != b.Data[0] {
		t.Error("the frozen kernel moved")
	}
	args.Values["head"] = "keep"
	if _, _, err := run(t, args, two); problemOf(err).Summary != "Classes do not agree" {
		t.Errorf("head = keep: %v", err)
	}
}

func load(t *testing.T, path string) *onnx.Model {
	t.Helper()
	m, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func problemOf(err error) stages.Problem {
	var p stages.Problem
	errors.As(err, &p)
	return p
}

func twoClasses(t *testing.T, path string) stages.Input {
	t.Helper()
	return writeInfo(t, path, dataset.Info{Classes: []string{"up", "down"}, Height: 8, Width: 8, Channels: 1}, 40, func(i int) dataset.Sample {
		return dataset.Sample{Label: int32(i % 2)}
	})
}

// writeInfo makes a dataset of n images, brighter above in even ones.
func writeInfo(t *testing.T, path string, info dataset.Info, n int, sample func(i int) dataset.Sample) stages.Input {
	t.Helper()
	w, err := dataset.Create(path, info)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s := dataset.NewStream(9, "image", uint64(i))
		image := make([]byte, info.ImageSize())
		for p := range image {
			v := s.In(40, 120)
			if (i%2 == 0) == (p < len(image)/2) {
				v += 100
			}
			image[p] = byte(v)
		}
		one := sample(i)
		one.ID, one.Image = string(rune('a'+i%26))+string(rune('a'+i/26)), image
		if err := w.AddSample(one); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return stages.Input{Path: path, Ref: artifact.Ref{Type: artifact.Dataset}}
}

// Images of several classes are trained with a yes or no for each.
func TestSeveralClasses(t *testing.T) {
	info := dataset.Info{Task: dataset.MultiLabel, Classes: []string{"above", "below", "any"}, Height: 8, Width: 8, Channels: 1}
	sample := func(i int) dataset.Sample {
		return dataset.Sample{Label: dataset.NoLabel, Labels: []int32{int32(i % 2), 2}}
	}
	dir := t.TempDir()
	in := map[string][]stages.Input{"data": {writeInfo(t, filepath.Join(dir, "data"), info, 60, sample)}, "validation": {writeInfo(t, filepath.Join(dir, "validation"), info, 20, sample)}}
	args := values("model", "resnet8", "epochs", 6.0, "batch", 10.0)
	if _, _, err := run(t, args, in); problemOf(err).Arg != "loss" || !strings.Contains(problemOf(err).Detail, "binary_cross_entropy") {
		t.Errorf("cross entropy: %v", err)
	}
	args.Blocks = []stages.BlockArgs{blockArgs("loss", "binary_cross_entropy")}
	_, said, err := run(t, args, in)
	if err != nil {
		t.Fatal(err)
	}
	if a := said.values["accuracy"].(float64); a < 0.9 {
		t.Errorf("accuracy %g", a)
	}
}

func TestRecipeProblems(t *testing.T) {
	in := inputs(t, t.TempDir())
	unlabelled := map[string][]stages.Input{"data": {writeInfo(t, filepath.Join(t.TempDir(), "unlabelled"), dataset.Info{Task: dataset.Unlabelled, Height: 8, Width: 8, Channels: 1}, 30,
		func(int) dataset.Sample { return dataset.Sample{Label: dataset.NoLabel} })}}
	detection := map[string][]stages.Input{"data": {writeInfo(t, filepath.Join(t.TempDir(), "detection"), dataset.Info{Task: dataset.Detection, Classes: []string{"a", "b"}, Height: 8, Width: 8, Channels: 1}, 30,
		func(int) dataset.Sample {
			return dataset.Sample{Label: dataset.NoLabel, Boxes: []dataset.Box{{X0: 1, Y0: 1, X1: 4, Y1: 4}}}
		})}}
	alone := map[string][]stages.Input{"data": in["data"]}
	for name, c := range map[string]struct {
		in       map[string][]stages.Input
		block    stages.BlockArgs
		arg, has string
	}{
		"frozen whole": {in, blockArgs("freeze", "", "share", 1.0), "freeze", "Every parameter is frozen"},
		"pattern":      {in, blockArgs("freeze", "", "match", []any{"layer9.*"}), "freeze", "The nearest are"},
		"rates":        {in, blockArgs("rates", "", "match", map[string]any{"nothing*": 0.1}), "rates", "The nearest are"},
		"thaw":         {in, blockArgs("freeze", "", "share", 0.5, "epochs", 2.0, "steps", 3.0), "freeze", "each step is an epoch or more"},
		"weights":      {in, blockArgs("loss", "cross_entropy", "class_weights", []any{1.0, 2.0}), "loss", "2 weights of classes, but 3 classes"},
		"stopping":     {alone, blockArgs("early_stopping", ""), "early_stopping", "Connect \"validation\""},
		"unlabelled":   {unlabelled, blockArgs("clip", ""), "data", "no class labels"},
		"boxes alone":  {detection, blockArgs("clip", ""), "data", "the task \"detection\""},
	} {
		args := values("model", "resnet8", "epochs", 2.0, "batch", 16.0)
		args.Blocks = []stages.BlockArgs{c.block}
		_, _, err := run(t, args, c.in)
		if p := problemOf(err); p.Arg != c.arg || !strings.Contains(p.Detail, c.has) || !strings.HasSuffix(p.Detail, ".") {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestRecipeArgumentsAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		pairs  []any
		blocks []stages.BlockArgs
		arg    string
	}{
		"accumulate": {[]any{"batch", 10.0, "accumulate", 4.0}, nil, "accumulate"},
		"period":     {nil, []stages.BlockArgs{blockArgs("schedule", "cosine_warm_restarts", "period", 9.0)}, "epochs"},
		"steps":      {nil, []stages.BlockArgs{blockArgs("schedule", "step", "at", []any{1.0, 7.0})}, "epochs"},
		"thaw":       {nil, []stages.BlockArgs{blockArgs("freeze", "", "share", 0.5, "epochs", 7.0)}, "epochs"},
		"two means":  {nil, []stages.BlockArgs{blockArgs("ema", ""), blockArgs("swa", "")}, "swa"},
		"swa":        {nil, []stages.BlockArgs{blockArgs("swa", "", "from", 7.0)}, "epochs"},
		"weights":    {nil, []stages.BlockArgs{blockArgs("loss", "focal", "balanced", true, "class_weights", []any{1.0})}, "loss"},
	} {
		args := values(append([]any{"model", "resnet8", "epochs", 3.0}, c.pairs...)...)
		args.Blocks = c.blocks
		_, problems := stages.Decode(Kind.New(), args, map[string]bool{"data": true})
		if len(problems) != 1 || problems[0].Arg != c.arg || !strings.HasSuffix(problems[0].Detail, ".") {
			t.Errorf("%s: %+v", name, problems)
		}
	}
}
