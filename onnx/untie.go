package onnx

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// normalInputs are the inputs of normalisations that are vectors of their own.
var normalInputs = map[string][]int{"BatchNormalization": {1, 2, 3, 4}, "LayerNormalization": {1, 2}, "InstanceNormalization": {1, 2}, "GroupNormalization": {1, 2},
	"Add": {0, 1}, "Mul": {0, 1}, "Conv": {2}, "Gemm": {2}}

// Untied returns the model with a copy of its own for every weight that an exporter stored once because two were equal: before a training, the
// scales and the variances of all normalisations are ones, say. What is taken apart is what an Identity node names, and vectors that several nodes use.
// Kernels and matrices that several nodes use are taken to be shared on purpose. A model without such weights is returned as it is.
func (m *Model) Untied() *Model {
	if !m.tied() {
		return m
	}
	c := proto.Clone(m.proto).(*protos.ModelProto)
	u := &untying{tensors: map[string]*protos.TensorProto{}, taken: map[string]bool{}, used: map[string]bool{}, named: map[string]string{}}
	for _, t := range c.Graph.Initializer {
		u.tensors[t.Name], u.taken[t.Name] = t, true
	}
	for _, n := range c.Graph.Node {
		for _, out := range n.Output {
			u.taken[out] = true
		}
	}
	var nodes []*protos.NodeProto
	for _, n := range c.Graph.Node {
		if !u.visit(n, m.output.Name) {
			nodes = append(nodes, n)
		}
	}
	c.Graph.Node = nodes
	c.Graph.Initializer = append(c.Graph.Initializer, u.added...)
	untied, err := New(c)
	if err != nil {
		return m // a graph of an odd form is left alone
	}
	return untied
}

// tied reports whether Untied has anything to do.
func (m *Model) tied() bool {
	used := map[string]bool{}
	for _, n := range m.proto.Graph.Node {
		if n.OpType == "Identity" && len(n.Input) == 1 && m.isFloat(n.Input[0]) {
			return true
		}
		for _, i := range normalInputs[n.OpType] {
			if i >= len(n.Input) || !m.isFloat(n.Input[i]) || len(m.tensors[n.Input[i]].Dims) != 1 {
				continue
			}
			if used[n.Input[i]] {
				return true
			}
			used[n.Input[i]] = true
		}
	}
	return false
}

func (m *Model) isFloat(name string) bool {
	t := m.tensors[name]
	return t != nil && t.DataType == int32(protos.TensorProto_FLOAT)
}

// untying is a walk over the nodes of a copy.
type untying struct {
	tensors map[string]*protos.TensorProto
	added   []*protos.TensorProto
	taken   map[string]bool   // names
	used    map[string]bool   // vectors
	named   map[string]string // outputs of Identity nodes: the initializers that they have become
}

// visit gives the node's vectors copies of their own; remove says that the node has become one.
func (u *untying) visit(n *protos.NodeProto, output string) (remove bool) {
	for i, in := range n.Input {
		if own, ok := u.named[in]; ok {
			n.Input[i] = own
		}
	}
	if n.OpType == "Identity" && len(n.Input) == 1 && u.float(n.Input[0]) && n.Output[0] != output {
		u.named[n.Output[0]] = u.copy(n.Input[0], n.Output[0])
		return true
	}
	for _, i := range normalInputs[n.OpType] {
		if i >= len(n.Input) || !u.float(n.Input[i]) || len(u.tensors[n.Input[i]].Dims) != 1 {
			continue
		}
		if name := n.Input[i]; u.used[name] {
			n.Input[i] = u.copy(name, u.free(name))
		}
		u.used[n.Input[i]] = true
	}
	return false
}

func (u *untying) float(name string) bool {
	t := u.tensors[name]
	return t != nil && t.DataType == int32(protos.TensorProto_FLOAT)
}

// copy adds an initializer like that one and returns its name.
func (u *untying) copy(of, name string) string {
	t := proto.Clone(u.tensors[of]).(*protos.TensorProto)
	t.Name = name
	u.tensors[name] = t
	u.added = append(u.added, t)
	return name
}

// free returns a name that nothing has.
func (u *untying) free(name string) string {
	for i := 2; ; i++ {
		if s := fmt.Sprintf("%s.%d", name, i); !u.taken[s] {
			u.taken[s] = true
			return s
		}
	}
}
