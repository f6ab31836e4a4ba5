// Package infer runs image classification models with ONNX Runtime and judges their answers: sessions, prediction,
// scores.
//
// Rules of the room: a model's answer for an image depends on the model, the image, the batch size and the number of
// threads, never on which images share its batch: every run has the same batch size, and the last batch is filled up.
// Sums are in float64 and in the order of the samples. With learn's device this is the only package that imports
// onnxruntime_go. Errors that the owner of a model can mend are *ModelError.
package infer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	onnxruntime "github.com/yalue/onnxruntime_go"

	"github.com/darkroom-dev/darkroom/infer/ort"
)

// ModelError says why a file cannot be used as an image classification model.
type ModelError struct {
	Path   string
	Detail string // a sentence without a full stop, about the model
}

func (e *ModelError) Error() string { return "model " + e.Path + ": " + e.Detail }

// Options say how a model is run.
type Options struct {
	Threads int // of the compute library, at least 1; 0 means 1
	Batch   int // images a run; 0 means 64. A model whose batch size is fixed keeps its own.
	// Channels, Height and Width are those of the images, for models that leave them open.
	Channels, Height, Width int
	// Mean and Std normalise pixels (0–1) per channel before they enter the graph, (x − Mean) / Std, for models that
	// do not do so themselves; a model whose metadata states them does. Empty: pixels enter as they are.
	Mean, Std []float64

	// TensorRT runs the model with ONNX Runtime's TensorRT provider, which is what an engine needs. What the machine lacks is a *MissingError then.
	TensorRT bool

	profile string // prefix of the file to which ONNX Runtime's profiler writes; "" for none
}

// Info describes the model of a session.
type Info struct {
	Metadata
	Input, Output           string // names of the graph's input and output
	Channels, Height, Width int    // of one image
	Outputs                 int    // logits per image; 0 when the graph leaves it open
	Batch                   int    // images a run
}

// Session is a loaded model. It is not safe for concurrent use.
type Session struct {
	path    string
	info    Info
	mean    []float32 // per channel; nil when pixels enter as they are
	std     []float32
	session *onnxruntime.DynamicAdvancedSession
	input   *onnxruntime.Tensor[float32] // (Batch, C, H, W)
}

// Open loads the ONNX model at path with all of ONNX Runtime's checks. Problems of the model are *ModelError.
func Open(path string, o Options) (*Session, error) {
	if o.TensorRT {
		if _, err := ort.TensorRTProvider(); err != nil {
			return nil, &MissingError{err.Error()}
		}
	}
	if err := ort.Init(); err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("opening the model: %w", err)
	} else if info.Size() == 0 {
		return nil, &ModelError{path, "the file is empty"}
	}
	if o.Batch == 0 {
		o.Batch = 64
	}
	s := &Session{path: path}
	if err := s.open(o); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Session) open(o Options) error {
	options, err := sessionOptions(max(1, o.Threads))
	if err != nil {
		return fmt.Errorf("ONNX Runtime session options: %w", err)
	}
	defer options.Destroy()
	if o.TensorRT {
		if err := withTensorRT(options, nil); err != nil {
			return err
		}
	}
	inputs, outputs, err := onnxruntime.GetInputOutputInfoWithOptions(s.path, options)
	if err != nil {
		return &ModelError{s.path, loadProblem(err)}
	}
	if s.info, err = describe(inputs, outputs, o); err != nil {
		return &ModelError{s.path, err.Error()}
	}
	if o.profile != "" { // not before: looking at the inputs makes a session too
		if err := options.EnableProfiling(o.profile); err != nil {
			return fmt.Errorf("ONNX Runtime's profiler: %w", err)
		}
	}
	if s.session, err = onnxruntime.NewDynamicAdvancedSession(s.path, []string{s.info.Input}, []string{s.info.Output}, options); err != nil {
		return &ModelError{s.path, loadProblem(err)}
	}
	if s.info.Metadata, err = readMetadata(s.session); err != nil {
		return &ModelError{s.path, err.Error()}
	}
	if n := len(s.info.Classes); n > 0 && s.info.Outputs > 0 && n != s.info.Outputs {
		return &ModelError{s.path, fmt.Sprintf("it names %d classes but gives %d logits an image", n, s.info.Outputs)}
	}
	if err := s.normalise(o.Mean, o.Std); err != nil {
		return err
	}
	shape := onnxruntime.NewShape(int64(s.info.Batch), int64(s.info.Channels), int64(s.info.Height), int64(s.info.Width))
	if s.input, err = onnxruntime.NewEmptyTensor[float32](shape); err != nil {
		return fmt.Errorf("input tensor of %s: %w", s.path, err)
	}
	return nil
}

// sessionOptions fixes everything that the bits depend on. The caller destroys them.
func sessionOptions(threads int) (*onnxruntime.SessionOptions, error) {
	options, err := onnxruntime.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		options.SetIntraOpNumThreads(threads),
		options.SetInterOpNumThreads(1),
		options.SetExecutionMode(onnxruntime.ExecutionModeSequential),
		options.SetGraphOptimizationLevel(onnxruntime.GraphOptimizationLevelEnableAll),
		options.AddSessionConfigEntry("session.strict_shape_type_inference", "1"),
		// Within a run a thread that waits for the others of a layer spins, which small layers need: to wake it takes as long as they do. Between runs
		// none spins, as then others prepare the next batch.
		options.AddSessionConfigEntry("session.intra_op.allow_spinning", "1"),
		options.AddSessionConfigEntry("session.force_spinning_stop", "1"),
	)
	if err != nil {
		options.Destroy()
		return nil, err
	}
	return options, nil
}

func loadProblem(err error) string {
	text := err.Error()
	if strings.Contains(text, "Protobuf parsing failed") || strings.Contains(text, "INVALID_PROTOBUF") {
		return "the file is not an ONNX model, or it is truncated"
	}
	return "ONNX Runtime refuses it: " + text
}

func readMetadata(session *onnxruntime.DynamicAdvancedSession) (Metadata, error) {
	properties, err := session.GetModelMetadata()
	if err != nil {
		return Metadata{}, fmt.Errorf("reading its metadata: %w", err)
	}
	defer properties.Destroy()
	var failed error
	m, err := parseMetadata(func(name string) (string, bool) {
		text, ok, err := properties.LookupCustomMetadataMap(name)
		if err != nil {
			failed = fmt.Errorf("reading its property %s: %w", name, err)
		}
		return text, ok && err == nil
	})
	return m, errors.Join(err, failed)
}

func (s *Session) normalise(mean, std []float64) error {
	if len(mean) == 0 && len(std) == 0 || len(s.info.Mean) > 0 {
		return nil
	}
	if len(mean) != s.info.Channels || len(std) != s.info.Channels {
		return fmt.Errorf("normalising for %s: %d means and %d deviations for %d channels", s.path, len(mean), len(std), s.info.Channels)
	}
	for i := range mean {
		if !(std[i] > 0) {
			return fmt.Errorf("normalising for %s: the deviation of channel %d is %v; it must be above 0", s.path, i, std[i])
		}
		s.mean, s.std = append(s.mean, float32(mean[i])), append(s.std, float32(std[i]))
	}
	return nil
}

// Info describes the model.
func (s *Session) Info() Info { return s.info }

// Close frees what the session holds.
func (s *Session) Close() {
	if s.session != nil {
		s.session.Destroy()
		s.session = nil
	}
	if s.input != nil {
		s.input.Destroy()
		s.input = nil
	}
}

// Logits runs the model on n images of pixels from 0 to 1, (n, C, H, W), and returns (n, classes). It runs batch after
// batch, the last one filled up with zeros, and ends early with ctx's error. Nobody may change the images meanwhile: a whole batch is not copied.
func (s *Session) Logits(ctx context.Context, images []float32, n int) ([]float32, error) {
	size := s.info.Channels * s.info.Height * s.info.Width
	if n < 0 || len(images) != n*size {
		return nil, fmt.Errorf("running %s: %d numbers are not %d images of %d×%d with %d channels", s.path, len(images), n, s.info.Width, s.info.Height, s.info.Channels)
	}
	var logits []float32
	for first := 0; first < n; first += s.info.Batch {
		count := min(s.info.Batch, n-first)
		out, err := s.answer(ctx, images[first*size:(first+count)*size])
		if err != nil {
			return nil, err
		}
		logits = append(logits, out[:count*len(out)/s.info.Batch]...)
	}
	return logits, nil
}

// answer runs the graph on at most a batch of images. Those of a whole batch that need no normalisation go into it as they lie.
func (s *Session) answer(ctx context.Context, images []float32) ([]float32, error) {
	if len(images) < len(s.input.GetData()) || s.mean != nil {
		s.fill(images)
		return s.run(ctx, s.input)
	}
	input, err := onnxruntime.NewTensor(s.input.GetShape(), images)
	if err != nil {
		return nil, fmt.Errorf("input tensor of %s: %w", s.path, err)
	}
	defer input.Destroy()
	return s.run(ctx, input)
}

// fill copies images into the input tensor, normalised, and clears the rest of it.
func (s *Session) fill(images []float32) {
	data := s.input.GetData()
	clear(data[copy(data, images):])
	if s.mean == nil {
		return
	}
	plane := s.info.Height * s.info.Width
	for i := range data[:len(images)] {
		c := i / plane % s.info.Channels
		data[i] = (data[i] - s.mean[c]) / s.std[c]
	}
}

// run executes the graph on a tensor and returns a copy of its output. (Batch, classes)
func (s *Session) run(ctx context.Context, input *onnxruntime.Tensor[float32]) ([]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	options, err := onnxruntime.NewRunOptions()
	if err != nil {
		return nil, fmt.Errorf("running %s: %w", s.path, err)
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		options.Terminate()
	})
	outputs := []onnxruntime.Value{nil}
	err = s.session.RunWithOptions([]onnxruntime.Value{input}, outputs, options)
	if !stop() {
		<-ended // the options must outlive Terminate
	}
	options.Destroy()
	if outputs[0] != nil {
		defer outputs[0].Destroy()
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, &ModelError{s.path, "ONNX Runtime cannot run it: " + err.Error()}
	}
	return s.take(outputs[0])
}

// take copies an output out of ONNX Runtime's memory and checks its shape.
func (s *Session) take(value onnxruntime.Value) ([]float32, error) {
	tensor, ok := value.(*onnxruntime.Tensor[float32])
	if !ok {
		return nil, &ModelError{s.path, fmt.Sprintf("its output %q is not a float32 tensor", s.info.Output)}
	}
	shape := tensor.GetShape()
	if len(shape) < 2 || shape[0] != int64(s.info.Batch) || shape.FlattenedSize() == 0 {
		return nil, &ModelError{s.path, fmt.Sprintf("its output %q has shape %v for %d images; it must have one row an image", s.info.Output, shape, s.info.Batch)}
	}
	return append([]float32(nil), tensor.GetData()...), nil
}
