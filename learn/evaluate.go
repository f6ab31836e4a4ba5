package learn

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// evaluator computes a node from its inputs, of which optional ones may be empty.
type evaluator func(n *protos.NodeProto, in []constant) (constant, error)

var evaluators map[string]evaluator

func init() {
	evaluators = map[string]evaluator{
		"Constant": evaluateConstant, "ConstantOfShape": evaluateFill, "Cast": evaluateCast, "Identity": pass, "Range": evaluateRange,
		"Gather": evaluateGather, "Concat": evaluateConcat, "Slice": evaluateSlice, "Unsqueeze": evaluateAxes, "Squeeze": evaluateAxes,
		"Reshape": evaluateReshape, "Transpose": evaluateTranspose, "Expand": evaluateExpand, "Where": evaluateWhere,
		"ReduceProd": evaluateProduct, "ScatterND": evaluateScatter,
	}
	for name, f := range map[string]func(a float64) float64{
		"Sqrt": math.Sqrt, "Neg": func(a float64) float64 { return -a }, "Floor": math.Floor, "Ceil": math.Ceil, "Abs": math.Abs, "Exp": math.Exp,
		"Log": math.Log, "Reciprocal": func(a float64) float64 { return 1 / a }, "Not": func(a float64) float64 { return 1 - a },
	} {
		evaluators[name] = func(n *protos.NodeProto, in []constant) (constant, error) { return each(f, in) }
	}
	for name, f := range map[string]func(a, b float64) float64{
		"Add": func(a, b float64) float64 { return a + b }, "Sub": func(a, b float64) float64 { return a - b }, "Mul": func(a, b float64) float64 { return a * b },
		"Pow": math.Pow, "Min": math.Min, "Max": math.Max, "Mod": floorMod,
		"Equal": truth(func(a, b float64) bool { return a == b }), "Less": truth(func(a, b float64) bool { return a < b }),
		"Greater": truth(func(a, b float64) bool { return a > b }), "LessOrEqual": truth(func(a, b float64) bool { return a <= b }),
		"GreaterOrEqual": truth(func(a, b float64) bool { return a >= b }),
		"And":            func(a, b float64) float64 { return a * b }, "Or": math.Max, "Xor": truth(func(a, b float64) bool { return a != b }),
	} {
		judges := slices.Contains([]string{"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Xor"}, name)
		evaluators[name] = func(n *protos.NodeProto, in []constant) (constant, error) {
			c, err := pairwise(f, in)
			c.float = c.float && !judges
			return c, err
		}
	}
	evaluators["Div"] = func(n *protos.NodeProto, in []constant) (constant, error) {
		if len(in) == 2 && !in[0].float {
			return pairwise(func(a, b float64) float64 { return math.Trunc(a / b) }, in)
		}
		return pairwise(func(a, b float64) float64 { return a / b }, in)
	}
}

func truth(f func(a, b float64) bool) func(a, b float64) float64 {
	return func(a, b float64) float64 {
		if f(a, b) {
			return 1
		}
		return 0
	}
}

func floorMod(a, b float64) float64 { return a - b*math.Floor(a/b) }

func pass(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 1 {
		return constant{}, fmt.Errorf("it has %d inputs, not 1", len(in))
	}
	return in[0], nil
}

func each(f func(a float64) float64, in []constant) (constant, error) {
	if len(in) != 1 {
		return constant{}, fmt.Errorf("it has %d inputs, not 1", len(in))
	}
	out := constant{in[0].dims, make([]float64, len(in[0].data)), in[0].float}
	for i, v := range in[0].data {
		out.data[i] = f(v)
	}
	return out, nil
}

// pairwise applies f to two constants that broadcast.
func pairwise(f func(a, b float64) float64, in []constant) (constant, error) {
	if len(in) != 2 {
		return constant{}, fmt.Errorf("it has %d inputs, not 2", len(in))
	}
	dims, err := broadcastKnown(in[0].dims, in[1].dims)
	if err != nil {
		return constant{}, err
	}
	a, b := in[0].repeated(dims), in[1].repeated(dims)
	out := constant{dims, make([]float64, elements(dims)), in[0].float}
	for i := range out.data {
		out.data[i] = f(a.data[i], b.data[i])
	}
	return out, nil
}

func broadcast(a, b []int) ([]int, error) {
	rank := max(len(a), len(b))
	dims := make([]int, rank)
	for i := range dims {
		x, y := 1, 1
		if k := i - rank + len(a); k >= 0 {
			x = a[k]
		}
		if k := i - rank + len(b); k >= 0 {
			y = b[k]
		}
		if x != y && x != 1 && y != 1 {
			return nil, fmt.Errorf("shapes %v and %v do not broadcast", a, b)
		}
		dims[i] = x
		if x == 1 {
			dims[i] = y
		}
	}
	return dims, nil
}

// broadcastKnown is broadcast for what is computed here.
func broadcastKnown(a, b []int) ([]int, error) {
	dims, err := broadcast(a, b)
	if err == nil && elements(dims) > maxKnown {
		err = fmt.Errorf("a constant of shape %v is too large to be computed in the graph", dims)
	}
	return dims, err
}

// repeated broadcasts c to dims, which it fits.
func (c constant) repeated(dims []int) constant {
	from := slices.Concat(slices.Repeat([]int{1}, len(dims)-len(c.dims)), c.dims)
	return c.at(dims, c.float, func(index []int) int {
		flat := 0
		for i, d := range from {
			flat *= d
			if d != 1 {
				flat += index[i]
			}
		}
		return flat
	})
}

// at gathers a constant of those dims from c: the element at each index is c's at from(index).
func (c constant) at(dims []int, float bool, from func(index []int) int) constant {
	out := constant{dims, make([]float64, elements(dims)), float}
	index := make([]int, len(dims))
	for i := range out.data {
		out.data[i] = c.data[from(index)]
		for a := len(dims) - 1; a >= 0; a-- {
			if index[a]++; index[a] < dims[a] {
				break
			}
			index[a] = 0
		}
	}
	return out
}

func evaluateConstant(n *protos.NodeProto, _ []constant) (constant, error) {
	dims, data, float, err := onnx.ConstantNumbers(n)
	return constant{dims, data, float}, err
}

func evaluateFill(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 1 {
		return constant{}, fmt.Errorf("it has no shape")
	}
	dims := in[0].ints()
	for _, d := range dims {
		if d < 0 || d > maxKnown {
			return constant{}, fmt.Errorf("its shape is %v", dims)
		}
	}
	if elements(dims) > maxKnown {
		return constant{}, fmt.Errorf("its shape %v is too large to be computed in the graph", dims)
	}
	out := constant{dims: dims, data: make([]float64, elements(dims)), float: true}
	if onnx.HasAttribute(n, "value") {
		_, data, float, err := onnx.ConstantNumbers(n)
		if err != nil || len(data) != 1 {
			return constant{}, fmt.Errorf("its value is not one number")
		}
		out.float = float
		for i := range out.data {
			out.data[i] = data[0]
		}
	}
	return out, nil
}

func evaluateCast(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 1 {
		return constant{}, fmt.Errorf("it has no input")
	}
	kind := protos.TensorProto_DataType(onnx.Int(n, "to", 0))
	f := func(a float64) float64 { return a }
	switch kind {
	case protos.TensorProto_FLOAT, protos.TensorProto_DOUBLE, protos.TensorProto_FLOAT16, protos.TensorProto_BFLOAT16:
	case protos.TensorProto_BOOL:
		f = func(a float64) float64 { return truth(func(a, b float64) bool { return a != b })(a, 0) }
	default:
		f = math.Trunc
	}
	out, err := each(f, in)
	out.float = isFloatType(kind)
	return out, err
}

func isFloatType(kind protos.TensorProto_DataType) bool {
	return kind == protos.TensorProto_FLOAT || kind == protos.TensorProto_DOUBLE || kind == protos.TensorProto_FLOAT16 || kind == protos.TensorProto_BFLOAT16
}

func evaluateRange(_ *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 3 || len(in[0].data) != 1 || len(in[1].data) != 1 || len(in[2].data) != 1 || in[2].data[0] == 0 {
		return constant{}, fmt.Errorf("its start, limit and step are not numbers")
	}
	start, limit, step := in[0].data[0], in[1].data[0], in[2].data[0]
	steps := math.Ceil((limit - start) / step)
	if !(steps <= maxKnown) {
		return constant{}, fmt.Errorf("it has %g elements", steps)
	}
	out := constant{dims: []int{max(int(steps), 0)}, float: in[0].float}
	for i := range out.dims[0] {
		out.data = append(out.data, start+float64(i)*step)
	}
	return out, nil
}

func evaluateWhere(_ *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 3 {
		return constant{}, fmt.Errorf("it has %d inputs, not 3", len(in))
	}
	dims, err := broadcastKnown(in[1].dims, in[2].dims)
	if err == nil {
		dims, err = broadcastKnown(dims, in[0].dims)
	}
	if err != nil {
		return constant{}, err
	}
	which, a, b := in[0].repeated(dims), in[1].repeated(dims), in[2].repeated(dims)
	for i, w := range which.data {
		if w == 0 {
			a.data[i] = b.data[i]
		}
	}
	return a, nil
}

func evaluateProduct(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 1 || onnx.Ints(n, "axes") != nil && len(in[0].dims) > 1 {
		return constant{}, fmt.Errorf("products along some axes of a constant are not supported")
	}
	p := 1.0
	for _, v := range in[0].data {
		p *= v
	}
	out := constant{data: []float64{p}, float: in[0].float}
	if onnx.Int(n, "keepdims", 1) != 0 {
		out.dims = slices.Repeat([]int{1}, len(in[0].dims))
	}
	return out, nil
}
