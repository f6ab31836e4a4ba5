// Package cpu is the device that training runs on without a GPU: a GoMLX compute backend whose computations are ONNX
// graphs executed by ONNX Runtime.
//
// Rules of the room:
//   - The thread count is explicit and the same for every computation of a backend, because the bits of a result depend on
//     it. Nothing else does: not GOMAXPROCS, not which OS thread calls, not the moment. All tensor memory is aligned to
//     64 bytes, since vectorised sums peel off an unaligned head and so add in another order.
//   - A computation is built eagerly into nodes that are each one ONNX operator, in topological order; what no result
//     needs is left out when it is compiled, and elementwise operators that feed each other become one (fusion.go). Shapes are static.
//   - User-visible methods return errors. An operation that is not here returns compute.ErrNotImplemented with its name.
//   - Only this package and infer use onnxruntime_go.
package cpu

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
)

// Options says how a backend computes.
type Options struct {
	// Threads is the number of threads that one operator uses, at least 1. The calling thread is one of them.
	Threads int
	// Profile, when not empty, makes every computation write ONNX Runtime's trace of its operators (JSON, for
	// chrome://tracing) to a file whose name begins with it, when the computation is finalized.
	Profile string

	// plain leaves package kernel's operators out: the reference that they are tested against.
	plain bool
	// planning makes computations that cannot be executed, see Planning.
	planning bool
}

// Backend is the device. It is safe for concurrent use.
type Backend struct {
	options   Options
	pool      *pool
	finalized atomic.Bool
}

var _ compute.Backend = (*Backend)(nil)

// New returns a backend that computes with ONNX Runtime, whose environment it starts when needed.
func New(options Options) (compute.Backend, error) {
	if options.Threads < 1 {
		return nil, fmt.Errorf("cpu device: %d threads; at least 1 is needed", options.Threads)
	}
	if err := ort.Init(); err != nil {
		return nil, fmt.Errorf("cpu device: %w", err)
	}
	return &Backend{options: options, pool: newPool()}, nil
}

// Name returns "cpu".
func (b *Backend) Name() string { return "cpu" }

// String returns Name.
func (b *Backend) String() string { return b.Name() }

// Description names the library, the instruction class and the thread count: all that the bits depend on.
func (b *Backend) Description() string {
	return fmt.Sprintf("%s on %s, %s, %d threads", ort.Version(), ort.ISA(), kernel.Class(), b.options.Threads)
}

// NumDevices returns 1.
func (b *Backend) NumDevices() int { return 1 }

// DeviceDescription returns Description for device 0.
func (b *Backend) DeviceDescription(compute.DeviceNum) string { return b.Description() }

// Builder starts a computation.
func (b *Backend) Builder(name string) compute.Builder { return newBuilder(b, name) }

// Finalize frees the memory kept for reuse. Computations and buffers made before must not be used after it.
func (b *Backend) Finalize() {
	b.finalized.Store(true)
	b.pool.drain()
}

// IsFinalized reports whether Finalize was called.
func (b *Backend) IsFinalized() bool { return b.finalized.Load() }

// HasSharedBuffers returns true: buffers are memory of this process, unless they only plan.
func (b *Backend) HasSharedBuffers() bool { return !b.options.planning }

// BufferFromFlatData copies flat, a slice of the shape's element type, into a new buffer.
func (b *Backend) BufferFromFlatData(device compute.DeviceNum, flat any, shape shapes.Shape) (compute.Buffer, error) {
	if err := matches(flat, shape); err != nil {
		return nil, fmt.Errorf("cpu device: new buffer: %w", err)
	}
	buffer, err := b.newBuffer(device, shape)
	if err != nil {
		return nil, err
	}
	if !b.options.planning {
		copy(buffer.storage.bytes(), dtypes.UnsafeByteSliceFromAny(flat))
	}
	return buffer, nil
}

// NewSharedBuffer returns a buffer and the slice over its memory. The slice must not be used once the buffer is
// finalized or donated. The content is not defined.
func (b *Backend) NewSharedBuffer(device compute.DeviceNum, shape shapes.Shape) (compute.Buffer, any, error) {
	if b.options.planning {
		return nil, nil, errPlanning
	}
	buffer, err := b.newBuffer(device, shape)
	if err != nil {
		return nil, nil, err
	}
	return buffer, buffer.storage.flat(), nil
}

func (b *Backend) newBuffer(device compute.DeviceNum, shape shapes.Shape) (*Buffer, error) {
	if device != 0 {
		return nil, fmt.Errorf("cpu device: no device %d, there is only 0", device)
	}
	if b.IsFinalized() {
		return nil, errFinalizedBackend
	}
	if b.options.planning {
		return &Buffer{backend: b, storage: &storage{shape: shape}}, nil
	}
	storage, err := b.pool.take(shape)
	if err != nil {
		return nil, err
	}
	return &Buffer{backend: b, storage: storage}, nil
}

var errPlanning = errors.New("cpu device: it only plans")

var errFinalizedBackend = errors.New("cpu device: it is finalized")

// Capabilities lists the operations and element types of this backend.
func (b *Backend) Capabilities() compute.Capabilities { return capabilities.Clone() }
