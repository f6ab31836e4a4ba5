// Package learn trains: it lowers an ONNX graph to a GoMLX computation, differentiates it, and runs the loop.
//
// Rules of the room:
//   - It imports the libraries, never stages or the engine. It is the only room that imports GoMLX, whose graph building
//     panics: those panics become errors in one place, build.
//   - Layout: a value of ONNX shape (N, a, b, c) is kept as (a, b, c, N), batch innermost. Then a 1×1 convolution is one matrix
//     product, the moves of im2col are of large blocks, and statistics of a channel reduce contiguous rows. Values that do not
//     have the batch (weights, constants) keep ONNX's order.
//   - Differentiation is by operator of the ONNX graph: each operator's file says how it is computed and how its gradient is. Where
//     GoMLX's rule for the operator is good, it is taken from GoMLX's registry.
//   - What is made small is an Objective, where batches come from is a BatchSource, and the weights with the computations over them are a Machine:
//     these are the seams for methods that train otherwise. Train's loop, checkpoints and judgements are common to all of them.
//   - A training step is a function of the weights, the batch and the learning rate. Everything random is counter-based and outside
//     of it. Results do not depend on GOMAXPROCS, loader workers or time; they depend on the device's thread count.
package learn

import (
	"fmt"
	"maps"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

// value is an ONNX value in the computation.
type value struct {
	node    *graph.Node
	batched bool // its last axis is ONNX's first, N
	// trained says that it depends on a parameter, so that it has a gradient.
	trained bool
}

// dims returns the value's dimensions as they are kept.
func (v value) dims() []int { return v.node.Shape().Dimensions }

// operator lowers one node: it sets the outputs and records how gradients flow back.
type operator func(l *lowering, n *protos.NodeProto) error

// operators are the supported operators by ONNX name; each file adds its own.
var operators = map[string]operator{}

func register(names []string, op operator) {
	for _, n := range names {
		operators[n] = op
	}
}

// lowering is one walk over a model's graph.
type lowering struct {
	g        *graph.Graph
	model    *onnx.Model
	training bool
	// fusedNorm says that the device normalises a batch, and gives its gradients, in one operation each.
	fusedNorm bool
	dtype     dtypes.DType
	batch     int
	values    map[string]value
	tape      []record
	updates   map[string]*graph.Node // by name of a statistic: its value after this step
}

// record is how the gradient of one operator's output flows to its inputs.
type record struct {
	output   string
	inputs   []string
	backward func(v *graph.Node) []*graph.Node // in order of inputs; nil where there is none
}

// lower walks the graph for the images (C, H, W, N) and returns its output, (classes, N) for a classifier. weights holds a node for each parameter
// and statistic of the plan; all other initializers become constants.
func lower(model *onnx.Model, images *graph.Node, weights map[string]*graph.Node, p *plan, training bool) (*lowering, *graph.Node, error) {
	l := &lowering{g: images.Graph(), model: model, training: training, dtype: images.DType(), batch: images.Shape().Dimensions[3],
		values: map[string]value{}, updates: map[string]*graph.Node{}}
	can := images.Graph().Backend().Capabilities().Operations
	l.fusedNorm = can[compute.OpTypeBatchNormForTraining] && can[compute.OpTypeBatchNormGradient] && l.dtype == dtypes.Float32
	l.values[model.Input().Name] = value{node: images, batched: true}
	for name, node := range weights {
		l.values[name] = value{node: node, trained: p.isTrained(name)}
	}
	for _, n := range model.Graph().Node {
		if err := operators[n.OpType](l, n); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", onnx.NodeText(n), err)
		}
	}
	return l, l.values[model.Output().Name].node, nil
}

// in returns the node's input i. Initializers that are not in the plan become constants here.
func (l *lowering) in(n *protos.NodeProto, i int) (value, error) {
	if i >= len(n.Input) || n.Input[i] == "" {
		return value{}, fmt.Errorf("input %d is missing", i)
	}
	name := n.Input[i]
	if v, ok := l.values[name]; ok {
		return v, nil
	}
	t, ok := l.model.Tensor(name)
	if !ok {
		return value{}, fmt.Errorf("its input %q is not float32", name)
	}
	v := value{node: l.constant(t)}
	l.values[name] = v
	return v, nil
}

// has reports whether the node has the optional input i.
func has(n *protos.NodeProto, i int) bool { return i < len(n.Input) && n.Input[i] != "" }

// constant returns t in the type that the computation is in.
func (l *lowering) constant(t onnx.Tensor) *graph.Node {
	var flat any = t.Data
	if l.dtype == dtypes.Float64 {
		wide := make([]float64, len(t.Data))
		for i, v := range t.Data {
			wide[i] = float64(v)
		}
		flat = wide
	}
	return graph.Reshape(graph.Const(l.g, flat), t.Dims...)
}

// set defines the node's only output, whose gradient flows to the named inputs by backward.
func (l *lowering) set(n *protos.NodeProto, y *graph.Node, inputs []string, backward func(v *graph.Node) []*graph.Node) {
	out := value{node: y, batched: true}
	for _, in := range inputs {
		out.trained = out.trained || l.values[in].trained
	}
	l.values[n.Output[0]] = out
	if l.training && out.trained {
		l.tape = append(l.tape, record{n.Output[0], inputs, backward})
	}
}

// gradients walks the tape back from the gradient of the logits and returns the gradient of every parameter that has one.
func (l *lowering) gradients(logits *graph.Node) map[string]*graph.Node {
	return l.pull(map[string]*graph.Node{l.model.Output().Name: logits})
}

// pull walks the tape back from the gradients of some values, by name.
func (l *lowering) pull(seeds map[string]*graph.Node) map[string]*graph.Node {
	sums := map[string]*graph.Node{}
	maps.Copy(sums, seeds)
	for _, r := range slices.Backward(l.tape) {
		v := sums[r.output]
		if v == nil {
			continue // nothing that the loss sees depends on it
		}
		for i, g := range r.backward(v) {
			name := r.inputs[i]
			switch {
			case g == nil || !l.values[name].trained:
			case sums[name] == nil:
				sums[name] = g
			default:
				sums[name] = graph.Add(sums[name], g)
			}
		}
	}
	return sums
}

// vjp returns the gradients of the inputs of y, one GoMLX operation, by GoMLX's own rule.
func vjp(y, v *graph.Node) []*graph.Node {
	return graph.VJPRegistration[y.Type()](y, []*graph.Node{v}, shapes.Make(v.DType()))
}

// build runs fn, which builds a graph, and makes GoMLX's panics errors.
func build(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if e, ok := r.(error); ok {
				err = fmt.Errorf("building the computation: %w", e)
				return
			}
			err = fmt.Errorf("building the computation: %v", r)
		}
	}()
	return fn()
}
