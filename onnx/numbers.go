package onnx

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/gomlx/compute-onnx/support/protos"
)

// HasAttribute reports whether the node has the attribute.
func HasAttribute(n *protos.NodeProto, name string) bool { return attribute(n, name) != nil }

// Numbers returns the dimensions and elements of the initializer of that name, of any type whose elements float64 holds: shapes and
// other whole numbers as they are, booleans as 0 and 1. float says that its type is a floating-point one. ok is false when there is no
// such initializer or its type is another.
func (m *Model) Numbers(name string) (dims []int, data []float64, float, ok bool) {
	p := m.tensors[name]
	if p == nil {
		return nil, nil, false, false
	}
	return numbers(p)
}

// ConstantNumbers returns what a Constant node holds, in whichever of its attributes.
func ConstantNumbers(n *protos.NodeProto) (dims []int, data []float64, float bool, err error) {
	for _, a := range n.Attribute {
		switch a.Name {
		case "value":
			if a.T == nil {
				break
			}
			if err := checkTensor(a.T); err != nil {
				return nil, nil, false, err
			}
			if dims, data, float, ok := numbers(a.T); ok {
				return dims, data, float, nil
			}
			return nil, nil, false, fmt.Errorf("its value is of type %s, which is not supported", protos.TensorProto_DataType(a.T.DataType))
		case "value_float":
			return nil, []float64{float64(a.F)}, true, nil
		case "value_int":
			return nil, []float64{float64(a.I)}, false, nil
		case "value_floats":
			for _, v := range a.Floats {
				data = append(data, float64(v))
			}
			return []int{len(data)}, data, true, nil
		case "value_ints":
			for _, v := range a.Ints {
				data = append(data, float64(v))
			}
			return []int{len(data)}, data, false, nil
		}
	}
	return nil, nil, false, fmt.Errorf("it has no value that is supported")
}

// numbers decodes a tensor that has been checked.
func numbers(p *protos.TensorProto) (dims []int, data []float64, float, ok bool) {
	n := elements(p.Dims)
	dims, data = make([]int, len(p.Dims)), make([]float64, n)
	for i, d := range p.Dims {
		dims[i] = int(d)
	}
	kind := protos.TensorProto_DataType(p.DataType)
	element := decoders[kind]
	if element == nil {
		return nil, nil, false, false
	}
	float = kind == protos.TensorProto_FLOAT || kind == protos.TensorProto_DOUBLE || kind == protos.TensorProto_FLOAT16 || kind == protos.TensorProto_BFLOAT16
	if size := elementSizes[p.DataType]; len(p.RawData) > 0 || n == 0 {
		for i := range data {
			data[i] = element(p.RawData[i*size : (i+1)*size])
		}
		return dims, data, float, true
	}
	switch {
	case kind == protos.TensorProto_FLOAT && len(p.FloatData) == n:
		for i, v := range p.FloatData {
			data[i] = float64(v)
		}
	case kind == protos.TensorProto_DOUBLE && len(p.DoubleData) == n:
		copy(data, p.DoubleData)
	case kind == protos.TensorProto_INT64 && len(p.Int64Data) == n:
		for i, v := range p.Int64Data {
			data[i] = float64(v)
		}
	case float || len(p.Int32Data) != n: // half precision has no list of numbers of its own
		return nil, nil, false, false
	default:
		for i, v := range p.Int32Data {
			data[i] = float64(v)
		}
	}
	return dims, data, float, true
}

var decoders = map[protos.TensorProto_DataType]func(b []byte) float64{
	protos.TensorProto_FLOAT:   func(b []byte) float64 { return float64(math.Float32frombits(binary.LittleEndian.Uint32(b))) },
	protos.TensorProto_DOUBLE:  func(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) },
	protos.TensorProto_FLOAT16: func(b []byte) float64 { return float64(halfToFloat(binary.LittleEndian.Uint16(b))) },
	protos.TensorProto_BFLOAT16: func(b []byte) float64 {
		return float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16))
	},
	protos.TensorProto_INT64: func(b []byte) float64 { return float64(int64(binary.LittleEndian.Uint64(b))) },
	protos.TensorProto_INT32: func(b []byte) float64 { return float64(int32(binary.LittleEndian.Uint32(b))) },
	protos.TensorProto_INT8:  func(b []byte) float64 { return float64(int8(b[0])) },
	protos.TensorProto_UINT8: func(b []byte) float64 { return float64(b[0]) },
	protos.TensorProto_BOOL: func(b []byte) float64 {
		if b[0] != 0 {
			return 1
		}
		return 0
	},
}

// halfToFloat converts an IEEE 754 half-precision number.
func halfToFloat(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0: // zero and subnormal numbers: fraction·2⁻²⁴
		v := float32(fraction) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(v))
	case 0x1f: // infinity and not a number
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
}
