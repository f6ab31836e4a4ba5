package learn

import (
	"context"
	"time"

	"github.com/gomlx/compute"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/onnx"
)

// Config is a training. All of it but Backend's identity, Workers, Checkpoints and the callbacks can change the result.
type Config struct {
	Backend    compute.Backend  // the device
	Model      *onnx.Model      // where to start; it is not changed
	Data       *dataset.Dataset // its policy, if it has one, is applied anew in each epoch; the model takes images of the size that it leaves
	Validation *dataset.Dataset // nil: none; its policy is not applied, and its images have the size that the model takes
	Objective  Objective        // nil: CrossEntropy
	// Source gives the batches; nil: DataSource on Data. It must fit Batch, and Data's image size unless it is made of a DataSource.
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

	// MemoryLimit is the most that the process may take, in bytes: what cannot fit is refused before the first step, a *MemoryError, on a device that tells
	// what it takes. 0: nothing is estimated.
	MemoryLimit     int64
	Workers         int           // goroutines that prepare batches; 0 counts as 1
	Checkpoints     string        // a folder that survives attempts; "": none are kept
	CheckpointEvery time.Duration // between checkpoints within an epoch; 0: only at its end

	Progress func(Progress)    // nil: none; called after every step
	Log      func(line string) // nil: none
}

// images describes what the model sees in training: the images of Data as the augmentation leaves them.
func (c Config) images() (dataset.Info, error) {
	info := c.Data.Info()
	if c.Source == nil {
		return info.Augmented()
	}
	if s, ok := c.Source.(sized); ok {
		if h, w := s.size(); h > 0 {
			info.Height, info.Width = h, w
		}
	}
	return info, nil
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

// StepRate returns the learning rate of a step, counted from 0, of total with perEpoch in each epoch.
func (c Config) StepRate(step, total, perEpoch int) float64 {
	if c.SWA.From > 0 && c.SWA.Rate > 0 && step/perEpoch+1 >= c.SWA.From {
		return c.SWA.Rate
	}
	return c.Schedule.At(c.LearningRate, step, total, perEpoch)
}
