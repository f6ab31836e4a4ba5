// Package distill is the kind that trains a student model on what teacher models answer.
//
// Rules of the room: losses are package learn's and teachers are run by package infer, so that a teacher is any ONNX model. What a teacher answers to
// images as they are is a part that is kept by content; to augmented images it is asked anew.
package distill

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
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

// Kind is the catalog's entry.
var Kind = &stages.Kind{
	Name:     "distill",
	Version:  5,
	Computes: true,
	Seeded:   true,
	Doc: "Trains a student on what a teacher answers: its shares of all classes say more than a label does. The teacher is any ONNX model that classifies, of this or another " +
		"tool; of several teachers the mean of the probabilities counts. Classes are matched by their names; a teacher without names must have as many as the images.\n\n" +
		"Teachers answer images without an augmentation policy once, and their answers are kept for every stage and run that asks for them again. With a policy, each augmented " +
		"batch is shown to the teachers too. Images without labels will do for `soft_targets` of weight 1.\n\n" +
		"`hints` and `attention` compare what is inside student and teacher, which may be of two families as long as they have feature maps of one height and width; the log says which. " +
		"The teacher's features are kept like its answers where they take no more than 256 MiB, and computed for each batch otherwise.\n\n" +
		"With `compare` the same student is trained a second time in the same way on the labels alone, and `gain` says what the teacher brought.",
	Example: `distill "small" {
  data          = split.holdout.train
  validation    = split.holdout.validation
  teacher       = [train.large.model]
  model         = "resnet8"
  epochs        = 30
  learning_rate = 0.1
  compare       = true

  method "soft_targets" {
    temperature = 4
    weight      = 0.9
  }
}`,
	New: func() stages.Stage { return &distill{} },
}

type distill struct {
	recipe.Recipe
	model   string
	method  stages.Chosen
	compare bool
	compute stages.Compute
}

func (d *distill) Declare(s *stages.Schema) {
	s.In("data", artifact.Dataset, "Images to train on.")
	s.In("validation", artifact.Dataset, "Labelled images to choose the best epoch by. They must not be those of `data`.").OrNone()
	s.In("init", artifact.Model, "A model whose weights are the student's start wherever name and dimensions agree.").OrNone()
	s.In("teacher", artifact.Model, "What the student learns from: a list, or a map by name.").Many()
	s.String(&d.model, "model", "", "The student: an architecture of the zoo, with fresh weights, or a model to go on with.").Required().OneOf(zoo.Names()...).OrInput(artifact.Model)
	s.Choice(&d.method, "method", "soft_targets", "What is made small.", methods...)
	s.Bool(&d.compare, "compare", false, "Train the same student without the teacher too, with the same arguments and seed, and report the difference as `gain`. It takes as long again.")
	d.DeclareRecipe(s)
	d.compute.Declare(s)
	s.Out("model", artifact.Model, "The student after the epoch with the best validation accuracy, else after the last.")
	s.Out("last", artifact.Model, "The student after the last epoch.")
	s.Out("curves", artifact.Metrics, "Loss, accuracy, agreement with the teacher and learning rate by epoch: a folder with curves.json and a TensorBoard event file.")
	s.Out("report", artifact.Report, "The curves, the teachers and the arguments.")
	s.Reports("best_epoch", stages.Integer, "The epoch, from 1, whose weights `model` has; the last where it has the mean of several.")
	s.Reports("accuracy", stages.Number, "Share of right answers of `model`: on `validation`, else on the training images while its weights moved; null where neither has labels.")
	s.Reports("loss", stages.Number, "Its mean cross entropy on `validation`, in nats; without `validation` the loss of the training itself.")
	s.Reports("parameters", stages.Integer, "How many numbers the model holds.")
	s.Reports("teacher_accuracy", stages.Number, "Share of right answers of the teachers together on `validation`; null without it.")
	s.Reports("gain", stages.Number, "`accuracy` less that of the same student without a teacher; null without `compare`.")
	recipe.DeclareMemory(s)
	s.Measures("images_per_second", "images/s", "Training images a second, without validation.")
}

// Check implements stages.Checker.
func (d *distill) Check() []stages.Problem { return d.CheckRecipe() }

// CheckInputs implements stages.InputChecker.
func (d *distill) CheckInputs(connected map[string]bool) []stages.Problem {
	if d.compare && !connected["validation"] {
		return []stages.Problem{stages.Problemf("compare", "Comparison without images", "How much better one student is than another is told on images that neither has learned. Connect \"validation\", or remove \"compare\".")}
	}
	return nil
}

// work is one execution.
type work struct {
	*distill
	job        *stages.Job
	data       *dataset.Dataset
	images     dataset.Info     // as the policy leaves those of data: what teachers and student see
	validation *dataset.Dataset // nil: none
	labelled   bool             // data has one class for each image
	classes    []string         // of the student
	teachers   []*teacher
	inside     *looking // nil where the method takes the teachers' answers alone
	notes      []string // what was done to the teachers' classes and to the student, for the report
}

// Run implements stages.Stage.
func (d *distill) Run(ctx context.Context, job *stages.Job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer recipe.Quiet(job.Device)()
	w := &work{distill: d, job: job}
	defer w.close()
	if err := w.open(); err != nil {
		return err
	}
	student, err := w.student()
	if err != nil {
		return err
	}
	c := w.config(student, job.ScratchDir)
	if c.Model, err = w.prepare(student); err != nil {
		return err
	}
	c.Objective = d.body().objective(w.truth(), w.labelled, w.inside, student.Output().Name)
	if err := learn.Check(c); err != nil {
		return recipe.Problem(err, d.Batch)
	}
	answers, err := w.judgeTeachers(ctx)
	if err != nil {
		return err
	}
	if c.Source, err = w.source(ctx, c); err != nil {
		return err
	}
	if c.Backend, err = devices.Open(recipe.DeviceClass(job.Device)); err != nil {
		return err
	}
	defer c.Backend.Finalize()
	r := &result{teacher: answers}
	job.Logf("distilling %d teachers into %s, %d parameters, on %d images, %s", len(w.teachers), w.modelName(), student.Parameters(), w.data.Len(), c.Backend.Description())
	if r.student, err = learn.Train(ctx, c); err != nil {
		return recipe.Problem(err, d.Batch)
	}
	if err := w.release(r.student, student); err != nil {
		return err
	}
	if d.compare {
		c.Model = student
		if r.alone, err = w.trainAlone(ctx, c); err != nil {
			return recipe.Problem(err, d.Batch)
		}
	}
	return w.write(c, r)
}

// prepare returns the student as it is trained: with projections where its features are compared.
func (w *work) prepare(student *onnx.Model) (*onnx.Model, error) {
	var err error
	switch m := w.body().(type) {
	case *hints:
		if w.inside, err = w.look(student, &m.featureArgs, false); err != nil {
			return nil, err
		}
		return w.inside.project(student, w.job.Seed)
	case *attention:
		w.inside, err = w.look(student, &m.featureArgs, true)
	}
	return student, err
}

// release gives the trained weights to the student as it was before projections were added to it.
func (w *work) release(r *learn.Result, student *onnx.Model) error {
	if w.inside == nil {
		return nil
	}
	same := r.Best == r.Last
	for _, m := range []**onnx.Model{&r.Best, &r.Last} {
		plain := student.Clone()
		if _, err := onnx.CopyWeights(plain, *m); err != nil {
			return err
		}
		*m = plain
	}
	if same {
		r.Last = r.Best
	}
	return nil
}

// trainAlone trains the same student on the labels alone.
func (w *work) trainAlone(ctx context.Context, with learn.Config) (*learn.Result, error) {
	w.job.Logf("training the same student without the teacher")
	c := w.config(with.Model, filepath.Join(w.job.ScratchDir, "alone"))
	c.Objective, c.Backend = w.truth(), with.Backend
	return learn.Train(ctx, c)
}

// config says how to train, whatever is made small.
func (w *work) config(student *onnx.Model, checkpoints string) learn.Config {
	phase := ""
	if checkpoints != w.job.ScratchDir {
		phase = "alone, "
	}
	c := learn.Config{Model: student, Data: w.data, Validation: w.validation, Seed: w.job.Seed, MemoryLimit: recipe.MemoryLimit(w.job),
		Checkpoints: checkpoints, CheckpointEvery: time.Duration(w.CheckpointEvery * float64(time.Second)),
		Log: func(line string) { w.job.Logf("%s%s", phase, line) }, Progress: func(p learn.Progress) { w.job.Progress(recipe.Progress(p, phase, "validating", "images")) }}
	w.Apply(&c)
	return c
}

// truth is the loss of the labels.
func (w *work) truth() learn.CrossEntropy {
	return learn.CrossEntropy{Targets: learn.Targets{Soft: w.data.Info().Policy.Mixes()}, Classes: len(w.classes)}
}

// open opens what is connected and finds what does not fit before anything is computed.
func (w *work) open() error {
	for port, to := range map[string]**dataset.Dataset{"data": &w.data, "validation": &w.validation} {
		var err error
		if *to, err = recipe.Open(w.job, port); err != nil {
			return err
		}
	}
	var err error
	if w.images, err = recipe.Images(w.data); err != nil {
		return err
	}
	info := w.data.Info()
	if info.Task == dataset.MultiLabel {
		return stages.Problemf("data", "Several classes in an image", "The images may have several classes each, but a teacher's shares of classes are of one answer. Distill on images with one class each, or without labels.")
	}
	w.labelled = (info.Task == "" || info.Task == dataset.Classification) && len(info.Classes) > 0
	if operations := info.Policy.Operations(); len(operations) > 0 && operations[len(operations)-1].Name == "normalize" {
		return stages.Problemf("data", "Pixels normalised twice", "The augmentation ends in \"normalize\", but teachers take pixels as they are and the student normalises by itself. Remove it from the policy.")
	}
	if err := w.openTeachers(); err != nil {
		return err
	}
	if w.validation != nil && w.validation.Info().Task != "" && w.validation.Info().Task != dataset.Classification {
		return stages.Problemf("validation", "Images without labels", "The validation images are for the task %q; the best epoch is told by images with one class each.", w.validation.Info().Task)
	}
	if w.validation != nil && !slices.Equal(w.validation.Info().Classes, w.classes) {
		return stages.Problemf("validation", "Classes do not agree", "The classes of the validation images are %q, those of the student %q. Names and their order must be the same.", w.validation.Info().Classes, w.classes)
	}
	if !w.labelled && w.compare {
		return stages.Problemf("compare", "Images without labels", "Without a teacher there is nothing to learn from images without labels. Remove \"compare\".")
	}
	return w.body().check(w.labelled, info.Policy.Mixes())
}

func (w *work) close() {
	for _, d := range []*dataset.Dataset{w.data, w.validation} {
		if d != nil {
			d.Close()
		}
	}
	for _, t := range w.teachers {
		t.session.Close()
	}
	if w.inside != nil && w.inside.probe != nil {
		w.inside.probe.Close()
	}
}

// student returns the model that training begins with.
func (w *work) student() (*onnx.Model, error) {
	model, err := w.base()
	if err != nil {
		return nil, err
	}
	taken, err := recipe.TakeWeights(w.job, model, w.modelName())
	if err != nil || taken == nil {
		return model, err
	}
	w.note("%s", taken.Summary())
	w.job.Logf("%s", taken.Text())
	return model, nil
}

func (w *work) base() (*onnx.Model, error) {
	info := w.images
	if in, ok := w.job.Input("model"); ok {
		m, err := onnx.Load(in.Path)
		if err != nil {
			return nil, stages.Problemf("model", "Model cannot be read", "%v.", err)
		}
		if names := m.Meta().Classes; len(names) > 0 && !slices.Equal(names, w.classes) || m.Output().Classes != 0 && m.Output().Classes != len(w.classes) {
			return nil, stages.Problemf("model", "Classes do not agree", "The student has %d classes, %q, and the images %q. Take a student for these classes in this order, or one of the zoo.", m.Output().Classes, names, w.classes)
		}
		meta := m.Meta()
		meta.Classes, meta.Task = w.classes, "classification"
		return m, m.SetMeta(meta)
	}
	if err := zoo.CheckSize(w.model, info.Height, info.Width); err != nil {
		return nil, stages.Problemf("model", "Images are too small", "The architecture does not fit: %v. Scale the images up with \"size\" in ingest, or choose a smaller architecture.", err)
	}
	mean, std := learn.Statistics(w.data)
	return zoo.Build(w.model, zoo.Options{Classes: w.classes, Channels: info.Channels, Height: info.Height, Width: info.Width, Mean: mean, Std: std, Seed: w.job.Seed})
}

// note says in the log and in the report what the user may not expect.
func (w *work) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.notes = append(w.notes, text)
	w.job.Logf("%s", text)
}

func (w *work) modelName() string {
	if w.model == "" {
		return "the given model"
	}
	return w.model
}
