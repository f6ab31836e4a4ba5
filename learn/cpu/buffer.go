package cpu

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"sync"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	onnxruntime "github.com/yalue/onnxruntime_go"
)

// alignment of tensor memory, in bytes: a cache line and the widest vector register.
const alignment = 64

// poolLimit bounds the memory that a pool keeps for reuse, in bytes. What is given back beyond it goes to the garbage collector.
const poolLimit = 512 << 20

// storage is the memory of one tensor and ONNX Runtime's value over it. Its memory is Go memory, pinned while the value
// exists. A storage that becomes unreachable frees both.
type storage struct {
	shape shapes.Shape
	raw   []byte // aligned; at least one byte, so that an empty tensor has an address
	value *onnxruntime.CustomDataTensor
}

func newStorage(shape shapes.Shape) (*storage, error) {
	types, ok := elementTypes[shape.DType]
	if !ok {
		return nil, fmt.Errorf("cpu device: tensors of %s: %w", shape.DType, compute.ErrNotImplemented)
	}
	size := 1
	dimensions := boundaryDimensions(shape)
	for _, d := range shape.Dimensions {
		if d < 0 {
			return nil, fmt.Errorf("cpu device: shape %s is not static: %w", shape, compute.ErrNotImplemented)
		}
		size *= d
	}
	size = max(size*shape.DType.Size(), 1)
	raw := alignedBytes(size)
	var pinner runtime.Pinner
	pinner.Pin(unsafe.SliceData(raw))
	value, err := onnxruntime.NewCustomDataTensor(dimensions, raw, types.runtime)
	if err != nil {
		pinner.Unpin()
		return nil, fmt.Errorf("cpu device: tensor of shape %s: %w", shape, err)
	}
	s := &storage{shape: shape, raw: raw, value: value}
	runtime.AddCleanup(s, func(p runtime.Pinner) {
		value.Destroy()
		p.Unpin()
	}, pinner)
	return s, nil
}

// alignedBytes returns size bytes of zeroes at an address that is a multiple of alignment.
func alignedBytes(size int) []byte {
	wide := make([]byte, size+alignment)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(wide))) & (alignment - 1))
	return wide[skip : skip+size : skip+size]
}

// boundaryDimensions returns the dimensions with which a tensor enters and leaves a session: its own, and (1) for a
// scalar, for which onnxruntime_go has no value over memory of ours.
func boundaryDimensions(shape shapes.Shape) []int64 {
	if shape.Rank() == 0 {
		return []int64{1}
	}
	dimensions := make([]int64, shape.Rank())
	for i, d := range shape.Dimensions {
		dimensions[i] = int64(d)
	}
	return dimensions
}

// bytes returns the tensor's memory.
func (s *storage) bytes() []byte { return s.raw[:s.shape.ByteSize()] }

// flat returns the tensor's memory as a slice of its element type.
func (s *storage) flat() any {
	return dtypes.UnsafeAnySliceFromBytes(unsafe.Pointer(unsafe.SliceData(s.raw)), s.shape.DType, s.shape.Size())
}

// matches reports whether flat is a slice with the shape's element type and number of elements.
func matches(flat any, shape shapes.Shape) error {
	v := reflect.ValueOf(flat)
	if v.Kind() != reflect.Slice {
		return fmt.Errorf("a slice is needed for shape %s, not a %T", shape, flat)
	}
	if got := dtypes.FromGoType(v.Type().Elem()); got != shape.DType || v.Len() != shape.Size() {
		return fmt.Errorf("a slice of %d %s does not match shape %s", v.Len(), got, shape)
	}
	return nil
}

// pool keeps the storages of finalized and donated buffers for the next tensors of the same shape, so that a training
// step in its steady state allocates nothing.
type pool struct {
	mu   sync.Mutex
	free map[string][]*storage // by element type and dimensions; guarded by mu
	held int64                 // bytes in free; guarded by mu
}

func newPool() *pool { return &pool{free: map[string][]*storage{}} }

// take returns a storage of that shape with undefined content.
func (p *pool) take(shape shapes.Shape) (*storage, error) {
	key := shapeKey(shape)
	p.mu.Lock()
	if list := p.free[key]; len(list) > 0 {
		s := list[len(list)-1]
		list[len(list)-1] = nil
		p.free[key] = list[:len(list)-1]
		p.held -= int64(len(s.raw))
		p.mu.Unlock()
		return s, nil
	}
	p.mu.Unlock()
	return newStorage(shape.Clone())
}

// give takes a storage back that nobody uses any more.
func (p *pool) give(s *storage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held+int64(len(s.raw)) > poolLimit {
		return
	}
	key := shapeKey(s.shape)
	p.free[key] = append(p.free[key], s)
	p.held += int64(len(s.raw))
}

func (p *pool) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.free)
	p.held = 0
}

func shapeKey(shape shapes.Shape) string {
	key := strconv.AppendInt(make([]byte, 0, 32), int64(shape.DType), 10)
	for _, d := range shape.Dimensions {
		key = strconv.AppendInt(append(key, ','), int64(d), 10)
	}
	return string(key)
}

// Buffer is one tensor on the device. Its methods may be called concurrently, except that Finalize must not overlap an
// execution that reads the buffer.
type Buffer struct {
	backend *Backend
	mu      sync.Mutex
	storage *storage // nil once finalized or donated; guarded by mu
}

var _ compute.Buffer = (*Buffer)(nil)

var errFinalizedBuffer = errors.New("cpu device: the buffer is finalized or was donated")

// current returns the storage, or an error once the buffer is finalized.
func (b *Buffer) current() (*storage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.storage == nil {
		return nil, errFinalizedBuffer
	}
	if b.backend.options.planning {
		return nil, errPlanning
	}
	return b.storage, nil
}

// Backend returns the device that owns the buffer.
func (b *Buffer) Backend() compute.Backend { return b.backend }

// Finalize gives the buffer's memory back for reuse. Finalizing twice does nothing.
func (b *Buffer) Finalize() error {
	b.mu.Lock()
	s := b.storage
	b.storage = nil
	b.mu.Unlock()
	if s != nil && !b.backend.options.planning && !b.backend.IsFinalized() {
		b.backend.pool.give(s)
	}
	return nil
}

// Shape returns the buffer's shape.
func (b *Buffer) Shape() (shapes.Shape, error) {
	s, err := b.current()
	if err != nil {
		return shapes.Invalid(), err
	}
	return s.shape, nil
}

// DeviceNum returns 0.
func (b *Buffer) DeviceNum() (compute.DeviceNum, error) { return 0, nil }

// ToFlatData copies the buffer into flat, a slice of its element type and size.
func (b *Buffer) ToFlatData(flat any) error {
	s, err := b.current()
	if err != nil {
		return err
	}
	if err := matches(flat, s.shape); err != nil {
		return fmt.Errorf("cpu device: reading a buffer: %w", err)
	}
	copy(dtypes.UnsafeByteSliceFromAny(flat), s.bytes())
	runtime.KeepAlive(s)
	return nil
}

// Data returns the buffer's memory as a slice of its element type, valid until the buffer is finalized.
func (b *Buffer) Data() (any, error) {
	s, err := b.current()
	if err != nil {
		return nil, err
	}
	return s.flat(), nil
}

// CopyToDevice returns a copy of the buffer; there is only device 0.
func (b *Buffer) CopyToDevice(device compute.DeviceNum) (compute.Buffer, error) {
	s, err := b.current()
	if err != nil {
		return nil, err
	}
	return b.backend.BufferFromFlatData(device, s.flat(), s.shape)
}
