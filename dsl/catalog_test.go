package dsl

import (
	"context"
	"sort"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

// The kinds of these tests: small, and each with something that the language has to handle.

type noRun struct{}

func (noRun) Run(context.Context, *stages.Job) error { return nil }

type ingest struct {
	noRun
	size int
}

func (k *ingest) Declare(s *stages.Schema) {
	s.Source("source", "Images.").OrNone()
	s.Int(&k.size, "size", 32, "Edge.").In(8, 512).InUnit("pixels")
	s.Out("dataset", artifact.Dataset, "Images.")
	s.Out("report", artifact.Report, "Page.")
	s.Reports("count", stages.Integer, "Images.")
	s.Reports("classes", stages.StringList, "Names.")
}

// split has outputs that follow from its arguments, some with dots in their names.
type split struct {
	noRun
	ratio []float64
	folds int
}

func (k *split) Declare(s *stages.Schema) {
	s.In("data", artifact.Dataset, "Samples.")
	s.Floats(&k.ratio, "ratio", []float64{8, 2}, "Shares.").Above(0)
	s.Int(&k.folds, "folds", 0, "Folds.").In(0, 100)
}

func (k *split) Check() []stages.Problem {
	if len(k.ratio) < 2 || len(k.ratio) > 3 {
		return []stages.Problem{stages.Problemf("ratio", "Wrong number of shares", "Two or three shares are needed.")}
	}
	return nil
}

func (k *split) Shape(s *stages.Schema) {
	for i := range k.folds {
		s.Out("folds."+string(rune('0'+i))+".train", artifact.Dataset, "")
		s.Out("folds."+string(rune('0'+i))+".validation", artifact.Dataset, "")
	}
	if k.folds == 0 {
		for i, name := range []string{"train", "validation", "test"} {
			if i < len(k.ratio) {
				s.Out(name, artifact.Dataset, "")
			}
		}
	}
}

type rotate struct{ limit float64 }

func (k *rotate) Declare(s *stages.Schema) { s.Float(&k.limit, "limit", 30, "Angle.").In(0, 180) }

type flip struct{}

func (*flip) Declare(*stages.Schema) {}

type augment struct {
	noRun
	steps []stages.Chosen
}

func (k *augment) Declare(s *stages.Schema) {
	s.In("data", artifact.Dataset, "Samples.")
	s.Sequence(&k.steps, "steps", "Operations.", stages.Variant{Name: "rotate", Doc: "Turn.", New: func() stages.Declarer { return &rotate{} }}, stages.Variant{Name: "flip", Doc: "Mirror.", New: func() stages.Declarer { return &flip{} }})
	s.Out("dataset", artifact.Dataset, "Samples.").As("data")
	s.Out("preview", artifact.Image, "Sheet.")
}

type crossEntropy struct{ smoothing float64 }

func (c *crossEntropy) Declare(s *stages.Schema) {
	s.Float(&c.smoothing, "smoothing", 0, "Label smoothing.").In(0, 1)
}

type focal struct{ gamma float64 }

func (k *focal) Declare(s *stages.Schema) { s.Float(&k.gamma, "gamma", 2, "Focus.").In(0, 10) }

type train struct {
	noRun
	model  string
	epochs int
	rate   float64
	loss   stages.Chosen
}

func (k *train) Declare(s *stages.Schema) {
	s.In("data", artifact.Dataset, "Samples.")
	s.In("validation", artifact.Dataset, "Samples.").OrNone()
	s.String(&k.model, "model", "resnet8", "Architecture.").OneOf("resnet8", "resnet20").OrInput(artifact.Model)
	s.Int(&k.epochs, "epochs", 0, "Passes over the data.").Required().In(1, 1000)
	s.Float(&k.rate, "learning_rate", 0.1, "Step size.").Above(0)
	s.Choice(&k.loss, "loss", "cross_entropy", "Loss.", stages.Variant{Name: "cross_entropy", Doc: "Plain.", New: func() stages.Declarer { return &crossEntropy{} }}, stages.Variant{Name: "focal", Doc: "Focal.", New: func() stages.Declarer { return &focal{} }})
	s.Out("model", artifact.Model, "Best.")
	s.Out("curves", artifact.Metrics, "Curves.")
	s.Reports("accuracy", stages.Number, "Of the best epoch.")
	s.Reports("best_epoch", stages.Integer, "From 1.")
	s.Measures("speed", "images/s", "While training.")
}

type evaluate struct{ noRun }

func (k *evaluate) Declare(s *stages.Schema) {
	s.In("model", artifact.Model, "Model.")
	s.In("data", artifact.Dataset, "Samples.")
	s.Out("metrics", artifact.Metrics, "Numbers.")
	s.Reports("accuracy", stages.Number, "Share.")
}

type choose struct {
	noRun
	by any
}

func (k *choose) Declare(s *stages.Schema) {
	s.In("from", "", "Candidates.").Many()
	s.Any(&k.by, "by", "Numbers.")
	s.Out("chosen", "", "Choice.").As("from")
	s.Reports("name", stages.String, "Name.")
}

type program struct {
	noRun
	command []string
	outputs map[string]string
}

func (k *program) Declare(s *stages.Schema) {
	s.Strings(&k.command, "command", nil, "Program.").Required().NonEmpty()
	s.In("inputs", "", "Files.").OrNone().Many().Mixed()
	s.StringMap(&k.outputs, "outputs", "Files.")
	s.OpenValues, s.LocalPaths = true, true
}

func (k *program) Shape(s *stages.Schema) {
	names := make([]string, 0, len(k.outputs))
	for name := range k.outputs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		s.Out(name, artifact.Type(k.outputs[name]), "")
	}
}

func testCatalog(t testing.TB) *stages.Catalog {
	t.Helper()
	kind := func(name string, f func() stages.Stage) *stages.Kind {
		return &stages.Kind{Name: name, Version: 1, Doc: "For tests.", New: f}
	}
	c, err := stages.NewCatalog(
		kind("ingest", func() stages.Stage { return &ingest{} }),
		kind("split", func() stages.Stage { return &split{} }),
		kind("augment", func() stages.Stage { return &augment{} }),
		kind("train", func() stages.Stage { return &train{} }),
		kind("evaluate", func() stages.Stage { return &evaluate{} }),
		kind("select", func() stages.Stage { return &choose{} }),
		kind("exec", func() stages.Stage { return &program{} }),
	)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
