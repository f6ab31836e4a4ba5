// Package train is the train kind: it trains a model, from the zoo or one that is given, on a dataset, and keeps the best and the
// last weights, the curves and a report.
//
// Rules of the room: everything written follows from the inputs, the arguments, the seed and the device class; speeds are
// measurements. The work itself is package learn's.
package train

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/learn"
	devices "github.com/darkroom-dev/darkroom/learn/device"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the train kind.
var Kind = &stages.Kind{
	Name:    "train",
	Version: 4,
	Doc: "Trains a model on a dataset. The images are shuffled anew in every epoch, and an augmentation policy of the dataset is applied anew to each image; the images of a last batch " +
		"that is not full are left out of that epoch. After each epoch the model is scored on `validation`, without augmentation; `model` is the one with the best accuracy, the earlier of equal ones, " +
		"and without `validation` the last.\n\n" +
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
	model      string
	epochs     int
	batch      int
	rate       float64
	mean, std  []float64
	workers    int
	compute    stages.Compute
	checkpoint float64
	loss       stages.Chosen
	optimizer  stages.Chosen
	schedule   stages.Chosen
}

func (t *train) Declare(s *stages.Schema) {
	s.In("data", artifact.Dataset, "Labelled images to train on.")
	s.In("validation", artifact.Dataset, "Labelled images to choose the best epoch by. They must not be those of `data`.").OrNone()
	s.In("init", artifact.Model, "A model whose weights are the start wherever name and dimensions agree, such as one that was pretrained. The others start fresh.").OrNone()
	s.String(&t.model, "model", "", "An architecture of the zoo, with fresh weights, or a model to go on with.").Required().OneOf(zoo.Names()...).OrInput(artifact.Model)
	s.Int(&t.epochs, "epochs", 0, "Passes over the training images.").Required().In(1, 100_000)
	s.Int(&t.batch, "batch", 128, "Images in a step.").In(1, 65536).InUnit("images")
	s.Float(&t.rate, "learning_rate", 0.1, "The peak step size.").Above(0)
	s.Floats(&t.mean, "mean", nil, "Per channel, of pixels 0 to 1: subtracted inside a model of the zoo. Without it, measured on the training images.").In(-1000, 1000)
	s.Floats(&t.std, "std", nil, "Per channel, with `mean`: what pixels are divided by then.").Above(0)
	s.Choice(&t.loss, "loss", "cross_entropy", "What is made small.",
		stages.Variant{Name: "cross_entropy", Doc: "Softmax cross entropy.", New: func() stages.Declarer { return &crossEntropy{} }})
	s.Choice(&t.optimizer, "optimizer", "sgd", "How a gradient moves the weights.",
		stages.Variant{Name: "sgd", Doc: "Stochastic gradient descent with momentum, as PyTorch defines it.", New: func() stages.Declarer { return &sgd{} }})
	s.Choice(&t.schedule, "schedule", "cosine", "How the step size goes over the training.",
		stages.Variant{Name: "constant", Doc: "The peak all the time.", New: func() stages.Declarer { return &constant{} }},
		stages.Variant{Name: "cosine", Doc: "From the peak down along half a cosine (Loshchilov and Hutter 2017).", New: func() stages.Declarer { return &cosine{} }})
	t.compute.Declare(s)
	s.Int(&t.workers, "workers", 2, "Goroutines that prepare batches.").In(1, 256).NotInKey()
	s.Float(&t.checkpoint, "checkpoint", 20, "Time between checkpoints within an epoch; there is one at the end of each.").In(1, 86400).InUnit("seconds").NotInKey()
	s.Out("model", artifact.Model, "The model after the epoch with the best validation accuracy, else after the last.")
	s.Out("last", artifact.Model, "The model after the last epoch.")
	s.Out("curves", artifact.Metrics, "Loss, accuracy and learning rate by epoch: a folder with curves.json and a TensorBoard event file.")
	s.Out("report", artifact.Report, "The curves, the model and its arguments.")
	s.Reports("best_epoch", stages.Integer, "The epoch, from 1, whose weights `model` has.")
	s.Reports("accuracy", stages.Number, "Share of right answers in that epoch: on `validation`, else on the training images.")
	s.Reports("loss", stages.Number, "Mean cross entropy in that epoch, in nats, on the same images.")
	s.Reports("parameters", stages.Integer, "How many numbers the model holds.")
	s.Measures("images_per_second", "images/s", "Training images a second, without validation.")
	s.Measures("peak_memory", "bytes", "Most memory that the process had in use.")
}

type crossEntropy struct{ smoothing float64 }

func (c *crossEntropy) Declare(s *stages.Schema) {
	s.Float(&c.smoothing, "smoothing", 0, "Label smoothing: this share of each target is spread evenly over all classes (Szegedy et al. 2016).").In(0, 1).Below(1)
}

type sgd struct {
	momentum, decay    float64
	decayAll, nesterov bool
}

func (o *sgd) Declare(s *stages.Schema) {
	s.Float(&o.momentum, "momentum", 0.9, "How much of the former direction is kept.").In(0, 1).Below(1)
	s.Float(&o.decay, "weight_decay", 5e-4, "Pulls weights towards zero: added to the gradient as decay times weight.").In(0, 1)
	s.Bool(&o.decayAll, "decay_all", false, "Decay biases and the scales and shifts of normalisations too, not only kernels and matrices.")
	s.Bool(&o.nesterov, "nesterov", false, "Nesterov's momentum.")
}

type constant struct{ warmup float64 }

func (c *constant) Declare(s *stages.Schema) {
	s.Float(&c.warmup, "warmup", 0, "Epochs in which the step size rises to the peak.").Min(0).InUnit("epochs")
}

type cosine struct{ warmup, final float64 }

func (c *cosine) Declare(s *stages.Schema) {
	s.Float(&c.warmup, "warmup", 0, "Epochs in which the step size rises to the peak first.").Min(0).InUnit("epochs")
	s.Float(&c.final, "final", 0, "Share of the peak at the end.").In(0, 1)
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
	if s := t.timing(); s.Warmup > float64(t.epochs) {
		out = append(out, stages.Problemf("epochs", "Value out of range", "The warm-up of %g epochs is longer than the whole training of %d. Make \"warmup\" smaller or \"epochs\" larger.", s.Warmup, t.epochs))
	}
	return out
}

func (t *train) timing() learn.Schedule {
	switch s := t.schedule.Body.(type) {
	case *constant:
		return learn.Schedule{Warmup: s.warmup}
	case *cosine:
		return learn.Schedule{Cosine: true, Warmup: s.warmup, Final: s.final}
	}
	return learn.Schedule{}
}

// Run implements stages.Stage.
func (t *train) Run(ctx context.Context, job *stages.Job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer quiet(job.Device)()
	in, _ := job.Input("data")
	data, err := dataset.Open(in.Path)
	if err != nil {
		return err
	}
	defer data.Close()
	c := t.config(job, data)
	if in, ok := job.Input("validation"); ok {
		if c.Validation, err = dataset.Open(in.Path); err != nil {
			return err
		}
		defer c.Validation.Close()
		if p := classProblem("validation", data.Info().Classes, c.Validation.Info().Classes); p != nil {
			return *p
		}
	}
	if c.Model, err = t.start(job, data); err != nil {
		return err
	}
	if err := learn.Check(c); err != nil {
		return t.problem(err)
	}
	if c.Backend, err = devices.Open(class(job.Device)); err != nil {
		return err
	}
	defer c.Backend.Finalize()
	job.Logf("training %s, %d parameters, on %d images, %s", t.modelName(), c.Model.Parameters(), data.Len(), c.Backend.Description())
	result, err := learn.Train(ctx, c)
	if err != nil {
		return t.problem(err)
	}
	return t.write(job, c, result)
}

// config says how to train; the model and the device are filled in later.
func (t *train) config(job *stages.Job, data *dataset.Dataset) learn.Config {
	c := learn.Config{Data: data, Epochs: t.epochs, Batch: t.batch, LearningRate: t.rate, Schedule: t.timing(), Seed: job.Seed, Workers: t.workers,
		Checkpoints: job.ScratchDir, CheckpointEvery: time.Duration(t.checkpoint * float64(time.Second)),
		Log: func(line string) { job.Logf("%s", line) }, Progress: func(p learn.Progress) { job.Progress(progress(p)) }}
	if l, ok := t.loss.Body.(*crossEntropy); ok {
		c.Objective = learn.CrossEntropy{Smoothing: l.smoothing}
	}
	if o, ok := t.optimizer.Body.(*sgd); ok {
		c.Optimizer = learn.SGD{Momentum: o.momentum, WeightDecay: o.decay, DecayAll: o.decayAll, Nesterov: o.nesterov}
	}
	return c
}

func progress(p learn.Progress) stages.Progress {
	phase := fmt.Sprintf("epoch %d/%d", p.Epoch, p.Epochs)
	if p.Validating {
		phase += ", validating"
	}
	out := stages.Progress{Phase: phase, Done: p.Done, Total: p.Total, Unit: "images", Rate: p.Rate, Left: p.Left}
	if p.Done > 0 {
		out.Metrics = []stages.Metric{{Name: "loss", Value: p.Loss}, {Name: "accuracy", Value: p.Accuracy}}
	}
	return out
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
	in, ok := job.Input("init")
	if !ok {
		return model, nil
	}
	from, err := onnx.Load(in.Path)
	if err != nil {
		return nil, err
	}
	copied, fresh, err := onnx.CopyWeights(model, from)
	if err != nil {
		return nil, err
	}
	if copied == 0 {
		return nil, stages.Problemf("init", "Model does not fit", "No weight of the model on \"init\" has the name and the dimensions of one in %s. Use a model of the same architecture.", t.modelName())
	}
	job.Logf("%d weights are those of init, %d start fresh", copied, fresh)
	return model, nil
}

func (t *train) base(job *stages.Job, data *dataset.Dataset) (*onnx.Model, error) {
	info := data.Info()
	if in, ok := job.Input("model"); ok {
		model, err := onnx.Load(in.Path)
		if err != nil {
			return nil, err
		}
		if p := classProblem("model", info.Classes, model.Meta().Classes); p != nil {
			return nil, *p
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

// problem makes mistakes that the user can mend Problems.
func (t *train) problem(err error) error {
	var misfit *learn.FitError
	if errors.As(err, &misfit) {
		return stages.Problemf(misfit.What, "Training cannot start", "%s", misfit.Detail)
	}
	var diverged *learn.DivergedError
	if errors.As(err, &diverged) {
		return stages.Problemf("learning_rate", "Training diverged", "The loss is not a finite number any more, at step %d in epoch %d, with a learning rate of %.4g. The learning rate is too high for this model "+
			"and these images: try a third of it, or a schedule with a warm-up.", diverged.Step, diverged.Epoch, diverged.LearningRate)
	}
	return err
}
