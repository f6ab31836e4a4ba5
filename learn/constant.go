package learn

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// constant is a value that is known before anything runs: exporters compute shapes, scales and positions inside the graph. Sizes
// are fixed when a graph is lowered, so what starts from Shape is known too.
type constant struct {
	dims  []int
	data  []float64 // row-major; whole numbers and booleans (0, 1) too: shapes are far below 2⁵³
	float bool      // of a floating-point type: it may become a value of the computation
}

// maxKnown is the most elements that are computed here. Larger constants are few operations on the device.
const maxKnown = 1 << 20

func (c constant) tensor() (onnx.Tensor, bool) {
	t := onnx.Tensor{Dims: c.dims, Data: make([]float32, len(c.data))}
	for i, v := range c.data {
		t.Data[i] = float32(v)
	}
	return t, c.float
}

// ints returns a vector of whole numbers.
func (c constant) ints() []int {
	list := make([]int, len(c.data))
	for i, v := range c.data {
		list[i] = int(min(max(v, -farAway), farAway))
	}
	return list
}

// farAway stands for "to the end" in slices, which exporters write as the largest int64.
const farAway = 1 << 40

func vectorOf(list []int) constant {
	c := constant{dims: []int{len(list)}, data: make([]float64, len(list))}
	for i, v := range list {
		c.data[i] = float64(v)
	}
	return c
}

// knownInput returns the node's input i when it is known. Parameters and statistics are not: they change.
func (l *lowering) knownInput(n *protos.NodeProto, i int) (constant, bool) {
	if !has(n, i) {
		return constant{}, false
	}
	name := n.Input[i]
	if c, ok := l.known[name]; ok {
		return c, true
	}
	if v, ok := l.values[name]; ok && (v.trained || v.batched) {
		return constant{}, false
	}
	c, ok := constantOf(l.model, name)
	if ok {
		l.known[name] = c
	}
	return c, ok
}

// constantOf reads an initializer of any type that constants come in.
func constantOf(m *onnx.Model, name string) (constant, bool) {
	dims, data, float, ok := m.Numbers(name)
	if !ok || len(data) > maxKnown {
		return constant{}, false
	}
	return constant{dims, data, float}, true
}

// whole64 returns the node's input i, which must be a known list of whole numbers.
func (l *lowering) whole64(n *protos.NodeProto, i int, what string) ([]int, error) {
	c, ok := l.knownInput(n, i)
	if !ok || c.float {
		return nil, fmt.Errorf("its %s does not follow from the model and the size of the images", what)
	}
	return c.ints(), nil
}

// scalar returns the node's input i, a known number, or def when the node does not have it.
func (l *lowering) scalar(n *protos.NodeProto, i int, def float64) (float64, error) {
	if !has(n, i) {
		return def, nil
	}
	c, ok := l.knownInput(n, i)
	if !ok || len(c.data) != 1 {
		return 0, fmt.Errorf("its input %d is not a known number", i)
	}
	return c.data[0], nil
}

// fold computes the node here when all of its inputs are known; done is false when it is for the device.
func (l *lowering) fold(n *protos.NodeProto) (done bool, err error) {
	if n.OpType == "Shape" || n.OpType == "Size" {
		return l.foldShape(n)
	}
	evaluate := evaluators[n.OpType]
	if evaluate == nil || len(n.Output) != 1 {
		return false, nil
	}
	var in []constant
	for i := range n.Input {
		c, ok := l.knownInput(n, i)
		if !ok && has(n, i) {
			return false, nil
		}
		in = append(in, c)
	}
	out, err := evaluate(n, in)
	if err != nil {
		return false, err
	}
	l.known[n.Output[0]] = out
	return true, nil
}

func (l *lowering) foldShape(n *protos.NodeProto) (bool, error) {
	var shape []int
	if c, ok := l.knownInput(n, 0); ok {
		shape = c.dims
	} else {
		v, err := l.get(n, 0)
		if err != nil {
			return false, err
		}
		shape = v.shape()
	}
	if n.OpType == "Size" {
		l.known[n.Output[0]] = constant{data: []float64{float64(elements(shape))}}
		return true, nil
	}
	at := func(name string, def int) int {
		a := onnx.Int(n, name, def)
		if a < 0 {
			a += len(shape)
		}
		return min(max(a, 0), len(shape))
	}
	start, end := at("start", 0), at("end", len(shape))
	l.known[n.Output[0]] = vectorOf(shape[start:max(start, end)])
	return true, nil
}

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

func evaluateGather(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 2 {
		return constant{}, fmt.Errorf("it has %d inputs, not 2", len(in))
	}
	axis := onnx.Int(n, "axis", 0)
	if axis < 0 {
		axis += len(in[0].dims)
	}
	if axis < 0 || axis >= len(in[0].dims) {
		return constant{}, fmt.Errorf("its axis is %d, its input has %d", axis, len(in[0].dims))
	}
	size := in[0].dims[axis]
	chosen := in[1].ints()
	for i, k := range chosen {
		if k < 0 {
			chosen[i] = k + size
		}
		if chosen[i] < 0 || chosen[i] >= size {
			return constant{}, fmt.Errorf("index %d of %d", k, size)
		}
	}
	inner := elements(in[0].dims[axis+1:])
	dims := slices.Concat(in[0].dims[:axis], in[1].dims, in[0].dims[axis+1:])
	out := constant{dims: dims, float: in[0].float}
	for o := range elements(in[0].dims[:axis]) {
		for _, k := range chosen {
			out.data = append(out.data, in[0].data[(o*size+k)*inner:(o*size+k+1)*inner]...)
		}
	}
	return out, nil
}

func evaluateConcat(n *protos.NodeProto, in []constant) (constant, error) {
	axis := onnx.Int(n, "axis", 0)
	if len(in) == 0 {
		return constant{}, fmt.Errorf("it has no inputs")
	}
	rank := len(in[0].dims)
	if axis < 0 {
		axis += rank
	}
	if axis < 0 || axis >= rank {
		return constant{}, fmt.Errorf("its axis is %d, its input has %d", axis, rank)
	}
	dims := slices.Clone(in[0].dims)
	dims[axis] = 0
	for _, c := range in {
		if len(c.dims) != rank || !slices.Equal(c.dims[:axis], dims[:axis]) || !slices.Equal(c.dims[axis+1:], dims[axis+1:]) {
			return constant{}, fmt.Errorf("its inputs do not fit each other")
		}
		dims[axis] += c.dims[axis]
	}
	out := constant{dims: dims, float: in[0].float}
	for o := range elements(dims[:axis]) {
		for _, c := range in {
			block := elements(c.dims[axis:])
			out.data = append(out.data, c.data[o*block:(o+1)*block]...)
		}
	}
	return out, nil
}

func evaluateSlice(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) == 0 {
		return constant{}, fmt.Errorf("it has no input")
	}
	var lists [4][]int
	for i := range lists {
		if i+1 < len(in) && in[i+1].data != nil {
			lists[i] = in[i+1].ints()
		}
	}
	if len(in) == 1 {
		lists = [4][]int{onnx.Ints(n, "starts"), onnx.Ints(n, "ends"), onnx.Ints(n, "axes"), nil}
	}
	ranges, err := sliceRanges(in[0].dims, lists)
	if err != nil {
		return constant{}, err
	}
	dims := make([]int, len(ranges))
	for i, r := range ranges {
		dims[i] = r.length
	}
	return in[0].at(dims, in[0].float, func(index []int) int {
		flat := 0
		for i, d := range in[0].dims {
			flat = flat*d + ranges[i].start + index[i]*ranges[i].step
		}
		return flat
	}), nil
}

// sliceRange is what Slice takes of one axis.
type sliceRange struct{ start, step, length int }

// sliceRanges reads starts, ends, axes and steps as ONNX defines them.
func sliceRanges(dims []int, lists [4][]int) ([]sliceRange, error) {
	starts, ends, axes, steps := lists[0], lists[1], lists[2], lists[3]
	if axes == nil {
		axes = count(len(starts))
	}
	if steps == nil {
		steps = slices.Repeat([]int{1}, len(starts))
	}
	if len(ends) != len(starts) || len(axes) != len(starts) || len(steps) != len(starts) {
		return nil, fmt.Errorf("its starts, ends, axes and steps have different lengths")
	}
	ranges := make([]sliceRange, len(dims))
	for i, d := range dims {
		ranges[i] = sliceRange{0, 1, d}
	}
	for i, a := range axes {
		if a < 0 {
			a += len(dims)
		}
		if a < 0 || a >= len(dims) || steps[i] == 0 {
			return nil, fmt.Errorf("it slices axis %d of %d with step %d", axes[i], len(dims), steps[i])
		}
		d, from, to, step := dims[a], starts[i], ends[i], steps[i]
		low, high := 0, d // for start and end with a positive step
		if step < 0 {
			low, high = -1, d-1
		}
		clamp := func(v int) int {
			if v < 0 {
				v += d
			}
			return min(max(v, low), high)
		}
		from = min(max(clamp(from), 0), max(d, 0))
		to = clamp(to)
		length := 0
		if step > 0 && to > from {
			length = (to - from + step - 1) / step
		} else if step < 0 && to < from {
			length = (from - to - step - 1) / -step
		}
		ranges[a] = sliceRange{from, step, length}
	}
	return ranges, nil
}

func evaluateAxes(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) == 0 {
		return constant{}, fmt.Errorf("it has no input")
	}
	named := onnx.Ints(n, "axes")
	if len(in) > 1 && in[1].data != nil {
		named = in[1].ints()
	}
	change := squeezed
	if n.OpType == "Unsqueeze" {
		change = unsqueezed
	}
	dims, err := change(in[0].dims, named)
	return constant{dims, in[0].data, in[0].float}, err
}

func evaluateReshape(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 2 {
		return constant{}, fmt.Errorf("its shape is missing")
	}
	to, open := in[1].ints(), -1
	for i, d := range to {
		if d == 0 && i < len(in[0].dims) && onnx.Int(n, "allowzero", 0) == 0 {
			to[i] = in[0].dims[i]
		}
		if d == -1 {
			open, to[i] = i, 1
		}
	}
	if known := elements(to); open >= 0 && known > 0 {
		to[open] = len(in[0].data) / known
	}
	for _, d := range to {
		if d < 0 {
			return constant{}, fmt.Errorf("its shape is %v", in[1].ints())
		}
	}
	if elements(to) != len(in[0].data) {
		return constant{}, fmt.Errorf("its shape %v does not fit %d elements", in[1].ints(), len(in[0].data))
	}
	return constant{to, in[0].data, in[0].float}, nil
}

func evaluateTranspose(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 1 {
		return constant{}, fmt.Errorf("it has %d inputs, not 1", len(in))
	}
	rank := len(in[0].dims)
	order := onnx.Ints(n, "perm")
	if order == nil {
		order = count(rank)
		slices.Reverse(order)
	}
	if !slices.Equal(slices.Sorted(slices.Values(order)), count(rank)) {
		return constant{}, fmt.Errorf("perm %v is no order of %d axes", order, rank)
	}
	strides := make([]int, rank)
	for i := range strides {
		strides[i] = elements(in[0].dims[i+1:])
	}
	return in[0].at(pick(in[0].dims, order), in[0].float, func(index []int) int {
		flat := 0
		for i, a := range order {
			flat += index[i] * strides[a]
		}
		return flat
	}), nil
}

func evaluateExpand(_ *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 2 {
		return constant{}, fmt.Errorf("its shape is missing")
	}
	dims, err := broadcastKnown(in[0].dims, in[1].ints())
	if err != nil {
		return constant{}, err
	}
	return in[0].repeated(dims), nil
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

// evaluateScatter writes slices into a copy of its first input, in order of the indices.
func evaluateScatter(n *protos.NodeProto, in []constant) (constant, error) {
	if len(in) != 3 || len(in[1].dims) == 0 || onnx.Text(n, "reduction", "none") != "none" {
		return constant{}, fmt.Errorf("only the plain form with three inputs is supported")
	}
	depth := in[1].dims[len(in[1].dims)-1]
	if depth > len(in[0].dims) {
		return constant{}, fmt.Errorf("its indices have %d axes, its input %d", depth, len(in[0].dims))
	}
	block, index := elements(in[0].dims[depth:]), in[1].ints()
	places := elements(in[1].dims[:len(in[1].dims)-1])
	if len(in[2].data) != places*block {
		return constant{}, fmt.Errorf("it writes %d elements to %d places of %d", len(in[2].data), places, block)
	}
	out := constant{in[0].dims, slices.Clone(in[0].data), in[0].float}
	for p := range places {
		flat := 0
		for k := range depth {
			at := index[p*depth+k]
			if at < 0 {
				at += in[0].dims[k]
			}
			if at < 0 || at >= in[0].dims[k] {
				return constant{}, fmt.Errorf("index %d of %d", index[p*depth+k], in[0].dims[k])
			}
			flat = flat*in[0].dims[k] + at
		}
		copy(out.data[flat*block:(flat+1)*block], in[2].data[p*block:(p+1)*block])
	}
	return out, nil
}
