package onnx

import (
	"encoding/binary"
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"
)

// The initializers that hold the normalisation of the input in the models that darkroom writes.
const (
	NormalMean = "normalise.mean"
	NormalStd  = "normalise.std"
)

// Builder writes the graph of a new model, node by node. Values are named by the caller's parts: a node that is called
// "layer1.conv" has the output "layer1.conv", and its initializers are called "layer1.conv.weight" and so on.
type Builder struct {
	graph *protos.GraphProto
}

// NewBuilder starts a model whose input has that many channels and that size.
func NewBuilder(name string, channels, height, width int) *Builder {
	return &Builder{graph: &protos.GraphProto{Name: name, Input: []*protos.ValueInfoProto{port(InputName, channels, height, width)}}}
}

// port describes a float32 value whose first axis, N, is open.
func port(name string, dims ...int) *protos.ValueInfoProto {
	shape := &protos.TensorShapeProto{Dim: []*protos.TensorShapeProto_Dimension{{Value: &protos.TensorShapeProto_Dimension_DimParam{DimParam: "N"}}}}
	for _, d := range dims {
		shape.Dim = append(shape.Dim, &protos.TensorShapeProto_Dimension{Value: &protos.TensorShapeProto_Dimension_DimValue{DimValue: int64(d)}})
	}
	return &protos.ValueInfoProto{Name: name, Type: &protos.TypeProto{Value: &protos.TypeProto_TensorType{
		TensorType: &protos.TypeProto_Tensor{ElemType: int32(protos.TensorProto_FLOAT), Shape: shape}}}}
}

// Tensor adds a float32 initializer and returns its name.
func (b *Builder) Tensor(name string, dims []int, data []float32) string {
	b.graph.Initializer = append(b.graph.Initializer, NewTensor(name, dims, data))
	return name
}

// Raw adds an initializer of any element type and returns its name.
func (b *Builder) Raw(t *protos.TensorProto) string {
	b.graph.Initializer = append(b.graph.Initializer, t)
	return t.Name
}

// Ints adds an int64 initializer, a vector, and returns its name.
func (b *Builder) Ints(name string, list ...int) string {
	t := &protos.TensorProto{Name: name, DataType: int32(protos.TensorProto_INT64), Dims: []int64{int64(len(list))}}
	for _, v := range list {
		t.RawData = binary.LittleEndian.AppendUint64(t.RawData, uint64(v))
	}
	return b.Raw(t)
}

// Split adds a Split node with an output for each name.
func (b *Builder) Split(name, input, sizes string, axis int, outputs ...string) []string {
	b.graph.Node = append(b.graph.Node, &protos.NodeProto{OpType: "Split", Name: name, Input: []string{input, sizes}, Output: outputs,
		Attribute: []*protos.AttributeProto{IntOf("axis", axis)}})
	return outputs
}

// Number adds a Constant node, one float32 number, and returns its name. Unlike an initializer it is never trained.
func (b *Builder) Number(name string, v float64) string {
	t := NewTensor(name, nil, []float32{float32(v)})
	return b.Node("Constant", name, nil, &protos.AttributeProto{Name: "value", Type: protos.AttributeProto_TENSOR, T: t})
}

// Node adds a node and returns the name of its output, which is the node's.
func (b *Builder) Node(operator, name string, inputs []string, attributes ...*protos.AttributeProto) string {
	b.graph.Node = append(b.graph.Node, &protos.NodeProto{OpType: operator, Name: name, Input: inputs, Output: []string{name}, Attribute: attributes})
	return name
}

// IntsOf is a list attribute.
func IntsOf(name string, list ...int) *protos.AttributeProto {
	a := &protos.AttributeProto{Name: name, Type: protos.AttributeProto_INTS}
	for _, v := range list {
		a.Ints = append(a.Ints, int64(v))
	}
	return a
}

// IntOf is an integer attribute.
func IntOf(name string, v int) *protos.AttributeProto {
	return &protos.AttributeProto{Name: name, Type: protos.AttributeProto_INT, I: int64(v)}
}

// FloatOf is a number attribute.
func FloatOf(name string, v float64) *protos.AttributeProto {
	return &protos.AttributeProto{Name: name, Type: protos.AttributeProto_FLOAT, F: float32(v)}
}

// Model ends the graph: its last node must be called OutputName, (N, classes).
func (b *Builder) Model(classes int, meta Meta) (*Model, error) {
	b.graph.Output = []*protos.ValueInfoProto{port(OutputName, classes)}
	m, err := New(&protos.ModelProto{IrVersion: irVersion, ProducerName: producer, Graph: b.graph,
		OpsetImport: []*protos.OperatorSetIdProto{{Version: Opset}}})
	if err != nil {
		return nil, fmt.Errorf("building the model %s: %w", b.graph.Name, err)
	}
	return m, m.SetMeta(meta)
}
