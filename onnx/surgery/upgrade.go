package surgery

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// upgrade changes a node to what it means from an operator set on.
type upgrade struct {
	version int
	change  func(g *Graph, n *protos.NodeProto, s *Shapes) error
}

// upgrades are the operators that changed between the sets that onnx reads, 9 to 25, in a way that files show. What is not listed was
// only given more types, or defaults that give what the older one gave.
var upgrades = map[string][]upgrade{
	"Slice": {{10, func(g *Graph, n *protos.NodeProto, _ *Shapes) error {
		return toInputs(g, n, 1, "starts", "ends", "axes")
	}}},
	"Upsample":  {{10, upsampleToResize}},
	"Resize":    {{11, resizeTo11}},
	"Clip":      {{11, func(g *Graph, n *protos.NodeProto, _ *Shapes) error { return scalarsToInputs(g, n, "min", "max") }}},
	"Pad":       {{11, padTo11}},
	"Dropout":   {{12, func(_ *Graph, n *protos.NodeProto, _ *Shapes) error { dropAttribute(n, "ratio"); return nil }}},
	"Squeeze":   {{13, axesToInput}},
	"Unsqueeze": {{13, axesToInput}},
	"Split":     {{13, func(g *Graph, n *protos.NodeProto, _ *Shapes) error { return toInputs(g, n, 1, "split") }}, {18, splitTo18}},
	"ReduceSum": {{13, axesToInput}},
	"Softmax":   {{13, softmaxTo13}}, "LogSoftmax": {{13, softmaxTo13}}, "Hardmax": {{13, softmaxTo13}},
	"ReduceMean": {{18, axesToInput}}, "ReduceMax": {{18, axesToInput}}, "ReduceMin": {{18, axesToInput}}, "ReduceProd": {{18, axesToInput}}, "ReduceL1": {{18, axesToInput}},
	"ReduceL2": {{18, axesToInput}}, "ReduceSumSquare": {{18, axesToInput}}, "ReduceLogSumExp": {{18, axesToInput}},
	"GroupNormalization": {{21, func(_ *Graph, _ *protos.NodeProto, _ *Shapes) error {
		return fmt.Errorf("its scales are per group before operator set 21 and per channel since; export the model again with operator set 21")
	}}},
}

// Upgrade raises the standard operator set to version, if it is lower. It knows every operator whose form changed between sets 9 and 21, and
// says which node it cannot raise.
func (g *Graph) Upgrade(version int) error {
	have := g.Opset()
	if have >= version {
		return nil
	}
	shapes, err := g.Shapes()
	if err != nil {
		return err
	}
	for _, n := range slices.Clone(g.graph().Node) {
		if !standard(n.Domain) {
			continue
		}
		if err := g.upgradeNode(n, shapes, have, version); err != nil {
			return fmt.Errorf("raising the operator set from %d to %d: %s: %w", have, version, onnx.NodeText(n), err)
		}
	}
	for _, o := range g.proto.OpsetImport {
		if standard(o.Domain) {
			o.Version = int64(version)
		}
	}
	g.proto.IrVersion = max(g.proto.IrVersion, formatOf(version))
	return nil
}

// upgradeNode takes one version after the other: a change may give the node another operator.
func (g *Graph) upgradeNode(n *protos.NodeProto, s *Shapes, from, to int) error {
	for version := from + 1; version <= to; version++ {
		for _, u := range upgrades[n.OpType] {
			if u.version != version {
				continue
			}
			if err := u.change(g, n, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// formatOf is the version of the file format that came with an operator set.
func formatOf(opset int) int64 {
	switch {
	case opset >= 23:
		return 11
	case opset >= 21:
		return 10
	case opset >= 19:
		return 9
	case opset >= 15:
		return 8
	}
	return 7
}

// toInputs moves list attributes to inputs from the given one on.
func toInputs(g *Graph, n *protos.NodeProto, from int, names ...string) error {
	for i, name := range names {
		if attribute(n, name) == nil {
			continue
		}
		list := onnx.Ints(n, name)
		if err := g.integers(n, from+i, "."+name, list); err != nil {
			return err
		}
		dropAttribute(n, name)
	}
	return nil
}

// integers gives the node a list of its own as input i.
func (g *Graph) integers(n *protos.NodeProto, i int, suffix string, list []int) error {
	t, err := (&array{typ: typeInt64, dims: []int{len(list)}, ints: shapeOf(list)}).encode(g.fresh(n.Output[0] + suffix))
	if err != nil {
		return err
	}
	return g.feed(n, i, t)
}

func (g *Graph) feed(n *protos.NodeProto, i int, t *protos.TensorProto) error {
	for len(n.Input) <= i {
		n.Input = append(n.Input, "")
	}
	g.setTensor(t)
	n.Input[i] = t.Name
	return nil
}

func scalarsToInputs(g *Graph, n *protos.NodeProto, names ...string) error {
	for i, name := range names {
		if a := attribute(n, name); a != nil {
			v := a.F
			dropAttribute(n, name)
			if err := g.feed(n, 1+i, onnx.NewTensor(g.fresh(n.Output[0]+"."+name), nil, []float32{v})); err != nil {
				return err
			}
		}
	}
	return nil
}

func axesToInput(g *Graph, n *protos.NodeProto, _ *Shapes) error { return toInputs(g, n, 1, "axes") }

func padTo11(g *Graph, n *protos.NodeProto, _ *Shapes) error {
	value := float32(onnx.Float(n, "value", 0))
	if err := toInputs(g, n, 1, "pads"); err != nil {
		return err
	}
	dropAttribute(n, "value")
	return g.feed(n, 2, onnx.NewTensor(g.fresh(n.Output[0]+".value"), nil, []float32{value}))
}

// softmaxTo13: before, the operator flattened everything from its axis on, which is the same only for the last axis.
func softmaxTo13(_ *Graph, n *protos.NodeProto, s *Shapes) error {
	v := s.Of(n.Input[0])
	axis := onnx.Int(n, "axis", 1)
	if !v.Ranked || axis != len(v.Shape)-1 && axis != -1 {
		return fmt.Errorf("it flattens several axes, which later operator sets do not; export the model again with operator set 13 or later")
	}
	setAttribute(n, onnx.IntOf("axis", axis))
	return nil
}

func splitTo18(_ *Graph, n *protos.NodeProto, _ *Shapes) error {
	if !has(n, 1) && attribute(n, "split") == nil {
		setAttribute(n, onnx.IntOf("num_outputs", len(n.Output)))
	}
	return nil
}

// upsampleToResize: Resize of set 10 is Upsample of set 9 under another name.
func upsampleToResize(g *Graph, n *protos.NodeProto, s *Shapes) error {
	n.OpType = "Resize"
	return nil
}

// resizeTo11 keeps the coordinates of the older operator, which set 11 calls asymmetric.
func resizeTo11(g *Graph, n *protos.NodeProto, _ *Shapes) error {
	if len(n.Input) != 2 {
		return nil // of set 11 already
	}
	scales := n.Input[1]
	if err := g.feed(n, 1, onnx.NewTensor(g.fresh(n.Output[0]+".region"), []int{0}, nil)); err != nil { // not optional in set 11
		return err
	}
	n.Input = append(n.Input, scales)
	setAttribute(n, textOf("coordinate_transformation_mode", "asymmetric"))
	if onnx.Text(n, "mode", "nearest") == "nearest" {
		setAttribute(n, textOf("nearest_mode", "floor"))
	}
	return nil
}

func textOf(name, v string) *protos.AttributeProto {
	return &protos.AttributeProto{Name: name, Type: protos.AttributeProto_STRING, S: []byte(v)}
}
