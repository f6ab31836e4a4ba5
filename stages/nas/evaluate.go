package nas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/learn"
	devices "github.com/darkroom-dev/darkroom/learn/device"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/stages"
)

// evaluator turns points into networks and trains them.
type evaluator struct {
	*nas
	job               *stages.Job
	space             space
	data, validation  *dataset.Dataset
	images            *dataset.Dataset // that candidates are trained on
	means, deviations []float64

	// costs and nearest are used by the goroutine that proposes.
	costs   map[string]cost // by point
	nearest *priced         // the member that breaks the limits least; nil while one keeps them

	surveys        map[string]*infer.Survey // by port
	scaled, looked map[string]int           // layers whose time was estimated from a nearest one, and all, by port
	unmeasured     *surveyError             // the last member whose time a table does not tell
}

// priced is a member with its cost.
type priced struct {
	text string
	cost cost
}

// decisions is the space as the strategies see it: members that keep the limits.
func (e *evaluator) decisions() *decisions {
	return &decisions{sizes: e.space.decisions(), canonical: e.space.canonical, valid: func(p point) bool {
		c, err := e.price(e.space.canonical(p))
		if err != nil {
			errors.As(err, &e.unmeasured)
			return false
		}
		factor, _ := e.limit.excess(c)
		return factor <= 1
	}}
}

// price returns what the network at a point costs.
func (e *evaluator) price(p point) (cost, error) {
	if c, ok := e.costs[p.key()]; ok {
		return c, nil
	}
	m, err := e.build(p)
	if err != nil {
		return cost{}, err
	}
	g := surgery.Edit(m)
	all, err := g.Costs()
	if err != nil {
		return cost{}, err
	}
	c := cost{flops: all.Total.FLOPs, parameters: m.Parameters()}
	if err := e.estimate(&c, all, e.space.network(p).String()); err != nil {
		return cost{}, err
	}
	e.costs[p.key()] = c
	if factor, _ := e.limit.excess(c); factor > 1 {
		if e.nearest == nil {
			e.nearest = &priced{e.space.network(p).String(), c}
		} else if before, _ := e.limit.excess(e.nearest.cost); factor < before {
			e.nearest = &priced{e.space.network(p).String(), c}
		}
	}
	return c, nil
}

// candidate is a trial with what is known of it.
type candidate struct {
	trial
	text     string
	cost     cost
	accuracy float64
	loss     float64
	epochs   int
	failed   string    // why it has no score
	folder   string    // of its part: trained.onnx
	scores   []float64 // without training, in order of the argument
}

// search evaluates what the strategy proposes, as many at a time as there are threads, and returns the candidates in order of their numbers.
func (e *evaluator) search(ctx context.Context, s strategy) ([]candidate, error) {
	var all []candidate
	var done []trial
	for {
		next, err := s.propose(done)
		if err != nil || len(next) == 0 {
			return all, err
		}
		found := make([]candidate, len(next))
		errs := make([]error, len(next))
		slots := make(chan struct{}, max(1, e.job.Device.Threads))
		var group sync.WaitGroup
		for i, t := range next {
			c, err := e.price(t.point)
			if err != nil {
				return nil, err
			}
			found[i] = candidate{trial: t, text: e.space.network(t.point).String(), cost: c}
			group.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				if errs[i] = ctx.Err(); errs[i] == nil {
					errs[i] = e.evaluate(ctx, &found[i])
				}
			})
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		for _, c := range found {
			e.say(c)
			all, done = append(all, c), append(done, c.trial)
		}
		e.job.Progress(stages.Progress{Phase: "candidates", Done: int64(len(all)), Total: int64(max(e.trials, len(all))), Unit: "candidates", Metrics: []stages.Metric{{Name: "best accuracy", Value: mostAccurate(all)}}})
	}
}

func mostAccurate(all []candidate) float64 {
	best := 0.0
	for _, c := range all {
		best = max(best, c.accuracy)
	}
	return best
}

func (e *evaluator) say(c candidate) {
	if c.failed != "" {
		e.job.Logf("candidate %d failed: %s; %s", c.number, c.failed, c.text)
		return
	}
	e.job.Logf("candidate %d: accuracy %.4f after %d epochs, %s; %s", c.number, c.accuracy, c.epochs, e.costText(c.cost), c.text)
}

// outcome is what a part says of a candidate.
type outcome struct {
	Accuracy float64 `json:"accuracy"`
	Loss     float64 `json:"loss"`
	Epochs   int     `json:"epochs"`
	Failed   string  `json:"failed,omitempty"`
}

// evaluate trains a candidate, or finds that it was trained before, and scores it.
func (e *evaluator) evaluate(ctx context.Context, c *candidate) error {
	model, err := e.build(c.point)
	if err != nil {
		return err
	}
	epochs := max(1, int(float64(e.budget.epochs)*c.budget+0.5))
	dir, err := e.job.Memo(ctx, e.part(c, model, epochs), func(ctx context.Context, dir string) error { return e.train(ctx, model, epochs, dir) })
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "outcome.json"))
	if err != nil {
		return fmt.Errorf("reading what is known of candidate %d: %w", c.number, err)
	}
	var o outcome
	if err := json.Unmarshal(text, &o); err != nil {
		return fmt.Errorf("reading what is known of candidate %d: %w", c.number, err)
	}
	c.accuracy, c.loss, c.epochs, c.failed, c.folder = o.Accuracy, o.Loss, o.Epochs, o.Failed, dir
	if c.failed == "" {
		c.score = e.score(*c)
	}
	return nil
}

// part names the evaluation. The thread count of the stage is not a part of it: each candidate has one thread.
func (e *evaluator) part(c *candidate, m *onnx.Model, epochs int) stages.Part {
	b := e.budget
	bytes, _ := m.Bytes() // a model that was built
	data, _ := e.job.Input("data")
	validation, _ := e.job.Input("validation")
	return stages.Part{Seed: e.job.Seed, Inputs: map[string]artifact.Ref{"data": data.Ref, "validation": validation.Ref}, OneThread: true,
		Text: fmt.Sprintf("candidate %s\nmodel = %s\nepochs = %d of %d, samples = %d, batch = %d, learning_rate = %x, weight_decay = %x, patience = %d\n",
			c.text, artifact.DigestBytes(bytes), epochs, b.epochs, b.samples, b.batch, b.rate, b.decay, b.patience)}
}

// score is the candidate's by objective, larger is better.
func (e *evaluator) score(c candidate) score {
	var s score
	for _, o := range e.objectives {
		s = append(s, e.worth(c, o))
	}
	return s
}

// train trains the network into dir. A training that diverges is a result too.
func (e *evaluator) train(ctx context.Context, m *onnx.Model, epochs int, dir string) error {
	backend, err := devices.Open(devices.Class{Backend: stages.CPU, Threads: 1})
	if err != nil {
		return err
	}
	defer backend.Finalize()
	b := e.budget
	r, err := learn.Train(ctx, learn.Config{Backend: backend, Model: m, Data: e.images, Validation: e.validation, Epochs: epochs, Batch: min(b.batch, e.images.Len()),
		LearningRate: b.rate, Optimizer: learn.SGD{Momentum: 0.9, WeightDecay: b.decay, Nesterov: true},
		Schedule: learn.Schedule{Shape: learn.Cosine{}, Warmup: 0.5}, Stopping: learn.Stopping{Patience: b.patience}, Seed: e.job.Seed, Workers: b.workers})
	var diverged *learn.DivergedError
	var misfit *learn.FitError
	var o outcome
	switch {
	case errors.As(err, &diverged):
		o.Failed = diverged.Error()
	case errors.As(err, &misfit):
		return stages.Problemf(where(misfit.What), "Candidates cannot be trained", "%s", misfit.Detail)
	case err != nil:
		return err
	default:
		best := r.Epochs[r.BestEpoch-1].Validation
		o = outcome{Accuracy: best.Accuracy, Loss: best.Loss, Epochs: len(r.Epochs)}
		if err := r.Best.Save(filepath.Join(dir, "trained.onnx")); err != nil {
			return err
		}
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "outcome.json"), append(text, '\n'), 0o666)
}

// where names the argument that a misfit of the trainer is about.
func where(what string) string {
	if what == "batch" {
		return "budget"
	}
	if slices.Contains([]string{"validation", "data"}, what) {
		return what
	}
	return ""
}

// batch is the first n images of the training set in the order of the seed, not augmented.
func (e *evaluator) batch(n int) (*learn.Batch, error) {
	n = min(n, e.images.Len())
	loader, err := dataset.NewLoader(e.images, dataset.LoaderOptions{Batch: n, Seed: e.job.Seed, Shuffle: true, DropLast: true, Workers: 1, Layout: dataset.CHWN})
	if err != nil {
		return nil, err
	}
	for b, err := range loader.Epoch(context.Background(), 0, 0) {
		if err != nil {
			return nil, err
		}
		return &learn.Batch{Images: slices.Clone(b.Images), Ints: map[string][]int32{learn.LabelsInput: slices.Clone(b.Labels)}, Indexes: slices.Clone(b.Indexes)}, nil
	}
	return nil, errors.New("there are no images to rank with")
}

// worth is a candidate's number for an objective, larger is better.
func (e *evaluator) worth(c candidate, objective string) float64 {
	if objective == "accuracy" {
		return c.accuracy
	}
	return -c.cost.of(objective)
}
