package train

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
)

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
	if p.Arg != "batch" || p.Summary != "Out of memory" || !strings.Contains(p.Detail, "and the stage may have 21 MB. Not even one fits: give the stage more memory in its resources block") {
		t.Errorf("%+v", p)
	}
}
