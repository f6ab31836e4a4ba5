// Package infertest makes tiny ONNX models for the tests of whatever runs models.
//
// Rules of the room: only tests import it. Every model is one linear layer, so that its answers can be worked out by
// hand.
package infertest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// Linear describes a model whose logits are Weights · pixels: input (N, C, H, W), output (N, classes).
type Linear struct {
	Channels, Height, Width int // 0: left open in the graph
	Weights                 [][]float32
	Batch                   int // 0: left open
	Classes                 []string
	Properties              map[string]string // further metadata
	// Change, when set, alters the finished model.
	Change func(*protos.ModelProto)
}

// Write writes the model as dir/name and returns its path.
func (l Linear) Write(t testing.TB, dir, name string) string {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(l.proto(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func (l Linear) proto(t testing.TB) *protos.ModelProto {
	t.Helper()
	classes, size := len(l.Weights), len(l.Weights[0])
	weights := &protos.TensorProto{Name: "weights", DataType: int32(protos.TensorProto_FLOAT), Dims: []int64{int64(classes), int64(size)}}
	for _, row := range l.Weights {
		weights.FloatData = append(weights.FloatData, row...)
	}
	m := &protos.ModelProto{
		IrVersion:   8,
		OpsetImport: []*protos.OperatorSetIdProto{{Version: 17}},
		Graph: &protos.GraphProto{
			Name: "linear",
			Node: []*protos.NodeProto{
				{OpType: "Flatten", Input: []string{"image"}, Output: []string{"flat"}},
				{OpType: "Gemm", Input: []string{"flat", "weights"}, Output: []string{"logits"},
					Attribute: []*protos.AttributeProto{{Name: "transB", Type: protos.AttributeProto_INT, I: 1}}},
			},
			Initializer: []*protos.TensorProto{weights},
			Input:       []*protos.ValueInfoProto{Port("image", protos.TensorProto_FLOAT, l.Batch, l.Channels, l.Height, l.Width)},
			Output:      []*protos.ValueInfoProto{Port("logits", protos.TensorProto_FLOAT, l.Batch, classes)},
		},
	}
	if l.Classes != nil {
		text, err := json.Marshal(l.Classes)
		if err != nil {
			t.Fatal(err)
		}
		m.MetadataProps = append(m.MetadataProps, &protos.StringStringEntryProto{Key: "darkroom.classes", Value: string(text)})
	}
	for k, v := range l.Properties {
		m.MetadataProps = append(m.MetadataProps, &protos.StringStringEntryProto{Key: k, Value: v})
	}
	if l.Change != nil {
		l.Change(m)
	}
	return m
}

// Port returns the declaration of a graph's input or output; dimensions of 0 are open.
func Port(name string, typ protos.TensorProto_DataType, dims ...int) *protos.ValueInfoProto {
	shape := &protos.TensorShapeProto{}
	for i, d := range dims {
		dim := &protos.TensorShapeProto_Dimension{Value: &protos.TensorShapeProto_Dimension_DimParam{DimParam: fmt.Sprintf("%s_%d", name, i)}}
		if i == 0 {
			dim.Value = &protos.TensorShapeProto_Dimension_DimParam{DimParam: "N"}
		}
		if d > 0 {
			dim.Value = &protos.TensorShapeProto_Dimension_DimValue{DimValue: int64(d)}
		}
		shape.Dim = append(shape.Dim, dim)
	}
	return &protos.ValueInfoProto{Name: name, Type: &protos.TypeProto{Value: &protos.TypeProto_TensorType{
		TensorType: &protos.TypeProto_Tensor{ElemType: int32(typ), Shape: shape}}}}
}
