package evaluate

import (
	"context"
	"errors"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/stages"
)

// answerer is a model that is ready to answer: a session of ONNX Runtime. Whoever runs another kind of file (an engine) opens it here.
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

// openSession opens an ONNX model.
func (e *evaluate) openSession(job *stages.Job, port string, data dataset.Info, batch, threads int) (*infer.Session, error) {
	in, _ := job.Input(port)
	session, err := infer.Open(in.Path, infer.Options{Threads: threads, Batch: batch,
		Channels: data.Channels, Height: data.Height, Width: data.Width, Mean: e.mean, Std: e.std})
	var broken *infer.ModelError
	if errors.As(err, &broken) {
		return nil, stages.Problemf(port, "Model does not fit", "The model cannot be run on these images of %d×%d with %d channels: %s.", data.Width, data.Height, data.Channels, broken.Detail)
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
