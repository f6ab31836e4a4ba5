package learn

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() {
	register([]string{"Add", "Sub", "Mul", "Div", "Min", "Max", "Pow"}, arithmetic)
	register([]string{"Where"}, where)
	register([]string{"Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"}, comparison)
	register([]string{"Identity"}, identity)
	register([]string{"Cast"}, cast)
}

func identity(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	l.values[n.Output[0]] = x
	return nil
}

// cast passes on what is a floating-point number before and after: the computation has one type.
func cast(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	if to := protos.TensorProto_DataType(onnx.Int(n, "to", 0)); !isFloatType(to) {
		return fmt.Errorf("a cast of values that depend on the images to %s is not supported", to)
	}
	l.values[n.Output[0]] = x
	return nil
}

func arithmetic(l *lowering, n *protos.NodeProto) error {
	y, err := l.get(n, 0)
	if err != nil {
		return err
	}
	if len(n.Input) == 1 { // Min and Max take any number
		l.values[n.Output[0]] = y
		return nil
	}
	if c, ok := l.knownInput(n, 1); ok && n.OpType == "Pow" && len(c.data) == 1 {
		return l.power(n, y, c.data[0])
	}
	if name, ok := l.geluInput(n); ok {
		if x, ok := l.values[name]; ok {
			l.values[n.Output[0]] = l.pointwise(x, gelu())
			return nil
		}
	}
	for i := 1; i < len(n.Input); i++ {
		next, err := l.get(n, i)
		if err != nil {
			return err
		}
		if err := l.combine(n, n.OpType, y, next); err != nil {
			return err
		}
		y = l.values[n.Output[0]]
	}
	return nil
}

// combine sets the node's output to one of the operations on two values, which broadcast as in ONNX.
func (l *lowering) combine(n *protos.NodeProto, operation string, a, b value) error {
	y, err := l.binary(operation, a, b)
	if err == nil {
		l.values[n.Output[0]] = y
	}
	return err
}

// binary is one of the operations on two values, which broadcast as in ONNX.
func (l *lowering) binary(operation string, a, b value) (value, error) {
	x, y, axes, last, err := l.align(a, b)
	if err != nil {
		return value{}, err
	}
	apply := map[string]func(a, b *graph.Node) *graph.Node{"Add": graph.Add, "Sub": graph.Sub, "Mul": graph.Mul, "Div": graph.Div,
		"Min": graph.Min, "Max": graph.Max, "Pow": graph.Pow}[operation]
	out := apply(x.node, y.node)
	return l.derive(value{node: out, axes: axes, last: last}, []value{x.value, y.value}, func(v *graph.Node) []*graph.Node {
		var gx, gy *graph.Node
		if x.value.trained {
			gx = x.narrow(slope(operation, x.node, y.node, out, v, true))
		}
		if y.value.trained {
			gy = y.narrow(slope(operation, x.node, y.node, out, v, false))
		}
		return []*graph.Node{gx, gy}
	}), nil
}

// slope returns the gradient of one operand of out = x ∘ y before it is summed over where the operand was repeated.
func slope(operation string, x, y, out, v *graph.Node, first bool) *graph.Node {
	zero := graph.ScalarZero(v.Graph(), v.DType())
	switch operation {
	case "Sub":
		if !first {
			return graph.Neg(v)
		}
	case "Mul":
		if first {
			return graph.Mul(v, y)
		}
		return graph.Mul(v, x)
	case "Div":
		if first {
			return graph.Div(v, y)
		}
		return graph.Neg(graph.Div(graph.Mul(v, out), y))
	case "Min", "Max": // of equal operands the first has the gradient
		chosen := graph.Equal(graph.BroadcastToShape(x, out.Shape()), out)
		if first {
			return graph.Where(chosen, v, zero)
		}
		return graph.Where(chosen, zero, v)
	case "Pow":
		if first {
			one := graph.ScalarOne(v.Graph(), v.DType())
			return graph.Mul(v, graph.Mul(y, graph.Pow(x, graph.Sub(y, one))))
		}
		return graph.Mul(v, graph.Mul(out, graph.Log(x)))
	}
	return v
}

// power is x to a known exponent.
func (l *lowering) power(n *protos.NodeProto, x value, exponent float64) error {
	var y *graph.Node
	switch exponent {
	case 1:
		y = x.node
	case 2:
		y = graph.Mul(x.node, x.node)
	case 0.5:
		y = graph.Sqrt(x.node)
	default:
		y = graph.Pow(x.node, graph.Scalar(l.g, l.dtype, exponent))
	}
	l.define(n, 0, x.like(y), []value{x}, func(v *graph.Node) []*graph.Node {
		v = graph.MulScalar(v, exponent)
		switch exponent {
		case 1:
			return []*graph.Node{v}
		case 2:
			return []*graph.Node{graph.Mul(v, x.node)}
		case 0.5:
			return []*graph.Node{graph.Div(v, y)}
		}
		return []*graph.Node{graph.Mul(v, graph.Pow(x.node, graph.Scalar(l.g, l.dtype, exponent-1)))}
	})
	return nil
}

// comparison is 1 where it holds and 0 where not. Nothing flows back through it.
func comparison(l *lowering, n *protos.NodeProto) error {
	a, err := l.get(n, 0)
	if err != nil {
		return err
	}
	b, err := l.get(n, 1)
	if err != nil {
		return err
	}
	x, y, axes, last, err := l.align(a, b)
	if err != nil {
		return err
	}
	holds := map[string]func(a, b *graph.Node) *graph.Node{"Greater": graph.GreaterThan, "Less": graph.LessThan, "GreaterOrEqual": graph.GreaterOrEqual,
		"LessOrEqual": graph.LessOrEqual, "Equal": graph.Equal}[n.OpType]
	one, zero := graph.ScalarOne(l.g, l.dtype), graph.ScalarZero(l.g, l.dtype)
	out := value{node: graph.Where(holds(x.node, y.node), one, zero), axes: axes, last: last, batched: a.batched || b.batched}
	l.values[n.Output[0]] = l.record(out, nil, nil)
	return nil
}

// where chooses between two values.
func where(l *lowering, n *protos.NodeProto) error {
	var in [3]value
	var shape []int
	for i := range in {
		v, err := l.get(n, i)
		if c, ok := l.knownInput(n, i); ok && i == 0 {
			c.float = true // 0 and 1
			t, _ := c.tensor()
			v, err = value{node: l.constant(t), axes: plain(len(t.Dims)), last: -1, id: l.next()}, nil
		}
		if err != nil {
			return err
		}
		if shape, err = broadcast(shape, v.shape()); err != nil {
			return err
		}
		in[i] = v
	}
	last := -1
	for i, v := range in {
		in[i] = l.inFull(v, shape)
		last = max(last, in[i].last)
	}
	zero := graph.ScalarZero(l.g, l.dtype)
	is := graph.GreaterThan(in[0].node, zero)
	out := value{node: graph.Where(is, in[1].node, in[2].node), axes: plain(len(shape)), last: last, batched: in[0].batched}
	l.define(n, 0, out, in[1:], func(v *graph.Node) []*graph.Node {
		return []*graph.Node{graph.Where(is, v, zero), graph.Where(is, zero, v)}
	})
	return nil
}

// inFull keeps v in ONNX's order, repeated to the shape.
func (l *lowering) inFull(v value, shape []int) value {
	return l.to(l.expand(l.lift(v, len(shape)), shape), count(len(shape))...)
}
