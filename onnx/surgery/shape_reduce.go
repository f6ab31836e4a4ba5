package surgery

import (
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// The operators that make one number of an axis.
func init() {
	register(fromFirst(reducing), "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")
	register(arguing, "ArgMax", "ArgMin")
}

func reducing(s *inference, n *protos.NodeProto, x Shape) (Shape, error) {
	axes, given, err := s.axes(n, len(x))
	if err != nil {
		return nil, err
	}
	if !given && onnx.Int(n, "noop_with_empty_axes", 0) != 0 {
		return x, nil
	}
	out := Shape{}
	for i, d := range x {
		if given && !slices.Contains(axes, i) {
			out = append(out, d)
		} else if onnx.Int(n, "keepdims", 1) != 0 {
			out = append(out, Fixed(1))
		}
	}
	return out, nil
}

func arguing(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	axis, err := axisAttribute(n, x.Shape)
	if err != nil {
		return err
	}
	out := append(Shape(nil), x.Shape...)
	out[axis] = Fixed(1)
	if onnx.Int(n, "keepdims", 1) == 0 {
		out = slices.Delete(out, axis, axis+1)
	}
	s.set(n, 0, typeInt64, out)
	return nil
}
