package surgery

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Value describes one value of a graph.
type Value struct {
	Type  int32 // protos.TensorProto_DataType; 0: not known
	Shape Shape // meaningful when Ranked
	// Ranked says that the number of axes is known.
	Ranked bool
}

// Known says whether the whole shape is.
func (v Value) Known() bool { return v.Ranked && v.Shape.Known() }

// IsFloat says whether the value is float32.
func (v Value) IsFloat() bool { return v.Type == typeFloat }

// Shapes holds what is known of every value of a graph, with the batch size left open where the model leaves it open.
type Shapes struct {
	values    map[string]Value
	constants map[string]*array // values that are known before the model runs
	// Unknown are the nodes whose operator the inference does not know, in order; what depends on them has no shape.
	Unknown []*protos.NodeProto
}

// Of describes a value; the zero Value where there is none.
func (s *Shapes) Of(name string) Value { return s.values[name] }

// inference is one walk over a graph.
type inference struct {
	*Shapes
	x     *index
	opset int
}

// inferrer sets the values of a node's outputs. All its inputs that exist are ranked, unless it is in lenient.
type inferrer func(s *inference, n *protos.NodeProto) error

// inferrers has one entry for each operator; the files shape_*.go fill it.
var inferrers = map[string]inferrer{}

func register(f inferrer, names ...string) {
	for _, n := range names {
		inferrers[n] = f
	}
}

// Shapes infers the shape of every value, and the values of those that are shape arithmetic or constants. It fails where the
// graph contradicts itself; an operator that it does not know makes values without a shape.
func (g *Graph) Shapes() (*Shapes, error) {
	s := &inference{Shapes: &Shapes{values: map[string]Value{}, constants: map[string]*array{}}, x: g.index(), opset: g.Opset()}
	side := func(n int) Dim {
		if n == 0 {
			return unknownDim
		}
		return Fixed(n)
	}
	batch := Dim{1, true}
	if g.input.Batch > 0 {
		batch = Fixed(g.input.Batch)
	}
	s.values[g.input.Name] = Value{int32(protos.TensorProto_FLOAT), Shape{batch, side(g.input.Channels), side(g.input.Height), side(g.input.Width)}, true}
	for _, t := range g.graph().Initializer {
		if err := s.initializer(t); err != nil {
			return nil, err
		}
	}
	for _, n := range g.graph().Node {
		if err := s.node(n); err != nil {
			return nil, fmt.Errorf("%s: %w", onnx.NodeText(n), err)
		}
	}
	return s.Shapes, nil
}

// smallConstant is the largest initializer whose value the walk knows without being asked; larger ones are weights.
const smallConstant = 1 << 12

func (s *inference) initializer(t *protos.TensorProto) error {
	dims := make([]int, len(t.Dims))
	for i, d := range t.Dims {
		dims[i] = int(d)
	}
	s.values[t.Name] = Value{t.DataType, shapeOf(dims), true}
	if !fits(dims) || size(dims) > smallConstant {
		return nil
	}
	a, err := decode(t)
	if err != nil {
		return err
	}
	s.constants[t.Name] = a
	return nil
}

func (s *inference) node(n *protos.NodeProto) error {
	f := inferrers[n.OpType]
	if f == nil || !standard(n.Domain) && n.Domain != "com.microsoft" {
		s.Unknown = append(s.Unknown, n)
		return nil
	}
	for _, in := range n.Input {
		if in != "" && !s.values[in].Ranked {
			return nil // what depends on an unknown shape has none
		}
	}
	if err := f(s, n); err != nil {
		return err
	}
	for _, out := range n.Output {
		v := s.values[out]
		for _, d := range v.Shape {
			if d.Known() && (d.Size < 0 || d.Size > 1<<40) {
				return fmt.Errorf("its output would have the shape %v", v.Shape)
			}
		}
	}
	return s.evaluate(n)
}

// in returns the node's input i; a node that lacks it contradicts the operator.
func (s *inference) in(n *protos.NodeProto, i int) (Value, error) {
	if !has(n, i) {
		return Value{}, fmt.Errorf("it has no input %d", i)
	}
	return s.values[n.Input[i]], nil
}

// has says whether the node has the input i, which may be optional.
func has(n *protos.NodeProto, i int) bool { return i < len(n.Input) && n.Input[i] != "" }

// ranked returns the node's input i, which must have that many axes.
func (s *inference) ranked(n *protos.NodeProto, i, rank int) (Value, error) {
	v, err := s.in(n, i)
	if err == nil && len(v.Shape) != rank {
		err = fmt.Errorf("its input %d has the shape %v; %d axes are needed", i, v.Shape, rank)
	}
	return v, err
}

// set gives output i a type and shape.
func (s *inference) set(n *protos.NodeProto, i int, typ int32, shape Shape) {
	if i < len(n.Output) && n.Output[i] != "" {
		s.values[n.Output[i]] = Value{typ, shape, true}
	}
}

// numbers returns the value of input i where it is a known list of integers.
func (s *inference) numbers(n *protos.NodeProto, i int) ([]Dim, bool) {
	if !has(n, i) {
		return nil, false
	}
	a := s.constants[n.Input[i]]
	if a == nil || isFloat(a.typ) {
		return nil, false
	}
	return a.ints, true
}

// fixedNumbers returns the integers of the attribute of that name, or of input i, where they are fixed.
func (s *inference) fixedNumbers(n *protos.NodeProto, name string, i int) ([]int, bool) {
	if list := onnx.Ints(n, name); list != nil {
		return list, true
	}
	dims, ok := s.numbers(n, i)
	if !ok {
		return nil, false
	}
	return Shape(dims).fixed()
}

// unranked gives output i a rank and no sizes.
func unranked(rank int) Shape {
	s := make(Shape, rank)
	for i := range s {
		s[i] = unknownDim
	}
	return s
}

// attribute returns the attribute of that name, or nil.
func attribute(n *protos.NodeProto, name string) *protos.AttributeProto {
	for _, a := range n.Attribute {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// setAttribute replaces the attribute of a's name, or adds it.
func setAttribute(n *protos.NodeProto, a *protos.AttributeProto) {
	dropAttribute(n, a.Name)
	n.Attribute = append(n.Attribute, a)
}

func dropAttribute(n *protos.NodeProto, name string) {
	kept := n.Attribute[:0]
	for _, a := range n.Attribute {
		if a.Name != name {
			kept = append(kept, a)
		}
	}
	n.Attribute = kept
}
