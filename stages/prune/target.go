package prune

import (
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/stages"
)

// target is the block of the size to reach.
type target struct {
	flops, parameters float64
	latency           float64 // milliseconds
	latencyRatio      float64
	batch, threads    int
}

// timed reports whether the target is the time of a run.
func (t *target) timed() bool { return t.latency > 0 || t.latencyRatio > 0 }

func (t *target) Declare(s *stages.Schema) {
	s.Float(&t.flops, "flops", 0, "FLOPs to keep, as a share of the original's.").In(0, 1).NoDefault()
	s.Float(&t.parameters, "parameters", 0, "Parameters to keep, as a share of the original's.").In(0, 1).NoDefault()
	s.Float(&t.latency, "latency", 0, "Time that a run may take, as the table on the input `latency` tells it. Give the stages the same `round_to`.").Min(0).InUnit("milliseconds").NoDefault()
	s.Float(&t.latencyRatio, "latency_ratio", 0, "The same as a share of what the original takes.").In(0, 1).NoDefault()
	s.Int(&t.batch, "batch", 0, "With a time: images a run; without it that of the table's first measurement.").In(1, 4096).NoDefault()
	s.Int(&t.threads, "thread_count", 0, "With a time: threads of the compute library, likewise.").In(1, 256).NoDefault()
}

// Check implements stages.Checker.
func (t *target) Check() []stages.Problem {
	given := 0
	for _, v := range []float64{t.flops, t.parameters, t.latency, t.latencyRatio} {
		if v > 0 {
			given++
		}
	}
	if given != 1 {
		return []stages.Problem{stages.Problemf("", "Target without a number", "Give one of \"flops\" and \"parameters\", the share of the original to keep, or of \"latency\" and \"latency_ratio\", the time that a run may take. Here are %d of them.", given)}
	}
	if !t.timed() && (t.batch > 0 || t.threads > 0) {
		return []stages.Problem{stages.Problemf("batch", "Argument without effect", "\"batch\" and \"thread_count\" say which run is timed, and this target has none.")}
	}
	return nil
}

// cost is what a target is about: a model's FLOPs, parameters or latency.
type cost func(g *surgery.Graph) (float64, error)

func flops(g *surgery.Graph) (float64, error) {
	c, err := g.Costs()
	if err != nil {
		return 0, err
	}
	return float64(c.Total.FLOPs), nil
}

func parameters(g *surgery.Graph) (float64, error) {
	c, err := g.Costs()
	if err != nil {
		return 0, err
	}
	return float64(c.Total.Parameters), nil
}

// aim is a target with what it is reached by.
type aim struct {
	of             cost
	original, goal float64 // in the cost's unit
	least          func(v float64) string
}

// aim makes the target of the arguments ready for a model.
func (w *work) aim(m *onnx.Model) (*aim, error) {
	a := &aim{of: flops}
	name, share := "FLOPs", w.target.flops
	switch {
	case w.target.timed():
		a.of, share = w.latencyOf, w.target.latencyRatio
	case w.target.parameters > 0:
		a.of, name, share = parameters, "parameters", w.target.parameters
	}
	g := surgery.Edit(m)
	if err := g.Simplify(); err != nil {
		return nil, stages.Problemf("model", "Model cannot be pruned", "%v.", err)
	}
	var err error
	if a.original, err = a.of(g); err != nil {
		return nil, stages.Problemf("model", "Model cannot be pruned", "%v.", err)
	}
	a.goal = a.original * share
	a.least = func(v float64) string {
		return fmt.Sprintf("The target keeps %.4g of the original's %s, but with as few channels left as may be in each layer that may be pruned it still has %.4g.", share, name, v/a.original)
	}
	if w.target.timed() {
		if w.target.latency > 0 {
			a.goal = min(w.target.latency, a.original)
		}
		a.least = func(v float64) string {
			return fmt.Sprintf("A run of %d images on %d threads is to take %.4g ms and takes %.4g ms now, but with as few channels left as may be in each layer that may be pruned it still takes %.4g ms, as the table tells: that is the nearest.",
				w.estimator.Batch, w.estimator.Threads, a.goal, a.original, v)
		}
	}
	return a, nil
}

// ratio finds the smallest ratio with which a model is so much of the way to the goal, from 0 to 1.
func (w *work) reach(a *aim, m *onnx.Model, score importance, way float64) (float64, error) {
	ratio, err := w.cutter.reach(m, score, a.of, a.original*math.Pow(a.goal/a.original, way))
	var far *unreachable
	if errors.As(err, &far) {
		return 0, stages.Problemf("target", "Target cannot be reached", "%s Raise the target, lower \"round_to\", or exclude fewer layers.", a.least(far.least))
	}
	return ratio, err
}

// openLatencies reads the table on the input latency, where there is one.
func (w *work) openLatencies(m *onnx.Model) error {
	in, ok := w.job.Input("latency")
	if !ok {
		return nil
	}
	f, err := os.Open(in.Path)
	if err != nil {
		return fmt.Errorf("opening the latency table: %w", err)
	}
	defer f.Close()
	rows, err := infer.ReadLatencies(f)
	if err != nil {
		return stages.Problemf("latency", "No latency table", "%v. Connect the output \"latency\" of a profile stage.", err)
	}
	if w.estimator, err = infer.NewEstimator(rows, w.target.batch, w.target.threads); err != nil {
		return stages.Problemf("latency", "Latency that was not measured", "%v. Add it to \"batches\" and \"thread_counts\" of the profile stage, or name one that it has.", err)
	}
	costs, err := simplified(m)
	if err != nil {
		return stages.Problemf("model", "Model cannot be pruned", "%v.", err)
	}
	if layer := w.estimator.Unlike(macsOf(costs)); layer != "" {
		return stages.Problemf("latency", "Latency of another model", "The layer %s of the table does other work than in this model, if it is there at all. Connect a profile of the model that is pruned.", layer)
	}
	if w.estimator.Widths() == 1 {
		w.job.Logf("the table was measured with all channels only, so times are taken to be proportional to the work of a layer; widths = [0.75, 0.5, 0.25] in the profile stage tells more")
	}
	return nil
}

// latencyOf estimates the time of a run from the table.
func (w *work) latencyOf(g *surgery.Graph) (float64, error) {
	c, err := g.Costs()
	if err != nil {
		return 0, err
	}
	return w.estimator.Milliseconds(macsOf(c)), nil
}

func macsOf(c *surgery.Costs) map[string]int {
	out := map[string]int{}
	for _, n := range c.Nodes {
		if n.MACs > 0 {
			out[n.Name()] += n.MACs
		}
	}
	return out
}

// timing is how a model is measured after it was pruned to a latency.
var timing = infer.TimingOptions{Warmup: 10, Runs: 50, Budget: 3e9, Least: 5}

// measureLatency says what the estimate was and what both models really take on this machine, one after the other.
func (w *work) measureLatency(r *result) error {
	if w.estimator == nil {
		w.job.Value("latency_estimate", nil)
		return nil
	}
	g := surgery.Edit(r.after)
	if err := g.Simplify(); err != nil {
		return err
	}
	var err error
	if r.latency, err = w.latencyOf(g); err != nil {
		return err
	}
	w.job.Value("latency_estimate", r.latency)
	took := map[string]float64{}
	for _, m := range []struct {
		name  string
		model *onnx.Model
	}{{"latency_before", r.before}, {"latency", r.after}} {
		if took[m.name], err = w.timed(m.model); err != nil {
			return err
		}
		w.job.Measure(m.name, took[m.name])
	}
	w.job.Logf("a run of %d images on %d threads: estimated %.3f ms, measured %.3f ms, before %.3f ms", w.estimator.Batch, w.estimator.Threads, r.latency, took["latency"], took["latency_before"])
	if w.target.latency > 0 && took["latency"] > w.target.latency || w.target.latencyRatio > 0 && took["latency"] > w.target.latencyRatio*took["latency_before"] {
		w.job.Logf("Warning: the measured time is above the target. The machine was busier than when the table was made, or the table lacks widths near this one")
	}
	return nil
}

// timed runs a model on this machine and returns the median in milliseconds.
func (w *work) timed(m *onnx.Model) (float64, error) {
	path, err := w.saved(m)
	if err != nil {
		return 0, err
	}
	o := infer.Options{Threads: w.estimator.Threads, Batch: w.estimator.Batch}
	if d := w.images(); d != nil {
		info := d.Info()
		o.Channels, o.Height, o.Width = info.Channels, info.Height, info.Width
	}
	s, err := infer.Open(path, o)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	t, err := infer.Time(w.ctx, s, w.estimator.Threads, timing)
	if err != nil {
		return 0, err
	}
	return t.At(0.5), nil
}
