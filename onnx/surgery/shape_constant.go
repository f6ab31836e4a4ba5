package surgery

import (
	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// The operators that compute with shapes, and those whose output has a shape that is given as a value.
func init() {
	register(shaping, "Shape")
	register(sizing, "Size")
	register(constantNode, "Constant")
	register(filling, "ConstantOfShape")
	register(ranging, "Range")
	register(expanding, "Expand")
}

func shaping(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	list := shapePart(n, x.Shape)
	s.set(n, 0, typeInt64, Shape{Fixed(len(list))})
	return nil
}

// shapePart is what Shape returns, from start to end.
func shapePart(n *protos.NodeProto, x Shape) Shape {
	c := clampCut(cut{0, onnx.Int(n, "start", 0), onnx.Int(n, "end", 1<<31), 1}, len(x))
	return x[c.start:max(c.start, c.end)]
}

func sizing(s *inference, n *protos.NodeProto) error {
	s.set(n, 0, typeInt64, Shape{})
	return nil
}

func ranging(s *inference, n *protos.NodeProto) error {
	start, err := s.in(n, 0)
	s.set(n, 0, start.Type, unranked(1))
	return err
}

func constantNode(s *inference, n *protos.NodeProto) error {
	a, err := constantValue(n)
	if err != nil {
		return err
	}
	s.set(n, 0, a.typ, shapeOf(a.dims))
	return nil
}

// target is a shape that is given as input i.
func (s *inference) target(n *protos.NodeProto, i int) (Shape, bool) {
	if list, ok := s.numbers(n, i); ok {
		return Shape(list), true
	}
	v, err := s.in(n, i)
	if err == nil && len(v.Shape) == 1 && v.Shape[0].fixed() && v.Shape[0].Size <= 16 {
		return unranked(v.Shape[0].Size), true
	}
	return nil, false
}

func filling(s *inference, n *protos.NodeProto) error {
	typ := typeFloat
	if a := attribute(n, "value"); a != nil && a.T != nil {
		typ = a.T.DataType
	}
	if shape, ok := s.target(n, 0); ok {
		s.set(n, 0, typ, shape)
	}
	return nil
}

func expanding(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	target, ok := s.target(n, 1)
	if !ok {
		return nil
	}
	out, err := broadcast(x.Shape, target)
	s.set(n, 0, x.Type, out)
	return err
}
