package onnx

import (
	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// Proto returns a copy of the model's message that shares nothing with it, for surgery that changes the graph.
func (m *Model) Proto() *protos.ModelProto { return proto.Clone(m.proto).(*protos.ModelProto) }
