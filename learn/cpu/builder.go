package cpu

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/notimplemented"
	"github.com/gomlx/compute/shapes"

	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
)

// Builder collects one computation. It has a main function and no others.
type Builder struct {
	notimplemented.Builder
	backend *Backend
	name    string
	main    *Function
}

var _ compute.Builder = (*Builder)(nil)

func newBuilder(backend *Backend, name string) *Builder {
	b := &Builder{backend: backend, name: name}
	b.main = &Function{builder: b, known: map[string]*value{}}
	b.main.ErrFn = func(op compute.OpType) error {
		return fmt.Errorf("cpu device: operation %s: %w", op, compute.ErrNotImplemented)
	}
	return b
}

// Name returns the name given to Backend.Builder.
func (b *Builder) Name() string { return b.name }

// Main returns the computation's only function.
func (b *Builder) Main() compute.Function { return b.main }

// NewFunction returns compute.ErrNotImplemented: there are no sub-functions.
func (b *Builder) NewFunction(name string) (compute.Function, error) {
	return nil, fmt.Errorf("cpu device: function %q beside main: %w", name, compute.ErrNotImplemented)
}

// OpShape returns the shape of a value of this computation.
func (b *Builder) OpShape(v compute.Value) (shapes.Shape, error) { return b.main.Shape(v) }

// Function is a computation under construction: its nodes in the order in which they were added.
type Function struct {
	notimplemented.Function
	builder    *Builder
	nodes      []*node
	parameters []*value
	results    []*value
	known      map[string]*value // what is there already, by node.key
	returned   bool
}

var _ compute.Function = (*Function)(nil)

// node is one ONNX operator, or a constant when constant is not nil.
type node struct {
	operator   string
	domain     string // "" for ONNX's own, com.microsoft, or kernel.Domain
	inputs     []*value
	attributes []*protos.AttributeProto
	outputs    []*value
	constant   any // flat slice of the output's element type
}

// value is what an operation returns: one output of a node, or a parameter.
type value struct {
	function *Function
	node     *node // nil for a parameter
	name     string
	shape    shapes.Shape
	// narrow, when not nil, has the same rank and elements before they were repeated along axes of size 1. Operators that
	// broadcast by themselves read it, so that the repeated copy is never made.
	narrow *value
	// reverse, when not nil, says what this is the reverse of. Kernels read that the other way round.
	reverse *reversal
}

type reversal struct {
	of   *value
	axes []int
}

// Name returns the main function's name.
func (f *Function) Name() string { return compute.MainName }

// Builder returns the builder of this function.
func (f *Function) Builder() compute.Builder { return f.builder }

// Parameter adds an input of the computation.
func (f *Function) Parameter(name string, shape shapes.Shape, sharding *compute.ShardingSpec) (compute.Value, error) {
	if err := f.open(); err != nil {
		return nil, err
	}
	if sharding != nil {
		return nil, fmt.Errorf("cpu device: sharding of parameter %q: %w", name, compute.ErrNotImplemented)
	}
	if _, ok := elementTypes[shape.DType]; !ok {
		return nil, fmt.Errorf("cpu device: parameter %q of %s: %w", name, shape.DType, compute.ErrNotImplemented)
	}
	if slices.ContainsFunc(shape.Dimensions, func(d int) bool { return d < 0 }) {
		return nil, fmt.Errorf("cpu device: parameter %q of dynamic shape %s: %w", name, shape, compute.ErrNotImplemented)
	}
	v := &value{function: f, name: fmt.Sprintf("in%d_%s", len(f.parameters), name), shape: shape.Clone()}
	f.parameters = append(f.parameters, v)
	return v, nil
}

// Constant adds a constant; flat is a slice of a supported type, copied.
func (f *Function) Constant(flat any, dims ...int) (compute.Value, error) {
	if err := f.open(); err != nil {
		return nil, err
	}
	kind := reflect.TypeOf(flat)
	if kind == nil || kind.Kind() != reflect.Slice {
		return nil, fmt.Errorf("cpu device: constant from a %T; a slice is needed", flat)
	}
	dtype := dtypes.FromGoType(kind.Elem())
	if _, ok := elementTypes[dtype]; !ok {
		return nil, fmt.Errorf("cpu device: constant of %s: %w", kind.Elem(), compute.ErrNotImplemented)
	}
	shape := shapes.Make(dtype, dims...)
	if err := matches(flat, shape); err != nil {
		return nil, fmt.Errorf("cpu device: constant: %w", err)
	}
	own := dtypes.MakeAnySlice(dtype, shape.Size())
	reflect.Copy(reflect.ValueOf(own), reflect.ValueOf(flat))
	return f.constant(own, shape), nil
}

// Shape returns the shape of a value of this function.
func (f *Function) Shape(v compute.Value) (shapes.Shape, error) {
	vs, err := f.operands("Shape", v)
	if err != nil {
		return shapes.Invalid(), err
	}
	return vs[0].shape, nil
}

// Return ends the function; outputs are the computation's results.
func (f *Function) Return(outputs []compute.Value, shardings []*compute.ShardingSpec) error {
	if err := f.open(); err != nil {
		return err
	}
	if len(shardings) > 0 {
		return fmt.Errorf("cpu device: sharding of results: %w", compute.ErrNotImplemented)
	}
	if len(outputs) == 0 {
		return fmt.Errorf("cpu device: computation %q returns nothing", f.builder.name)
	}
	results, err := f.operands("Return", outputs...)
	if err != nil {
		return err
	}
	f.results, f.returned = results, true
	return nil
}

// Identity returns x.
func (f *Function) Identity(x compute.Value) (compute.Value, error) {
	vs, err := f.operands("Identity", x)
	if err != nil {
		return nil, err
	}
	return vs[0], nil
}

// open reports an error once Return was called.
func (f *Function) open() error {
	if f.returned {
		return fmt.Errorf("cpu device: computation %q has already returned", f.builder.name)
	}
	return nil
}

// operands checks that the values belong to this function.
func (f *Function) operands(operation string, vs ...compute.Value) ([]*value, error) {
	if err := f.open(); err != nil && operation != "Shape" {
		return nil, err
	}
	list := make([]*value, len(vs))
	for i, v := range vs {
		own, ok := v.(*value)
		if !ok || own == nil {
			return nil, fmt.Errorf("cpu device: %s: operand %d is a %T, not a value of this device", operation, i, v)
		}
		if own.function != f {
			return nil, fmt.Errorf("cpu device: %s: operand %d belongs to another computation", operation, i)
		}
		list[i] = own
	}
	return list, nil
}

// constant adds a constant whose memory is ours.
func (f *Function) constant(flat any, shape shapes.Shape) *value {
	n := &node{constant: flat}
	return f.output(n, shape)
}

// integers adds a constant vector of int64, as shapes, axes and positions are given in ONNX.
func (f *Function) integers(list ...int) *value {
	flat := make([]int64, len(list))
	for i, x := range list {
		flat[i] = int64(x)
	}
	return f.constant(flat, shapes.Make(dtypes.Int64, len(flat)))
}

// emit adds an operator with one output.
func (f *Function) emit(operator string, shape shapes.Shape, inputs []*value, attributes ...*protos.AttributeProto) *value {
	return f.output(&node{operator: operator, inputs: inputs, attributes: attributes}, shape)
}

// emitOwn adds an operator of ONNX Runtime's own domain with one output.
func (f *Function) emitOwn(operator string, shape shapes.Shape, inputs []*value, attributes ...*protos.AttributeProto) *value {
	return f.output(&node{operator: operator, domain: runtimeDomain, inputs: inputs, attributes: attributes}, shape)
}

// emitKernel adds an operator of package kernel with an output of each shape; geometry is what it is told in integers. Such nodes are not
// shared.
func (f *Function) emitKernel(operator string, results []shapes.Shape, inputs []*value, geometry ...int) []*value {
	n := &node{operator: operator, domain: kernel.Domain, inputs: inputs, attributes: []*protos.AttributeProto{intsAttribute("geometry", geometry)}}
	for i, shape := range results {
		n.outputs = append(n.outputs, &value{function: f, node: n, name: fmt.Sprintf("%s_%d_%d", operator, len(f.nodes), i), shape: shape})
	}
	f.nodes = append(f.nodes, n)
	return n.outputs
}

// runtimeDomain is the operator domain of ONNX Runtime's own operators.
const runtimeDomain = "com.microsoft"

// output adds n with one output of that shape, or returns the output of the same operator on the same inputs.
func (f *Function) output(n *node, shape shapes.Shape) *value {
	key := n.key(shape)
	if same, ok := f.known[key]; ok && key != "" {
		return same
	}
	name := n.operator
	if n.constant != nil {
		name = "constant"
	}
	v := &value{function: f, node: n, name: fmt.Sprintf("%s_%d", name, len(f.nodes)), shape: shape}
	n.outputs = append(n.outputs, v)
	f.nodes = append(f.nodes, n)
	if key != "" {
		f.known[key] = v
	}
	return v
}

// maximumKeyed bounds the constants that are compared with others, in bytes.
const maximumKeyed = 256

// key is equal for nodes that compute the same, and "" for a constant too large to compare.
func (n *node) key(shape shapes.Shape) string {
	var b strings.Builder
	if n.constant != nil {
		if shape.ByteSize() > maximumKeyed {
			return ""
		}
		fmt.Fprintf(&b, "%s %x", shape, dtypes.UnsafeByteSliceFromAny(n.constant))
		return b.String()
	}
	b.WriteString(n.domain + " " + n.operator + " " + shape.DType.String())
	for _, in := range n.inputs {
		b.WriteString(" " + in.name)
	}
	for _, a := range n.attributes {
		fmt.Fprintf(&b, " %s=%d%d%q", a.Name, a.I, a.Ints, a.S)
	}
	return b.String()
}

func intAttribute(name string, x int) *protos.AttributeProto {
	return &protos.AttributeProto{Name: name, Type: protos.AttributeProto_INT, I: int64(x)}
}

func intsAttribute(name string, xs []int) *protos.AttributeProto {
	list := make([]int64, len(xs))
	for i, x := range xs {
		list[i] = int64(x)
	}
	return &protos.AttributeProto{Name: name, Type: protos.AttributeProto_INTS, Ints: list}
}

var errNotReturned = errors.New("its main function has not returned")

// Compile turns the computation into an executable.
func (b *Builder) Compile() (compute.Executable, error) {
	if !b.main.returned {
		return nil, fmt.Errorf("cpu device: compiling %q: %w", b.name, errNotReturned)
	}
	if b.backend.IsFinalized() {
		return nil, errFinalizedBackend
	}
	executable, err := compile(b)
	if err != nil {
		return nil, fmt.Errorf("cpu device: compiling %q: %w", b.name, err)
	}
	return executable, nil
}
