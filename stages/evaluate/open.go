package evaluate

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/stages"
)

// answerer is a model that is ready to answer: a session of ONNX Runtime, of a model or of an engine.
type answerer interface {
	Info() infer.Info
	// Logits returns (n, classes) for images of pixels from 0 to 1, (n, C, H, W).
	Logits(ctx context.Context, images []float32, n int) ([]float32, error)
	Close()
}

// openModel opens the model on that port for the dataset's images and checks that their classes agree.
func (e *evaluate) openModel(job *stages.Job, port string, data dataset.Info) (answerer, error) {
	session, err := e.openSession(job, port, data, e.batch, job.Device.Threads)
	if err != nil {
		return nil, err
	}
	if p := classProblem(port, session.Info(), data.Classes); p != nil {
		session.Close()
		return nil, *p
	}
	return session, nil
}

// subject is what a port's name stands for: a model, or the engine in its place.
type subject struct {
	path   string // of the ONNX file
	folder string // of an engine; "" for a model
}

// subjectOf finds the model, the engine, or the baseline.
func subjectOf(job *stages.Job, port string) subject {
	if in, ok := job.Input("engine"); ok && port == "model" {
		return subject{infer.EngineModel(in.Path), in.Path}
	}
	in, _ := job.Input(port)
	return subject{path: in.Path}
}

// size is that of the model's file; of an engine, of the ONNX file and the plan that it may refer to.
func (s subject) size() (int64, error) {
	if s.folder == "" {
		file, err := os.Stat(s.path)
		if err != nil {
			return 0, err
		}
		return file.Size(), nil
	}
	total := int64(0)
	for _, name := range []string{filepath.Base(s.path), "engine.plan"} {
		if file, err := os.Stat(filepath.Join(s.folder, name)); err == nil {
			total += file.Size()
		}
	}
	if total == 0 {
		return 0, stages.Problemf("engine", "No engine", "The artifact holds no engine: its build was skipped on a machine without TensorRT, or an older version of darkroom made it. Build it where TensorRT is.")
	}
	return total, nil
}

// openSession opens a model or an engine.
func (e *evaluate) openSession(job *stages.Job, port string, data dataset.Info, batch, threads int) (*infer.Session, error) {
	s := subjectOf(job, port)
	session, err := infer.Open(s.path, infer.Options{Threads: threads, Batch: batch, TensorRT: s.folder != "",
		Channels: data.Channels, Height: data.Height, Width: data.Width, Mean: e.mean, Std: e.std})
	var broken *infer.ModelError
	var missing *infer.MissingError
	switch {
	case errors.As(err, &broken):
		return nil, stages.Problemf(port, "Model does not fit", "The model cannot be run on these images of %d×%d with %d channels: %s.", data.Width, data.Height, data.Channels, broken.Detail)
	case errors.As(err, &missing):
		p := stages.Problemf("engine", "Engine cannot be run here", "%s. An engine runs through ONNX Runtime's TensorRT provider, with the TensorRT and on the kind of GPU that it was built with; evaluate the model that it was built of to judge its answers on a processor.", missing.Detail)
		p.Lacking = true
		return nil, p
	}
	return session, err
}

// classProblem says how a model's classes differ from those of the images; nil when they agree. A model without class
// names only has to have as many.
func classProblem(port string, model infer.Info, classes []string) *stages.Problem {
	const summary = "Classes do not agree"
	if len(model.Classes) == 0 {
		if model.Outputs != 0 && model.Outputs != len(classes) {
			p := stages.Problemf(port, summary, "The model has %d outputs, but the images have %d classes (%s).", model.Outputs, len(classes), listed(classes))
			return &p
		}
		return nil
	}
	if len(model.Classes) != len(classes) {
		p := stages.Problemf(port, summary, "The model knows %d classes (%s), but the images have %d (%s). Evaluate on images from the same ingest as the model was trained on.",
			len(model.Classes), listed(model.Classes), len(classes), listed(classes))
		return &p
	}
	for i := range classes {
		if model.Classes[i] != classes[i] {
			p := stages.Problemf(port, summary, "Class %d is %q for the model but %q for the images. Class names and their order must be the same, or its answers would be counted for the wrong classes.",
				i, model.Classes[i], classes[i])
			return &p
		}
	}
	return nil
}
