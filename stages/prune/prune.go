// Package prune is the kind that makes a model smaller: it removes the channels that count least, or sets single weights to zero.
//
// Rules of the room: which channels stand or fall together is the business of onnx/surgery; here is only which of them go. Every choice follows from the
// weights, the data and the seed. What is trained before, between and after is trained by package learn, with checkpoints below the scratch folder.
package prune

import (
	"context"
	"fmt"
	"math"
	"runtime"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the catalog's entry.
var Kind = &stages.Kind{
	Name:     "prune",
	Version:  4,
	Computes: true,
	Seeded:   true,
	Doc: "Makes a model smaller. Structured pruning removes whole channels, so that the model becomes smaller and faster wherever it runs: channels that must stand or fall " +
		"together, such as those that a residual connection adds, are removed together. With `sparsity` single weights are set to zero instead: the file compresses better, " +
		"and with 2:4 GPUs of NVIDIA compute faster.\n\n" +
		"`ratio` is the share of channels to remove; a block `target` gives the size to reach instead: FLOPs, parameters, or the time of a run. The time is told by the table of a `profile` stage, " +
		"best one with `widths`, so that the same table always leads to the same model; what the model then really takes is measured and reported beside it. Kernels work on 8 or 16 channels at once, and " +
		"with other numbers a model of half the work can take as long: see `round_to`. With `data`, `fine_tune` trains the smaller model, " +
		"also between several `steps`. The models are judged on `validation`.\n\n" +
		"`method` says which channels count least: those with the smallest weights (`l1`, `l2`), with the smallest batch normalization scale (`bn_scale`, which can first train " +
		"with a penalty that drives scales to zero: network slimming), whose removal changes the loss least (`taylor`), that resemble the others (`geometric_median`), or any (`random`).",
	Example: "prune \"slim\" {\n" +
		"  model      = train.net.model\n" +
		"  data       = augment.policy.dataset\n" +
		"  validation = split.holdout.validation\n" +
		"  ratio      = 0.3\n" +
		"  round_to   = 8\n\n" +
		"  fine_tune { epochs = 10 }\n" +
		"}",
	New: func() stages.Stage { return &prune{} },
}

// The values of sparsity.
const (
	noSparsity   = "none"
	unstructured = "unstructured"
	twoOfFour    = "2:4"
)

type prune struct {
	ratio    float64
	method   stages.Chosen
	global   bool
	ratios   map[string]float64
	exclude  []string
	round    int
	least    float64
	mixed    bool
	steps    int
	sparsity string
	target   target
	given    bool // the block target
	tune     fineTune
	tuned    bool // the block fine_tune
	sense    int
	compute  stages.Compute
}

func (p *prune) Declare(s *stages.Schema) {
	s.In("model", artifact.Model, "The model to prune: of darkroom or exported elsewhere.")
	s.In("data", artifact.Dataset, "Labelled images to fine-tune with, and for methods that look at data.").OrNone()
	s.In("validation", artifact.Dataset, "Labelled images to judge the model with, before and after.").OrNone()
	s.In("latency", artifact.Table, "The table of a `profile` stage of this model, for a target of time.").OrNone()
	s.Float(&p.ratio, "ratio", 0.3, "Share of the channels to remove, or of the weights to set to zero.").In(0, 1).Below(1)
	s.Choice(&p.method, "method", "l1", "Which channels count least.", methods...)
	s.Bool(&p.global, "global", false, "Compare the channels of all layers, each relative to its layer's mean, so that layers lose different shares; else every layer loses the same share.")
	s.FloatMap(&p.ratios, "ratios", "Ratios of single layers by a pattern of their names, such as { \"layer1.*\" = 0.1 }.").In(0, 1).Below(1)
	s.Strings(&p.exclude, "exclude", nil, "Patterns of names of layers that keep all their channels, and with them the layers that they are added to.")
	s.Int(&p.round, "round_to", 1, "Keep a multiple of so many channels, which kernels of 8 or 16 lanes use fully.").In(1, 64)
	s.Float(&p.least, "least", 0.1, "Share of each layer's channels that stays whatever the others are worth, with `global`.").In(0, 1)
	s.Bool(&p.mixed, "through_norms", false, "Remove also channels over which statistics are taken (layer normalization), where removing one changes the others.")
	s.Int(&p.steps, "steps", 1, "Prune in so many steps of equal shares, with fine-tuning after each.").In(1, 100)
	s.String(&p.sparsity, "sparsity", noSparsity, "Set single weights to zero instead of removing channels: the smallest ones, or the two smallest of every four.").OneOf(noSparsity, unstructured, twoOfFour)
	s.Block("target", &p.target, "The size to reach, instead of `ratio`: the smallest ratio that reaches it is searched for.").Present(&p.given)
	s.Block("fine_tune", &p.tune, "Train the pruned model on `data`.").Present(&p.tuned)
	s.Int(&p.sense, "sensitivity_images", 500, "Images of `validation` with which the report shows how the accuracy falls when each layer alone is pruned; 0 leaves that out.").In(0, 1_000_000)
	p.compute.Declare(s)
	s.Out("model", artifact.Model, "The smaller model.")
	s.Out("layers", artifact.Table, "Every layer with its channels, parameters and FLOPs before and after, as CSV.")
	s.Out("report", artifact.Report, "What was removed, what it saves and costs, and how sensitive the layers are.")
	s.Reports("flops_ratio", stages.Number, "FLOPs of the smaller model as a share of the original's. Zeroes of `sparsity` count as computed.")
	s.Reports("parameters_ratio", stages.Number, "Parameters that are not zero, as a share of the original's.")
	s.Reports("channels_ratio", stages.Number, "Channels that stay, of all layers that may lose some. With `round_to` and with a target it differs from what a ratio says.")
	s.Reports("accuracy", stages.Number, "Share of right answers on `validation`; null without it.")
	s.Reports("accuracy_before", stages.Number, "The same of the original; null without `validation`.")
	s.Reports("used_ratio", stages.Number, "The ratio that was used: that of the arguments, or the one that reaches the target.")
	s.Reports("latency_estimate", stages.Number, "Milliseconds that a run of the smaller model takes as the table on `latency` tells; null without it.")
	s.Measures("latency", "ms", "Median time of such a run, measured on this machine after pruning; absent without `latency`.")
	s.Measures("latency_before", "ms", "The same of the original.")
}

// methods are the ways to tell which channels count least. Those that only name one declare nothing.
var methods = []stages.Variant{
	{Name: "l1", Doc: "The sum of the absolute weights of the filter (Li et al. 2017).", New: func() stages.Declarer { return &plain{} }},
	{Name: "l2", Doc: "The Euclidean norm of the filter.", New: func() stages.Declarer { return &plain{} }},
	{Name: "bn_scale", Doc: "The scale of the batch normalization behind the layer (Liu et al. 2017).", New: func() stages.Declarer { return &slimming{} }},
	{Name: "taylor", Doc: "How much the loss changes, to first order, without the channel (Molchanov et al. 2019). Needs `data`.", New: func() stages.Declarer { return &taylor{} }},
	{Name: "geometric_median", Doc: "How far the filter is from all others of its layer (He et al. 2019).", New: func() stages.Declarer { return &plain{} }},
	{Name: "random", Doc: "Chance, to compare with.", New: func() stages.Declarer { return &plain{} }},
}

type plain struct{}

func (*plain) Declare(*stages.Schema) {}

type slimming struct {
	epochs   int
	strength float64
}

func (m *slimming) Declare(s *stages.Schema) {
	s.Int(&m.epochs, "epochs", 0, "Train first for so many epochs with a penalty on the scales; 0 takes the scales as they are. Needs `data`, and the other settings are those of `fine_tune`.").In(0, 100_000)
	s.Float(&m.strength, "strength", 1e-4, "The penalty: so much times the sum of the absolute scales is added to the loss.").In(0, 1)
}

type taylor struct{ images int }

func (m *taylor) Declare(s *stages.Schema) {
	s.Int(&m.images, "images", 1024, "Images of `data` that the gradients are taken on.").In(1, 1_000_000)
}

// Check implements stages.Checker.
func (p *prune) Check() []stages.Problem {
	out := p.compute.Check()
	add := func(arg, summary, detail string, args ...any) {
		out = append(out, stages.Problemf(arg, summary, detail, args...))
	}
	if p.sparsity != noSparsity {
		switch {
		case p.given:
			add("target", "Arguments that exclude each other", "Setting weights to zero leaves the layers as large as they were, so no target of size can be reached. Remove \"target\", or \"sparsity\".")
		case p.round > 1:
			add("round_to", "Argument without effect", "\"round_to\" is about channels, and none are removed with \"sparsity\". Remove one of them.")
		case p.method.Name != "l1":
			add("method", "Argument without effect", "With \"sparsity\" single weights are compared, by their size. Remove \"method\".")
		}
	}
	if p.steps > 1 && !p.tuned {
		add("steps", "Argument without effect", "Without fine-tuning between them, several steps remove what one would. Add fine_tune { epochs = … }, or remove \"steps\".")
	}
	return out
}

// CheckInputs implements stages.InputChecker.
func (p *prune) CheckInputs(connected map[string]bool) []stages.Problem {
	var out []stages.Problem
	need := func(arg, why string) {
		out = append(out, stages.Problemf(arg, "Input is missing", "%s needs labelled images to train on. Connect \"data\".", why))
	}
	switch asked := p.target.timed(); {
	case asked && !connected["latency"]:
		out = append(out, stages.Problemf("target", "Input is missing", "A target of time is told by a measured table. Connect \"latency\" to the output of a profile stage of this model: latency = profile.NAME.latency."))
	case connected["latency"] && !asked:
		out = append(out, stages.Problemf("latency", "Input without effect", "The table is for a target of time, and there is none. Write target { latency_ratio = … }, or remove \"latency\"."))
	}
	if connected["data"] {
		return out
	}
	if p.tuned {
		need("fine_tune", "Fine-tuning")
	}
	switch m := p.method.Body.(type) {
	case *taylor:
		need("method", "The method taylor")
	case *slimming:
		if m.epochs > 0 {
			need("method", "Training with a penalty on the scales")
		}
	}
	return out
}

// work is one execution.
type work struct {
	*prune
	ctx        context.Context
	job        *stages.Job
	data       *dataset.Dataset // nil: none
	validation *dataset.Dataset // nil: none
	cutter     *cutter
	estimator  *infer.Estimator // nil: no table of latencies
}

// Run implements stages.Stage.
func (p *prune) Run(ctx context.Context, job *stages.Job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if job.Device.Backend != stages.CUDA { // the compute library has the cores; see the kind train
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	w := &work{prune: p, ctx: ctx, job: job, cutter: &cutter{global: p.global, round: p.round, least: p.least, ratios: p.ratios, exclude: p.exclude, mixed: p.mixed}}
	for port, to := range map[string]**dataset.Dataset{"data": &w.data, "validation": &w.validation} {
		in, ok := job.Input(port)
		if !ok {
			continue
		}
		d, err := dataset.Open(in.Path)
		if err != nil {
			return err
		}
		defer d.Close()
		*to = d
	}
	in, _ := job.Input("model")
	model, err := onnx.Load(in.Path)
	if err != nil {
		return stages.Problemf("model", "Model cannot be read", "%v.", err)
	}
	if err := w.fits(model); err != nil {
		return err
	}
	if err := w.openLatencies(model); err != nil {
		return err
	}
	r := &result{before: model}
	if r.accuracyBefore, err = w.accuracy(model, 0); err != nil {
		return err
	}
	if r.sensitivity, err = w.sensitivity(model); err != nil {
		return err
	}
	if p.sparsity != noSparsity {
		err = w.zeroWeights(r)
	} else {
		err = w.removeChannels(r)
	}
	if err != nil {
		return err
	}
	return w.write(r)
}

// result is what pruning came to.
type result struct {
	before, after                 *onnx.Model
	ratio                         float64
	accuracyBefore, accuracyAfter float64 // not a number without validation
	sensitivity                   []sensitivity
	latency                       float64 // estimated milliseconds; 0 without a table
}

// fits checks what can be known before anything is computed.
func (w *work) fits(m *onnx.Model) error {
	_, groups, err := grouped(m)
	if err != nil {
		return stages.Problemf("model", "Model cannot be pruned", "%v.", err)
	}
	if err := w.patternsMatch(groups); err != nil {
		return err
	}
	for port, d := range map[string]*dataset.Dataset{"data": w.data, "validation": w.validation} {
		if d == nil {
			continue
		}
		info, in := d.Info(), m.Input()
		if in.Channels != 0 && in.Channels != info.Channels || in.Height != 0 && in.Height != info.Height || in.Width != 0 && in.Width != info.Width {
			return stages.Problemf(port, "Images do not fit", "The model takes images of %d×%d with %d channels, but these are %d×%d with %d.", in.Width, in.Height, in.Channels, info.Width, info.Height, info.Channels)
		}
		if classes := m.Output().Classes; classes != 0 && classes != len(info.Classes) {
			return stages.Problemf(port, "Classes do not agree", "The model has %d outputs, but the images have %d classes.", classes, len(info.Classes))
		}
	}
	return nil
}

// patternsMatch refuses a pattern that no layer has.
func (w *work) patternsMatch(groups *surgery.Groups) error {
	var names []string
	for _, g := range groups.List {
		for _, n := range g.Layers() {
			names = append(names, n.Name)
		}
	}
	check := func(arg, pattern string) error {
		for _, name := range names {
			if matches([]string{pattern}, name) {
				return nil
			}
		}
		p := stages.Problemf(arg, "Pattern without a layer", "No layer that can be pruned is called %q. In patterns, * stands for any characters but a slash.", pattern)
		p.Given, p.Options = pattern, names
		return p
	}
	for _, pattern := range w.exclude {
		if err := check("exclude", pattern); err != nil {
			return err
		}
	}
	for _, pattern := range sortedNames(w.ratios) {
		if err := check("ratios", pattern); err != nil {
			return err
		}
	}
	return nil
}

// removeChannels prunes in steps.
func (w *work) removeChannels(r *result) error {
	model, err := w.slim(r.before)
	if err != nil {
		return err
	}
	var a *aim
	if w.given {
		if a, err = w.aim(r.before); err != nil {
			return err
		}
	}
	kept := 1.0
	for step := range w.steps {
		score, err := w.importance(model)
		if err != nil {
			return err
		}
		share := float64(step+1) / float64(w.steps)
		ratio := 1 - math.Pow(1-w.ratio, 1/float64(w.steps)) // of what is left by then
		if w.given {
			if ratio, err = w.reach(a, model, score, share); err != nil {
				return err
			}
		}
		g, err := w.cutter.pruned(model, score, ratio)
		if err != nil {
			return stages.Problemf("ratio", "Pruning too far", "%v.", err)
		}
		if model, err = g.Model(); err != nil {
			return err
		}
		kept *= 1 - ratio
		w.job.Logf("step %d of %d: removed a share of %.4g of the channels", step+1, w.steps, ratio)
		if model, err = w.fineTune(model, fmt.Sprintf("step %d", step+1), nil); err != nil {
			return err
		}
	}
	r.after, r.ratio = model, 1-kept
	r.accuracyAfter, err = w.accuracy(model, 0)
	return err
}

// slim trains with a penalty on the scales where the method asks for it.
func (w *work) slim(m *onnx.Model) (*onnx.Model, error) {
	s, ok := w.method.Body.(*slimming)
	if !ok || s.epochs == 0 {
		return m, nil
	}
	_, groups, err := grouped(m)
	if err != nil {
		return nil, err
	}
	names := scales(groups)
	if len(names) == 0 {
		return nil, stages.Problemf("method", "Model without batch normalization", "The method bn_scale trains scales of batch normalizations to zero, but the model has none whose channels can be removed. Use another method, such as l1.")
	}
	t := w.tune
	t.epochs = s.epochs
	return w.train(m, "slimming", t, learn.Penalised{Objective: learn.CrossEntropy{}, Parameters: names, Strength: s.strength}, nil)
}

// importance makes the method ready for a model.
func (w *work) importance(m *onnx.Model) (importance, error) {
	switch w.method.Name {
	case "l2":
		return byNorm(2), nil
	case "bn_scale":
		return byScale, nil
	case "taylor":
		gradients, err := w.gradients(m, w.method.Body.(*taylor).images)
		return byTaylor(gradients), err
	case "geometric_median":
		return byGeometricMedian, nil
	case "random":
		return byChance(w.job.Seed), nil
	}
	return byNorm(1), nil
}

// zeroWeights sets weights to zero, in steps, and fine-tunes those that stay.
func (w *work) zeroWeights(r *result) error {
	model := r.before.Clone()
	_, groups, err := grouped(model)
	if err != nil {
		return err
	}
	for step := range w.steps {
		var masks map[string]mask
		if w.sparsity == twoOfFour {
			masks = w.cutter.masks24(model, groups)
		} else {
			masks = w.cutter.masks(model, groups, 1-math.Pow(1-w.ratio, float64(step+1)/float64(w.steps)))
		}
		if err := apply(model, masks); err != nil {
			return err
		}
		if model, err = w.fineTune(model, fmt.Sprintf("step %d", step+1), masks); err != nil {
			return err
		}
	}
	r.after, r.ratio = model, w.ratio
	if w.sparsity == twoOfFour {
		r.ratio = 0.5
	}
	r.accuracyAfter, err = w.accuracy(model, 0)
	return err
}
