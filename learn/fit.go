package learn

import (
	"fmt"
	"math"
	"unicode"
	"unicode/utf8"

	"github.com/darkroom-dev/darkroom/dataset"
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
	in := c.Model.Input()
	info, err := c.images()
	if err != nil {
		return misfit("data", "The augmentation does not fit the images: %v. All images of a training have one size.", err)
	}
	p, err := makePlan(c.Model.Untied())
	if err != nil {
		return misfit("model", "%v.", err)
	}
	switch {
	case c.Epochs < 1 || c.Batch < 1 || !(c.LearningRate > 0) || math.IsInf(c.LearningRate, 0):
		return misfit("", "%d epochs of batches of %d images with learning rate %g: epochs and batch must be at least 1, and the rate above 0 and finite.", c.Epochs, c.Batch, c.LearningRate)
	case c.Batch%c.Accumulate != 0:
		return misfit("batch", "A batch of %d images does not divide into %d equal micro-batches.", c.Batch, c.Accumulate)
	case in.Channels != 0 && in.Channels != info.Channels || in.Height != 0 && in.Height != info.Height || in.Width != 0 && in.Width != info.Width:
		return misfit("model", "The model takes images of %d×%d with %d channels, but these are %d×%d with %d%s.", in.Width, in.Height, in.Channels, info.Width, info.Height, info.Channels, c.augmentedText(info))
	case in.Batch > 1 && in.Batch != c.Batch/c.Accumulate:
		return misfit("model", "The model is fixed to batches of %d images; export it with an open batch, or set batch = %d.", in.Batch, in.Batch)
	case c.Source == nil && c.Data.Len() < c.Batch:
		return misfit("batch", "A batch of %d images is more than the %d images there are to train on. A batch that is not full is left out, so nothing would be trained. Write batch = %d or less.", c.Batch, c.Data.Len(), c.Data.Len())
	}
	if err := checkClasses(c); err != nil {
		return err
	}
	if err := checkRecipe(c, p); err != nil {
		return err
	}
	if c.Validation == nil {
		return nil
	}
	v, classes := c.Validation.Info(), len(info.Classes)
	if _, ok := targetsOf(c.Objective); !ok && classes == 0 { // learned from images without labels
		classes = c.Model.Output().Classes
	}
	if (v.Height != info.Height || v.Width != info.Width) && c.augmentedText(info) != "" {
		return misfit("validation", "The model is trained on images of %d×%d%s, and the validation images are %d×%d: they are judged as they are. Bring them to that size by an augment stage with center_crop or resize and materialise = 1, and what the model is evaluated on likewise.",
			info.Width, info.Height, c.augmentedText(info), v.Width, v.Height)
	}
	if v.Height != info.Height || v.Width != info.Width || v.Channels != info.Channels || len(v.Classes) != classes {
		return misfit("validation", "The validation images are %d×%d with %d channels and %d classes, the training images %d×%d with %d and %d.",
			v.Width, v.Height, v.Channels, len(v.Classes), info.Width, info.Height, info.Channels, classes)
	}
	return nil
}

// augmentedText says that images have the size of info by the augmentation; "" where it leaves the size as it was.
func (c Config) augmentedText(info dataset.Info) string {
	if stored := c.Data.Info(); stored.Height != info.Height || stored.Width != info.Width {
		return fmt.Sprintf(", as the augmentation leaves those of %d×%d", stored.Width, stored.Height)
	}
	return ""
}

// checkClasses refuses data that a classification cannot learn from.
func checkClasses(c Config) error {
	t, ok := targetsOf(c.Objective)
	if !ok {
		return nil
	}
	info, out := c.Data.Info(), c.Model.Output()
	switch {
	case info.Task != "" && info.Task != dataset.Classification && info.Task != dataset.MultiLabel || len(info.Classes) == 0:
		return misfit("data", "The images have no class labels: the dataset is for the task %q. Train on one whose images are labelled.", info.Task)
	case info.Task == dataset.MultiLabel && !yesOrNo(c.Objective):
		return misfit("loss", "Each image may have several classes, which this loss does not take. Write loss \"binary_cross_entropy\" {}.")
	case out.Classes != 0 && out.Classes != len(info.Classes):
		return misfit("model", "The model has %d outputs, but the images have %d classes.", out.Classes, len(info.Classes))
	case c.Source == nil && info.Policy.Mixes() && !t.Soft:
		return misfit("loss", "The augmentation mixes images, so that a target is shares of several classes, which this loss was not told.")
	case len(t.Weights) > 0 && len(t.Weights) != len(info.Classes):
		return misfit("loss", "There are %d weights of classes, but %d classes. Give one for each, in the order %q.", len(t.Weights), len(info.Classes), info.Classes)
	case c.Balanced && info.Task == dataset.MultiLabel:
		return misfit("balanced", "Images that may have several classes cannot be drawn so that every class comes equally often.")
	}
	if info.Task == dataset.MultiLabel {
		return nil
	}
	for i := range c.Data.Len() {
		if c.Data.Label(i) < 0 {
			return misfit("data", "The image %q has no label. Leave such images out, or give them one.", c.Data.ID(i))
		}
	}
	return nil
}

// yesOrNo reports whether an objective has an answer for each class by itself.
func yesOrNo(o Objective) bool {
	if p, ok := o.(Penalised); ok {
		o = p.Objective
	}
	_, ok := o.(BinaryCrossEntropy)
	return ok
}

// checkRecipe refuses arguments that do not fit the model, the length of the training or each other.
func checkRecipe(c Config, p *plan) error {
	if text := c.Schedule.Check(c.Epochs); text != "" {
		return misfit("schedule", "%s", text)
	}
	for epoch := range max(1, min(c.Epochs, c.Freeze.Epochs)) {
		if _, err := c.Freeze.frozenIn(epoch, c.Model, p); err != nil {
			return misfit("freeze", "%s.", capital(err))
		}
	}
	if _, err := c.Rates.scales(c.Model, p); err != nil {
		return misfit("rates", "%s.", capital(err))
	}
	trial := *p
	trial.drop = c.Drop
	switch err := trial.planDrop(c.Model); {
	case err != nil:
		return misfit("", "%s.", capital(err))
	case c.Freeze.Epochs > c.Epochs:
		return misfit("freeze", "Layers are frozen for %d epochs, which is longer than the training of %d. Without \"epochs\" they are frozen all the time.", c.Freeze.Epochs, c.Epochs)
	case c.Freeze.Steps > c.Freeze.Epochs && c.Freeze.Steps > 1:
		return misfit("freeze", "Layers cannot thaw in %d steps over %d epochs: each step is an epoch or more.", c.Freeze.Steps, c.Freeze.Epochs)
	case c.SWA.From > c.Epochs:
		return misfit("swa", "Weights are averaged from epoch %d on, but the training has %d.", c.SWA.From, c.Epochs)
	case c.SWA.From > 0 && c.Average.Decay > 0:
		return misfit("swa", "Two averages of the weights exclude each other. Keep \"ema\" or \"swa\".")
	case c.Stopping.Patience > 0 && c.Validation == nil && c.Judge == nil:
		return misfit("early_stopping", "Early stopping watches the validation images, and there are none. Connect \"validation\".")
	}
	return nil
}

// capital returns the error's text with a capital letter first.
func capital(err error) string {
	first, size := utf8.DecodeRuneInString(err.Error())
	return string(unicode.ToUpper(first)) + err.Error()[size:]
}
