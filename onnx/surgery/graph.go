// Package surgery changes models without changing what they compute, and knows what a change of one place means for
// all others. It is the graph library below pruning, quantization and conversion.
//
// The way of a change:
//
//	g := surgery.Edit(model)          // a Graph that shares nothing with the model
//	err := g.Simplify()               // shape arithmetic and constants are computed, dead nodes go, reshapes get fixed targets
//	err = g.FoldNormalization()       // BatchNormalization goes into the layer before it
//	groups, err := g.Groups()         // which channels of which initializers stand or fall together
//	err = g.Prune(removed)            // remove channels of those groups, everywhere at once
//	model, err = g.Model()            // validated again
//
// Shapes infers every value's shape with the batch size left open, Costs counts FLOPs, MACs, parameters and activation memory
// by node, Half converts to float16 or bfloat16, Diff compares two models, Upgrade raises the operator set.
//
// Rules of the room: a Graph is changed in place and is not safe for concurrent use; what it hands out (Shapes, Groups) describes the graph
// of that moment. Nothing depends on map order: equal graphs give equal results. Errors are sentences about the model and name the node.
// Fuzzed models must fail in words, so nothing allocates what a model merely claims: see maxFolded.
package surgery

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Graph is a model under change.
type Graph struct {
	proto *protos.ModelProto
	input onnx.Input
}

// Edit starts changes on a copy of m.
func Edit(m *onnx.Model) *Graph { return &Graph{proto: m.Proto(), input: m.Input()} }

// Model validates the graph as it is now and returns it as a model that shares nothing with g.
func (g *Graph) Model() (*onnx.Model, error) {
	m, err := onnx.New(g.copied())
	if err != nil {
		return nil, fmt.Errorf("the changed model: %w", err)
	}
	return m, nil
}

// Nodes returns the nodes in order. The caller may change their attributes, not their names of values.
func (g *Graph) Nodes() []*protos.NodeProto { return g.graph().Node }

// Opset returns the version of the standard operator set.
func (g *Graph) Opset() int {
	for _, o := range g.proto.OpsetImport {
		if standard(o.Domain) {
			return int(o.Version)
		}
	}
	return 0
}

// standard says whether a domain is that of the standard operators.
func standard(domain string) bool { return domain == "" || domain == "ai.onnx" }

func (g *Graph) graph() *protos.GraphProto { return g.proto.Graph }

// output is the name of the graph's output.
func (g *Graph) output() string { return g.graph().Output[0].Name }

// index holds lookups over the graph of one moment.
type index struct {
	tensors  map[string]*protos.TensorProto
	producer map[string]*protos.NodeProto
	users    map[string][]*protos.NodeProto // in order; a node that uses a value twice is there twice
}

func (g *Graph) index() *index {
	x := &index{map[string]*protos.TensorProto{}, map[string]*protos.NodeProto{}, map[string][]*protos.NodeProto{}}
	for _, t := range g.graph().Initializer {
		x.tensors[t.Name] = t
	}
	for _, n := range g.graph().Node {
		for _, in := range n.Input {
			if in != "" {
				x.users[in] = append(x.users[in], n)
			}
		}
		for _, out := range n.Output {
			if out != "" {
				x.producer[out] = n
			}
		}
	}
	return x
}

// floats returns a float32 initializer's dimensions and values; ok is false when name is none.
func (x *index) floats(name string) (dims []int, data []float32, ok bool) {
	t := x.tensors[name]
	if t == nil || t.DataType != int32(protos.TensorProto_FLOAT) {
		return nil, nil, false
	}
	a, err := decode(t)
	if err != nil {
		return nil, nil, false
	}
	data = make([]float32, len(a.floats))
	for i, v := range a.floats {
		data[i] = float32(v)
	}
	return a.dims, data, true
}

// setFloats replaces the initializer of that name, or adds it.
func (g *Graph) setFloats(name string, dims []int, data []float32) {
	g.setTensor(onnx.NewTensor(name, dims, data))
}

func (g *Graph) setTensor(t *protos.TensorProto) {
	for i, have := range g.graph().Initializer {
		if have.Name == t.Name {
			g.graph().Initializer[i] = t
			return
		}
	}
	g.graph().Initializer = append(g.graph().Initializer, t)
}

// fresh returns name, or name with a number that makes it new.
func (g *Graph) fresh(name string) string {
	taken := map[string]bool{g.input.Name: true}
	for _, t := range g.graph().Initializer {
		taken[t.Name] = true
	}
	for _, n := range g.graph().Node {
		for _, out := range n.Output {
			taken[out] = true
		}
	}
	if !taken[name] {
		return name
	}
	for i := 2; ; i++ {
		if s := fmt.Sprintf("%s.%d", name, i); !taken[s] {
			return s
		}
	}
}

// redirect makes every user of the value from use to instead. The graph's output keeps its name: where from is the output,
// the node that makes to is told to make from, so the caller must have removed the node that made from.
func (g *Graph) redirect(from, to string) {
	if from == g.output() {
		for _, n := range g.graph().Node {
			rename(n.Input, to, from)
			rename(n.Output, to, from)
		}
		return
	}
	for _, n := range g.graph().Node {
		rename(n.Input, from, to)
	}
}

func rename(list []string, from, to string) {
	for i, s := range list {
		if s == from {
			list[i] = to
		}
	}
}

// remove deletes the nodes for which gone answers true.
func (g *Graph) remove(gone func(*protos.NodeProto) bool) {
	kept := g.graph().Node[:0]
	for _, n := range g.graph().Node {
		if !gone(n) {
			kept = append(kept, n)
		}
	}
	clear(g.graph().Node[len(kept):])
	g.graph().Node = kept
}

// RemoveDead removes nodes and initializers on which the output does not depend, and the stored shapes of inner values, which
// surgery makes untrue.
func (g *Graph) RemoveDead() {
	needed := map[string]bool{g.output(): true}
	nodes := g.graph().Node
	live := map[*protos.NodeProto]bool{}
	for i := len(nodes) - 1; i >= 0; i-- {
		for _, out := range nodes[i].Output {
			live[nodes[i]] = live[nodes[i]] || needed[out] && out != ""
		}
		if live[nodes[i]] {
			for _, in := range nodes[i].Input {
				needed[in] = true
			}
		}
	}
	g.remove(func(n *protos.NodeProto) bool { return !live[n] })
	kept := g.graph().Initializer[:0]
	for _, t := range g.graph().Initializer {
		if needed[t.Name] {
			kept = append(kept, t)
		}
	}
	clear(g.graph().Initializer[len(kept):])
	g.graph().Initializer = kept
	var inputs []*protos.ValueInfoProto // old exporters list initializers as inputs too
	for _, in := range g.graph().Input {
		if in.Name == g.input.Name {
			inputs = append(inputs, in)
		}
	}
	g.graph().Input, g.graph().ValueInfo = inputs, nil
}
