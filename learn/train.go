package learn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gomlx/compute"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/onnx"
)

// Config is a training. All of it but Backend's identity, Workers, Checkpoints and the callbacks can change the result.
type Config struct {
	Backend    compute.Backend  // the device
	Model      *onnx.Model      // where to start; it is not changed
	Data       *dataset.Dataset // its policy, if it has one, is applied anew in each epoch
	Validation *dataset.Dataset // nil: none; its policy is not applied
	Objective  Objective        // nil: CrossEntropy
	// Source gives the batches; nil: DataSource on Data. It must fit Data's image size and Batch.
	Source BatchSource
	// Judge scores the model after each epoch; the best one is that with the highest Accuracy of what it returns. nil: cross entropy and accuracy on
	// Validation. JudgeIdentity says everything that changes what it does.
	Judge         func(ctx context.Context, m *Machine) (Score, error)
	JudgeIdentity string

	Epochs       int       // at least 1
	Batch        int       // images in a step; at least 1
	Accumulate   int       // how many equal micro-batches a batch passes through the model in; 0 counts as 1
	LearningRate float64   // the peak, above 0
	Optimizer    Optimizer // nil: plain SGD
	Clip         Clip
	Schedule     Schedule
	Balanced     bool // every class comes equally often in an epoch; of DataSource only
	Drop         Drop
	Freeze       Freeze
	Settle       Settle // freezes parameters late
	Rates        LayerRates
	Masks        map[string][]bool // hold numbers of parameters at 0; see MachineOptions
	Average      Average           // of the weights, judged and given in their place
	SWA          SWA
	Stopping     Stopping
	Monitor      Monitor // what the best epoch is chosen by
	Seed         uint64  // of the order of images and of augmentation

	Workers         int           // goroutines that prepare batches; 0 counts as 1
	Checkpoints     string        // a folder that survives attempts; "": none are kept
	CheckpointEvery time.Duration // between checkpoints within an epoch; 0: only at its end

	Progress func(Progress)    // nil: none; called after every step
	Log      func(line string) // nil: none
}

// Monitor is what the best epoch is chosen by and early stopping watches.
type Monitor string

// The monitors. Of equal epochs the earlier is better.
const (
	ByAccuracy Monitor = ""     // the highest
	ByLoss     Monitor = "loss" // the lowest
)

// better reports whether a is better than b by more than margin.
func (m Monitor) better(a, b Score, margin float64) bool {
	if m == ByLoss {
		return a.Loss < b.Loss-margin
	}
	return a.Accuracy > b.Accuracy+margin
}

// Stopping ends a training early.
type Stopping struct {
	Patience int     // epochs without an epoch that is better than all before; 0: the training is not stopped
	Margin   float64 // how much better an epoch must be to count, at least 0
}

// after reports whether a training with this history is to end.
func (s Stopping) after(m Monitor, history []Epoch) bool {
	if s.Patience == 0 {
		return false
	}
	best := 0 // the last epoch that counted
	for i, e := range history {
		if e.Validation == nil {
			return false
		}
		if i > 0 && m.better(*e.Validation, *history[best].Validation, s.Margin) {
			best = i
		}
	}
	return len(history)-1-best >= s.Patience
}

// Progress is how far a training is.
type Progress struct {
	Epoch, Epochs int   // Epoch counts from 1
	Done, Total   int64 // images, over all epochs
	Validating    bool
	Rate          float64       // training images a second, in this process
	Left          time.Duration // estimated; 0 when not known
	Loss          float64       // mean of this epoch so far
	Accuracy      float64       // share of right answers while training in this epoch so far
	LearningRate  float64       // of the last step
}

// Epoch is what is known after one pass over the training images.
type Epoch struct {
	Epoch         int     `json:"epoch"` // counts from 1
	Step          int     `json:"step"`  // steps done so far
	LearningRate  float64 `json:"learning_rate"`
	TrainLoss     float64 `json:"train_loss"`     // mean over the epoch's batches while the weights move, augmented
	TrainAccuracy float64 `json:"train_accuracy"` // likewise; 0 where the objective has no such metric
	// TrainMetrics are the objective's other metrics, means over the epoch's images.
	TrainMetrics map[string]float64 `json:"train_metrics,omitempty"`
	// Skipped is how many steps so far moved no weight, since their gradients were not finite in float16.
	Skipped int `json:"skipped,omitempty"`
	// Validation is nil without a validation set.
	Validation *Score `json:"validation,omitempty"`
}

// Score is how good the model is on a dataset.
type Score struct {
	Loss     float64 `json:"loss"` // mean cross entropy without smoothing, in nats
	Accuracy float64 `json:"accuracy"`
	// Metrics are what else a Judge found.
	Metrics map[string]float64 `json:"metrics,omitempty"`
}

// Result is a finished training.
type Result struct {
	Best, Last *onnx.Model
	BestEpoch  int       // by validation accuracy, the earlier of equal ones; the last without validation
	Epochs     []Epoch   // as many as were trained: fewer than were asked for where it stopped early
	Averaged   *Averaged // of SWA; nil without
	UseMean    bool      // Best and Last are SWA's mean
	Rate       float64   // training images a second in this process; 0 when nothing was left to train
}

// DivergedError says that the loss or a weight is no finite number any more.
type DivergedError struct {
	Epoch, Step  int // count from 1
	LearningRate float64
	Samples      []string // the images of the batch, by their ids; none where it was noticed after the last step
	Kept         int      // steps that the last good checkpoint holds; 0: there is none
}

func (e *DivergedError) Error() string {
	return fmt.Sprintf("the training diverged: the loss is not finite at step %d, in epoch %d, with learning rate %g", e.Step, e.Epoch, e.LearningRate)
}

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

// filled returns c with what is not given in place.
func (c Config) filled() Config {
	if c.Objective == nil {
		c.Objective = CrossEntropy{}
	}
	if c.Optimizer == nil {
		c.Optimizer = SGD{}
	}
	c.Accumulate, c.Workers = max(c.Accumulate, 1), max(c.Workers, 1)
	return c
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

	meter meter
}

func newRun(c Config) (*run, error) {
	r := &run{Config: c, source: c.Source, totals: map[string]float64{}}
	info := c.Data.Info()
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
	p, err := makePlan(c.Model)
	if err != nil {
		return nil, err
	}
	scales, err := c.Rates.scales(c.Model, p)
	if err != nil {
		return nil, err
	}
	r.machine, err = NewMachine(MachineOptions{Masks: c.Masks, Clip: c.Clip, Average: c.Average, Scales: scales, FrozenStatistics: c.Freeze.Statistics, Seed: c.Seed, Drop: c.Drop,
		Backend: c.Backend, Model: c.Model, Channels: info.Channels, Height: info.Height, Width: info.Width,
		Batch: c.Batch, Accumulate: c.Accumulate, Objective: c.Objective, Optimizer: c.Optimizer})
	if err != nil {
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

// StepRate returns the learning rate of a step, counted from 0, of total with perEpoch in each epoch.
func (c Config) StepRate(step, total, perEpoch int) float64 {
	if c.SWA.From > 0 && c.SWA.Rate > 0 && step/perEpoch+1 >= c.SWA.From {
		return c.SWA.Rate
	}
	return c.Schedule.At(c.LearningRate, step, total, perEpoch)
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
		return r.outOfMemory(err, b)
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

// endEpoch validates, notes the epoch, and keeps the best weights.
func (r *run) endEpoch(ctx context.Context) error {
	done, _ := r.steps()
	rate := r.rate(done - 1)
	e := Epoch{Epoch: r.epoch + 1, Step: done, LearningRate: rate, TrainLoss: r.lossSum / float64(r.batch)}
	for name, total := range r.totals {
		mean := total / float64(r.seen)
		if name == AccuracyMetric {
			e.TrainAccuracy = mean
			continue
		}
		if e.TrainMetrics == nil {
			e.TrainMetrics = map[string]float64{}
		}
		e.TrainMetrics[name] = mean
	}
	if err := r.noteScale(&e); err != nil {
		return err
	}
	if r.validation != nil || r.Judge != nil {
		r.report(true)
		r.meter.pause()
		score, err := r.judge(ctx)
		if err != nil {
			return r.stopped(err)
		}
		if math.IsNaN(score.Loss) || math.IsInf(score.Loss, 0) {
			return r.diverged(done, rate, nil)
		}
		e.Validation = &score
		r.meter.resume()
	}
	better := r.bestEpoch == 0 || e.Validation == nil || r.Monitor.better(*e.Validation, *r.history[r.bestEpoch-1].Validation, 0)
	if !better && r.best == nil {
		return errors.New("the best weights were lost") // an invariant: see advance
	}
	r.history = append(r.history, e)
	r.logEpoch(e)
	if err := r.averageEpoch(e.Epoch); err != nil {
		return err
	}
	return r.advance(better)
}

func (r *run) judge(ctx context.Context) (Score, error) {
	if r.Judge != nil {
		return r.Judge(ctx, r.machine)
	}
	return r.machine.score(ctx, r.validation, judgement(r.Objective, r.Validation))
}

// advance moves on to the next epoch. It copies the state when it is the best so far and another epoch will change it.
func (r *run) advance(better bool) error {
	r.epoch++
	r.batch, r.lossSum, r.totals, r.seen = 0, 0, map[string]float64{}, 0
	if !better {
		return nil
	}
	r.bestEpoch, r.best = r.epoch, nil
	if r.history[r.epoch-1].Validation == nil || r.epoch == r.Epochs && r.SWA.From == 0 {
		return nil
	}
	best, err := r.machine.Snapshot()
	r.best = &best
	return err
}

func (r *run) logEpoch(e Epoch) {
	if e.Validation == nil {
		r.log("epoch %d/%d: loss %.4f, accuracy %.4f, learning rate %.4g", e.Epoch, r.Epochs, e.TrainLoss, e.TrainAccuracy, e.LearningRate)
		return
	}
	r.log("epoch %d/%d: loss %.4f, accuracy %.4f; validation loss %.4f, accuracy %.4f; learning rate %.4g",
		e.Epoch, r.Epochs, e.TrainLoss, e.TrainAccuracy, e.Validation.Loss, e.Validation.Accuracy, e.LearningRate)
}

func (r *run) result(ctx context.Context) (*Result, error) {
	state, err := r.machine.Snapshot()
	if err != nil {
		return nil, err
	}
	if !state.finite() {
		done, _ := r.steps()
		return nil, r.diverged(done, r.rate(done-1), nil)
	}
	out := &Result{BestEpoch: r.bestEpoch, Epochs: r.history, Rate: r.meter.rate()}
	if out.Last, err = r.machine.Trained(state); err != nil {
		return nil, err
	}
	out.Best = out.Last
	if r.best != nil && r.bestEpoch != r.epoch {
		if out.Best, err = r.machine.Trained(*r.best); err != nil {
			return nil, err
		}
	}
	if r.mean.count == 0 {
		return out, nil
	}
	return out, r.resultOfMean(ctx, out)
}

// resultOfMean puts SWA's mean into the result: as the last model, and as the best unless an epoch was better.
func (r *run) resultOfMean(ctx context.Context, out *Result) error {
	var err error
	if out.Averaged, err = r.applyMean(ctx); err != nil {
		return err
	}
	state, err := r.machine.Snapshot()
	if err != nil {
		return err
	}
	if out.Last, err = r.machine.Trained(state); err != nil {
		return err
	}
	best := r.history[r.bestEpoch-1].Validation
	out.UseMean = best == nil || !r.Monitor.better(*best, *out.Averaged.Score, 0)
	if out.UseMean {
		out.Best = out.Last
	}
	r.log("the mean of the weights of %d epochs: %s", out.Averaged.Count, out.Averaged.text())
	return nil
}
