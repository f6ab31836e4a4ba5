// Package learn trains: it lowers an ONNX graph to a GoMLX computation, differentiates it, and runs the loop.
//
// Rules of the room:
//   - It imports the libraries, never stages or the engine. It is the only room that imports GoMLX, whose graph building
//     panics: those panics become errors in one place, build.
//   - Layout: images of ONNX shape (N, C, H, W) are kept as (C, H, W, N), batch innermost, and features of (N, T, D) as (D, T, N). Then a 1×1
//     convolution or a dense layer is one matrix product, the moves of im2col are of large blocks, and statistics of a channel reduce
//     contiguous rows. How a value is kept is part of it (value.go): Transpose moves nothing, and an operator asks for the order that it needs.
//     Weights and constants keep ONNX's order.
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
	"reflect"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

// operator lowers one node: it sets the outputs and records how gradients flow back.
type operator func(l *lowering, n *protos.NodeProto) error

// operators are the supported operators by ONNX name; each file adds its own.
var operators = map[string]operator{}

// supported says whether an operator can be lowered, or computed while lowering.
func supported(operator string) bool {
	return operators[operator] != nil || evaluators[operator] != nil || operator == "Shape" || operator == "Size"
}

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
	// fusedNorm, fusedSoftmax and fusedPool say that the device normalises a batch, with its gradients, computes a softmax, and takes the greatest
	// of windows, with its gradient, in one operation each.
	fusedNorm, fusedSoftmax, fusedPool bool
	// fusedColumns, fusedAttention and fusedGelu say the same of a normalisation of each image's features, of attention and of a GELU. Only the CPU device is asked: XLA joins
	// the parts by itself, or computes attention in fewer bits.
	fusedColumns, fusedAttention, fusedGelu bool
	dtype                                   dtypes.DType
	batch                                   int
	values                                  map[string]value
	known                                   map[string]constant // values that follow from the model and the sizes alone
	canonical                               map[int]canonical   // by place in the tape: what in made of it
	used                                    map[string]value    // by name: the inputs of the node at hand as in returned them
	tape                                    []record
	places                                  int
	makers                                  map[string]*protos.NodeProto // by name of an output: the node that makes it
	updates                                 map[string]*graph.Node       // by name of a statistic: its value after this step
	plan                                    *plan
	// newMask gives the mask of dropout number place; nil: nothing is dropped.
	newMask func(place int, rate float64, dims []int) (*graph.Node, error)
	masks   int // so far
}

// record is how the gradient of one operator's output flows to its inputs. They are places in the tape.
type record struct {
	output   int
	inputs   []int
	trained  []bool                            // of the inputs
	backward func(v *graph.Node) []*graph.Node // in order of inputs; nil where there is none
	piece    *piece                            // when the output is a range of its only input, instead of backward
}

// cpuName is what the CPU device, package learn/cpu, is called.
const cpuName = "cpu"

// lower walks the graph for the images (C, H, W, N) and returns its output, (classes, N) for a classifier. weights holds a node for each parameter
// and statistic of the plan; all other initializers become constants.
func lower(model *onnx.Model, images *graph.Node, weights map[string]*graph.Node, p *plan, training bool) (*lowering, *graph.Node, error) {
	return lowerDropping(model, images, weights, p, training, nil)
}

// lowerDropping is lower with masks for what is dropped in training.
func lowerDropping(model *onnx.Model, images *graph.Node, weights map[string]*graph.Node, p *plan, training bool,
	newMask func(place int, rate float64, dims []int) (*graph.Node, error)) (*lowering, *graph.Node, error) {
	l := &lowering{g: images.Graph(), model: model, plan: p, newMask: newMask, training: training, dtype: images.DType(), batch: images.Shape().Dimensions[3],
		values: map[string]value{}, known: map[string]constant{}, canonical: map[int]canonical{}, makers: map[string]*protos.NodeProto{}, updates: map[string]*graph.Node{}}
	can := images.Graph().Backend().Capabilities().Operations
	l.fusedPool = can[compute.OpTypeReduceWindow] && can[compute.OpTypeSelectAndScatterMax] && l.dtype == dtypes.Float32
	l.fusedNorm = can[compute.OpTypeBatchNormForTraining] && can[compute.OpTypeBatchNormGradient] && l.dtype == dtypes.Float32
	l.fusedSoftmax = can[compute.OpTypeFusedSoftmax] && l.dtype == dtypes.Float32
	ours := images.Graph().Backend().Name() == cpuName && l.dtype == dtypes.Float32
	l.fusedColumns, l.fusedGelu = ours && l.fusedNorm, ours
	l.fusedAttention = ours && can[compute.OpTypeFusedScaledDotProductAttention] && can[compute.OpTypeFusedScaledDotProductAttentionVJP]
	l.values[model.Input().Name] = value{node: images, axes: imageOrder(4), batched: true, last: 3, id: l.next()}
	for _, w := range slices.Concat(p.parameters, p.statistics) {
		node := weights[w.name]
		if node == nil {
			continue
		}
		l.values[w.name] = value{node: node, axes: plain(len(w.dims)), trained: p.isTrained(w.name), last: -1, id: l.next()}
	}
	for _, n := range model.Graph().Node {
		for _, name := range n.Output {
			l.makers[name] = n
		}
		if done, err := l.fold(n); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", onnx.NodeText(n), err)
		} else if done {
			continue
		}
		l.used = map[string]value{}
		lowerNode := operators[n.OpType]
		if lowerNode == nil {
			return nil, nil, fmt.Errorf("%s: its inputs do not follow from the model and the size of the images", onnx.NodeText(n))
		}
		use, err := l.dropped(n)
		if err == nil {
			err = lowerNode(l, use)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", onnx.NodeText(n), err)
		}
	}
	out, ok := l.values[model.Output().Name]
	if !ok || !out.batched {
		return nil, nil, fmt.Errorf("the model's output %q does not depend on the images", model.Output().Name)
	}
	return l, l.kept(out).node, nil
}

// get returns the node's input i however it is kept. Initializers that are not in the plan become constants here.
func (l *lowering) get(n *protos.NodeProto, i int) (value, error) {
	if !has(n, i) {
		return value{}, fmt.Errorf("input %d is missing", i)
	}
	name := n.Input[i]
	if v, ok := l.values[name]; ok {
		return v, nil
	}
	t, ok := l.model.Tensor(name)
	if c, known := l.known[name]; known && !ok {
		t, ok = c.tensor()
	}
	if !ok {
		return value{}, fmt.Errorf("its input %q is not float32", name)
	}
	v := value{node: l.constant(t), axes: plain(len(t.Dims)), last: -1, id: l.next()}
	l.values[name] = v
	return v, nil
}

// in returns the node's input i with ONNX's axes in order, each one axis, but the first one last when it has the batch.
func (l *lowering) in(n *protos.NodeProto, i int) (value, error) {
	v, err := l.get(n, i)
	if err != nil {
		return v, err
	}
	v = l.kept(v)
	l.used[n.Input[i]] = v
	return v, nil
}

// kept is v as in keeps it.
func (l *lowering) kept(v value) value {
	c, ok := l.canonical[v.id]
	if !ok || !reflect.DeepEqual(c.from, v.axes) {
		order := count(v.rank())
		if v.batched && v.rank() > 0 {
			order = append(order[1:], 0)
		}
		c = canonical{v.axes, l.to(v, order...)}
		l.canonical[v.id] = c
	}
	return c.to
}

// canonical is what kept made of a value. Transpose gives another value at the same place in the tape.
type canonical struct {
	from layout
	to   value
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

// set defines the node's only output, kept as in returns values, whose gradient flows to the named inputs by backward.
func (l *lowering) set(n *protos.NodeProto, y *graph.Node, inputs []string, backward func(v *graph.Node) []*graph.Node) {
	var from []value
	for _, in := range inputs {
		v, ok := l.used[in]
		if !ok {
			v = l.values[in]
		}
		from = append(from, v)
	}
	out := value{node: y, axes: plain(y.Rank()), last: -1}
	if slices.ContainsFunc(from, func(v value) bool { return v.batched }) {
		out.axes, out.last = imageOrder(y.Rank()), y.Rank()-1
	}
	l.define(n, 0, out, from, backward)
}

// gradients walks the tape back from the gradient of the logits and returns the gradient of every parameter that has one.
func (l *lowering) gradients(logits *graph.Node) map[string]*graph.Node {
	return l.pull(map[string]*graph.Node{l.model.Output().Name: logits})
}

// pull walks the tape back from the gradients of some values, by name, kept as in keeps them.
func (l *lowering) pull(seeds map[string]*graph.Node) map[string]*graph.Node {
	sums := gathered{}
	for _, name := range slices.Sorted(maps.Keys(seeds)) {
		sums.add(l.kept(l.values[name]).id, seeds[name])
	}
	for _, r := range slices.Backward(l.tape) {
		v := sums.total(r.output)
		switch {
		case v == nil: // nothing that the loss sees depends on it
		case r.piece != nil:
			sums.addPiece(r.inputs[0], r.piece, v)
		default:
			for i, g := range r.backward(v) {
				if g != nil && r.trained[i] {
					sums.add(r.inputs[i], g)
				}
			}
		}
		delete(sums, r.output)
	}
	byName := map[string]*graph.Node{}
	for _, t := range l.model.Graph().Initializer {
		if v, ok := l.values[t.Name]; ok && v.trained {
			if g := sums.total(v.id); g != nil {
				byName[t.Name] = g
			}
		}
	}
	return byName
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
