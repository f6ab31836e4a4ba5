package surgery

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Simplify brings the graph into the form that the other surgery expects, without changing what it computes: constants and shape
// arithmetic are computed, reshapes get fixed targets with at most one open axis, operators that do nothing (Identity, Dropout, Cast to the same type) and
// everything dead is removed.
func (g *Graph) Simplify() error {
	if err := g.foldConstants(); err != nil {
		return err
	}
	if err := g.fixReshapes(); err != nil {
		return err
	}
	if err := g.bypass(); err != nil {
		return err
	}
	g.RemoveDead()
	return nil
}

// foldConstants replaces nodes whose outputs are known before the model runs by initializers.
func (g *Graph) foldConstants() error {
	shapes, err := g.Shapes()
	if err != nil {
		return err
	}
	s := &inference{Shapes: shapes, x: g.index(), opset: g.Opset()}
	folded := map[*protos.NodeProto]bool{}
	for _, n := range g.graph().Node {
		a, err := s.constantOutput(n)
		if err != nil {
			return fmt.Errorf("%s: %w", onnx.NodeText(n), err)
		}
		if a == nil || !a.concrete() || n.Output[0] == g.output() {
			continue
		}
		t, err := a.encode(n.Output[0])
		if err != nil {
			continue // of a type that stays computed
		}
		s.x.tensors[t.Name] = t
		g.graph().Initializer = append(g.graph().Initializer, t)
		folded[n] = true
	}
	g.remove(func(n *protos.NodeProto) bool { return folded[n] })
	return nil
}

// constantOutput returns the node's first output where it is constant. Large initializers are decoded here, which the walk over
// shapes does not do.
func (s *inference) constantOutput(n *protos.NodeProto) (*array, error) {
	if a := s.constants[n.Output[0]]; a != nil {
		return a, nil
	}
	if n.OpType == "Constant" {
		return constantValue(n)
	}
	if len(n.Input) == 0 || evaluators[n.OpType] == nil {
		return nil, nil
	}
	in := make([]*array, len(n.Input))
	for i, name := range n.Input {
		if name == "" {
			continue
		}
		if in[i] = s.constants[name]; in[i] != nil {
			continue
		}
		t := s.x.tensors[name]
		if t == nil {
			return nil, nil
		}
		a, err := decode(t)
		if err != nil {
			return nil, nil // of a type that stays as it is
		}
		in[i] = a
	}
	return s.compute(n, in, maxFolded)
}

// fixReshapes makes the targets of reshapes constant where the output's shape is known but for the batch size.
func (g *Graph) fixReshapes() error {
	shapes, err := g.Shapes()
	if err != nil {
		return err
	}
	x := g.index()
	for _, n := range g.graph().Node {
		if n.OpType != "Reshape" || !standard(n.Domain) || x.tensors[n.Input[1]] != nil && len(x.users[n.Input[1]]) == 1 {
			continue
		}
		in, out := shapes.Of(n.Input[0]), shapes.Of(n.Output[0])
		if !in.Known() || !out.Known() {
			continue
		}
		target, ok := reshapeTarget(in.Shape, out.Shape)
		if !ok {
			continue
		}
		name := g.fresh(n.Output[0] + ".target")
		t, err := (&array{typ: typeInt64, dims: []int{len(target)}, ints: target}).encode(name)
		if err != nil {
			return err
		}
		g.setTensor(t)
		n.Input[1] = name
		dropAttribute(n, "allowzero")
	}
	return nil
}

// reshapeTarget writes out as a target of Reshape: an axis that depends on the batch copies that of in, or is what remains.
func reshapeTarget(in, out Shape) ([]Dim, bool) {
	target, open := make([]Dim, len(out)), false
	for i, d := range out {
		switch {
		case d.fixed() && d.Size > 0:
			target[i] = d
		case d.Batch && i < len(in) && in[i] == d:
			target[i] = Fixed(0)
		case d.Batch && !open:
			target[i], open = Fixed(-1), true
		default:
			return nil, false
		}
	}
	return target, true
}

// bypass removes operators that return their input.
func (g *Graph) bypass() error {
	shapes, err := g.Shapes()
	if err != nil {
		return err
	}
	idle := map[*protos.NodeProto]bool{}
	x := g.index()
	for _, n := range g.graph().Node {
		if !g.idles(n, shapes) {
			continue
		}
		from, to := n.Output[0], n.Input[0]
		if from == g.output() && (x.producer[to] == nil || len(x.users[to]) > 1) {
			continue // the output must be some node's own
		}
		idle[n] = true
		n.Output[0], n.Input[0] = "", ""
		g.redirect(from, to)
		x = g.index()
	}
	g.remove(func(n *protos.NodeProto) bool { return idle[n] })
	return nil
}

func (g *Graph) idles(n *protos.NodeProto, s *Shapes) bool {
	if !standard(n.Domain) || len(n.Input) == 0 {
		return false
	}
	in, out := s.Of(n.Input[0]), s.Of(n.Output[0])
	same := in.Known() && out.Known() && len(in.Shape) == len(out.Shape) && in.Shape.String() == out.Shape.String()
	switch n.OpType {
	case "Identity", "Dropout":
		return len(n.Output) == 1 || n.Output[1] == ""
	case "Cast":
		return in.Type != 0 && int32(onnx.Int(n, "to", 0)) == in.Type
	case "Reshape", "Flatten", "Expand", "Squeeze", "Unsqueeze", "Slice":
		return same
	}
	return false
}
