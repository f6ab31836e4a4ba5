package surgery

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// Index looks values up in the graph of the moment at which it is made.
type Index struct{ x *index }

// Index returns lookups over the graph as it is now.
func (g *Graph) Index() Index { return Index{g.index()} }

// Producer returns the node that makes the value, or nil.
func (i Index) Producer(value string) *protos.NodeProto { return i.x.producer[value] }

// Users returns the nodes that read the value, in order; one that reads it twice is there twice.
func (i Index) Users(value string) []*protos.NodeProto { return i.x.users[value] }

// IsTensor says whether the value is an initializer, of any type.
func (i Index) IsTensor(value string) bool { return i.x.tensors[value] != nil }

// Floats returns a float32 initializer's dimensions and a copy of its values, row-major; ok is false when the value is none.
func (i Index) Floats(value string) (dims []int, data []float32, ok bool) { return i.x.floats(value) }

// Input is the name of the image input.
func (g *Graph) Input() string { return g.input.Name }

// Output is the name of the graph's output.
func (g *Graph) Output() string { return g.output() }

// Fresh returns name, or name with a number that no value of the graph has.
func (g *Graph) Fresh(name string) string { return g.fresh(name) }

// SetTensor replaces the initializer of t's name, or adds it.
func (g *Graph) SetTensor(t *protos.TensorProto) { g.setTensor(t) }

// SetFloats replaces the values of the float32 initializer of that name, or adds it.
func (g *Graph) SetFloats(name string, dims []int, data []float32) { g.setFloats(name, dims, data) }

// Owned makes sure that the node's input i is an initializer that no other node uses, naming it anew after the node where it is
// shared or missing, and returns its name; the caller sets it.
func (g *Graph) Owned(n *protos.NodeProto, i int, suffix string) string {
	return g.owned(g.index(), n, i, suffix)
}

// SetNodes replaces the nodes; they must be in an order in which every value is made before it is used.
func (g *Graph) SetNodes(nodes []*protos.NodeProto) { g.graph().Node = nodes }

// Expose returns the bytes of an ONNX file whose outputs are the named inner values, float32, in that order; the graph's own output may be among
// them. It is for running the graph and looking inside, not a Model.
func (g *Graph) Expose(values []string) ([]byte, error) {
	p := g.copied()
	p.Graph.Output, p.Graph.ValueInfo = nil, nil
	for _, v := range values {
		p.Graph.Output = append(p.Graph.Output, &protos.ValueInfoProto{Name: v, Type: &protos.TypeProto{Value: &protos.TypeProto_TensorType{
			TensorType: &protos.TypeProto_Tensor{ElemType: typeFloat}}}})
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("writing a model with its inner values: %w", err)
	}
	return b, nil
}
