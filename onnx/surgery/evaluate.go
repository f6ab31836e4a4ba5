package surgery

import (
	"fmt"
	"math"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// evaluator computes a node's first output from constant inputs (nil where an optional one is missing); nil and no error where it
// cannot. shape is that of the output.
type evaluator func(s *inference, n *protos.NodeProto, in []*array, shape []int) (*array, error)

var evaluators map[string]evaluator

func init() {
	evaluators = map[string]evaluator{
		"Identity": same, "Dropout": same, "Reshape": same, "Squeeze": same, "Unsqueeze": same, "Flatten": same,
		"Transpose": moved, "Slice": moved, "Gather": moved, "Expand": moved, "Tile": moved, "Concat": joined,
		"ConstantOfShape": filledArray, "Range": counted, "Cast": cast, "Where": chosen,
		"ReduceProd": product, "Not": unary,
	}
	for name := range arithmetic {
		evaluators[name] = elementwise
	}
	for name := range functions {
		evaluators[name] = unary
	}
}

// constantValue returns what a Constant node holds.
func constantValue(n *protos.NodeProto) (*array, error) {
	for _, a := range n.Attribute {
		switch a.Name {
		case "value":
			if a.T == nil {
				return nil, fmt.Errorf("its value is missing")
			}
			return decode(a.T)
		case "value_float":
			return &array{typ: typeFloat, dims: []int{}, floats: []float64{float64(a.F)}}, nil
		case "value_int":
			return &array{typ: typeInt64, dims: []int{}, ints: []Dim{Fixed(int(a.I))}}, nil
		case "value_ints":
			v := &array{typ: typeInt64, dims: []int{len(a.Ints)}}
			for _, i := range a.Ints {
				v.ints = append(v.ints, Fixed(int(i)))
			}
			return v, nil
		case "value_floats":
			v := &array{typ: typeFloat, dims: []int{len(a.Floats)}}
			for _, f := range a.Floats {
				v.floats = append(v.floats, float64(f))
			}
			return v, nil
		}
	}
	return nil, fmt.Errorf("it has no value that is a tensor of numbers")
}

// evaluate records the node's output as a constant where it is a small one that follows from the graph.
func (s *inference) evaluate(n *protos.NodeProto) error {
	out := n.Output[0]
	switch n.OpType {
	case "Constant":
		a, err := constantValue(n)
		if err == nil && a.len() <= smallConstant {
			s.constants[out] = a
		}
		return err
	case "Shape":
		x := s.values[n.Input[0]].Shape
		list := shapePart(n, x)
		s.constants[out] = &array{typ: typeInt64, dims: []int{len(list)}, ints: append([]Dim(nil), list...)}
		return nil
	case "Size":
		s.constants[out] = &array{typ: typeInt64, dims: []int{}, ints: []Dim{s.values[n.Input[0]].Shape.Elements()}}
		return nil
	}
	in := make([]*array, len(n.Input))
	for i, name := range n.Input {
		if name == "" {
			continue
		}
		if in[i] = s.constants[name]; in[i] == nil {
			return nil
		}
	}
	a, err := s.compute(n, in, smallConstant)
	if err != nil || a == nil {
		return err
	}
	s.constants[out] = a
	v := s.values[out]
	v.Shape, v.Ranked, v.Type = shapeOf(a.dims), true, a.typ
	s.values[out] = v
	return nil
}

// compute runs the node's evaluator, if it has one and the result has at most that many elements.
func (s *inference) compute(n *protos.NodeProto, in []*array, most int) (*array, error) {
	f := evaluators[n.OpType]
	v := s.values[n.Output[0]]
	if f == nil || len(in) == 0 || in[0] == nil || len(n.Output) > 1 && n.Output[1] != "" {
		return nil, nil
	}
	dims, ok := v.Shape.fixed()
	if n.OpType == "Range" {
		dims, ok = nil, true
	}
	if !ok || !v.Ranked || !fits(dims) || size(dims) > most {
		return nil, nil
	}
	a, err := f(s, n, in, dims)
	if a != nil && a.len() > most {
		return nil, err
	}
	return a, err
}

func same(_ *inference, _ *protos.NodeProto, in []*array, shape []int) (*array, error) {
	if in[0].len() != size(shape) {
		return nil, nil
	}
	return in[0].reshaped(shape), nil
}

// strides are those of a row-major array.
func strides(dims []int) []int {
	s := make([]int, len(dims))
	n := 1
	for i := len(dims) - 1; i >= 0; i-- {
		s[i] = n
		n *= dims[i]
	}
	return s
}

// gatherIndex lists, for every element of dims in order, base plus the sum of its coordinates times steps; wrap[i] > 0 takes a
// coordinate modulo that.
func gatherIndex(dims []int, base int, steps, wrap []int) []int {
	list := make([]int, size(dims))
	at := make([]int, len(dims))
	for i := range list {
		k := base
		for d, c := range at {
			if wrap != nil && wrap[d] > 0 {
				c %= wrap[d]
			}
			k += c * steps[d]
		}
		list[i] = k
		for d := len(dims) - 1; d >= 0; d-- {
			if at[d]++; at[d] < dims[d] {
				break
			}
			at[d] = 0
		}
	}
	return list
}

// moved evaluates the operators whose output holds elements of the first input.
func moved(s *inference, n *protos.NodeProto, in []*array, shape []int) (*array, error) {
	x := in[0]
	from := strides(x.dims)
	switch n.OpType {
	case "Transpose":
		perm, err := permutation(n, len(x.dims))
		if err != nil {
			return nil, err
		}
		steps := make([]int, len(perm))
		for i, p := range perm {
			steps[i] = from[p]
		}
		return x.pick(shape, gatherIndex(shape, 0, steps, nil)), nil
	case "Slice":
		list, known, err := s.cuts(n, shapeOf(x.dims))
		if err != nil || !known {
			return nil, err
		}
		base, steps := 0, append([]int(nil), from...)
		for _, c := range list {
			base += c.start * from[c.axis]
			steps[c.axis] = c.step * from[c.axis]
		}
		return x.pick(shape, gatherIndex(shape, base, steps, nil)), nil
	case "Expand", "Tile":
		if x.len() == 0 || len(shape) < len(x.dims) {
			return nil, nil
		}
		steps, wrap := make([]int, len(shape)), make([]int, len(shape))
		for i := range x.dims {
			at := len(shape) - len(x.dims) + i
			steps[at], wrap[at] = from[i], x.dims[i]
		}
		return x.pick(shape, gatherIndex(shape, 0, steps, wrap)), nil
	}
	return gathered(n, in, shape)
}

func gathered(n *protos.NodeProto, in []*array, shape []int) (*array, error) {
	x, indices := in[0], in[1]
	if indices == nil || isFloat(indices.typ) || !indices.concrete() {
		return nil, nil
	}
	axis, err := axisOf(onnx.Int(n, "axis", 0), len(x.dims))
	if err != nil {
		return nil, err
	}
	inner, d := size(x.dims[axis+1:]), x.dims[axis]
	var list []int
	for outer := range size(x.dims[:axis]) {
		for _, k := range indices.ints {
			at := k.Size
			if at < 0 {
				at += d
			}
			if at < 0 || at >= d {
				return nil, fmt.Errorf("it takes element %d of an axis with %d", k.Size, d)
			}
			for i := range inner {
				list = append(list, (outer*d+at)*inner+i)
			}
		}
	}
	return x.pick(shape, list), nil
}

func joined(_ *inference, n *protos.NodeProto, in []*array, shape []int) (*array, error) {
	axis, err := axisOf(onnx.Int(n, "axis", 0), len(shape))
	if err != nil {
		return nil, err
	}
	out := &array{typ: in[0].typ, dims: shape}
	for outer := range size(shape[:axis]) {
		for _, a := range in {
			if a == nil || a.typ != out.typ || len(a.dims) != len(shape) {
				return nil, nil
			}
			block := size(a.dims[axis:])
			if a.floats != nil {
				out.floats = append(out.floats, a.floats[outer*block:(outer+1)*block]...)
			} else {
				out.ints = append(out.ints, a.ints[outer*block:(outer+1)*block]...)
			}
		}
	}
	if len(out.floats)+len(out.ints) != out.len() {
		return nil, nil
	}
	return out, nil
}

func filledArray(_ *inference, n *protos.NodeProto, _ []*array, shape []int) (*array, error) {
	value := &array{typ: typeFloat, dims: []int{1}, floats: []float64{0}}
	if a := attribute(n, "value"); a != nil && a.T != nil {
		var err error
		if value, err = decode(a.T); err != nil {
			return nil, err
		}
		if value.len() != 1 {
			return nil, fmt.Errorf("its value has %d elements; one is needed", value.len())
		}
	}
	return value.pick(shape, make([]int, size(shape))), nil
}

func counted(_ *inference, _ *protos.NodeProto, in []*array, _ []int) (*array, error) {
	if len(in) < 3 || in[1] == nil || in[2] == nil || isFloat(in[0].typ) {
		return nil, nil
	}
	for _, a := range in {
		if a.len() != 1 || len(a.ints) != 1 || !a.concrete() {
			return nil, nil
		}
	}
	start, end, step := in[0].ints[0].Size, in[1].ints[0].Size, in[2].ints[0].Size
	if step == 0 || (end-start)/step > smallConstant {
		return nil, nil
	}
	out := &array{typ: in[0].typ, dims: []int{0}}
	for v := start; step > 0 && v < end || step < 0 && v > end; v += step {
		out.ints = append(out.ints, Fixed(v))
	}
	out.dims[0] = len(out.ints)
	return out, nil
}

func cast(_ *inference, n *protos.NodeProto, in []*array, shape []int) (*array, error) {
	x, to := in[0], int32(onnx.Int(n, "to", 0))
	out := &array{typ: to, dims: shape}
	switch {
	case !isFloat(x.typ) && !isFloat(to):
		if to != typeInt64 && to != int32(protos.TensorProto_INT32) && to != typeBool {
			return nil, nil // narrower types would wrap
		}
		out.ints = append([]Dim(nil), x.ints...)
		for i, d := range out.ints {
			if to == typeBool && d.fixed() && d.Size != 0 {
				out.ints[i] = Fixed(1)
			}
		}
	case !x.concrete():
		return nil, nil
	case isFloat(x.typ) && isFloat(to):
		for _, v := range x.floats {
			out.floats = append(out.floats, round(to, v))
		}
	case isFloat(to):
		for _, d := range x.ints {
			out.floats = append(out.floats, round(to, float64(d.Size)))
		}
	case to == typeInt64 || to == int32(protos.TensorProto_INT32):
		for _, v := range x.floats {
			if math.IsNaN(v) || math.Abs(v) >= 1<<31 {
				return nil, nil
			}
			out.ints = append(out.ints, Fixed(int(v)))
		}
	default:
		return nil, nil
	}
	if len(out.floats)+len(out.ints) != out.len() {
		return nil, nil
	}
	return out, nil
}

func chosen(_ *inference, _ *protos.NodeProto, in []*array, shape []int) (*array, error) {
	if len(in) < 3 || in[1] == nil || in[2] == nil || isFloat(in[0].typ) || !in[0].concrete() || in[1].typ != in[2].typ {
		return nil, nil
	}
	condition, err := spread(in[0], shape)
	if err != nil {
		return nil, err
	}
	yes, err := spread(in[1], shape)
	if err != nil {
		return nil, err
	}
	no, err := spread(in[2], shape)
	if err != nil {
		return nil, err
	}
	out := no.pick(shape, gatherIndex(shape, 0, strides(shape), nil))
	for i, d := range condition.ints {
		if d.Size != 0 && out.floats != nil {
			out.floats[i] = yes.floats[i]
		} else if d.Size != 0 {
			out.ints[i] = yes.ints[i]
		}
	}
	return out, nil
}

// spread broadcasts an array to a shape.
func spread(a *array, shape []int) (*array, error) {
	if len(a.dims) > len(shape) {
		return nil, fmt.Errorf("the shape %v does not broadcast to %v", a.dims, shape)
	}
	steps, from := make([]int, len(shape)), strides(a.dims)
	for i, d := range a.dims {
		at := len(shape) - len(a.dims) + i
		if d != shape[at] && d != 1 {
			return nil, fmt.Errorf("the shape %v does not broadcast to %v", a.dims, shape)
		}
		if d > 1 {
			steps[at] = from[i]
		}
	}
	return a.pick(shape, gatherIndex(shape, 0, steps, nil)), nil
}

func product(_ *inference, _ *protos.NodeProto, in []*array, shape []int) (*array, error) {
	if size(shape) != 1 || isFloat(in[0].typ) {
		return nil, nil
	}
	d := Fixed(1)
	for _, v := range in[0].ints {
		d = d.times(v)
	}
	return &array{typ: in[0].typ, dims: shape, ints: []Dim{d}}, nil
}
