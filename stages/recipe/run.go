package recipe

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/learn"
	devices "github.com/darkroom-dev/darkroom/learn/device"
	"github.com/darkroom-dev/darkroom/stages"
)

// Open opens the dataset on a port; nil where nothing is connected. The caller closes it.
func Open(job *stages.Job, port string) (*dataset.Dataset, error) {
	in, ok := job.Input(port)
	if !ok {
		return nil, nil
	}
	return dataset.Open(in.Path)
}

// Images describes what a model sees of the images that it is trained on: their policy's operations may change the size.
func Images(d *dataset.Dataset) (dataset.Info, error) {
	info, err := d.Info().Augmented()
	if err != nil {
		return info, stages.Problemf("data", "Training cannot start", "The augmentation does not fit the images: %v. All images of a training have one size.", err)
	}
	return info, nil
}

// DeviceClass is the job's device as the trainer's devices are chosen by.
func DeviceClass(d stages.Device) devices.Class {
	return devices.Class{Backend: d.Backend, Precision: d.Precision, Threads: d.Threads}
}

// Quiet leaves the cores to what computes on them, and returns what takes that back: the spinning threads of Go's scheduler and those of ONNX
// Runtime fight for them, so one of Go's is faster. For a GPU the processor has nothing to do but prepare batches, on all cores.
func Quiet(d stages.Device) (restore func()) {
	if d.Backend == stages.CUDA {
		return func() {}
	}
	before := runtime.GOMAXPROCS(1)
	return func() { runtime.GOMAXPROCS(before) }
}

// Progress is a training's progress as a stage reports it. before stands in front of the phase, judging behind it while the model is judged, and unit is what is counted.
func Progress(p learn.Progress, before, judging, unit string) stages.Progress {
	phase := fmt.Sprintf("%sepoch %d/%d", before, p.Epoch, p.Epochs)
	if p.Validating {
		phase += ", " + judging
	}
	out := stages.Progress{Phase: phase, Done: p.Done, Total: p.Total, Unit: unit, Rate: p.Rate, Left: p.Left}
	if p.Done > 0 {
		out.Metrics = []stages.Metric{{Name: "loss", Value: p.Loss}, {Name: "accuracy", Value: p.Accuracy}, {Name: "learning rate", Value: p.LearningRate}}
	}
	return out
}

// Problem makes mistakes of a training that the user can mend Problems; batch is how many images a step has.
func Problem(err error, batch int) error {
	var misfit *learn.FitError
	if errors.As(err, &misfit) {
		return stages.Problemf(misfit.What, "Training cannot start", "%s", misfit.Detail)
	}
	var memory *learn.MemoryError
	if errors.As(err, &memory) {
		return stages.Problemf("batch", "Out of memory", "%s", memoryText(memory, batch))
	}
	var diverged *learn.DivergedError
	if errors.As(err, &diverged) {
		return divergence(diverged)
	}
	return err
}

// divergence says where a training went wrong and what to do.
func divergence(e *learn.DivergedError) stages.Problem {
	text := fmt.Sprintf("The loss is not a finite number any more, at step %d in epoch %d, with a learning rate of %.4g.", e.Step, e.Epoch, e.LearningRate)
	if e.Kept > 0 {
		text += fmt.Sprintf(" The last good checkpoint holds the state after step %d.", e.Kept)
	} else {
		text += " There is no checkpoint from before."
	}
	if n := len(e.Samples); n > 0 {
		shown := e.Samples[:min(n, 8)]
		text += fmt.Sprintf(" The images of that batch are %s", strings.Join(shown, ", "))
		if n > len(shown) {
			text += fmt.Sprintf(" and %d more", n-len(shown))
		}
		text += "."
	}
	return stages.Problemf("learning_rate", "Training diverged", "%s The learning rate is too high for this model and these images: try a third of it, a schedule with a warm-up, or a clip block.", text)
}
