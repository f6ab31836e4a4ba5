// Package recipe holds the arguments that all kinds which train have in common: losses, optimizers, schedules, what is frozen, what is averaged.
//
// Rules of the room: it is no kind. What it declares means the same wherever it stands, so a word of it is explained once.
package recipe

import (
	"maps"
	"slices"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/stages"
)

// Recipe is the arguments of a kind that trains which say how: the optimizer, the schedule, what is frozen, what is averaged.
type Recipe struct {
	Epochs, Batch, Accumulate int
	Rate                      float64
	optimizer, schedule       stages.Chosen
	clip                      learn.Clip
	dropout, dropPath         float64
	freeze                    freeze
	rates                     rates
	ema                       ema
	averages, means, stops    bool
	swa                       learn.SWA
	stopping                  learn.Stopping
	monitor                   string
	workers                   int
	CheckpointEvery           float64 // seconds
}

// Defaults are those of the arguments that differ between kinds.
type Defaults struct {
	Epochs, Batch int
	Rate          float64 // the peak step size
}

// DeclareRecipe declares the arguments for a training from the beginning, which has no default of its epochs.
func (r *Recipe) DeclareRecipe(s *stages.Schema) { r.declare(s, Defaults{Batch: 128, Rate: 0.1}) }

// DeclareWith declares the arguments with other defaults.
func (r *Recipe) DeclareWith(s *stages.Schema, d Defaults) { r.declare(s, d) }

func (r *Recipe) declare(s *stages.Schema, d Defaults) {
	epochs := s.Int(&r.Epochs, "epochs", d.Epochs, "Passes over the training images.")
	if d.Epochs == 0 {
		epochs = epochs.Required()
	}
	epochs.In(1, 100_000)
	s.Int(&r.Batch, "batch", d.Batch, "Images in a step.").In(1, 65536).InUnit("images")
	s.Int(&r.Accumulate, "accumulate", 1, "In how many equal micro-batches a batch passes through the model, one after the other; their gradients are averaged. It takes less memory. A batch normalisation sees one micro-batch at a time.").In(1, 65536)
	s.Float(&r.Rate, "learning_rate", d.Rate, "The peak step size.").Above(0)
	s.Choice(&r.optimizer, "optimizer", "sgd", "How a gradient moves the weights. Weight decay leaves out biases, embeddings of places, and the scales and shifts of normalisations, unless `decay_all` says otherwise.", Optimizers...)
	s.Choice(&r.schedule, "schedule", "cosine", "How the step size goes over the training.", Schedules...)
	s.Block("clip", clipArgs{&r.clip}, "Bounds the gradient of a step before the optimizer has it.")
	s.Float(&r.dropout, "dropout", 0, "Share of features that dropout sets to 0 in training (Srivastava et al. 2014): in place of the ratios of the model's own Dropout nodes, or where it has none, of what enters the classifier. 0: the nodes' own ratios.").In(0, 1).Below(1)
	s.Float(&r.dropPath, "drop_path", 0, "Share of images for which the last residual branch is left out in training, less for those before it (stochastic depth, Huang et al. 2016).").In(0, 1).Below(1)
	s.Block("freeze", &r.freeze, "Parameters that stay as they are. A layer is a convolution or a matrix product with what normalises and shifts its result.")
	s.Block("rates", &r.rates, "Learning rates of layers that differ from `learning_rate`.")
	s.Block("ema", &r.ema, "An exponential moving average of the weights, which is judged and given in their place.").Present(&r.averages)
	s.Block("swa", swaArgs{&r.swa}, "Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the ends of the last epochs, with statistics of normalisations that are measured anew. It is `last`, and `model` unless an epoch was better.").Present(&r.means)
	s.Block("early_stopping", stoppingArgs{&r.stopping}, "Ends the training when it gets no better.").Present(&r.stops)
	s.String(&r.monitor, "monitor", "accuracy", "What the best epoch is chosen by, and early stopping watches, on `validation`: the highest accuracy or the lowest loss.").OneOf("accuracy", "loss")
	s.Int(&r.workers, "workers", 2, "Goroutines that prepare batches.").In(1, 256).NotInKey()
	s.Float(&r.CheckpointEvery, "checkpoint", 20, "Time between checkpoints within an epoch; there is one at the end of each.").In(1, 86400).InUnit("seconds").NotInKey()
}

// CheckRecipe returns what is wrong with the arguments themselves.
func (r *Recipe) CheckRecipe() []stages.Problem {
	var out []stages.Problem
	if r.Accumulate > 0 && r.Batch%r.Accumulate != 0 {
		out = append(out, stages.Problemf("accumulate", "Batch does not divide", "A batch of %d images does not divide into %d equal micro-batches. Choose numbers that do, such as batch = %d.",
			r.Batch, r.Accumulate, max(1, r.Batch/r.Accumulate)*r.Accumulate))
	}
	if text := r.Schedule().Check(r.Epochs); text != "" && r.Epochs > 0 {
		out = append(out, stages.Problemf("epochs", "Schedule and training do not fit", "%s Change the schedule or \"epochs\".", text))
	}
	if r.freeze.Epochs > r.Epochs && r.Epochs > 0 {
		out = append(out, stages.Problemf("epochs", "Schedule and training do not fit", "Layers are frozen for %d epochs, which is longer than the training of %d. Remove \"epochs\" in the freeze block to keep them frozen all the time.", r.freeze.Epochs, r.Epochs))
	}
	if r.swa.From > r.Epochs && r.Epochs > 0 {
		out = append(out, stages.Problemf("epochs", "Schedule and training do not fit", "Weights are averaged from epoch %d on, but the training has %d.", r.swa.From, r.Epochs))
	}
	if r.averages && r.means {
		out = append(out, stages.Problemf("swa", "Arguments that exclude each other", "There can be one average of the weights. Remove the block \"ema\" or the block \"swa\"."))
	}
	return out
}

// Schedule returns the chosen schedule.
func (r *Recipe) Schedule() learn.Schedule {
	if s, ok := r.schedule.Body.(interface{ schedule() learn.Schedule }); ok {
		return s.schedule()
	}
	return learn.Schedule{}
}

// Averages reports whether the block "ema" is given.
func (r *Recipe) Averages() bool { return r.averages }

// Apply puts the recipe into a training.
func (r *Recipe) Apply(c *learn.Config) {
	c.Epochs, c.Batch, c.Accumulate, c.LearningRate, c.Workers = r.Epochs, r.Batch, r.Accumulate, r.Rate, r.workers
	if o, ok := r.optimizer.Body.(interface{ optimizer() learn.Optimizer }); ok {
		c.Optimizer = o.optimizer()
	}
	c.Schedule, c.Clip = r.Schedule(), r.clip
	if r.stops {
		c.Stopping = r.stopping
	}
	if r.means {
		c.SWA = r.swa
		if c.SWA.From == 0 {
			c.SWA.From = r.Epochs - r.Epochs/4 + min(1, r.Epochs/4)
		}
	}
	c.Drop = learn.Drop{Out: r.dropout, Path: r.dropPath}
	c.Freeze = learn.Freeze(r.freeze)
	c.Rates = r.rates.of(r.Rate)
	if r.averages {
		c.Average = learn.Average{Decay: r.ema.Decay, Rising: r.ema.Rising}
	}
	if r.monitor == "loss" {
		c.Monitor = learn.ByLoss
	}
}

type clipArgs struct{ c *learn.Clip }

func (a clipArgs) Declare(s *stages.Schema) {
	s.Float(&a.c.Norm, "norm", 0, "A gradient whose norm over all parameters is larger is scaled down to it; 0: not.").Min(0)
	s.Float(&a.c.Value, "value", 0, "Each number of the gradient is held within ± this; 0: not.").Min(0)
}

type freeze learn.Freeze

func (f *freeze) Declare(s *stages.Schema) {
	s.Float(&f.Share, "share", 0, "Share of the layers, from the one next to the images on: 0.8 freezes the first 80 %.").In(0, 1)
	s.Strings(&f.Patterns, "match", nil, "Names of parameters or nodes, as the model's file has them; * stands for any text and ? for one character.")
	s.Int(&f.Epochs, "epochs", 0, "How many epochs they stay frozen; 0: the whole training.").In(0, 100_000).InUnit("epochs")
	s.Int(&f.Steps, "steps", 1, "In how many equal steps, over these epochs, the layers of `share` thaw, from the last on (progressive unfreezing).").In(1, 1000)
	s.Bool(&f.Statistics, "statistics", true, "Normalisations that are frozen whole keep their running statistics and use them.")
}

type rates struct {
	bottom, share, decay float64
	match                map[string]float64
}

func (r *rates) Declare(s *stages.Schema) {
	s.Float(&r.bottom, "bottom", 0, "Learning rate of the first layers, where `learning_rate` is that of the others; 0: the same.").Min(0)
	s.Float(&r.share, "share", 0.8, "Share of the layers that `bottom` is for.").In(0, 1)
	s.Float(&r.decay, "decay", 0, "Each block's learning rate is this share of the next block's; the classifier has the whole (layer-wise decay). A block ends at each sum of a residual branch with its shortcut. 0: not.").In(0, 1)
	s.FloatMap(&r.match, "match", "Factors of the learning rate, by names of parameters or nodes; * stands for any text and ? for one character.")
}

// of returns the rates as shares of the peak.
func (r *rates) of(peak float64) learn.LayerRates {
	out := learn.LayerRates{Bottom: r.bottom / peak, Share: r.share, Decay: r.decay}
	for _, p := range slices.Sorted(maps.Keys(r.match)) {
		out.Match = append(out.Match, learn.PatternRate{Pattern: p, Factor: r.match[p]})
	}
	return out
}

type ema struct {
	Decay  float64
	Rising bool
}

func (e *ema) Declare(s *stages.Schema) {
	s.Float(&e.Decay, "decay", 0.999, "How much of the average stays in each step.").Above(0).Below(1)
	s.Bool(&e.Rising, "rising", true, "The decay of step t is at most (1+t)/(10+t), so that a short training is not an average of its start.")
}

type swaArgs struct{ a *learn.SWA }

func (a swaArgs) Declare(s *stages.Schema) {
	s.Int(&a.a.From, "from", 0, "The first epoch, from 1, whose weights count; 0: the last quarter of the training.").In(0, 100_000)
	s.Float(&a.a.Rate, "learning_rate", 0, "The step size from then on; 0: that of the schedule.").Min(0)
}

type stoppingArgs struct{ a *learn.Stopping }

func (a stoppingArgs) Declare(s *stages.Schema) {
	s.Int(&a.a.Patience, "patience", 5, "Epochs in a row without one that is better than all before.").In(1, 100_000).InUnit("epochs")
	s.Float(&a.a.Margin, "min_delta", 0, "How much better an epoch must be to count.").Min(0)
}

// Losses are what can be made small, the variants of a block `loss`.
var Losses = []stages.Variant{
	{Name: "cross_entropy", Doc: "Softmax cross entropy.", New: func() stages.Declarer { return &crossEntropy{} }},
	{Name: "focal", Doc: "Softmax cross entropy in which images that are already right count less (Lin et al. 2017).", New: func() stages.Declarer { return &focal{} }},
	{Name: "binary_cross_entropy", Doc: "A yes or no for each class, so that an image may have several classes.", New: func() stages.Declarer { return &binary{} }},
}

// Objective returns what a chosen loss makes small on these images.
func Objective(loss stages.Chosen, d *dataset.Dataset) learn.Objective {
	return loss.Body.(interface {
		objective(d *dataset.Dataset) learn.Objective
	}).objective(d)
}

// CheckLoss returns what is wrong with the arguments of a chosen loss.
func CheckLoss(loss stages.Chosen) []stages.Problem {
	if l, ok := loss.Body.(interface{ problem() *stages.Problem }); ok {
		if p := l.problem(); p != nil {
			return []stages.Problem{*p}
		}
	}
	return nil
}

// targets are the arguments that all losses have.
type targets struct {
	smoothing float64
	weights   []float64
	balanced  bool
}

func (t *targets) Declare(s *stages.Schema) {
	s.Float(&t.smoothing, "smoothing", 0, "Label smoothing: this share of each target is spread evenly over all classes (Szegedy et al. 2016).").In(0, 1).Below(1)
	s.Floats(&t.weights, "class_weights", nil, "A weight for each class, in their order: how much its images count.").Min(0)
	s.Bool(&t.balanced, "balanced", false, "Weights with which every class counts the same in an epoch: images ÷ (classes × images of the class).")
}

// of returns the targets of a training on these images.
func (t *targets) of(d *dataset.Dataset) learn.Targets {
	out := learn.Targets{Smoothing: t.smoothing, Weights: t.weights, Soft: d.Info().Policy.Mixes() || d.Info().Task == dataset.MultiLabel}
	if t.balanced {
		out.Weights = learn.BalancedWeights(d.Counts())
	}
	return out
}

func (t *targets) problem() *stages.Problem {
	if t.balanced && len(t.weights) > 0 {
		p := stages.Problemf("loss", "Arguments that exclude each other", "Weights of classes are given or balanced. Remove \"class_weights\" or \"balanced\".")
		return &p
	}
	return nil
}

type crossEntropy struct{ targets }

func (l *crossEntropy) objective(d *dataset.Dataset) learn.Objective {
	return learn.CrossEntropy{Targets: l.of(d), Classes: len(d.Info().Classes)}
}

type focal struct {
	targets
	gamma, alpha float64
}

func (l *focal) Declare(s *stages.Schema) {
	s.Float(&l.gamma, "gamma", 2, "How much less images that are already right count: by (1 - probability) to this power.").In(0, 100)
	s.Float(&l.alpha, "alpha", 1, "A factor of the loss.").Above(0)
	l.targets.Declare(s)
}

func (l *focal) objective(d *dataset.Dataset) learn.Objective {
	return learn.Focal{Targets: l.of(d), Classes: len(d.Info().Classes), Gamma: l.gamma, Alpha: l.alpha}
}

type binary struct{ targets }

func (l *binary) objective(d *dataset.Dataset) learn.Objective {
	return learn.BinaryCrossEntropy{Targets: l.of(d), Classes: len(d.Info().Classes)}
}
