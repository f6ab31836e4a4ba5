// Package pretrain is the kind that trains a backbone without labels, by what two views of one image have in common.
//
// Rules of the room: losses, views and the judges of representations are the libraries'; here is how they are put together. Labels are looked at by the probes
// alone, which change no weight.
package pretrain

import (
	"context"
	"errors"
	"fmt"
	"math"
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
	Name:     "pretrain",
	Version:  4,
	Computes: true,
	Seeded:   true,
	Doc: "Trains a backbone on images without labels: two augmented views of each image are to be recognised as one. `simclr` tells them from the other images of the batch " +
		"(Chen et al. 2020), so that large batches help; with `accumulate` a batch may be larger than what fits into memory. `simsiam` (Chen and He 2021) needs no other images, and neither does `byol` (Grill et al. 2020), which learns to predict the projections of a target network, whose weights follow those that are trained.\n\n" +
		"`model` is the backbone without the projection, for the input `init` of `train`, which takes over every weight of the same name. The policy of the dataset is not applied: the " +
		"views have a policy of their own, the one that the methods were published with.\n\n" +
		"With a labelled `probe` the representation is judged, before and after: by its nearest neighbours and by a linear classifier.",
	Example: "pretrain \"contrastive\" {\n" +
		"  data        = split.holdout.train\n" +
		"  probe       = split.holdout.validation\n" +
		"  model       = \"resnet18\"\n" +
		"  method      = \"simclr\"\n" +
		"  temperature = 0.5\n" +
		"  projection  = [512, 128]\n" +
		"  epochs      = 100\n" +
		"  batch       = 256\n" +
		"}",
	New: func() stages.Stage { return &pretrain{} },
}

// The methods.
const (
	simCLR  = "simclr"
	simSiam = "simsiam"
	byol    = "byol"
)

type pretrain struct {
	recipe.Recipe
	model       string
	method      string
	temperature float64
	projection  []int
	prediction  []int
	decay       float64
	mean, std   []float64
	views       views
	neighbours  int
	kelvin      float64
	probeLimit  int
	compute     stages.Compute
}

func (p *pretrain) Declare(s *stages.Schema) {
	s.In("data", artifact.Dataset, "Images; labels are not looked at.")
	s.In("probe", artifact.Dataset, "Labelled images that the representation is judged with.").OrNone()
	s.In("test", artifact.Dataset, "Labelled images that the linear probe and the neighbours are told right on; without it those of `probe`, each by the others, and for the linear probe a fifth of them.").OrNone()
	s.String(&p.model, "model", "", "An architecture of the zoo, with fresh weights, or a model whose backbone is trained on.").Required().OneOf(zoo.Names()...).OrInput(artifact.Model)
	s.String(&p.method, "method", simCLR, "What is made small.").OneOf(simCLR, simSiam, byol)
	s.Float(&p.temperature, "temperature", 0.5, "Of the similarities of `simclr`: lower tells near images apart more sharply.").Above(0).In(0, 100)
	s.Ints(&p.projection, "projection", []int{512, 128}, "Widths of the dense layers behind the backbone, whose result the loss compares; they are dropped afterwards.").NonEmpty().In(1, 65536)
	s.Ints(&p.prediction, "prediction", []int{64}, "Widths of the hidden layers of the predictor of `simsiam` and `byol`; its last one is as wide as the projection.").In(1, 65536)
	s.Float(&p.decay, "target_decay", 0.99, "How much of the target network's weights stays in the first step of `byol`; it rises to 1 along half a cosine over the training.").Above(0).Below(1)
	p.DeclareRecipe(s)
	s.Block("views", &p.views, "How a view differs from its image. The defaults are the published policy.")
	s.Floats(&p.mean, "mean", nil, "Per channel, of pixels 0 to 1: subtracted inside a model of the zoo. Without it, measured on the images.").In(-1000, 1000)
	s.Floats(&p.std, "std", nil, "Per channel, with `mean`: what pixels are divided by then.").Above(0)
	s.Int(&p.neighbours, "neighbours", 200, "How many neighbours vote.").In(1, 100_000)
	s.Float(&p.kelvin, "neighbour_temperature", 0.1, "How much nearer neighbours count more: by exp(similarity ÷ temperature).").Above(0).In(0, 100)
	s.Int(&p.probeLimit, "probe_images", 5000, "Images of `probe`, and of `test`, that are looked at, the first ones; 0 takes all.").In(0, 1_000_000)
	p.compute.Declare(s)
	s.Out("model", artifact.Model, "The backbone: it gives the features of an image.")
	s.Out("curves", artifact.Metrics, "Loss, accuracy among the neighbours and learning rate by epoch: a folder with curves.json and a TensorBoard event file.")
	s.Out("report", artifact.Report, "The curves, a picture of the embedding, nearest neighbours, and the arguments.")
	s.Reports("loss", stages.Number, "Mean loss of the last epoch.")
	s.Reports("knn_accuracy", stages.Number, "Share of images whose class their nearest neighbours tell; null without `probe`.")
	s.Reports("linear_accuracy", stages.Number, "Share of images whose class a linear classifier on the features tells; null without `probe`.")
	s.Reports("knn_before", stages.Number, "`knn_accuracy` of the backbone before it was trained.")
	s.Reports("linear_before", stages.Number, "`linear_accuracy` of the backbone before it was trained.")
	s.Reports("width", stages.Integer, "How many features the backbone gives.")
	recipe.DeclareMemory(s)
	s.Measures("images_per_second", "images/s", "Views a second.")
}

// views is the block of the policy.
type views struct {
	scale, strength, grey float64
	blur                  bool
}

func (v *views) Declare(s *stages.Schema) {
	s.Float(&v.scale, "scale", 0.2, "Smallest share of the image's area that a view shows.").Above(0).In(0, 1)
	s.Float(&v.strength, "colour", 1, "Strength of the changes of colour; 0 leaves colours as they are.").In(0, 2)
	s.Float(&v.grey, "grey", 0.2, "Probability that a view is grey.").In(0, 1)
	s.Bool(&v.blur, "blur", true, "Blur half of the views. Images under 64 pixels are never blurred: nothing would be left of them.")
}

// policy is that of SimCLR (Chen et al. 2020, appendix A), for images of that size.
func (v *views) policy(info dataset.Info) (*dataset.Policy, error) {
	window := map[string]any{"height": float64(info.Height), "width": float64(info.Width), "scale": []float64{v.scale, 1}}
	operations := []dataset.Operation{{Name: "random_resized_crop", Args: window}, {Name: "horizontal_flip", Args: map[string]any{"p": 0.5}}}
	if info.Channels == 3 {
		if v.strength > 0 {
			spread := func(f float64) []float64 { return []float64{max(0, 1-f*v.strength), 1 + f*v.strength} }
			operations = append(operations, dataset.Operation{Name: "color_jitter", Args: map[string]any{"p": 0.8, "brightness": spread(0.4), "contrast": spread(0.4),
				"saturation": spread(0.4), "hue": []float64{-0.1 * v.strength, 0.1 * v.strength}}})
		}
		if v.grey > 0 {
			operations = append(operations, dataset.Operation{Name: "to_gray", Args: map[string]any{"p": v.grey}})
		}
	} else if v.strength > 0 {
		operations = append(operations, dataset.Operation{Name: "random_brightness_contrast", Args: map[string]any{"p": 0.8, "brightness_limit": min(1, 0.4*v.strength), "contrast_limit": min(1, 0.4*v.strength)}})
	}
	if v.blur && min(info.Height, info.Width) >= 64 {
		operations = append(operations, dataset.Operation{Name: "gaussian_blur", Args: map[string]any{"p": 0.5, "sigma_limit": []float64{0.1, 2}}})
	}
	return dataset.NewPolicy(operations, 0)
}

// Check implements stages.Checker.
func (p *pretrain) Check() []stages.Problem {
	out := p.CheckRecipe()
	if len(p.mean) != len(p.std) {
		out = append(out, stages.Problemf("mean", "Mean and deviation do not match", "There are %d numbers in \"mean\" and %d in \"std\". Give both, with one number for each channel, or neither.", len(p.mean), len(p.std)))
	}
	if p.method == simCLR && p.Batch < 2 {
		out = append(out, stages.Problemf("batch", "Batch without negatives", "With one image in a batch there is no other image to tell its views from. Use at least 2; hundreds are better."))
	}
	if p.method == byol && p.Averages() {
		out = append(out, stages.Problemf("ema", "Arguments that exclude each other", "\"byol\" keeps an average of the weights as its target network. Remove the block \"ema\"."))
	}
	return out
}

// CheckInputs implements stages.InputChecker.
func (p *pretrain) CheckInputs(connected map[string]bool) []stages.Problem {
	if connected["test"] && !connected["probe"] {
		return []stages.Problem{stages.Problemf("test", "Input without effect", "\"test\" is what the probes are judged on, and there is no \"probe\" to fit them to. Connect \"probe\" too.")}
	}
	return nil
}

// work is one execution.
type work struct {
	*pretrain
	job         *stages.Job
	data        *dataset.Dataset
	probe, test *dataset.Dataset // nil: none
}

// Run implements stages.Stage.
func (p *pretrain) Run(ctx context.Context, job *stages.Job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer recipe.Quiet(job.Device)()
	w := &work{pretrain: p, job: job}
	for port, to := range map[string]**dataset.Dataset{"data": &w.data, "probe": &w.probe, "test": &w.test} {
		d, err := recipe.Open(job, port)
		if err != nil {
			return err
		}
		if *to = d; d != nil {
			defer d.Close()
		}
	}
	if err := w.fits(); err != nil {
		return err
	}
	backbone, err := w.backbone()
	if err != nil {
		return err
	}
	r := &result{width: backbone.Output().Classes}
	c, err := w.config(backbone)
	if err != nil {
		return err
	}
	if c.Backend, err = devices.Open(recipe.DeviceClass(job.Device)); err != nil {
		return err
	}
	defer c.Backend.Finalize()
	if r.before, err = w.judge(ctx, c, c.Model); err != nil {
		return err
	}
	trained, err := learn.Train(ctx, *c)
	if err != nil {
		return recipe.Problem(perImage(err), p.Batch)
	}
	r.training = trained
	if r.model, err = trained.Last.EndAtFeatures(r.width); err != nil {
		return err
	}
	if r.after, err = w.judge(ctx, c, trained.Last); err != nil {
		return err
	}
	return w.write(c, r)
}

// perImage counts what did not fit into memory in images, of which each is two views.
func perImage(err error) error {
	var m *learn.MemoryError
	if errors.As(err, &m) {
		one := *m
		one.Batch, one.Fits = m.Batch/2, m.Fits/2
		return &one
	}
	return err
}

// fits checks what can be known before anything is computed.
func (w *work) fits() error {
	info := w.data.Info()
	for port, d := range map[string]*dataset.Dataset{"probe": w.probe, "test": w.test} {
		if d == nil {
			continue
		}
		i := d.Info()
		if i.Height != info.Height || i.Width != info.Width || i.Channels != info.Channels {
			return stages.Problemf(port, "Images do not fit", "The images of \"data\" are %d×%d with %d channels, these are %d×%d with %d.", info.Width, info.Height, info.Channels, i.Width, i.Height, i.Channels)
		}
		if len(i.Classes) < 2 {
			return stages.Problemf(port, "Images without classes", "A probe tells classes apart, and these images have %d classes. Connect labelled images.", len(i.Classes))
		}
	}
	if w.probe != nil && w.test != nil && !slices.Equal(w.probe.Info().Classes, w.test.Info().Classes) {
		return stages.Problemf("test", "Classes do not agree", "\"probe\" and \"test\" have other classes. Use parts of one dataset.")
	}
	if w.data.Len() < w.Batch {
		return stages.Problemf("batch", "Batch larger than the data", "A batch of %d images is more than the %d that there are. Write batch = %d or less.", w.Batch, w.data.Len(), w.data.Len())
	}
	return nil
}

// backbone is the network without its classifier.
func (w *work) backbone() (*onnx.Model, error) {
	var m *onnx.Model
	info := w.data.Info()
	if in, ok := w.job.Input("model"); ok {
		var err error
		if m, err = onnx.Load(in.Path); err != nil {
			return nil, stages.Problemf("model", "Model cannot be read", "%v.", err)
		}
	} else {
		if err := zoo.CheckSize(w.model, info.Height, info.Width); err != nil {
			return nil, stages.Problemf("model", "Images are too small", "The architecture does not fit: %v. Scale the images up with \"size\" in ingest, or choose a smaller architecture.", err)
		}
		mean, std := w.mean, w.std
		if len(mean) == 0 {
			mean, std = learn.Statistics(w.data)
		}
		if len(mean) != info.Channels {
			return nil, stages.Problemf("mean", "Mean and deviation do not match", "There are %d numbers in \"mean\", but the images have %d channels.", len(mean), info.Channels)
		}
		var err error
		// The classifier is taken off at once, so its one class is never seen.
		if m, err = zoo.Build(w.model, zoo.Options{Classes: []string{"any"}, Channels: info.Channels, Height: info.Height, Width: info.Width, Mean: mean, Std: std, Seed: w.job.Seed}); err != nil {
			return nil, err
		}
	}
	if m.Output().Name == onnx.FeaturesName {
		return m, nil
	}
	b, err := m.Backbone()
	if err != nil {
		return nil, stages.Problemf("model", "Model without a backbone", "%v.", err)
	}
	return b, nil
}

// config says how to train.
func (w *work) config(backbone *onnx.Model) (*learn.Config, error) {
	job := w.job
	var predictor []int
	if w.method != simCLR {
		predictor = append(slices.Clone(w.prediction), w.projection[len(w.projection)-1])
	}
	model, projection, prediction, err := zoo.Projected(backbone, w.projection, predictor, job.Seed)
	if err != nil {
		return nil, err
	}
	policy, err := w.views.policy(w.data.Info())
	if err != nil {
		return nil, err
	}
	c := &learn.Config{Model: model, Data: w.data, Seed: job.Seed, MemoryLimit: recipe.MemoryLimit(job), Checkpoints: job.ScratchDir, CheckpointEvery: time.Duration(w.CheckpointEvery * float64(time.Second)),
		Log: func(line string) { job.Logf("%s", line) }, Progress: func(p learn.Progress) { job.Progress(progress(p)) }}
	w.Apply(c)
	if w.Accumulate > 1 && w.method != simCLR {
		return nil, stages.Problemf("accumulate", "Argument without effect", "Only \"simclr\" can be computed in micro-batches so far. Remove \"accumulate\".")
	}
	c.Batch = 2 * w.Batch
	if c.Source, err = learn.ViewSource(w.data, policy, w.Batch, job.Seed, c.Workers); err != nil {
		return nil, stages.Problemf("batch", "Images cannot be read", "%v.", err)
	}
	switch w.method {
	case simSiam:
		c.Objective = learn.SimSiam{Projection: projection, Prediction: prediction}
	case byol:
		c.Objective = learn.BYOL{Projection: projection, Prediction: prediction}
		c.Average = learn.Average{Decay: w.decay, Steps: c.Epochs * c.Source.Batches(), Apart: true}
	default:
		c.Objective = learn.NTXent{Projection: projection, Temperature: w.temperature}
	}
	if w.probe != nil {
		c.Judge, c.JudgeIdentity = w.judgeEpoch, fmt.Sprintf("%d neighbours at %x of %d", w.neighbours, w.kelvin, w.probeLimit)
	}
	return c, nil
}

// progress leaves out the accuracy: there are no answers that could be right.
func progress(p learn.Progress) stages.Progress {
	out := recipe.Progress(p, "", "probing", "views")
	out.Metrics = slices.DeleteFunc(out.Metrics, func(m stages.Metric) bool { return m.Name == "accuracy" })
	return out
}

// result is what a pre-training came to.
type result struct {
	width         int
	training      *learn.Result
	model         *onnx.Model
	before, after *judgement // nil without a probe
}

// defined returns f, or nil where it is not a number.
func defined(f float64) any {
	if math.IsNaN(f) {
		return nil
	}
	return f
}
