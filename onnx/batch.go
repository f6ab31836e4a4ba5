package onnx

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// WithBatch returns a copy of the model whose image input takes batches of n images and no others, for what needs shapes that
// are known before it runs. Shapes that the model states of values in between are left out: what reads it infers them anew.
func (m *Model) WithBatch(n int) (*Model, error) {
	if n < 1 {
		return nil, fmt.Errorf("a batch of %d images", n)
	}
	if m.input.Batch != 0 && m.input.Batch != n {
		return nil, fmt.Errorf("the model is fixed to batches of %d images, not %d", m.input.Batch, n)
	}
	p := proto.Clone(m.proto).(*protos.ModelProto)
	p.Graph.ValueInfo = nil
	for _, v := range append(append([]*protos.ValueInfoProto{}, p.Graph.Input...), p.Graph.Output...) {
		if v.Name != m.input.Name && v.Name != m.output.Name {
			continue
		}
		dims := v.GetType().GetTensorType().GetShape().GetDim()
		if len(dims) > 0 {
			dims[0].Value = &protos.TensorShapeProto_Dimension_DimValue{DimValue: int64(n)}
		}
	}
	return New(p)
}
