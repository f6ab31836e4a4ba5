package learn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/darkroom-dev/darkroom/dataset"
)

// Train trains the model. It resumes from a checkpoint that fits this very training, and then ends in the same bytes as a
// training that was never stopped. Each epoch leaves out the images of a last batch that is not full; the order is new in each epoch, so
// these are others every time. When ctx ends, the state is kept in a checkpoint and ctx's error returned.
func Train(ctx context.Context, c Config) (*Result, error) {
	if err := Check(c); err != nil {
		return nil, err
	}
	c = c.filled()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r, err := newRun(c)
	if err != nil {
		return nil, err
	}
	defer r.machine.Close()
	for r.epoch < c.Epochs && !r.Stopping.after(r.Monitor, r.history) {
		if err := r.thaw(); err != nil {
			return nil, err
		}
		if err := r.runEpoch(ctx); err != nil {
			return nil, err
		}
	}
	if r.epoch < c.Epochs {
		r.log("stopped after epoch %d: none of the last %d was better than epoch %d", r.epoch, r.Stopping.Patience, r.bestEpoch)
	}
	return r.result(ctx)
}

// run is a training that is going on. What is not part of Config or Machine is what a checkpoint's position holds.
type run struct {
	Config
	machine    *Machine
	source     BatchSource
	validation *dataset.Loader // nil: none
	keeper     *keeper         // nil: no checkpoints

	epoch, batch int // to do next
	lossSum      float64
	totals       map[string]float64 // of the objective's metrics in this epoch
	seen         int                // images of this epoch
	history      []Epoch
	kept         int       // steps that the last checkpoint holds; 0: there is none
	bestEpoch    int       // counts from 1; 0: none yet
	best         *Snapshot // the state after bestEpoch; nil while that is the current one
	mean         weightMean
	memory       *Memory // estimated; nil: not

	meter meter
}

func newRun(c Config) (*run, error) {
	r := &run{Config: c, source: c.Source, totals: map[string]float64{}}
	var err error
	if r.source == nil {
		if r.source, err = newDataSource(c.Data, c.Batch, c.Seed, c.Workers, c.Balanced); err != nil {
			return nil, err
		}
	}
	if c.Validation != nil && c.Judge == nil {
		o := dataset.LoaderOptions{Batch: c.Batch / c.Accumulate, Workers: c.Workers, Layout: dataset.CHWN}
		if r.validation, err = dataset.NewLoader(c.Validation, o); err != nil {
			return nil, err
		}
	}
	if r.memory, err = c.fitMemory(); err != nil {
		return nil, err
	}
	o, err := c.machineOptions()
	if err != nil {
		return nil, err
	}
	if r.machine, err = NewMachine(o); err != nil {
		return nil, err
	}
	if c.Checkpoints != "" {
		if err := r.resume(); err != nil {
			r.machine.Close()
			return nil, err
		}
	}
	r.meter.start(r.done())
	return r, nil
}

// resume continues from a checkpoint if there is one that fits.
func (r *run) resume() error {
	fingerprint, err := r.fingerprint()
	if err != nil {
		return err
	}
	r.keeper = &keeper{dir: r.Checkpoints, fingerprint: fingerprint}
	p, state, best, mean, err := r.keeper.load()
	if err != nil {
		r.log("starting from the beginning: %v", err)
		return nil
	}
	if p == nil {
		return nil
	}
	if err := r.machine.Restore(*state); err != nil {
		return err
	}
	r.epoch, r.batch, r.lossSum, r.totals, r.seen = p.Epoch, p.Batch, p.LossSum, p.Totals, p.Seen
	r.history, r.bestEpoch, r.best, r.mean = p.History, p.BestEpoch, best, mean
	r.kept, _ = r.steps()
	r.log("resuming at epoch %d, step %d of %d", r.epoch+1, r.batch+1, r.source.Batches())
	return nil
}

func (r *run) log(format string, args ...any) {
	if r.Log != nil {
		r.Log(fmt.Sprintf(format, args...))
	}
}

// steps returns the steps done and those of the whole training.
func (r *run) steps() (done, total int) {
	return r.epoch*r.source.Batches() + r.batch, r.Epochs * r.source.Batches()
}

// done returns the images trained on so far.
func (r *run) done() int64 {
	steps, _ := r.steps()
	return int64(steps) * int64(r.Batch)
}

func (r *run) runEpoch(ctx context.Context) error {
	last := time.Now()
	for batch, err := range r.source.Epoch(ctx, r.epoch, r.batch) {
		if err != nil {
			return r.stopped(err)
		}
		if err := r.step(batch); err != nil {
			return err
		}
		if r.keeper != nil && r.CheckpointEvery > 0 && time.Since(last) >= r.CheckpointEvery && r.batch < r.source.Batches() {
			if err := r.keep(); err != nil {
				return err
			}
			last = time.Now()
		}
	}
	if err := r.endEpoch(ctx); err != nil {
		return err
	}
	if r.keeper == nil {
		return nil
	}
	return r.keep()
}

// stopped keeps the state when the training is cancelled, so that nothing done is lost.
func (r *run) stopped(err error) error {
	if r.keeper == nil {
		return err
	}
	return errors.Join(err, r.keep())
}

// thaw freezes what is frozen in the step that comes.
func (r *run) thaw() error {
	frozen, err := r.Freeze.frozenIn(r.epoch, r.Model, r.machine.plan)
	if err != nil {
		return err
	}
	done, total := r.steps()
	if err := r.Settle.freeze(frozen, done, total, r.Model, r.machine.plan); err != nil {
		return err
	}
	changed, err := r.machine.Freeze(frozen)
	if err != nil || !changed {
		return err
	}
	r.log("epoch %d: %d of %d parameter tensors are trained", r.epoch+1, len(r.machine.plan.parameters)-len(frozen), len(r.machine.plan.parameters))
	return nil
}

// rate returns the learning rate of a step, counted from 0 over all epochs.
func (r *run) rate(step int) float64 {
	_, total := r.steps()
	return r.StepRate(step, total, r.source.Batches())
}

func (r *run) step(b *Batch) error {
	done, total := r.steps()
	if done > 0 && done == r.Settle.from(total) {
		if err := r.thaw(); err != nil {
			return err
		}
	}
	rate := r.rate(done)
	r.machine.SetMomentum(r.Schedule.Momentum(done, total, r.source.Batches()))
	out, err := r.machine.Step(b, rate)
	if err != nil {
		return r.outOfMemory(err)
	}
	r.batch++
	if math.IsNaN(out.Loss) || math.IsInf(out.Loss, 0) {
		return r.diverged(done+1, rate, b)
	}
	r.lossSum += out.Loss
	for name, v := range out.Metrics {
		r.totals[name] += v
	}
	r.seen += len(b.Indexes)
	r.report(false)
	return nil
}

// diverged says where the training went wrong; b is the batch of the step, nil where it is not known.
func (r *run) diverged(step int, rate float64, b *Batch) error {
	e := &DivergedError{Epoch: r.epoch + 1, Step: step, LearningRate: rate, Kept: r.kept}
	if b != nil {
		for _, i := range b.Indexes {
			e.Samples = append(e.Samples, r.source.ID(i))
		}
	}
	return e
}

func (r *run) report(validating bool) {
	r.meter.update(r.done())
	if r.Progress == nil {
		return
	}
	_, total := r.steps()
	p := Progress{Epoch: r.epoch + 1, Epochs: r.Epochs, Done: r.done(), Total: int64(total) * int64(r.Batch), Validating: validating, Rate: r.meter.rate()}
	if r.batch > 0 {
		done, _ := r.steps()
		p.Loss, p.Accuracy, p.LearningRate = r.lossSum/float64(r.batch), r.totals[AccuracyMetric]/float64(r.seen), r.rate(done-1)
	}
	if p.Rate > 0 {
		p.Left = time.Duration(float64(p.Total-p.Done) / p.Rate * float64(time.Second))
	}
	r.Progress(p)
}
