package learn

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() {
	register([]string{"Relu"}, relu)
	register([]string{"Add", "Sub", "Mul", "Div"}, arithmetic)
	// Dropout is the identity in training too: models that darkroom makes have none, and a mask would need randomness inside the step.
	register([]string{"Identity", "Dropout"}, identity)
	register([]string{"Constant"}, constantNode)
}

func relu(l *lowering, n *protos.NodeProto) error {
	x, err := l.in(n, 0)
	if err != nil {
		return err
	}
	zero := graph.ScalarZero(l.g, l.dtype)
	y := graph.Max(x.node, zero)
	l.set(n, y, n.Input[:1], func(v *graph.Node) []*graph.Node {
		return []*graph.Node{graph.Where(graph.GreaterThan(y, zero), v, zero)}
	})
	return nil
}

func identity(l *lowering, n *protos.NodeProto) error {
	x, err := l.in(n, 0)
	if err != nil {
		return err
	}
	l.set(n, x.node, n.Input[:1], func(v *graph.Node) []*graph.Node { return []*graph.Node{v} })
	return nil
}

func constantNode(l *lowering, n *protos.NodeProto) error {
	t, err := onnx.TensorAttribute(n, "value")
	if err != nil {
		return err
	}
	l.values[n.Output[0]] = value{node: l.constant(t)}
	return nil
}

// arithmetic lowers the four operations on two values, at least one of which has the batch. Constants and weights broadcast as in ONNX.
func arithmetic(l *lowering, n *protos.NodeProto) error {
	a, err := l.in(n, 0)
	if err != nil {
		return err
	}
	b, err := l.in(n, 1)
	if err != nil {
		return err
	}
	if !a.batched && !b.batched {
		return fmt.Errorf("neither operand has the batch")
	}
	rank := max(len(a.dims()), len(b.dims()))
	x, err := broadcastable(a, rank)
	if err != nil {
		return err
	}
	y, err := broadcastable(b, rank)
	if err != nil {
		return err
	}
	apply := map[string]func(a, b *graph.Node) *graph.Node{"Add": graph.Add, "Sub": graph.Sub, "Mul": graph.Mul, "Div": graph.Div}[n.OpType]
	l.set(n, apply(x, y), n.Input[:2], func(v *graph.Node) []*graph.Node {
		gx, gy := v, v
		switch n.OpType {
		case "Sub":
			gy = graph.Neg(v)
		case "Mul":
			gx, gy = graph.Mul(v, y), graph.Mul(v, x)
		case "Div":
			gx = graph.Div(v, y)
			gy = graph.Neg(graph.Mul(gx, graph.Div(x, y)))
		}
		return []*graph.Node{sumTo(gx, x, a.dims()), sumTo(gy, y, b.dims())}
	})
	return nil
}

// broadcastable gives a value without the batch the rank of the other operand, with the axis N, which is 1, last.
func broadcastable(v value, rank int) (*graph.Node, error) {
	d := v.dims()
	if v.batched {
		if len(d) != rank {
			return nil, fmt.Errorf("operands of %d and %d dimensions do not broadcast", len(d), rank)
		}
		return v.node, nil
	}
	aligned := append(slices.Repeat([]int{1}, rank-len(d)), d...) // (N, a, b, c)
	if rank == 0 || aligned[0] != 1 {
		return nil, fmt.Errorf("a constant of shape %v spans the batch", d)
	}
	return graph.Reshape(v.node, append(slices.Clone(aligned[1:]), 1)...), nil
}

// sumTo sums the gradient g over the axes along which the operand was repeated, and gives it the operand's own dimensions.
func sumTo(g, operand *graph.Node, dims []int) *graph.Node {
	var axes []int
	for i, d := range operand.Shape().Dimensions {
		if d == 1 && g.Shape().Dimensions[i] != 1 {
			axes = append(axes, i)
		}
	}
	if len(axes) > 0 {
		g = graph.ReduceSum(g, axes...)
	}
	return graph.Reshape(g, dims...)
}
