package cpu

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	onnxruntime "github.com/yalue/onnxruntime_go"
)

// Executable is a compiled computation. Executions may overlap; Finalize must not overlap one.
type Executable struct {
	backend      *Backend
	name         string
	inputNames   []string
	inputShapes  []shapes.Shape
	outputShapes []shapes.Shape
	placeholder  *storage // the only input of a computation without parameters, else nil
	cleanup      runtime.Cleanup
	footprint    Footprint

	mu      sync.RWMutex
	session *onnxruntime.DynamicAdvancedSession // nil once finalized; guarded by mu
}

var _ compute.Executable = (*Executable)(nil)

// Finalize closes the session and frees its memory. A second call does nothing.
func (e *Executable) Finalize() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.session == nil {
		return
	}
	e.cleanup.Stop()
	e.session.Destroy()
	e.session = nil
}

// Inputs returns the parameters in the order in which they were added.
func (e *Executable) Inputs() ([]string, []shapes.Shape) { return e.inputNames, e.inputShapes }

// Outputs returns the shapes of the results.
func (e *Executable) Outputs() []shapes.Shape { return e.outputShapes }

// Execute runs the computation. Results are written straight into new buffers, no copy is made of inputs or outputs.
// The memory of a donated input is reused by later buffers; donated buffers must not be used again.
func (e *Executable) Execute(inputs []compute.Buffer, donate []bool, device compute.DeviceNum) ([]compute.Buffer, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.backend.options.planning {
		return nil, fmt.Errorf("cpu device: executing %q: %w", e.name, errPlanning)
	}
	if e.session == nil {
		return nil, fmt.Errorf("cpu device: executing %q: %w", e.name, errFinalizedExecutable)
	}
	if device != 0 {
		return nil, fmt.Errorf("cpu device: executing %q on device %d, there is only 0", e.name, device)
	}
	in, err := e.inputs(inputs, donate)
	if err != nil {
		return nil, fmt.Errorf("cpu device: executing %q: %w", e.name, err)
	}
	results, out, err := e.outputs()
	if err != nil {
		return nil, fmt.Errorf("cpu device: executing %q: %w", e.name, err)
	}
	if err := e.session.Run(in, out); err != nil {
		return nil, fmt.Errorf("cpu device: executing %q: %w", e.name, err)
	}
	runtime.KeepAlive(inputs)
	for i, given := range donate {
		if given {
			if err := inputs[i].Finalize(); err != nil {
				return nil, err
			}
		}
	}
	return results, nil
}

var errFinalizedExecutable = errors.New("the computation is finalized")

// inputs checks the buffers and returns their values.
func (e *Executable) inputs(inputs []compute.Buffer, donate []bool) ([]onnxruntime.Value, error) {
	if len(inputs) != len(e.inputShapes) {
		return nil, fmt.Errorf("%d inputs, want %d", len(inputs), len(e.inputShapes))
	}
	if len(donate) != 0 && len(donate) != len(inputs) {
		return nil, fmt.Errorf("%d flags of donation for %d inputs", len(donate), len(inputs))
	}
	if e.placeholder != nil {
		return []onnxruntime.Value{e.placeholder.value}, nil
	}
	values := make([]onnxruntime.Value, len(inputs))
	for i, input := range inputs {
		buffer, ok := input.(*Buffer)
		if !ok || buffer.backend != e.backend {
			return nil, fmt.Errorf("input %d (%s) belongs to another device", i, e.inputNames[i])
		}
		s, err := buffer.current()
		if err != nil {
			return nil, fmt.Errorf("input %d (%s): %w", i, e.inputNames[i], err)
		}
		if !s.shape.Equal(e.inputShapes[i]) {
			return nil, fmt.Errorf("input %d (%s) has shape %s, want %s", i, e.inputNames[i], s.shape, e.inputShapes[i])
		}
		values[i] = s.value
	}
	return values, nil
}

// outputs returns new buffers for the results, and their values.
func (e *Executable) outputs() ([]compute.Buffer, []onnxruntime.Value, error) {
	buffers, values := make([]compute.Buffer, len(e.outputShapes)), make([]onnxruntime.Value, len(e.outputShapes))
	for i, shape := range e.outputShapes {
		buffer, err := e.backend.newBuffer(0, shape)
		if err != nil {
			return nil, nil, fmt.Errorf("result %d: %w", i, err)
		}
		buffers[i], values[i] = buffer, buffer.storage.value
	}
	return buffers, values, nil
}
