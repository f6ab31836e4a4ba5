package learn

import (
	"fmt"
	"math"
)

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
	c = c.filled()
	info, in := c.Data.Info(), c.Model.Input()
	if _, err := makePlan(c.Model); err != nil {
		return misfit("model", "%v.", err)
	}
	switch {
	case c.Epochs < 1 || c.Batch < 1 || !(c.LearningRate > 0) || math.IsInf(c.LearningRate, 0):
		return misfit("", "%d epochs of batches of %d images with learning rate %g: epochs and batch must be at least 1, and the rate above 0 and finite.", c.Epochs, c.Batch, c.LearningRate)
	case c.Batch%c.Accumulate != 0:
		return misfit("batch", "A batch of %d images does not divide into %d equal micro-batches.", c.Batch, c.Accumulate)
	case in.Channels != 0 && in.Channels != info.Channels || in.Height != 0 && in.Height != info.Height || in.Width != 0 && in.Width != info.Width:
		return misfit("model", "The model takes images of %d×%d with %d channels, but these are %d×%d with %d.", in.Width, in.Height, in.Channels, info.Width, info.Height, info.Channels)
	case in.Batch > 1 && in.Batch != c.Batch/c.Accumulate:
		return misfit("model", "The model is fixed to batches of %d images; export it with an open batch, or set batch = %d.", in.Batch, in.Batch)
	case c.Source == nil && c.Data.Len() < c.Batch:
		return misfit("batch", "A batch of %d images is more than the %d images there are to train on. A batch that is not full is left out, so nothing would be trained. Write batch = %d or less.", c.Batch, c.Data.Len(), c.Data.Len())
	}
	if classifier, ok := c.Objective.(interface{ classifies() }); ok {
		classifier.classifies()
		if out := c.Model.Output(); out.Classes != 0 && out.Classes != len(info.Classes) {
			return misfit("model", "The model has %d outputs, but the images have %d classes.", out.Classes, len(info.Classes))
		}
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
