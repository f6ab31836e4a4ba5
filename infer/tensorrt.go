package infer

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	onnxruntime "github.com/yalue/onnxruntime_go"

	"github.com/darkroom-dev/darkroom/infer/ort"
)

// MissingError says what a machine lacks to do something; the model is not to blame.
type MissingError struct{ Detail string }

func (e *MissingError) Error() string { return e.Detail }

// withTensorRT appends ONNX Runtime's TensorRT provider to a session's options, with options of its own. What this machine lacks is a *MissingError.
func withTensorRT(session *onnxruntime.SessionOptions, values map[string]string) error {
	if _, err := ort.TensorRTProvider(); err != nil {
		return &MissingError{err.Error()}
	}
	if err := ort.Init(); err != nil {
		return err
	}
	o, err := onnxruntime.NewTensorRTProviderOptions()
	if err != nil {
		return &MissingError{"this build of ONNX Runtime has no TensorRT: " + err.Error()}
	}
	defer o.Destroy()
	if len(values) > 0 {
		if err := o.Update(values); err != nil {
			return &MissingError{"ONNX Runtime's TensorRT provider does not take its options: " + err.Error()}
		}
	}
	if err := session.AppendExecutionProviderTensorRT(o); err != nil {
		return &MissingError{"ONNX Runtime's TensorRT provider cannot be used, for want of TensorRT, CUDA or a GPU: " + err.Error()}
	}
	return nil
}

// BuildEngine lets ONNX Runtime's TensorRT provider build an engine of the model at path, whose input and output have these names. The options say where it is
// written (trt_ep_context_file_path), as an ONNX file that holds the engine and that Open runs with Options.TensorRT. What the machine lacks is a *MissingError,
// what is wrong with the model a *ModelError.
func BuildEngine(ctx context.Context, path, input, output string, options map[string]string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := ort.TensorRTProvider(); err != nil {
		return &MissingError{err.Error()}
	}
	if err := ort.Init(); err != nil {
		return err
	}
	session, err := sessionOptions(1)
	if err != nil {
		return fmt.Errorf("ONNX Runtime session options: %w", err)
	}
	defer session.Destroy()
	if err := withTensorRT(session, options); err != nil {
		return err
	}
	s, err := onnxruntime.NewDynamicAdvancedSession(path, []string{input}, []string{output}, session)
	if err != nil {
		return &ModelError{path, loadProblem(err)}
	}
	return errors.Join(s.Destroy(), ctx.Err())
}

// EngineModel is the ONNX file in the folder of an engine that ONNX Runtime runs with its TensorRT provider.
func EngineModel(dir string) string { return filepath.Join(dir, "engine.onnx") }
