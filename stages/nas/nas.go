// Package nas is the kind that searches for an architecture.
//
// Rules of the room: what a strategy proposes is a function of the seed and of the trials before it, in order of their numbers; how many are
// evaluated at a time never changes a byte. A strategy knows points of a space of decisions and their scores, nothing of networks. Every evaluation is a part
// of its own in the cache.
package nas

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/learn/zerocost"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the catalog's entry.
var Kind = &stages.Kind{
	Name:     "nas",
	Version:  3,
	Computes: true,
	Seeded:   true,
	Doc: "Searches a space of networks for the one that is best for the data: each candidate is trained with a small budget and judged on `validation`. With several `objectives` " +
		"the result is a Pareto front, of which `model` is the most accurate member.\n\n" +
		"Every candidate that was trained stays in the cache by its content: a search that is stopped goes on where it was, and another search over the same data and budget finds " +
		"what this one has made. Candidates are trained side by side, with one thread each, as many as the stage has `threads`; their number changes nothing in the result.\n\n" +
		"Latencies are estimated layer by layer from a table that a `profile` stage measured, so that they decide alike on every machine: a layer takes what a layer of the table takes with as many multiply-accumulates and an " +
		"output of the same size, and where there is none, what the nearest one takes, in proportion to the multiply-accumulates (up to 16 times). What is no layer takes time in proportion to the outputs of the layers. " +
		"The log says how many layers the table has. It is for the batch and threads of the table's first measurement; `widths` of `profile` make it denser.\n\n" +
		"`model` is the best architecture with fresh weights, for `train`; `trained` has the weights that it had in the search.",
	Example: "nas \"small\" {\n" +
		"  data       = split.holdout.train\n" +
		"  validation = split.holdout.validation\n" +
		"  trials     = 40\n" +
		"  objectives = [\"accuracy\", \"flops\"]\n\n" +
		"  space \"thin\" {}\n" +
		"  strategy \"regularized_evolution\" { population = 12 }\n" +
		"  limit  { flops = 12e6 }\n" +
		"  budget { epochs = 2 }\n" +
		"}",
	New: func() stages.Stage { return &nas{} },
}

type nas struct {
	chosen     stages.Chosen // space
	strategy   stages.Chosen
	trials     int
	objectives []string
	limit      limit
	budget     budget
	rank       rank
	ranked     bool // the block rank
	scores     []string
	mean, std  []float64
}

func (n *nas) Declare(s *stages.Schema) {
	s.In("data", artifact.Dataset, "Labelled images to train candidates on; its policy is applied.")
	s.In("validation", artifact.Dataset, "Labelled images to judge candidates by.")
	s.In(latencyPort, artifact.Table, "A measured table of a `profile` stage, by which a network's latency is estimated.").OrNone()
	s.In(int8LatencyPort, artifact.Table, "The same of a quantized model, for latencies in int8.").OrNone()
	s.Choice(&n.chosen, "space", "thin", "What is searched.", spaces...)
	s.Choice(&n.strategy, "strategy", "regularized_evolution", "How it is searched.", strategies...)
	s.Int(&n.trials, "trials", 40, "How many candidates are evaluated; successive halving counts those of its first round.").In(1, 1_000_000)
	s.Strings(&n.objectives, "objectives", []string{"accuracy"}, "What makes a candidate good: `accuracy` (more is better), `flops`, `parameters`, and, estimated from the tables of these names, `latency` and `int8_latency` (less is better).").OneOf("accuracy", "flops", "parameters", latencyPort, int8LatencyPort).NonEmpty()
	s.Block("limit", &n.limit, "What a candidate may cost at most; others are not proposed.")
	s.Block("budget", &n.budget, "How a candidate is trained.")
	s.Block("rank", &n.rank, "Draw several members for each trial and evaluate the one that ranks best without training.").Present(&n.ranked)
	s.Strings(&n.scores, "scores", nil, "Scores without training that are taken of every candidate too: they stand in the table, and `correlation` says how well each of them ranks these networks.").OneOf(zerocost.Names()...)
	s.Floats(&n.mean, "mean", nil, "Mean of each channel, of pixels 0–1, that the network subtracts. Without it, that of `data`.").In(0, 1)
	s.Floats(&n.std, "std", nil, "Deviation of each channel, by which the network divides. Without it, that of `data`.").Above(0).In(0, 1)
	s.Out("model", artifact.Model, "The best architecture with fresh weights.")
	s.Out("trained", artifact.Model, "The best architecture with the weights of its evaluation.")
	s.Out("candidates", artifact.Table, "Every trial in order: what it is, what it costs, how good it is, whether it is on the front, as CSV.")
	s.Out("report", artifact.Report, "The front, the progress of the search, and the candidates.")
	s.Reports("accuracy", stages.Number, "Share of right answers of the best candidate on `validation`, as it was trained in the search.")
	s.Reports("flops", stages.Integer, "FLOPs of the best candidate for one image.")
	s.Reports("parameters", stages.Integer, "How many numbers the best candidate holds.")
	s.Reports("latency_estimate", stages.Number, "Milliseconds that a run of the best candidate takes as the table on `latency` tells; null without it.")
	s.Reports("int8_latency_estimate", stages.Number, "The same by the table on `int8_latency`.")
	s.Reports("architecture", stages.String, "The best candidate in one line.")
	s.Reports("correlation", stages.NumberMap, "For each of `scores` Spearman's rank correlation with the accuracy of the candidates that had the whole budget; none where it is not defined.")
	s.Reports("evaluated", stages.Integer, "How many trials were evaluated.")
}

// limit is the block of what a candidate may cost.
type limit struct{ flops, parameters, latency, int8Latency float64 }

func (l *limit) Declare(s *stages.Schema) {
	s.Float(&l.flops, "flops", 0, "FLOPs for one image.").Above(0).NoDefault()
	s.Float(&l.parameters, "parameters", 0, "Numbers that the model holds.").Above(0).NoDefault()
	s.Float(&l.latency, "latency", 0, "Estimated time of a run, from the table on the input `latency`.").Above(0).NoDefault().InUnit("milliseconds")
	s.Float(&l.int8Latency, "int8_latency", 0, "The same from the table on the input `int8_latency`.").Above(0).NoDefault().InUnit("milliseconds")
}

// excess is by which factor a candidate breaks the worst of the limits; at most 1 when it keeps them.
func (l *limit) excess(c cost) (factor float64, which string) {
	for _, one := range []struct {
		name         string
		value, limit float64
	}{{"flops", float64(c.flops), l.flops}, {"parameters", float64(c.parameters), l.parameters}, {latencyPort, c.latency, l.latency}, {int8LatencyPort, c.int8Latency, l.int8Latency}} {
		if f := one.value / one.limit; one.limit > 0 && f > factor {
			factor, which = f, one.name
		}
	}
	return factor, which
}

// budget is the block of how a candidate is trained.
type budget struct {
	epochs, samples, batch, patience int
	rate, decay                      float64
	workers                          int
}

func (b *budget) Declare(s *stages.Schema) {
	s.Int(&b.epochs, "epochs", 2, "Passes over the images that each candidate is trained for.").In(1, 10_000)
	s.Int(&b.samples, "samples", 10_000, "Images of `data`, drawn with the seed, that candidates are trained on; 0 takes all.").In(0, 1_000_000_000)
	s.Int(&b.batch, "batch", 64, "Images in a step.").In(1, 65536)
	s.Float(&b.rate, "learning_rate", 0.1, "Peak step size; it rises over half an epoch and falls along half a cosine.").Above(0).In(0, 100)
	s.Float(&b.decay, "weight_decay", 5e-4, "Pulls weights towards zero.").In(0, 1)
	s.Int(&b.patience, "patience", 0, "Stop a candidate after so many epochs without progress; 0: never.").In(0, 10_000)
	s.Int(&b.workers, "workers", 1, "Goroutines that prepare batches, for each candidate.").In(1, 256).NotInKey()
}

// rank is the block of ranking before training.
type rank struct {
	score  string
	pool   int
	images int
}

func (r *rank) Declare(s *stages.Schema) {
	s.String(&r.score, "score", "synflow", "The score; larger is better.").OneOf(zerocost.Names()...)
	s.Int(&r.pool, "pool", 5, "Members that are drawn for each trial.").In(2, 1000)
	s.Int(&r.images, "images", scoredImages, "Images in the batch that scores are taken of.").In(2, 1024)
}

// scoredImages is how many images scores are taken of where no block `rank` says so.
const scoredImages = 32

// strategies are the variants of the block `strategy`.
var strategies = []stages.Variant{
	{Name: "random", Doc: "Members at random, none twice.", New: func() stages.Declarer { return &randomArgs{} }},
	{Name: "regularized_evolution", Doc: "Mutations of good members; the oldest leave (Real et al. 2019).", New: func() stages.Declarer { return &evolutionArgs{} }},
	{Name: "successive_halving", Doc: "Many members with little training, the best of them with more (Jamieson and Talwalkar 2016).", New: func() stages.Declarer { return &halvingArgs{} }},
}

// searcher is what a variant of the block `strategy` gives.
type searcher interface {
	begin(d drawing, trials int) strategy
}

type randomArgs struct{}

func (*randomArgs) Declare(*stages.Schema) {}

func (*randomArgs) begin(d drawing, trials int) strategy { return &randomSearch{d, trials} }

type evolutionArgs struct {
	population, sample, cohort int
	rate                       float64
}

func (e *evolutionArgs) Declare(s *stages.Schema) {
	s.Int(&e.population, "population", 20, "Members that live at a time; the first ones are random.").In(2, 100_000)
	s.Int(&e.sample, "sample", 5, "Members among which the best becomes a parent.").In(1, 100_000)
	s.Float(&e.rate, "mutation_rate", 0.3, "Probability of each further mutation of a child after the first.").In(0, 0.95)
	s.Int(&e.cohort, "cohort", 2, "Children that are drawn at a time, without each other's results, so that they can be trained side by side.").In(1, 1000)
}

// Check implements stages.Checker.
func (e *evolutionArgs) Check() []stages.Problem {
	if e.sample > e.population {
		return []stages.Problem{stages.Problemf("sample", "Value out of range", "A sample of %d members is more than the population of %d.", e.sample, e.population)}
	}
	return nil
}

func (e *evolutionArgs) begin(d drawing, trials int) strategy {
	return &regularizedEvolution{d, trials, e.population, e.sample, e.rate, e.cohort}
}

type halvingArgs struct{ eta, rounds int }

func (h *halvingArgs) Declare(s *stages.Schema) {
	s.Int(&h.eta, "eta", 3, "One of so many goes on to the next round, with so many times the budget.").In(2, 100)
	s.Int(&h.rounds, "rounds", 3, "Rounds; the last one has the whole budget of epochs.").In(1, 20)
}

func (h *halvingArgs) begin(d drawing, trials int) strategy {
	return &successiveHalving{d, trials, h.eta, h.rounds}
}

// Check implements stages.Checker.
func (n *nas) Check() []stages.Problem {
	var out []stages.Problem
	if len(n.mean) != len(n.std) {
		out = append(out, stages.Problemf("mean", "Mean and deviation do not match", "There are %d numbers in \"mean\" and %d in \"std\". Give both, with one number for each channel, or neither.", len(n.mean), len(n.std)))
	}
	for i, o := range n.objectives {
		if slices.Contains(n.objectives[:i], o) {
			out = append(out, stages.Problemf("objectives", "Repeated objective", "The objective %q stands twice. Keep it once.", o))
		}
	}
	if !slices.Contains(n.objectives, "accuracy") {
		out = append(out, stages.Problemf("objectives", "Objectives without accuracy", "Without \"accuracy\" the smallest network is the best one, and nothing needs to be trained. Add it."))
	}
	return out
}

// CheckInputs implements stages.InputChecker.
func (n *nas) CheckInputs(connected map[string]bool) []stages.Problem {
	var out []stages.Problem
	for _, l := range []struct {
		port  string
		limit float64
	}{{latencyPort, n.limit.latency}, {int8LatencyPort, n.limit.int8Latency}} {
		if port := l.port; (l.limit > 0 || slices.Contains(n.objectives, port)) && !connected[port] {
			out = append(out, stages.Problemf(port, "No latency table", "Times are estimated from a measured table, and none is connected. Write %s = profile.NAME.latency.", port))
		}
	}
	return out
}

// Run implements stages.Stage.
func (n *nas) Run(ctx context.Context, job *stages.Job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(job.Device.Threads, 1)))
	e := &evaluator{nas: n, job: job, space: n.chosen.Body.(spaced).space(), costs: map[string]cost{}, scaled: map[string]int{}, looked: map[string]int{}}
	if err := e.open(ctx); err != nil {
		return err
	}
	defer e.close()
	if !n.ranked {
		n.rank.images = scoredImages
	}
	d := newDrawing(e.decisions(), job.Seed)
	if n.ranked {
		images, err := e.batch(n.rank.images)
		if err != nil {
			return err
		}
		d.pool, d.judge = n.rank.pool, func(p point) (float64, error) { return e.zeroCost(n.rank.score, p, images) }
	}
	trials, err := e.search(ctx, n.strategy.Body.(searcher).begin(d, n.trials))
	e.sayEstimates()
	var exhausted errExhausted
	if errors.As(err, &exhausted) {
		return e.nothing()
	}
	if err != nil {
		return err
	}
	if err := e.takeScores(ctx, trials); err != nil {
		return err
	}
	return e.write(trials)
}

// nothing says why no member can be evaluated.
func (e *evaluator) nothing() error {
	if u := e.unmeasured; u != nil && e.nearest == nil {
		return stages.Problemf(u.port, "Latency table does not fit", "The time of no member of the space follows from it. For %s: %v. Profile a model whose layers are more like those of the space, or several widths of it.", u.network, u.err)
	}
	if e.nearest == nil {
		return stages.Problemf("space", "Search space without a member", "No member of the space can be built for images of %d×%d pixels. Allow smaller strides or shrinks.", e.data.Info().Width, e.data.Info().Height)
	}
	factor, which := e.limit.excess(e.nearest.cost)
	return stages.Problemf("limit", "Limit that nothing meets", "None of %d members that were drawn keeps the limit of %s. The nearest one, %s, has %s, %.3g times the limit. Raise it, or add smaller choices to the space.",
		len(e.costs), which, e.nearest.text, e.costText(e.nearest.cost), factor)
}

// cost is what a network takes.
type cost struct {
	flops, parameters    int
	latency, int8Latency float64 // milliseconds, estimated; 0 without a table
}

// costText is a cost in words.
func (e *evaluator) costText(c cost) string {
	text := fmt.Sprintf("%d FLOPs and %d parameters", c.flops, c.parameters)
	if e.surveys[latencyPort] != nil {
		text += fmt.Sprintf(", %.4g ms", c.latency)
	}
	if e.surveys[int8LatencyPort] != nil {
		text += fmt.Sprintf(", %.4g ms in int8", c.int8Latency)
	}
	return text
}

// options are those that a candidate is built with.
func (e *evaluator) options() zoo.Options {
	info := e.data.Info()
	return zoo.Options{Classes: info.Classes, Channels: info.Channels, Height: info.Height, Width: info.Width, Mean: e.means, Std: e.deviations, Seed: e.job.Seed}
}

// open opens the datasets and draws the images that candidates are trained on.
func (e *evaluator) open(ctx context.Context) error {
	in, _ := e.job.Input("data")
	d, err := dataset.Open(in.Path)
	if err != nil {
		return err
	}
	e.data = d
	v, _ := e.job.Input("validation")
	if e.validation, err = dataset.Open(v.Path); err != nil {
		return err
	}
	a, b := e.data.Info(), e.validation.Info()
	if a.Height != b.Height || a.Width != b.Width || a.Channels != b.Channels || !slices.Equal(a.Classes, b.Classes) {
		return stages.Problemf("validation", "Images do not fit", "The images of \"data\" are %d×%d with %d channels and %d classes, those of \"validation\" %d×%d with %d and %d. Use parts of one dataset.",
			a.Width, a.Height, a.Channels, len(a.Classes), b.Width, b.Height, b.Channels, len(b.Classes))
	}
	if len(a.Classes) < 2 {
		return stages.Problemf("data", "Images without classes to tell apart", "A search trains classifiers, and these images have %d classes.", len(a.Classes))
	}
	e.means, e.deviations = e.mean, e.std
	if len(e.means) == 0 {
		e.means, e.deviations = learn.Statistics(e.data)
	}
	if len(e.means) != a.Channels {
		return stages.Problemf("mean", "Mean and deviation do not match", "There are %d numbers in \"mean\", but the images have %d channels.", len(e.means), a.Channels)
	}
	if err := e.openSurveys(); err != nil {
		return err
	}
	return e.drawImages(ctx)
}

// drawImages makes the dataset that candidates are trained on: all images, or some in a file of their own.
func (e *evaluator) drawImages(ctx context.Context) error {
	e.images = e.data
	n := e.budget.samples
	if n == 0 || n >= e.data.Len() {
		return nil
	}
	path := filepath.Join(e.job.ScratchDir, "images.arrow")
	w, err := dataset.Create(path, e.data.Info())
	if err != nil {
		return err
	}
	s := dataset.NewStream(e.job.Seed, "search images")
	rows := s.Permutation(e.data.Len())[:n]
	slices.Sort(rows) // reading in order is quick, and the order of training is drawn anew
	for _, row := range rows {
		if err := errors.Join(ctx.Err(), w.Add(e.data.ID(row), e.data.Label(row), e.data.Image(row))); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	e.images, err = dataset.Open(path)
	return err
}

func (e *evaluator) close() {
	for _, d := range []*dataset.Dataset{e.data, e.validation, e.images} {
		if d != nil {
			_ = d.Close() // it was only read
		}
	}
}

// build returns the network at a point with fresh weights.
func (e *evaluator) build(p point) (*onnx.Model, error) {
	return zoo.BuildNetwork(e.space.network(p), e.options())
}
