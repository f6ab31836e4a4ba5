package infer

import (
	"context"
	"errors"
	"fmt"

	onnxruntime "github.com/yalue/onnxruntime_go"

	"github.com/darkroom-dev/darkroom/infer/ort"
)

// Probe runs a model that gives inner values as its outputs (surgery.Graph.Expose), for calibration and for comparing two models layer by
// layer. It is not safe for concurrent use.
type Probe struct {
	s      Session
	values []string
	runner *onnxruntime.DynamicAdvancedSession
}

// OpenProbe loads the ONNX file at path, whose outputs are float32 and named values. Options.Batch is not used unless the model fixes its own.
func OpenProbe(path string, values []string, o Options) (*Probe, error) {
	if err := ort.Init(); err != nil {
		return nil, err
	}
	p := &Probe{s: Session{path: path}, values: values}
	if err := p.open(o); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Probe) open(o Options) error {
	options, err := sessionOptions(max(1, o.Threads))
	if err != nil {
		return fmt.Errorf("ONNX Runtime session options: %w", err)
	}
	defer options.Destroy()
	inputs, _, err := onnxruntime.GetInputOutputInfoWithOptions(p.s.path, options)
	if err != nil {
		return &ModelError{p.s.path, loadProblem(err)}
	}
	if len(inputs) != 1 || len(inputs[0].Dimensions) != 4 {
		return &ModelError{p.s.path, fmt.Sprintf("its inputs are %s; an image classification model has one, of shape (N, C, H, W)", portNames(inputs))}
	}
	p.s.info = Info{Input: inputs[0].Name}
	if err := p.s.info.takeImageShape(inputs[0], o); err != nil {
		return &ModelError{p.s.path, err.Error()}
	}
	if p.runner, err = onnxruntime.NewDynamicAdvancedSession(p.s.path, []string{p.s.info.Input}, p.values, options); err != nil {
		return &ModelError{p.s.path, loadProblem(err)}
	}
	if p.s.info.Metadata, err = readMetadata(p.runner); err != nil {
		return &ModelError{p.s.path, err.Error()}
	}
	return p.s.normalise(o.Mean, o.Std)
}

// Batch is the number of images that the model takes at once; 0: any.
func (p *Probe) Batch() int { return p.s.info.Batch }

// Close frees what the probe holds.
func (p *Probe) Close() {
	if p.runner != nil {
		p.runner.Destroy()
		p.runner = nil
	}
}

// Run gives n images, pixels from 0 to 1, (n, C, H, W), to the model and hands each value to visit, in the order of the names given to OpenProbe. The
// data is valid during the call alone.
func (p *Probe) Run(ctx context.Context, images []float32, n int, visit func(i int, dims []int64, data []float32)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info := p.s.info
	if n < 1 || len(images) != n*info.Channels*info.Height*info.Width || info.Batch > 0 && n != info.Batch {
		return fmt.Errorf("running %s: %d numbers are not a batch of %d images that it takes", p.s.path, len(images), n)
	}
	input, err := onnxruntime.NewEmptyTensor[float32](onnxruntime.NewShape(int64(n), int64(info.Channels), int64(info.Height), int64(info.Width)))
	if err != nil {
		return fmt.Errorf("input tensor of %s: %w", p.s.path, err)
	}
	defer input.Destroy()
	p.s.input = input
	p.s.fill(images)
	p.s.input = nil
	outputs := make([]onnxruntime.Value, len(p.values))
	defer func() {
		for _, o := range outputs {
			if o != nil {
				o.Destroy()
			}
		}
	}()
	if err := p.runner.Run([]onnxruntime.Value{input}, outputs); err != nil {
		return errors.Join(ctx.Err(), &ModelError{p.s.path, "ONNX Runtime cannot run it: " + err.Error()})
	}
	for i, o := range outputs {
		tensor, ok := o.(*onnxruntime.Tensor[float32])
		if !ok {
			return &ModelError{p.s.path, fmt.Sprintf("its value %q is not a float32 tensor", p.values[i])}
		}
		visit(i, tensor.GetShape(), tensor.GetData())
	}
	return ctx.Err()
}
