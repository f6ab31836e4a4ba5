package onnx

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/gomlx/compute-onnx/support/protos"
)

// Tensor is the value of a float32 initializer.
type Tensor struct {
	Dims []int
	Data []float32 // row-major
}

// maxElements bounds one tensor, so that a product of dimensions cannot overflow.
const maxElements = 1 << 32

// elements returns the product of dims, or -1 when one is negative or the product is over maxElements.
func elements(dims []int64) int {
	n := int64(1)
	for _, d := range dims {
		if d < 0 || d > maxElements || d > 0 && n > maxElements/d {
			return -1
		}
		n *= d
	}
	return int(n)
}

// NewTensor returns the message of a float32 tensor.
func NewTensor(name string, dims []int, data []float32) *protos.TensorProto {
	t := &protos.TensorProto{Name: name, DataType: int32(protos.TensorProto_FLOAT), Dims: make([]int64, len(dims))}
	for i, d := range dims {
		t.Dims[i] = int64(d)
	}
	t.RawData = encode(data)
	return t
}

func encode(data []float32) []byte {
	raw := make([]byte, 4*len(data))
	for i, v := range data {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(v))
	}
	return raw
}

// Tensor returns a copy of the float32 initializer of that name; ok is false when there is none or it has another type.
func (m *Model) Tensor(name string) (t Tensor, ok bool) {
	p := m.tensors[name]
	if p == nil || p.DataType != int32(protos.TensorProto_FLOAT) {
		return Tensor{}, false
	}
	return floats(p), true
}

// floats decodes a float32 tensor that has been checked.
func floats(p *protos.TensorProto) Tensor {
	t := Tensor{Data: make([]float32, elements(p.Dims)), Dims: make([]int, len(p.Dims))}
	for i, d := range p.Dims {
		t.Dims[i] = int(d)
	}
	if len(p.RawData) > 0 {
		for i := range t.Data {
			t.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(p.RawData[4*i:]))
		}
		return t
	}
	copy(t.Data, p.FloatData)
	return t
}

// Int64s returns the int64 initializer of that name, such as the shape that Reshape takes.
func (m *Model) Int64s(name string) ([]int64, bool) {
	p := m.tensors[name]
	if p == nil || p.DataType != int32(protos.TensorProto_INT64) {
		return nil, false
	}
	return int64s(p), true
}

func int64s(p *protos.TensorProto) []int64 {
	if len(p.RawData) == 0 {
		return append([]int64(nil), p.Int64Data...)
	}
	list := make([]int64, len(p.RawData)/8)
	for i := range list {
		list[i] = int64(binary.LittleEndian.Uint64(p.RawData[8*i:]))
	}
	return list
}

// HasTensor reports whether there is an initializer of that name, of any type.
func (m *Model) HasTensor(name string) bool { return m.tensors[name] != nil }

// SetTensor replaces the values of the float32 initializer of that name, whose dimensions stay.
func (m *Model) SetTensor(name string, data []float32) error {
	p := m.tensors[name]
	if p == nil || p.DataType != int32(protos.TensorProto_FLOAT) {
		return fmt.Errorf("the model has no float32 initializer %q", name)
	}
	if n := elements(p.Dims); n != len(data) {
		return fmt.Errorf("the initializer %q has %d elements, not %d", name, n, len(data))
	}
	p.FloatData, p.RawData = nil, encode(data)
	return nil
}
