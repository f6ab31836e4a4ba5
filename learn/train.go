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

	Epochs       int     // at least 1
	Batch        int     // images in a step; at least 1
	LearningRate float64 // the peak, above 0
	Optimizer    SGD
	Loss         CrossEntropy
	Schedule     Schedule
	Seed         uint64 // of the order of images and of augmentation

	Workers         int           // goroutines that prepare batches; 0 counts as 1
	Checkpoints     string        // a folder that survives attempts; "": none are kept
	CheckpointEvery time.Duration // between checkpoints within an epoch; 0: only at its end

	Progress func(Progress)    // nil: none; called after every step
	Log      func(line string) // nil: none
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
}

// Epoch is what is known after one pass over the training images.
type Epoch struct {
	Epoch         int     `json:"epoch"` // counts from 1
	Step          int     `json:"step"`  // steps done so far
	LearningRate  float64 `json:"learning_rate"`
	TrainLoss     float64 `json:"train_loss"`     // mean over the epoch's batches while the weights move, augmented
	TrainAccuracy float64 `json:"train_accuracy"` // likewise
	// Validation is nil without a validation set.
	Validation *Score `json:"validation,omitempty"`
}

// Score is how good the model is on a dataset.
type Score struct {
	Loss     float64 `json:"loss"` // mean cross entropy without smoothing, in nats
	Accuracy float64 `json:"accuracy"`
}

// Result is a finished training.
type Result struct {
	Best, Last *onnx.Model
	BestEpoch  int // by validation accuracy, the earlier of equal ones; the last without validation
	Epochs     []Epoch
	Rate       float64 // training images a second in this process; 0 when nothing was left to train
}

// DivergedError says that the loss is no finite number any more.
type DivergedError struct {
	Epoch, Step  int // count from 1
	LearningRate float64
}

func (e *DivergedError) Error() string {
	return fmt.Sprintf("the training diverged: the loss is not finite at step %d, in epoch %d, with learning rate %g", e.Step, e.Epoch, e.LearningRate)
}

// FitError says that the model, the images or the arguments do not fit each other; it is found before training starts.
type FitError struct {
	What   string // what to change: model, batch, validation, or "" for the training as a whole
	Detail string // full sentences
}

func (e *FitError) Error() string { return e.Detail }

func misfit(what, format string, args ...any) error {
	return &FitError{what, fmt.Sprintf(format, args...)}
}

// Check finds what would stop the training before it starts: a *FitError.
func Check(c Config) error {
	info, in, out := c.Data.Info(), c.Model.Input(), c.Model.Output()
	if _, err := makePlan(c.Model); err != nil {
		return misfit("model", "%v.", err)
	}
	switch {
	case c.Epochs < 1 || c.Batch < 1 || !(c.LearningRate > 0) || math.IsInf(c.LearningRate, 0):
		return misfit("", "%d epochs of batches of %d images with learning rate %g: epochs and batch must be at least 1, and the rate above 0 and finite.", c.Epochs, c.Batch, c.LearningRate)
	case in.Channels != 0 && in.Channels != info.Channels || in.Height != 0 && in.Height != info.Height || in.Width != 0 && in.Width != info.Width:
		return misfit("model", "The model takes images of %d×%d with %d channels, but these are %d×%d with %d.", in.Width, in.Height, in.Channels, info.Width, info.Height, info.Channels)
	case in.Batch > 1 && in.Batch != c.Batch:
		return misfit("model", "The model is fixed to batches of %d images; export it with an open batch, or set batch = %d.", in.Batch, in.Batch)
	case out.Classes != 0 && out.Classes != len(info.Classes):
		return misfit("model", "The model has %d outputs, but the images have %d classes.", out.Classes, len(info.Classes))
	case c.Data.Len() < c.Batch:
		return misfit("batch", "A batch of %d images is more than the %d images there are to train on. A batch that is not full is left out, so nothing would be trained. Write batch = %d or less.", c.Batch, c.Data.Len(), c.Data.Len())
	}
	if c.Validation == nil {
		return nil
	}
	v := c.Validation.Info()
	if v.Height != info.Height || v.Width != info.Width || v.Channels != info.Channels || len(v.Classes) != len(info.Classes) {
		return misfit("validation", "The validation images are %d×%d with %d channels and %d classes, the training images %d×%d with %d and %d.",
			v.Width, v.Height, v.Channels, len(v.Classes), info.Width, info.Height, info.Channels, len(info.Classes))
	}
	return nil
}

// Train trains the model. It resumes from a checkpoint that fits this very training, and then ends in the same bytes as a
// training that was never stopped. Each epoch leaves out the images of a last batch that is not full; the order is new in each epoch, so
// these are others every time. When ctx ends, the state is kept in a checkpoint and ctx's error returned.
func Train(ctx context.Context, c Config) (*Result, error) {
	if err := Check(c); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r, err := newRun(c)
	if err != nil {
		return nil, err
	}
	defer r.machine.close()
	for r.epoch < c.Epochs {
		if err := r.runEpoch(ctx); err != nil {
			return nil, err
		}
	}
	return r.result()
}

// run is a training that is going on. Its exported part of the state is that of a checkpoint.
type run struct {
	Config
	machine    *machine
	loader     *dataset.Loader
	validation *dataset.Loader // nil: none
	keeper     *keeper         // nil: no checkpoints

	epoch, batch int // to do next
	lossSum      float64
	correct      float64
	seen         int // images of this epoch
	history      []Epoch
	bestEpoch    int         // counts from 1; 0: none yet
	best         [][]float32 // the state after bestEpoch; nil while that is the current one

	meter meter
}

func newRun(c Config) (*run, error) {
	p, err := makePlan(c.Model)
	if err != nil {
		return nil, err
	}
	r := &run{Config: c}
	info := c.Data.Info()
	o := dataset.LoaderOptions{Batch: c.Batch, Seed: c.Seed, Shuffle: true, Augment: true, DropLast: true, Workers: max(c.Workers, 1), Layout: dataset.CHWN}
	if r.loader, err = dataset.NewLoader(c.Data, o); err != nil {
		return nil, err
	}
	if c.Validation != nil {
		o = dataset.LoaderOptions{Batch: c.Batch, Workers: max(c.Workers, 1), Layout: dataset.CHWN}
		if r.validation, err = dataset.NewLoader(c.Validation, o); err != nil {
			return nil, err
		}
	}
	r.machine, err = newMachine(c.Backend, c.Model, p, stepOptions{image: imageShape{info.Channels, info.Height, info.Width}, batch: c.Batch, loss: c.Loss, optimizer: c.Optimizer})
	if err != nil {
		return nil, err
	}
	if c.Checkpoints != "" {
		if err := r.resume(); err != nil {
			r.machine.close()
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
	p, state, best, err := r.keeper.load()
	if err != nil {
		r.log("starting from the beginning: %v", err)
		return nil
	}
	if p == nil {
		return nil
	}
	if err := r.machine.restore(state); err != nil {
		return err
	}
	r.epoch, r.batch, r.lossSum, r.correct, r.seen = p.Epoch, p.Batch, p.LossSum, p.Correct, p.Seen
	r.history, r.bestEpoch, r.best = p.History, p.BestEpoch, best
	r.log("resuming at epoch %d, step %d of %d", r.epoch+1, r.batch+1, r.loader.Batches())
	return nil
}

func (r *run) log(format string, args ...any) {
	if r.Log != nil {
		r.Log(fmt.Sprintf(format, args...))
	}
}

// steps returns the steps done and those of the whole training.
func (r *run) steps() (done, total int) {
	return r.epoch*r.loader.Batches() + r.batch, r.Epochs * r.loader.Batches()
}

// done returns the images trained on so far.
func (r *run) done() int64 {
	steps, _ := r.steps()
	return int64(steps) * int64(r.Batch)
}

func (r *run) runEpoch(ctx context.Context) error {
	last := time.Now()
	for batch, err := range r.loader.Epoch(ctx, r.epoch, r.batch) {
		if err != nil {
			return r.stopped(err)
		}
		if err := r.step(batch); err != nil {
			return err
		}
		if r.keeper != nil && r.CheckpointEvery > 0 && time.Since(last) >= r.CheckpointEvery && r.batch < r.loader.Batches() {
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

// rate returns the learning rate of a step, counted from 0 over all epochs.
func (r *run) rate(step int) float64 {
	_, total := r.steps()
	return r.Schedule.rate(r.LearningRate, step, total, r.loader.Batches())
}

func (r *run) step(b *dataset.Batch) error {
	done, _ := r.steps()
	rate := r.rate(done)
	copy(r.machine.pixels, b.Images)
	copy(r.machine.targets, b.Labels)
	loss, correct, err := r.machine.step(rate)
	if err != nil {
		return err
	}
	r.batch++
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return &DivergedError{r.epoch + 1, done + 1, rate}
	}
	r.lossSum += loss
	r.correct += correct
	r.seen += b.N
	r.report(false)
	return nil
}

func (r *run) report(validating bool) {
	r.meter.update(r.done())
	if r.Progress == nil {
		return
	}
	_, total := r.steps()
	p := Progress{Epoch: r.epoch + 1, Epochs: r.Epochs, Done: r.done(), Total: int64(total) * int64(r.Batch), Validating: validating, Rate: r.meter.rate()}
	if r.batch > 0 {
		p.Loss, p.Accuracy = r.lossSum/float64(r.batch), r.correct/float64(r.seen)
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
	e := Epoch{Epoch: r.epoch + 1, Step: done, LearningRate: rate, TrainLoss: r.lossSum / float64(r.batch), TrainAccuracy: r.correct / float64(r.seen)}
	if r.validation != nil {
		r.report(true)
		r.meter.pause()
		score, err := r.machine.score(ctx, r.validation)
		if err != nil {
			return r.stopped(err)
		}
		if math.IsNaN(score.Loss) || math.IsInf(score.Loss, 0) {
			return &DivergedError{e.Epoch, done, rate}
		}
		e.Validation = &score
		r.meter.resume()
	}
	better := r.bestEpoch == 0 || e.Validation == nil || e.Validation.Accuracy > r.history[r.bestEpoch-1].Validation.Accuracy
	if !better && r.best == nil {
		return errors.New("the best weights were lost") // an invariant: see advance
	}
	r.history = append(r.history, e)
	r.logEpoch(e)
	return r.advance(better)
}

// advance moves on to the next epoch. It copies the state when it is the best so far and another epoch will change it.
func (r *run) advance(better bool) error {
	r.epoch++
	r.batch, r.lossSum, r.correct, r.seen = 0, 0, 0, 0
	if !better {
		return nil
	}
	r.bestEpoch, r.best = r.epoch, nil
	if r.validation == nil || r.epoch == r.Epochs {
		return nil
	}
	var err error
	r.best, err = r.machine.snapshot()
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

func (r *run) result() (*Result, error) {
	state, err := r.machine.snapshot()
	if err != nil {
		return nil, err
	}
	for _, list := range state {
		for _, v := range list {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return nil, &DivergedError{r.Epochs, r.Epochs * r.loader.Batches(), r.history[len(r.history)-1].LearningRate}
			}
		}
	}
	out := &Result{BestEpoch: r.bestEpoch, Epochs: r.history, Rate: r.meter.rate()}
	if out.Last, err = r.machine.trained(state); err != nil {
		return nil, err
	}
	out.Best = out.Last
	if r.best != nil && r.bestEpoch != r.Epochs {
		out.Best, err = r.machine.trained(r.best)
	}
	return out, err
}
