package onnx

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// EngineContext returns an ONNX file whose one node stands for a TensorRT engine of the model, in the file of that name beside it: what ONNX Runtime calls an EPContext
// model, and runs with its TensorRT provider alone. It has the model's input, output and metadata. See ONNX Runtime's "EP context design".
func (m *Model) EngineContext(plan string) ([]byte, error) {
	p := m.Proto()
	g := p.Graph
	attribute := func(name string, a *protos.AttributeProto) *protos.AttributeProto { a.Name = name; return a }
	node := &protos.NodeProto{OpType: "EPContext", Domain: "com.microsoft", Name: "engine", Input: []string{m.Input().Name}, Output: []string{m.Output().Name}, Attribute: []*protos.AttributeProto{
		attribute("main_context", &protos.AttributeProto{Type: protos.AttributeProto_INT, I: 1}),
		attribute("embed_mode", &protos.AttributeProto{Type: protos.AttributeProto_INT, I: 0}),
		attribute("ep_cache_context", &protos.AttributeProto{Type: protos.AttributeProto_STRING, S: []byte(plan)}),
		attribute("source", &protos.AttributeProto{Type: protos.AttributeProto_STRING, S: []byte("TensorrtExecutionProvider")}),
	}}
	g.Node, g.Initializer, g.SparseInitializer, g.ValueInfo, g.QuantizationAnnotation = []*protos.NodeProto{node}, nil, nil, nil, nil
	for _, o := range p.OpsetImport {
		if o.Domain == node.Domain {
			o.Version = 1
			node = nil
			break
		}
	}
	if node != nil {
		p.OpsetImport = append(p.OpsetImport, &protos.OperatorSetIdProto{Domain: node.Domain, Version: 1})
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("writing the model of an engine: %w", err)
	}
	return b, nil
}
