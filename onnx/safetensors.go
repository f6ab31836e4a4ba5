package onnx

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"
)

// Safetensors is an open file of named tensors in the format of that name (huggingface.co/docs/safetensors): eight bytes with the
// length of a JSON header, the header, the data. Tensors are read one at a time. Close it after use.
type Safetensors struct {
	r       io.ReaderAt
	close   func() error
	entries map[string]safetensor
}

// safetensor is where a tensor lies in the file.
type safetensor struct {
	Type    string   `json:"dtype"`
	Shape   []int64  `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// maxHeader is the longest header that the format allows, in bytes.
const maxHeader = 100_000_000

// safetensorTypes are the element types with their sizes in bytes; those with a kind can be read as float32.
var safetensorTypes = map[string]struct {
	size int64
	kind protos.TensorProto_DataType
}{
	"F64": {8, protos.TensorProto_DOUBLE}, "F32": {4, protos.TensorProto_FLOAT}, "F16": {2, protos.TensorProto_FLOAT16}, "BF16": {2, protos.TensorProto_BFLOAT16},
	"I64": {8, 0}, "U64": {8, 0}, "I32": {4, 0}, "U32": {4, 0}, "I16": {2, 0}, "U16": {2, 0}, "I8": {1, 0}, "U8": {1, 0}, "BOOL": {1, 0},
	"F8_E4M3": {1, 0}, "F8_E5M2": {1, 0},
}

// OpenSafetensors opens the file at path and checks its header.
func OpenSafetensors(path string) (*Safetensors, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the weights: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		var s *Safetensors
		if s, err = newSafetensors(f, info.Size()); err == nil {
			s.close = f.Close
			return s, nil
		}
	}
	f.Close()
	return nil, fmt.Errorf("%s is not a safetensors file that can be used: %w", path, err)
}

// newSafetensors reads the header of a file of that many bytes.
func newSafetensors(r io.ReaderAt, size int64) (*Safetensors, error) {
	var length [8]byte
	if _, err := r.ReadAt(length[:], 0); err != nil {
		return nil, errors.New("it has less than 8 bytes")
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, fmt.Errorf("its header has %d bytes, the file %d", n, size)
	}
	header := make([]byte, n)
	if _, err := r.ReadAt(header, 8); err != nil {
		return nil, fmt.Errorf("reading its header: %w", err)
	}
	s := &Safetensors{r: r, close: func() error { return nil }}
	var err error
	if s.entries, err = readHeader(header); err != nil {
		return nil, err
	}
	start := 8 + int64(n)
	for name, e := range s.entries {
		if err := e.check(size - start); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		e.Offsets[0], e.Offsets[1] = e.Offsets[0]+start, e.Offsets[1]+start
		s.entries[name] = e
	}
	return s, nil
}

// readHeader reads the JSON object and refuses names that occur twice, which a map would hide.
func readHeader(header []byte) (map[string]safetensor, error) {
	entries := map[string]safetensor{}
	d := json.NewDecoder(bytes.NewReader(header))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("its header is no JSON object")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("its header is no JSON: %w", err)
		}
		name, _ := t.(string) // the decoder gives nothing else for a key
		if name == "__metadata__" {
			var free map[string]string
			if err := d.Decode(&free); err != nil {
				return nil, fmt.Errorf("its metadata: %w", err)
			}
			continue
		}
		if _, ok := entries[name]; ok {
			return nil, fmt.Errorf("the tensor %q occurs twice", name)
		}
		var e safetensor
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		entries[name] = e
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("its header is no JSON: %w", err)
	}
	return entries, nil
}

// check validates the entry of a file with that many bytes of data.
func (e safetensor) check(data int64) error {
	t, ok := safetensorTypes[e.Type]
	if !ok {
		return fmt.Errorf("its element type %q is not known", e.Type)
	}
	n := elements(e.Shape)
	if n < 0 {
		return fmt.Errorf("its dimensions %v are negative or too large", e.Shape)
	}
	if e.Offsets[0] < 0 || e.Offsets[1] < e.Offsets[0] || e.Offsets[1] > data {
		return fmt.Errorf("its data lies at %v, the file has %d bytes of data", e.Offsets, data)
	}
	if have := e.Offsets[1] - e.Offsets[0]; have != int64(n)*t.size {
		return fmt.Errorf("it has %d bytes of values, its dimensions %v need %d", have, e.Shape, int64(n)*t.size)
	}
	return nil
}

// Names returns the names of the tensors, sorted.
func (s *Safetensors) Names() []string { return slices.Sorted(maps.Keys(s.entries)) }

// Dims returns the dimensions of a tensor; ok is false when there is none of that name or its numbers are no floating-point ones.
func (s *Safetensors) Dims(name string) (dims []int, ok bool) {
	e, ok := s.entries[name]
	if !ok || safetensorTypes[e.Type].kind == 0 {
		return nil, false
	}
	for _, d := range e.Shape {
		dims = append(dims, int(d))
	}
	return dims, true
}

// Tensor reads a tensor as float32, from F32, F16, BF16 or F64.
func (s *Safetensors) Tensor(name string) (Tensor, error) {
	dims, ok := s.Dims(name)
	if !ok {
		return Tensor{}, fmt.Errorf("there is no tensor %q of floating-point numbers", name)
	}
	e := s.entries[name]
	raw := make([]byte, e.Offsets[1]-e.Offsets[0])
	if _, err := s.r.ReadAt(raw, e.Offsets[0]); err != nil && len(raw) > 0 {
		return Tensor{}, fmt.Errorf("reading the tensor %q: %w", name, err)
	}
	t := safetensorTypes[e.Type]
	decode := decoders[t.kind]
	out := Tensor{Dims: dims, Data: make([]float32, elements(e.Shape))}
	for i := range out.Data {
		b := raw[int64(i)*t.size:]
		if t.kind == protos.TensorProto_FLOAT {
			out.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(b)) // the bits as they are, of not-a-numbers too
		} else {
			out.Data[i] = float32(decode(b[:t.size]))
		}
	}
	return out, nil
}

// Close closes the file.
func (s *Safetensors) Close() error { return s.close() }
