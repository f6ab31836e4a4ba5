package learn

import (
	"context"
	"fmt"
	"time"

	"github.com/darkroom-dev/darkroom/onnx"
)

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
	// LossScale is what the loss is multiplied by at the end of the epoch in float16; 0 on a device that needs no scale.
	LossScale float64 `json:"loss_scale,omitempty"`
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
	Groups     []RateGroup
	Memory     *Memory // the estimate that was made before the first step; nil: none was
	Rate       float64 // training images a second in this process; 0 when nothing was left to train
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

func (r *run) result(ctx context.Context) (*Result, error) {
	state, err := r.machine.Snapshot()
	if err != nil {
		return nil, err
	}
	if !state.finite() {
		done, _ := r.steps()
		return nil, r.diverged(done, r.rate(done-1), nil)
	}
	out := &Result{BestEpoch: r.bestEpoch, Epochs: r.history, Groups: r.machine.rateGroups(), Memory: r.memory, Rate: r.meter.rate()}
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
