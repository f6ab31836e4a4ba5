package surgery

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// copied returns a copy of the message.
func (g *Graph) copied() *protos.ModelProto { return proto.Clone(g.proto).(*protos.ModelProto) }

// maxFolded bounds the elements of a constant that is computed, so that a small file cannot ask for much memory.
const maxFolded = 1 << 24

// array is a constant's value. Floating point types are in floats, rounded to their type after each operation; integers and
// truth values in ints, whose elements may be multiples of the batch size.
type array struct {
	typ    int32 // protos.TensorProto_DataType
	dims   []int
	floats []float64
	ints   []Dim
}

func isFloat(typ int32) bool {
	switch protos.TensorProto_DataType(typ) {
	case protos.TensorProto_FLOAT, protos.TensorProto_DOUBLE, protos.TensorProto_FLOAT16, protos.TensorProto_BFLOAT16:
		return true
	}
	return false
}

// size is the product of dims.
func size(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// fits says whether an array of these dimensions may be made.
func fits(dims []int) bool {
	n := 1
	for _, d := range dims {
		if d < 0 || d > maxFolded {
			return false
		}
		if n *= d; n > maxFolded {
			return false
		}
	}
	return true
}

func (a *array) len() int { return size(a.dims) }

// concrete says whether no element depends on the batch size.
func (a *array) concrete() bool {
	for _, d := range a.ints {
		if d.Batch || d.unknown() {
			return false
		}
	}
	return true
}

// pick makes an array of dims whose element i is a's element from[i].
func (a *array) pick(dims []int, from []int) *array {
	b := &array{typ: a.typ, dims: dims}
	if isFloat(a.typ) {
		b.floats = make([]float64, len(from))
		for i, k := range from {
			b.floats[i] = a.floats[k]
		}
		return b
	}
	b.ints = make([]Dim, len(from))
	for i, k := range from {
		b.ints[i] = a.ints[k]
	}
	return b
}

// reshaped returns a with other dimensions; the values are shared.
func (a *array) reshaped(dims []int) *array { return &array{a.typ, dims, a.floats, a.ints} }

// decode reads a tensor message that onnx has checked, of any type but text.
func decode(t *protos.TensorProto) (*array, error) {
	a := &array{typ: t.DataType, dims: make([]int, len(t.Dims))}
	for i, d := range t.Dims {
		a.dims[i] = int(d)
	}
	if !fits(a.dims) && len(t.RawData) == 0 && len(t.FloatData) == 0 {
		return nil, fmt.Errorf("the tensor %q claims dimensions %v", t.Name, t.Dims)
	}
	n := a.len()
	number, width := reader(t)
	if number == nil {
		return nil, fmt.Errorf("the tensor %q has the element type %s, which surgery cannot read", t.Name, protos.TensorProto_DataType(t.DataType))
	}
	if len(t.RawData) > 0 && len(t.RawData) < (n*width+7)/8 {
		return nil, fmt.Errorf("the tensor %q is too short for its dimensions %v", t.Name, t.Dims)
	}
	if len(t.RawData) == 0 && n > 0 && listed(t) < n {
		return nil, fmt.Errorf("the tensor %q has %d values, its dimensions %v need %d", t.Name, listed(t), t.Dims, n)
	}
	if isFloat(t.DataType) {
		a.floats = make([]float64, n)
		for i := range a.floats {
			a.floats[i] = number(i)
		}
		return a, nil
	}
	a.ints = make([]Dim, n)
	for i := range a.ints {
		a.ints[i] = Fixed(integer(t, i, number))
	}
	return a, nil
}

// listed is how many values a tensor without raw data has.
func listed(t *protos.TensorProto) int {
	switch protos.TensorProto_DataType(t.DataType) {
	case protos.TensorProto_FLOAT:
		return len(t.FloatData)
	case protos.TensorProto_DOUBLE:
		return len(t.DoubleData)
	case protos.TensorProto_INT64:
		return len(t.Int64Data)
	case protos.TensorProto_UINT32, protos.TensorProto_UINT64:
		return len(t.Uint64Data)
	case protos.TensorProto_INT4, protos.TensorProto_UINT4:
		return 2 * len(t.Int32Data)
	}
	return len(t.Int32Data)
}

// integer reads 64 bits exactly, which a float64 could not hold.
func integer(t *protos.TensorProto, i int, number func(int) float64) int {
	if t.DataType != int32(protos.TensorProto_INT64) {
		return int(number(i))
	}
	if len(t.RawData) > 0 {
		return int(binary.LittleEndian.Uint64(t.RawData[8*i:]))
	}
	return int(t.Int64Data[i])
}

// reader returns what reads element i of t, and the width of one in bits.
func reader(t *protos.TensorProto) (func(i int) float64, int) {
	raw, le := t.RawData, binary.LittleEndian
	has := len(raw) > 0
	either := func(fromRaw, fromList func(i int) float64) func(int) float64 {
		if has {
			return fromRaw
		}
		return fromList
	}
	listed := func(i int) float64 { return float64(t.Int32Data[i]) }
	switch protos.TensorProto_DataType(t.DataType) {
	case protos.TensorProto_FLOAT:
		return either(func(i int) float64 { return float64(math.Float32frombits(le.Uint32(raw[4*i:]))) }, func(i int) float64 { return float64(t.FloatData[i]) }), 32
	case protos.TensorProto_DOUBLE:
		return either(func(i int) float64 { return math.Float64frombits(le.Uint64(raw[8*i:])) }, func(i int) float64 { return t.DoubleData[i] }), 64
	case protos.TensorProto_FLOAT16:
		return either(func(i int) float64 { return fromHalf(le.Uint16(raw[2*i:])) }, func(i int) float64 { return fromHalf(uint16(t.Int32Data[i])) }), 16
	case protos.TensorProto_BFLOAT16:
		return either(func(i int) float64 { return fromBrain(le.Uint16(raw[2*i:])) }, func(i int) float64 { return fromBrain(uint16(t.Int32Data[i])) }), 16
	case protos.TensorProto_INT64:
		return either(func(i int) float64 { return float64(int64(le.Uint64(raw[8*i:]))) }, func(i int) float64 { return float64(t.Int64Data[i]) }), 64
	case protos.TensorProto_UINT64:
		return either(func(i int) float64 { return float64(le.Uint64(raw[8*i:])) }, func(i int) float64 { return float64(t.Uint64Data[i]) }), 64
	case protos.TensorProto_INT32:
		return either(func(i int) float64 { return float64(int32(le.Uint32(raw[4*i:]))) }, listed), 32
	case protos.TensorProto_UINT32:
		return either(func(i int) float64 { return float64(le.Uint32(raw[4*i:])) }, func(i int) float64 { return float64(t.Uint64Data[i]) }), 32
	case protos.TensorProto_INT16:
		return either(func(i int) float64 { return float64(int16(le.Uint16(raw[2*i:]))) }, listed), 16
	case protos.TensorProto_UINT16:
		return either(func(i int) float64 { return float64(le.Uint16(raw[2*i:])) }, listed), 16
	case protos.TensorProto_INT8:
		return either(func(i int) float64 { return float64(int8(raw[i])) }, listed), 8
	case protos.TensorProto_UINT8, protos.TensorProto_BOOL:
		return either(func(i int) float64 { return float64(raw[i]) }, listed), 8
	case protos.TensorProto_INT4:
		return func(i int) float64 { return float64(int8(nibble(t, i)<<4) >> 4) }, 4
	case protos.TensorProto_UINT4:
		return func(i int) float64 { return float64(nibble(t, i)) }, 4
	}
	return nil, 0
}

// nibble returns four bits; the even element is the lower half of its byte.
func nibble(t *protos.TensorProto, i int) byte {
	var b byte
	if len(t.RawData) > 0 {
		b = t.RawData[i/2]
	} else {
		b = byte(t.Int32Data[i/2])
	}
	if i%2 == 1 {
		return b >> 4
	}
	return b & 15
}

// encode makes the tensor message of a concrete array.
func (a *array) encode(name string) (*protos.TensorProto, error) {
	t := &protos.TensorProto{Name: name, DataType: a.typ}
	for _, d := range a.dims {
		t.Dims = append(t.Dims, int64(d))
	}
	le := binary.LittleEndian
	var raw []byte
	for _, v := range a.floats {
		switch protos.TensorProto_DataType(a.typ) {
		case protos.TensorProto_FLOAT:
			raw = le.AppendUint32(raw, math.Float32bits(float32(v)))
		case protos.TensorProto_DOUBLE:
			raw = le.AppendUint64(raw, math.Float64bits(v))
		case protos.TensorProto_FLOAT16:
			raw = le.AppendUint16(raw, toHalf(float32(v)))
		case protos.TensorProto_BFLOAT16:
			raw = le.AppendUint16(raw, toBrain(float32(v)))
		}
	}
	for _, d := range a.ints {
		switch protos.TensorProto_DataType(a.typ) {
		case protos.TensorProto_INT64, protos.TensorProto_UINT64:
			raw = le.AppendUint64(raw, uint64(d.Size))
		case protos.TensorProto_INT32, protos.TensorProto_UINT32:
			raw = le.AppendUint32(raw, uint32(d.Size))
		case protos.TensorProto_INT16, protos.TensorProto_UINT16:
			raw = le.AppendUint16(raw, uint16(d.Size))
		case protos.TensorProto_INT8, protos.TensorProto_UINT8, protos.TensorProto_BOOL:
			raw = append(raw, byte(d.Size))
		default:
			return nil, fmt.Errorf("a constant of type %s cannot be written", protos.TensorProto_DataType(a.typ))
		}
	}
	t.RawData = raw
	return t, nil
}

// round brings v to the precision of typ.
func round(typ int32, v float64) float64 {
	switch protos.TensorProto_DataType(typ) {
	case protos.TensorProto_FLOAT:
		return float64(float32(v))
	case protos.TensorProto_FLOAT16:
		return fromHalf(toHalf(float32(v)))
	case protos.TensorProto_BFLOAT16:
		return fromBrain(toBrain(float32(v)))
	}
	return v
}
