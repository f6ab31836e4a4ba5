package learn

import (
	"fmt"
	"math"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() {
	register([]string{"Relu", "LeakyRelu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Neg", "Abs", "Elu", "Celu", "Selu", "Softplus", "Swish",
		"HardSigmoid", "HardSwish", "Gelu", "Mish"}, activation)
	register([]string{"Clip"}, clip)
	register([]string{"PRelu"}, prelu)
}

// curve is a function of one number: what it is, and its gradient from what flows back to y.
type curve struct {
	value func(x *graph.Node) *graph.Node
	slope func(x, y, v *graph.Node) *graph.Node
}

// activation applies one function to every element.
func activation(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	l.values[n.Output[0]] = l.pointwise(x, curveOf(n))
	return nil
}

// pointwise applies the curve to every element.
func (l *lowering) pointwise(x value, c curve) value {
	y := c.value(x.node)
	return l.derive(x.like(y), []value{x}, func(v *graph.Node) []*graph.Node { return []*graph.Node{c.slope(x.node, y, v)} })
}

// prelu is x above 0 and x times a learned slope below.
func prelu(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	slope, err := l.get(n, 1)
	if err != nil {
		return err
	}
	below := curve{func(x *graph.Node) *graph.Node { return graph.Min(x, number(x, 0)) },
		func(x, _, v *graph.Node) *graph.Node {
			return graph.Where(graph.LessThan(x, number(x, 0)), v, number(v, 0))
		}}
	y, err := l.binary("Mul", l.pointwise(x, below), slope)
	if err != nil {
		return err
	}
	return l.combine(n, "Add", l.pointwise(x, rectifier(0)), y)
}

func number(like *graph.Node, v float64) *graph.Node {
	return graph.Scalar(like.Graph(), like.DType(), v)
}

func curveOf(n *protos.NodeProto) curve {
	switch n.OpType {
	case "Relu":
		return rectifier(0)
	case "LeakyRelu":
		return rectifier(onnx.Float(n, "alpha", 0.01))
	case "Elu":
		a := onnx.Float(n, "alpha", 1)
		return exponential(1, a, 1)
	case "Celu":
		a := onnx.Float(n, "alpha", 1)
		return exponential(1, a, a)
	case "Selu":
		a, g := onnx.Float(n, "alpha", 1.6732632423543772), onnx.Float(n, "gamma", 1.0507009873554805)
		return exponential(g, a*g, 1)
	case "HardSigmoid":
		return ramp(onnx.Float(n, "alpha", 0.2), onnx.Float(n, "beta", 0.5))
	case "HardSwish":
		return gated(ramp(1.0/6, 0.5))
	case "Swish":
		a := onnx.Float(n, "alpha", 1)
		return gated(curve{func(x *graph.Node) *graph.Node { return graph.Logistic(scaled(x, a)) },
			func(_, s, v *graph.Node) *graph.Node { return scaled(sigmoidSlope(s, v), a) }})
	case "Mish":
		plus := softplus()
		return gated(curve{func(x *graph.Node) *graph.Node { return graph.Tanh(plus.value(x)) },
			func(x, t, v *graph.Node) *graph.Node { return plus.slope(x, nil, vjp(t, v)[0]) }})
	case "Gelu":
		if onnx.Text(n, "approximate", "none") == "tanh" {
			return geluTanh()
		}
		return gelu()
	case "Softplus":
		return softplus()
	}
	simple := map[string]func(x *graph.Node) *graph.Node{"Exp": graph.Exp, "Log": graph.Log, "Erf": graph.Erf, "Neg": graph.Neg, "Abs": graph.Abs, "Tanh": graph.Tanh}
	if f := simple[n.OpType]; f != nil {
		return curve{f, func(_, y, v *graph.Node) *graph.Node { return vjp(y, v)[0] }}
	}
	switch n.OpType {
	case "Sigmoid":
		return curve{graph.Logistic, func(_, y, v *graph.Node) *graph.Node { return sigmoidSlope(y, v) }}
	case "Sqrt":
		return curve{graph.Sqrt, func(_, y, v *graph.Node) *graph.Node { return graph.Div(scaled(v, 0.5), y) }}
	}
	return curve{graph.Reciprocal, func(_, y, v *graph.Node) *graph.Node { return graph.Neg(graph.Mul(v, graph.Mul(y, y))) }}
}

func scaled(x *graph.Node, by float64) *graph.Node {
	if by == 1 {
		return x
	}
	return graph.MulScalar(x, by)
}

func sigmoidSlope(s, v *graph.Node) *graph.Node { return graph.Mul(v, graph.Mul(s, graph.OneMinus(s))) }

// rectifier is x above 0 and a·x below.
func rectifier(a float64) curve {
	return curve{func(x *graph.Node) *graph.Node {
		if a == 0 {
			return graph.Max(x, number(x, 0))
		}
		return graph.Where(graph.GreaterThan(x, number(x, 0)), x, scaled(x, a))
	}, func(x, y, v *graph.Node) *graph.Node {
		below := number(x, 0)
		if a != 0 {
			return graph.Where(graph.GreaterThan(x, below), v, scaled(v, a))
		}
		return graph.Where(graph.GreaterThan(y, below), v, below)
	}}
}

// exponential is g·x above 0 and a·(exp(x/w)-1) below.
func exponential(g, a, w float64) curve {
	below := func(x *graph.Node) *graph.Node { return graph.Exp(scaled(graph.Min(x, number(x, 0)), 1/w)) }
	return curve{func(x *graph.Node) *graph.Node {
		return graph.Where(graph.GreaterThan(x, number(x, 0)), scaled(x, g), scaled(graph.AddScalar(below(x), -1), a))
	}, func(x, _, v *graph.Node) *graph.Node {
		return graph.Mul(v, graph.Where(graph.GreaterThan(x, number(x, 0)), number(x, g), scaled(below(x), a/w)))
	}}
}

// ramp is a·x + b within 0 and 1.
func ramp(a, b float64) curve {
	return curve{func(x *graph.Node) *graph.Node {
		return graph.Max(graph.Min(graph.AddScalar(scaled(x, a), b), number(x, 1)), number(x, 0))
	}, func(_, y, v *graph.Node) *graph.Node {
		zero := number(v, 0)
		return graph.Where(graph.Equal(y, zero), zero, graph.Where(graph.Equal(y, number(v, 1)), zero, scaled(v, a)))
	}}
}

// gated is x·g(x).
func gated(g curve) curve {
	var gate *graph.Node
	return curve{func(x *graph.Node) *graph.Node {
		gate = g.value(x)
		return graph.Mul(x, gate)
	}, func(x, _, v *graph.Node) *graph.Node {
		return graph.Add(graph.Mul(v, gate), g.slope(x, gate, graph.Mul(v, x)))
	}}
}

// softplus is log(1 + exp(x)), written so that nothing overflows.
func softplus() curve {
	return curve{func(x *graph.Node) *graph.Node {
		return graph.Add(graph.Max(x, number(x, 0)), graph.Log(graph.AddScalar(graph.Exp(graph.Neg(graph.Abs(x))), 1)))
	}, func(x, _, v *graph.Node) *graph.Node { return graph.Mul(v, graph.Logistic(x)) }}
}

// gelu is x·Φ(x) (Hendrycks and Gimpel 2016).
func gelu() curve {
	var phi *graph.Node
	return curve{func(x *graph.Node) *graph.Node {
		phi = graph.MulScalar(graph.AddScalar(graph.Erf(graph.MulScalar(x, math.Sqrt2/2)), 1), 0.5)
		return graph.Mul(x, phi)
	}, func(x, _, v *graph.Node) *graph.Node {
		density := graph.MulScalar(graph.Exp(graph.MulScalar(graph.Mul(x, x), -0.5)), 1/math.Sqrt(2*math.Pi))
		return graph.Mul(v, graph.Add(phi, graph.Mul(x, density)))
	}}
}

// geluTanh is the approximation x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
func geluTanh() curve {
	const c, k = 0.044715, 0.7978845608028654
	var t *graph.Node
	return curve{func(x *graph.Node) *graph.Node {
		t = graph.Tanh(scaled(graph.Mul(x, graph.AddScalar(scaled(graph.Mul(x, x), c), 1)), k))
		return graph.Mul(scaled(x, 0.5), graph.AddScalar(t, 1))
	}, func(x, _, v *graph.Node) *graph.Node {
		inner := scaled(graph.AddScalar(scaled(graph.Mul(x, x), 3*c), 1), k)
		rest := graph.Mul(graph.Mul(scaled(x, 0.5), graph.OneMinus(graph.Mul(t, t))), inner)
		return graph.Mul(v, graph.Add(scaled(graph.AddScalar(t, 1), 0.5), rest))
	}}
}

// clip keeps values within known bounds, which are inputs since operator set 11. As in PyTorch, what is cut has no gradient.
func clip(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	low, err := l.scalar(n, 1, onnx.Float(n, "min", math.Inf(-1)))
	if err != nil {
		return err
	}
	high, err := l.scalar(n, 2, onnx.Float(n, "max", math.Inf(1)))
	if err != nil {
		return err
	}
	if !(low <= high) {
		return fmt.Errorf("its bounds are %g and %g", low, high)
	}
	y := x.node
	if !math.IsInf(low, -1) {
		y = graph.Max(y, number(y, low))
	}
	if !math.IsInf(high, 1) {
		y = graph.Min(y, number(y, high))
	}
	l.define(n, 0, x.like(y), []value{x}, func(v *graph.Node) []*graph.Node {
		zero := number(v, 0)
		if !math.IsInf(low, -1) {
			v = graph.Where(graph.GreaterThan(y, number(y, low)), v, zero)
		}
		if !math.IsInf(high, 1) {
			v = graph.Where(graph.LessThan(y, number(y, high)), v, zero)
		}
		return []*graph.Node{v}
	})
	return nil
}
