package train

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
	"github.com/darkroom-dev/darkroom/stages"
)

// pageOf writes the report of a training that came to r and returns its text.
func pageOf(t *testing.T, data string, epochs int, validated bool, r *learn.Result) string {
	t.Helper()
	d, err := dataset.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	model, err := zoo.Build("resnet8", zoo.Options{Classes: d.Info().Classes, Channels: 1, Height: 8, Width: 8, Mean: []float64{0.5}, Std: []float64{0.25}, Seed: 9})
	if err != nil {
		t.Fatal(err)
	}
	args := values("model", "resnet8", "epochs", float64(epochs), "batch", 16.0)
	args.Blocks = []stages.BlockArgs{blockArgs("rates", "", "decay", 0.9)}
	stage := Kind.New().(*train)
	if _, problems := stages.Decode(stage, args, map[string]bool{"data": true}); len(problems) > 0 {
		t.Fatal(problems)
	}
	c := stage.config(&stages.Job{}, d)
	if validated {
		c.Validation = d
	}
	r.Best, r.Last = model, model
	path := filepath.Join(t.TempDir(), "report.html")
	if err := stage.page(args, c, r).WriteFile(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Of one epoch there is no curve; without validation no epoch is the best; what is said of a long training is where it stopped, each group's rates and what was skipped.
func TestReportsOfShortAndLongTrainings(t *testing.T) {
	data := inputs(t, t.TempDir())["data"][0].Path
	one := learn.Epoch{Epoch: 1, Step: 4, LearningRate: 0.1, TrainLoss: 2.25, TrainAccuracy: 0.125}
	var long []learn.Epoch
	for i := range 30 {
		e := one
		e.Epoch, e.Step, e.LossScale, e.Skipped = i+1, 4*(i+1), 1024, min(i, 9)
		e.Validation = &learn.Score{Loss: 2, Accuracy: 0.25}
		long = append(long, e)
	}
	groups := []learn.RateGroup{{Factor: 0.1, First: "conv1.weight", Last: "layer1.0.bn2.bias", Count: 9}, {Factor: 1, First: "fc.weight", Last: "fc.bias", Count: 2}}
	for name, c := range map[string]struct {
		page       string
		has, lacks []string
	}{
		"one": {pageOf(t, data, 1, false, &learn.Result{BestEpoch: 1, Epochs: []learn.Epoch{one}}),
			[]string{"3 classes, 1 epoch<", "The only epoch", "2.2500", "of 1 epoch; nothing to judge them on", "as the schedule has it"}, []string{"1 epochs", ">best<", "Skipped steps", "map[]"}},
		"long": {pageOf(t, data, 40, true, &learn.Result{BestEpoch: 12, Epochs: long, Groups: groups}),
			[]string{"30 epochs", "stopped early, 40 were asked for", ">best<", ">stopped<", "from conv1.weight on", "from fc.weight on", "Skipped steps", "of 120; gradients not finite in fp16", "Steps skipped so far"}, []string{"The only epoch", "map[]"}},
	} {
		for _, want := range c.has {
			if !strings.Contains(c.page, want) {
				t.Errorf("%s: the report lacks %q", name, want)
			}
		}
		for _, not := range c.lacks {
			if strings.Contains(c.page, not) {
				t.Errorf("%s: the report has %q", name, not)
			}
		}
	}
}
