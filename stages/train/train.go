// Package train is the train kind: it trains a model, from the zoo or one that is given, on a dataset, and keeps the best and the
// last weights, the curves and a report.
//
// Rules of the room: everything written follows from the inputs, the arguments, the seed and the device class; speeds are
// measurements. The work itself is package learn's.
package train

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/learn"
	devices "github.com/darkroom-dev/darkroom/learn/device"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/recipe"
)

// Kind is the train kind.
var Kind = &stages.Kind{
	Name:    "train",
	Version: 7,
	Doc: "Trains a model on a dataset. The images are shuffled anew in every epoch, and an augmentation policy of the dataset is applied anew to each image; the images of a last batch " +
		"that is not full are left out of that epoch. Where the policy changes the size of the images, the model takes the size that it leaves, and `validation` must have it: an augment stage with center_crop or resize and materialise = 1 brings images to it. After each epoch the model is scored on `validation`, without augmentation; `model` is the one with the best accuracy, the earlier of equal ones, " +
		"and without `validation` the last.\n\n" +
		"A model that is given, even one that was exported elsewhere, is trained on from its weights; `freeze`, `rates` and `head` say how. Mixed images and images of several classes bring soft targets, which every loss takes.\n\n" +
		"The normalisation of the pixels is measured on the training images and becomes a part of the model. A training that is stopped, even by a kill, goes on from its last checkpoint and ends in the " +
		"same bytes. `curves` is a folder with curves.json and a TensorBoard event file, whose times are steps.",
	Example: `train "teacher" {
  data          = augment.policy.dataset
  validation    = split.holdout.validation
  model         = "resnet20"
  epochs        = 30
  learning_rate = 0.1

  optimizer "sgd" {
    momentum     = 0.9
    weight_decay = 0.0005
  }
  schedule "cosine" { warmup = 1 }
}`,
	Computes: true,
	Seeded:   true,
	New:      func() stages.Stage { return &train{} },
}

type train struct {
	recipe.Recipe
	model     string
	head      string
	balanced  bool
	mean, std []float64
	loss      stages.Chosen
	compute   stages.Compute
	notes     []string      // what was done to the model before training, for the report
	taken     *recipe.Taken // what became of the weights that are given; nil: none are
}

func (t *train) Declare(s *stages.Schema) {
	s.In("data", artifact.Dataset, "Labelled images to train on.")
	s.In("validation", artifact.Dataset, "Labelled images to choose the best epoch by, of the size that the model takes. They must not be those of `data`.").OrNone()
	s.In("init", artifact.Model, "A model whose weights are the start wherever name and dimensions agree, such as one that was pretrained. The others start fresh; log and report list what matched and what did not.").OrNone()
	s.Source("weights", "Pre-trained weights from elsewhere, a safetensors or ONNX file, that are the start wherever name and dimensions agree: a state dictionary of torchvision or timm fits the zoo's architectures. The others start fresh; log and report list what matched and what did not.").OrNone()
	s.String(&t.model, "model", "", "An architecture of the zoo, with fresh weights, or a model to go on with.").Required().OneOf(zoo.Names()...).OrInput(artifact.Model)
	s.String(&t.head, "head", "auto", "The classifier of a model that is given: `auto` replaces it by a fresh one where the images have another number of classes, `fresh` always, `keep` never.").OneOf("auto", "fresh", "keep")
	s.Choice(&t.loss, "loss", "cross_entropy", "What is made small.", recipe.Losses...)
	t.DeclareRecipe(s)
	s.Bool(&t.balanced, "balanced", false, "Balanced sampling: in each epoch every class comes equally often; images of a small class are repeated, and some of a large one left out, others in each epoch.")
	s.Floats(&t.mean, "mean", nil, "Per channel, of pixels 0 to 1: subtracted inside a model of the zoo. Without it, measured on the training images.").In(-1000, 1000)
	s.Floats(&t.std, "std", nil, "Per channel, with `mean`: what pixels are divided by then.").Above(0)
	t.compute.Declare(s)
	s.Out("model", artifact.Model, "The model after the epoch with the best validation accuracy, else after the last.")
	s.Out("last", artifact.Model, "The model after the last epoch.")
	s.Out("curves", artifact.Metrics, "Loss, accuracy and learning rate by epoch: a folder with curves.json and a TensorBoard event file.")
	s.Out("report", artifact.Report, "The curves, the schedule, the model and its arguments.")
	s.Reports("best_epoch", stages.Integer, "The epoch, from 1, whose weights `model` has; the last where it has the mean of several.")
	s.Reports("epochs", stages.Integer, "How many epochs were trained: fewer than `epochs` says where it stopped early.")
	s.Reports("accuracy", stages.Number, "Share of right answers of `model`: on `validation`, else on the training images. Where an image may have several classes, of images all of whose classes are right.")
	s.Reports("loss", stages.Number, "Its mean cross entropy, in nats, on the same images; the binary one where that is trained.")
	s.Reports("skipped_steps", stages.Integer, "How many steps moved no weight, since their gradients were not finite in fp16; 0 in any other precision.")
	s.Reports("parameters", stages.Integer, "How many numbers the model holds.")
	s.Measures("images_per_second", "images/s", "Training images a second, without validation.")
	recipe.DeclareMemory(s)
	s.Measures("peak_memory", "bytes", "Most memory that the process had in use.")
}

// Check implements stages.Checker.
func (t *train) Check() []stages.Problem {
	var out []stages.Problem
	if len(t.mean) != len(t.std) {
		out = append(out, stages.Problemf("mean", "Mean and deviation do not match", "There are %d numbers in \"mean\" and %d in \"std\". Give both, with one number for each channel, or neither.", len(t.mean), len(t.std)))
	}
	if t.model == "" && len(t.mean) > 0 {
		out = append(out, stages.Problemf("mean", "Arguments that exclude each other", "A model that is given has its own normalisation. Remove \"mean\" and \"std\"."))
	}
	out = append(out, recipe.CheckLoss(t.loss)...)
	return append(out, t.CheckRecipe()...)
}

// CheckInputs implements stages.InputChecker.
func (t *train) CheckInputs(connected map[string]bool) []stages.Problem {
	if connected["init"] && connected["weights"] {
		return []stages.Problem{stages.Problemf("weights", "Arguments that exclude each other", "The weights to start from are those of a model, \"init\", or of a file, \"weights\". Remove one.")}
	}
	return nil
}

// Run implements stages.Stage.
func (t *train) Run(ctx context.Context, job *stages.Job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer recipe.Quiet(job.Device)()
	data, err := recipe.Open(job, "data")
	if err != nil {
		return err
	}
	defer data.Close()
	if info := data.Info(); len(info.Classes) == 0 {
		return stages.Problemf("data", "Training cannot start", "The images have no class labels: the dataset is for the task %q. Train on one whose images are labelled.", info.Task)
	}
	c := t.config(job, data)
	if c.Validation, err = recipe.Open(job, "validation"); err != nil {
		return err
	}
	if c.Validation != nil {
		defer c.Validation.Close()
		if p := classProblem("validation", data.Info().Classes, c.Validation.Info().Classes); p != nil {
			return *p
		}
	}
	if c.Model, err = t.start(job, data); err != nil {
		return err
	}
	if err := learn.Check(c); err != nil {
		return recipe.Problem(err, t.Batch)
	}
	if c.Backend, err = devices.Open(recipe.DeviceClass(job.Device)); err != nil {
		return err
	}
	defer c.Backend.Finalize()
	job.Logf("training %s, %d parameters, on %d images, %s", t.modelName(), c.Model.Parameters(), data.Len(), c.Backend.Description())
	result, err := learn.Train(ctx, c)
	if err != nil {
		return recipe.Problem(err, t.Batch)
	}
	return t.write(job, c, result)
}

// config says how to train; the model and the device are filled in later.
func (t *train) config(job *stages.Job, data *dataset.Dataset) learn.Config {
	c := learn.Config{Data: data, Seed: job.Seed, Balanced: t.balanced, MemoryLimit: recipe.MemoryLimit(job),
		Checkpoints: job.ScratchDir, CheckpointEvery: time.Duration(t.CheckpointEvery * float64(time.Second)),
		Log: func(line string) { job.Logf("%s", line) }, Progress: func(p learn.Progress) { job.Progress(recipe.Progress(p, "", "validating", "images")) }}
	t.Apply(&c)
	if len(data.Info().Classes) > 0 {
		c.Objective = recipe.Objective(t.loss, data)
	}
	return c
}

func (t *train) modelName() string {
	if t.model == "" {
		return "the given model"
	}
	return t.model
}

// start returns the model that training begins with.
func (t *train) start(job *stages.Job, data *dataset.Dataset) (*onnx.Model, error) {
	model, err := t.base(job, data)
	if err != nil {
		return nil, err
	}
	if t.taken, err = recipe.TakeWeights(job, model, t.modelName()); err != nil || t.taken == nil {
		return model, err
	}
	t.note(job, "%s", t.taken.Summary())
	job.Logf("%s", t.taken.Text())
	return model, nil
}

// note says in the log and in the report what was done to the model.
func (t *train) note(job *stages.Job, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	t.notes = append(t.notes, text)
	job.Logf("%s", text)
}

func (t *train) base(job *stages.Job, data *dataset.Dataset) (*onnx.Model, error) {
	info, err := recipe.Images(data)
	if err != nil {
		return nil, err
	}
	if in, ok := job.Input("model"); ok {
		model, err := onnx.Load(in.Path)
		if err != nil {
			return nil, err
		}
		if model, err = t.withHead(job, model, info.Classes); err != nil {
			return nil, err
		}
		meta := model.Meta()
		meta.Classes, meta.Task = info.Classes, "classification"
		return model, model.SetMeta(meta)
	}
	if err := zoo.CheckSize(t.model, info.Height, info.Width); err != nil {
		return nil, stages.Problemf("model", "Images are too small", "The architecture does not fit: %v. Scale the images up with \"size\" in ingest, or choose a smaller architecture.", err)
	}
	mean, std := t.mean, t.std
	if len(mean) == 0 {
		mean, std = learn.Statistics(data)
	}
	if len(mean) != info.Channels {
		return nil, stages.Problemf("mean", "Mean and deviation do not match", "There are %d numbers in \"mean\", but the images have %d channels. Give one number for each channel.", len(mean), info.Channels)
	}
	return zoo.Build(t.model, zoo.Options{Classes: info.Classes, Channels: info.Channels, Height: info.Height, Width: info.Width, Mean: mean, Std: std, Seed: job.Seed})
}

// withHead returns a model that is given with a classifier for the classes of the images.
func (t *train) withHead(job *stages.Job, model *onnx.Model, classes []string) (*onnx.Model, error) {
	had := model.Output().Classes
	if names := model.Meta().Classes; len(names) > 0 {
		had = len(names)
	}
	if t.head == "fresh" || t.head == "auto" && had != 0 && had != len(classes) {
		other, names, err := model.ReplaceHead(len(classes), job.Seed)
		if err != nil {
			return nil, stages.Problemf("model", "Classifier cannot be replaced", "The model has %d classes and the images have %d, but its classifier cannot be replaced: %v. Export it with another last layer.", had, len(classes), err)
		}
		t.note(job, "the classifier of %d classes is replaced by a fresh one of %d: %s", had, len(classes), strings.Join(names, ", "))
		return other, nil
	}
	if p := classProblem("model", classes, model.Meta().Classes); p != nil {
		p.Detail += " To train these classes anew, write head = \"fresh\"."
		return nil, *p
	}
	return model, nil
}

// classProblem says how the class names of what is on a port differ from those of the training images; nil when they agree or there are none.
func classProblem(port string, want, got []string) *stages.Problem {
	const summary = "Classes do not agree"
	if len(got) == 0 {
		return nil
	}
	if len(got) != len(want) {
		p := stages.Problemf(port, summary, "The training images have %d classes, but there are %d here. Use artifacts that come from the same ingest.", len(want), len(got))
		return &p
	}
	for i := range want {
		if got[i] != want[i] {
			p := stages.Problemf(port, summary, "Class %d is %q for the training images but %q here. Class names and their order must be the same.", i, want[i], got[i])
			return &p
		}
	}
	return nil
}
