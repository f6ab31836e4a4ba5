package surgery

import (
	"math"

	"github.com/gomlx/compute-onnx/support/protos"
)

// arithmetic are the binary operators, on integers that may hold the batch size, and on numbers.
var arithmetic = map[string]struct {
	ints   func(a, b Dim) Dim
	floats func(a, b float64) float64
}{
	"Add": {Dim.plus, func(a, b float64) float64 { return a + b }},
	"Sub": {Dim.minus, func(a, b float64) float64 { return a - b }},
	"Mul": {Dim.times, func(a, b float64) float64 { return a * b }},
	"Div": {Dim.over, func(a, b float64) float64 { return a / b }},
	"Mod": {remainder, nil},
	"Min": {smaller, math.Min},
	"Max": {larger, math.Max},
	"Pow": {nil, math.Pow},
	"Equal": {func(a, b Dim) Dim {
		if a.unknown() || b.unknown() || a.Batch != b.Batch && a.Size >= 0 && b.Size >= 0 {
			return unknownDim
		}
		return truth(a == b)
	}, nil},
	"Less":           {compare(func(a, b int) bool { return a < b }), nil},
	"LessOrEqual":    {compare(func(a, b int) bool { return a <= b }), nil},
	"Greater":        {compare(func(a, b int) bool { return a > b }), nil},
	"GreaterOrEqual": {compare(func(a, b int) bool { return a >= b }), nil},
	"And":            {compare(func(a, b int) bool { return a != 0 && b != 0 }), nil},
	"Or":             {compare(func(a, b int) bool { return a != 0 || b != 0 }), nil},
}

// functions are the operators on single numbers.
var functions = map[string]func(float64) float64{
	"Sqrt": math.Sqrt, "Neg": func(v float64) float64 { return -v }, "Abs": math.Abs, "Floor": math.Floor, "Ceil": math.Ceil,
	"Reciprocal": func(v float64) float64 { return 1 / v }, "Exp": math.Exp, "Log": math.Log, "Relu": func(v float64) float64 { return math.Max(v, 0) },
}

func truth(b bool) Dim {
	if b {
		return Fixed(1)
	}
	return Fixed(0)
}

func compare(f func(a, b int) bool) func(a, b Dim) Dim {
	return func(a, b Dim) Dim {
		if a.unknown() || b.unknown() || a.Batch != b.Batch {
			return unknownDim
		}
		return truth(f(a.Size, b.Size))
	}
}

func remainder(a, b Dim) Dim {
	if !a.fixed() || !b.fixed() || b.Size == 0 {
		return unknownDim
	}
	m := a.Size % b.Size // ONNX: the sign of the divisor
	if m != 0 && (m < 0) != (b.Size < 0) {
		m += b.Size
	}
	return Fixed(m)
}

func smaller(a, b Dim) Dim {
	if a.unknown() || b.unknown() || a.Batch != b.Batch {
		return unknownDim
	}
	return normal(min(a.Size, b.Size), a.Batch)
}

func larger(a, b Dim) Dim {
	if a.unknown() || b.unknown() || a.Batch != b.Batch {
		return unknownDim
	}
	return normal(max(a.Size, b.Size), a.Batch)
}

func elementwise(_ *inference, n *protos.NodeProto, in []*array, shape []int) (*array, error) {
	f := arithmetic[n.OpType]
	if len(in) != 2 || in[1] == nil || in[0].typ != in[1].typ {
		return nil, nil
	}
	a, err := spread(in[0], shape)
	if err != nil {
		return nil, err
	}
	b, err := spread(in[1], shape)
	if err != nil {
		return nil, err
	}
	out := &array{typ: a.typ, dims: shape}
	if isFloat(a.typ) {
		if f.floats == nil {
			return nil, nil
		}
		for i := range a.floats {
			out.floats = append(out.floats, round(a.typ, f.floats(a.floats[i], b.floats[i])))
		}
		return out, nil
	}
	if f.ints == nil {
		return nil, nil
	}
	for i := range a.ints {
		out.ints = append(out.ints, f.ints(a.ints[i], b.ints[i]))
	}
	switch n.OpType {
	case "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or":
		out.typ = typeBool
	}
	return out, nil
}

func unary(_ *inference, n *protos.NodeProto, in []*array, shape []int) (*array, error) {
	x := in[0]
	out := &array{typ: x.typ, dims: shape}
	if isFloat(x.typ) {
		f := functions[n.OpType]
		if f == nil || len(x.floats) != size(shape) {
			return nil, nil
		}
		for _, v := range x.floats {
			out.floats = append(out.floats, round(x.typ, f(v)))
		}
		return out, nil
	}
	if n.OpType != "Not" && n.OpType != "Neg" || len(x.ints) != size(shape) {
		return nil, nil
	}
	for _, d := range x.ints {
		switch {
		case n.OpType == "Neg":
			d = d.times(Fixed(-1))
		case d.fixed():
			d = truth(d.Size == 0)
		}
		out.ints = append(out.ints, d)
	}
	return out, nil
}
