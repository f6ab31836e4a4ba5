package prune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/learn"
	devices "github.com/darkroom-dev/darkroom/learn/device"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/stages"
)

// fineTune is the block that trains the pruned model.
type fineTune struct {
	epochs, batch int
	rate, decay   float64
	warmup        float64
	workers       int
}

func (t *fineTune) Declare(s *stages.Schema) {
	s.Int(&t.epochs, "epochs", 10, "Passes over `data` after each step.").In(1, 100_000)
	s.Int(&t.batch, "batch", 128, "Images in a step of training.").In(1, 65536)
	s.Float(&t.rate, "learning_rate", 0.02, "Peak step size; it falls along half a cosine.").Above(0).In(0, 100)
	s.Float(&t.decay, "weight_decay", 5e-4, "Pulls weights towards zero.").In(0, 1)
	s.Float(&t.warmup, "warmup", 0.5, "Epochs in which the step size rises to the peak.").Min(0).InUnit("epochs")
	s.Int(&t.workers, "workers", 2, "Goroutines that prepare batches.").In(1, 256).NotInKey()
}

// Check implements stages.Checker.
func (t *fineTune) Check() []stages.Problem {
	if t.warmup > float64(t.epochs) {
		return []stages.Problem{stages.Problemf("warmup", "Value out of range", "The warm-up of %g epochs is longer than the %d epochs of fine-tuning.", t.warmup, t.epochs)}
	}
	return nil
}

// fineTune trains a model after a step, where the stage is to; masks keep weights at zero.
func (w *work) fineTune(m *onnx.Model, name string, masks map[string]mask) (*onnx.Model, error) {
	if !w.tuned {
		return m, nil
	}
	return w.train(m, name, w.tune, learn.CrossEntropy{}, masks)
}

// train trains a model with checkpoints in a folder of that name.
func (w *work) train(m *onnx.Model, name string, t fineTune, o learn.Objective, masks map[string]mask) (*onnx.Model, error) {
	backend, err := devices.Open(devices.Class{Backend: w.job.Device.Backend, Precision: w.job.Device.Precision, Threads: w.job.Device.Threads})
	if err != nil {
		return nil, err
	}
	defer backend.Finalize()
	c := learn.Config{Backend: backend, Model: m, Data: w.data, Validation: w.validation, Objective: o, Epochs: t.epochs, Batch: min(t.batch, w.data.Len()),
		LearningRate: t.rate, Optimizer: learn.SGD{Momentum: 0.9, WeightDecay: t.decay, Nesterov: true}, Schedule: learn.Schedule{Shape: learn.Cosine{}, Warmup: t.warmup},
		Seed: w.job.Seed, Workers: t.workers, Checkpoints: filepath.Join(w.job.ScratchDir, name), CheckpointEvery: 20 * time.Second, Masks: masksOf(masks),
		Log: func(line string) { w.job.Logf("%s: %s", name, line) },
		Progress: func(p learn.Progress) {
			w.job.Progress(stages.Progress{Phase: fmt.Sprintf("%s, epoch %d/%d", name, p.Epoch, p.Epochs), Done: p.Done, Total: p.Total, Unit: "images", Rate: p.Rate, Left: p.Left,
				Metrics: []stages.Metric{{Name: "loss", Value: p.Loss}, {Name: "accuracy", Value: p.Accuracy}}})
		}}
	r, err := learn.Train(w.ctx, c)
	var misfit *learn.FitError
	var diverged *learn.DivergedError
	switch {
	case errors.As(err, &misfit):
		return nil, stages.Problemf("fine_tune", "Fine-tuning cannot start", "%s", misfit.Detail)
	case errors.As(err, &diverged):
		return nil, stages.Problemf("fine_tune", "Fine-tuning diverged", "%v. Lower its learning_rate.", diverged)
	case err != nil:
		return nil, err
	}
	return r.Best, nil
}

// masksOf hands the masks to the trainer.
func masksOf(masks map[string]mask) map[string][]bool {
	if masks == nil {
		return nil
	}
	out := map[string][]bool{}
	for name, m := range masks {
		out[name] = m
	}
	return out
}

// gradients returns the sums of the gradients of the loss over the first images of the data.
func (w *work) gradients(m *onnx.Model, images int) (map[string][]float32, error) {
	backend, err := devices.Open(devices.Class{Backend: w.job.Device.Backend, Precision: w.job.Device.Precision, Threads: w.job.Device.Threads})
	if err != nil {
		return nil, err
	}
	defer backend.Finalize()
	info := w.data.Info()
	batch := min(64, images, w.data.Len())
	machine, err := learn.NewMachine(learn.MachineOptions{Backend: backend, Model: m, Channels: info.Channels, Height: info.Height, Width: info.Width, Batch: batch, Objective: learn.CrossEntropy{}})
	if err != nil {
		return nil, stages.Problemf("model", "Model cannot be trained", "The method taylor needs gradients: %v.", err)
	}
	defer machine.Close()
	loader, err := dataset.NewLoader(w.data, dataset.LoaderOptions{Batch: batch, DropLast: true, Workers: 1, Layout: dataset.CHWN, Seed: w.job.Seed, Shuffle: true})
	if err != nil {
		return nil, err
	}
	sum := map[string][]float32{}
	done := 0
	for b, err := range loader.Epoch(w.ctx, 0, 0) {
		if err != nil {
			return nil, err
		}
		g, _, err := machine.Gradients(&learn.Batch{Images: b.Images, Ints: map[string][]int32{learn.LabelsInput: b.Labels}, Indexes: b.Indexes})
		if err != nil {
			return nil, err
		}
		for name, list := range g {
			if sum[name] == nil {
				sum[name] = make([]float32, len(list))
			}
			for i, v := range list {
				sum[name][i] += v
			}
		}
		if done += b.N; done >= images {
			break
		}
		w.job.Progress(stages.Progress{Phase: "gradients", Done: int64(done), Total: int64(images), Unit: "images"})
	}
	return sum, w.ctx.Err()
}

// accuracy judges a model on the first images of the validation set, all when limit is 0; not a number without one.
func (w *work) accuracy(m *onnx.Model, limit int) (float64, error) {
	if w.validation == nil {
		return math.NaN(), nil
	}
	path, err := w.saved(m)
	if err != nil {
		return 0, err
	}
	return answer(w.ctx, path, max(w.job.Device.Threads, 1), w.validation, limit)
}

// saved writes a model to judge or to time, over the last one.
func (w *work) saved(m *onnx.Model) (string, error) {
	if err := os.MkdirAll(w.job.ScratchDir, 0o777); err != nil {
		return "", fmt.Errorf("making the scratch folder: %w", err)
	}
	path := filepath.Join(w.job.ScratchDir, "judged.onnx")
	return path, m.Save(path)
}

// images is a connected dataset, for the size of its images; nil: none.
func (w *work) images() *dataset.Dataset {
	if w.validation != nil {
		return w.validation
	}
	return w.data
}

func answer(ctx context.Context, path string, threads int, d *dataset.Dataset, limit int) (float64, error) {
	info := d.Info()
	session, err := infer.Open(path, infer.Options{Threads: threads, Channels: info.Channels, Height: info.Height, Width: info.Width})
	if err != nil {
		return 0, err
	}
	defer session.Close()
	a, err := infer.Answer(ctx, session, d, limit, nil)
	if err != nil {
		return 0, err
	}
	return a.Accuracy(), nil
}
