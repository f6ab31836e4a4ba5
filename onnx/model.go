// Package onnx is the model artifact: an ONNX file that holds an image classifier, with what darkroom knows about it as
// metadata properties.
//
// Rules of the room: it imports artifact at most, and the ONNX message types. A Model is validated when it is made; what
// walks its graph afterwards may rely on that. Equal models give equal bytes. The contract of the models that darkroom
// writes: one input `image`, float32, (N, C, H, W) with N open, pixels 0–1 in RGB order, normalised inside the graph; one
// output `logits`, (N, classes); BatchNormalization is kept as an operator of its own. Models from elsewhere have any one image
// input and any one output.
package onnx

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// The names and versions of the models that darkroom writes.
const (
	InputName  = "image"
	OutputName = "logits"
	Opset      = 17 // the operator set: the newest that TensorRT 8.6 and later, OpenVINO and ONNX Runtime all read
	irVersion  = 8  // of the file format, the one that came with operator set 17
	producer   = "darkroom"
)

// MaxSize is the largest model file that is read, in bytes; protobuf cannot hold more than 2 GiB in one message.
const MaxSize = 2<<30 - 1

// Model is an ONNX model. Its graph is fixed once made; the values of its initializers may be replaced with SetTensor.
// It is not safe for concurrent use while that is done.
type Model struct {
	proto   *protos.ModelProto
	input   Input
	output  Output
	tensors map[string]*protos.TensorProto // the initializers by name
}

// Input is the image input. A size is 0 where the model leaves it open.
type Input struct {
	Name                    string
	Batch                   int // 0: any
	Channels, Height, Width int
}

// Output is the output with the scores. Classes is 0 where the model does not say how many there are.
type Output struct {
	Name    string
	Classes int
}

// Meta is what darkroom stores about a model. Models from elsewhere have none of it.
type Meta struct {
	Classes   []string  // names in order of the logits
	Task      string    // "classification"
	Mean, Std []float64 // per channel, of pixels 0–1; the graph itself applies them
}

// The names of the metadata properties. Each holds JSON.
const (
	classesKey = "darkroom.classes"
	taskKey    = "darkroom.task"
	meanKey    = "darkroom.mean"
	stdKey     = "darkroom.std"
)

// Load reads and validates the model file at path, with the values that it keeps in files beside it.
func Load(path string) (*Model, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the model: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the model %s: %w", path, err)
	}
	p, err := unmarshal(b)
	if err == nil {
		err = readExternal(p, filepath.Dir(path))
	}
	var m *Model
	if err == nil {
		m, err = New(p)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not a model that can be used: %w", path, err)
	}
	return m, nil
}

// Parse reads and validates the bytes of a model file.
func Parse(b []byte) (*Model, error) {
	p, err := unmarshal(b)
	if err != nil {
		return nil, err
	}
	return New(p)
}

func unmarshal(b []byte) (*protos.ModelProto, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("it is larger than %d bytes, the most that one ONNX file can hold", MaxSize)
	}
	if len(b) == 0 {
		return nil, errors.New("it is empty")
	}
	p := &protos.ModelProto{}
	if err := proto.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("it is not an ONNX file: %w", err)
	}
	return p, nil
}

// New validates p and makes it a Model, which owns it from then on.
func New(p *protos.ModelProto) (*Model, error) {
	m := &Model{proto: p, tensors: map[string]*protos.TensorProto{}}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// Bytes returns the file's content. Equal models give equal bytes.
func (m *Model) Bytes() ([]byte, error) {
	if n := proto.Size(m.proto); n > MaxSize {
		return nil, fmt.Errorf("writing the model: it has %d bytes, and one ONNX file holds at most %d; its values must be written beside it (SaveExternal)", n, MaxSize)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.proto)
	if err != nil {
		return nil, fmt.Errorf("writing the model: %w", err)
	}
	return b, nil
}

// Save writes the model to path, through a temporary file beside it, so that path never holds a part of it.
func (m *Model) Save(path string) error {
	b, err := m.Bytes()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".model-*")
	if err != nil {
		return fmt.Errorf("writing the model: %w", err)
	}
	defer os.Remove(f.Name()) // fails when the rename succeeded, as it should
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing the model %s: %w", path, err)
	}
	return nil
}

// Clone returns a copy that shares nothing.
func (m *Model) Clone() *Model {
	c, err := New(proto.Clone(m.proto).(*protos.ModelProto))
	if err != nil {
		panic(err) // what was valid stays valid
	}
	return c
}

// Graph returns the graph, which the caller must not change.
func (m *Model) Graph() *protos.GraphProto { return m.proto.Graph }

// Input describes the image input.
func (m *Model) Input() Input { return m.input }

// Output describes the output with the scores.
func (m *Model) Output() Output { return m.output }

// OpsetVersion returns the version of the standard operator set that the graph's operators are meant in.
func (m *Model) OpsetVersion() int {
	for _, o := range m.proto.OpsetImport {
		if o.Domain == "" || o.Domain == "ai.onnx" {
			return int(o.Version)
		}
	}
	return 0
}

// Parameters returns the number of elements of all float32 initializers.
func (m *Model) Parameters() int {
	n := 0
	for _, t := range m.proto.Graph.Initializer {
		if t.DataType == int32(protos.TensorProto_FLOAT) {
			n += elements(t.Dims)
		}
	}
	return n
}

// Meta returns what the metadata properties say. Properties of another form count as absent, since a model from elsewhere may use
// any name; New refuses those of darkroom that are malformed.
func (m *Model) Meta() Meta {
	meta, err := m.readMeta()
	if err != nil {
		return Meta{}
	}
	return meta
}

func (m *Model) readMeta() (Meta, error) {
	var meta Meta
	fields := map[string]any{classesKey: &meta.Classes, taskKey: &meta.Task, meanKey: &meta.Mean, stdKey: &meta.Std}
	for _, p := range m.proto.MetadataProps {
		if to, ok := fields[p.GetKey()]; ok {
			if err := json.Unmarshal([]byte(p.GetValue()), to); err != nil {
				return Meta{}, fmt.Errorf("its property %s is not the JSON that darkroom writes: %w", p.GetKey(), err)
			}
		}
	}
	if len(meta.Mean) != len(meta.Std) {
		return Meta{}, fmt.Errorf("its properties %s and %s have %d and %d numbers", meanKey, stdKey, len(meta.Mean), len(meta.Std))
	}
	for _, s := range meta.Std {
		if !(s > 0) || math.IsInf(s, 0) {
			return Meta{}, fmt.Errorf("its property %s holds %v: deviations are above 0", stdKey, s)
		}
	}
	return meta, nil
}

// SetMeta replaces darkroom's metadata properties and keeps all others.
func (m *Model) SetMeta(meta Meta) error {
	var props []*protos.StringStringEntryProto
	for _, p := range m.proto.MetadataProps {
		switch p.GetKey() {
		case classesKey, taskKey, meanKey, stdKey:
		default:
			props = append(props, p)
		}
	}
	for _, f := range []struct {
		key     string
		v       any
		present bool
	}{{classesKey, meta.Classes, len(meta.Classes) > 0}, {taskKey, meta.Task, meta.Task != ""}, {meanKey, meta.Mean, len(meta.Mean) > 0}, {stdKey, meta.Std, len(meta.Std) > 0}} {
		if !f.present {
			continue
		}
		b, err := json.Marshal(f.v)
		if err != nil {
			return fmt.Errorf("model property %s: %w", f.key, err)
		}
		props = append(props, &protos.StringStringEntryProto{Key: f.key, Value: string(b)})
	}
	m.proto.MetadataProps = props
	return nil
}
