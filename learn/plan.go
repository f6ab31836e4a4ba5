package learn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// plan says which initializers of a model are trained, which are running statistics, and which stay as they are.
type plan struct {
	parameters []weight // in order of the file
	statistics []weight
	role       map[string]role
	frozen     map[string]bool // parameters that stay as they are
	// frozenStatistics says that a normalisation whose scale and shift are frozen uses its running statistics in training too.
	frozenStatistics bool
	drop             Drop
	headNode         *protos.NodeProto // the product that gives the classifier's output; nil: not found
	dropsHead        bool              // its features are dropped
	branches         map[string]branch // residual branches that are dropped, by the output of their Add
}

// weight is an initializer that changes in training.
type weight struct {
	name string
	dims []int
	// decay says that it is a kernel or a matrix. Biases, scales, shifts, position embeddings and class tokens are not decayed by default.
	decay bool
	head  bool // of the classifier itself: the last product before the output
}

type role int

const (
	constantRole role = iota
	parameterRole
	statisticRole
)

// isTrained reports whether name is a parameter that moves.
func (p *plan) isTrained(name string) bool { return p.isParameter(name) && !p.frozen[name] }

func (p *plan) isParameter(name string) bool { return p.role[name] == parameterRole }

// weightInputs are the inputs of each operator that hold weights, by nature of the operator.
var weightInputs = map[string][]int{"Conv": {1, 2}, "Gemm": {0, 1, 2}, "MatMul": {0, 1}, "BatchNormalization": {1, 2}, "LayerNormalization": {1, 2},
	"InstanceNormalization": {1, 2}, "GroupNormalization": {1, 2}, "PRelu": {1}, onnx.FakeQuantizeOperator: {1}}

// unlearnable are operators that exporters make masks and positions with: nothing flows back through them.
var unlearnable = map[string]bool{"Equal": true, "Greater": true, "Less": true, "GreaterOrEqual": true, "LessOrEqual": true, "Not": true, "And": true, "Or": true,
	"Xor": true, "ScatterND": true, "Where": true}

// attentionMask is the largest addend that forbids a position to attention; exporters write -100 or less.
const attentionMask = -100

// flow is what a value depends on.
type flow struct {
	image   bool
	trained bool     // on a parameter
	origins []string // the float32 initializers that it is made of, when it does not depend on the image
}

// makePlan finds the roles and refuses operators that are not supported. What an operator multiplies with or adds by its nature is
// trained. The other operand of Add, Mul and Concat (a position embedding, the scale of a layer, a class token) is trained when it has more than one
// element, what it meets depends on a parameter, and it is not an attention mask, all 0 and -100 or less: so the normalisation of the
// input stays as it is. What reaches an operator through others that do not see the image (Transpose, Gather, …) counts as the initializer it comes from.
func makePlan(m *onnx.Model) (*plan, error) {
	p := &plan{role: map[string]role{}}
	if err := checkOperators(m); err != nil {
		return nil, err
	}
	multiplied := map[string]bool{} // kernels and matrices, by name
	flows := map[string]flow{m.Input().Name: {image: true}}
	for _, t := range m.Graph().Initializer {
		if t.DataType == int32(protos.TensorProto_FLOAT) {
			flows[t.Name] = flow{origins: []string{t.Name}}
		}
	}
	for _, n := range m.Graph().Node {
		out := flow{}
		for _, in := range n.Input {
			f := flows[in]
			out.image, out.trained = out.image || f.image, out.trained || f.trained
			if !unlearnable[n.OpType] {
				out.origins = append(out.origins, f.origins...)
			}
		}
		if n.OpType == "Shape" || n.OpType == "Size" {
			continue
		}
		for i, in := range n.Input {
			f := flows[in]
			if !out.image || f.image || len(f.origins) == 0 {
				continue
			}
			r := inputRole(m, n, i, f, out.trained)
			if r == constantRole {
				continue
			}
			for _, name := range f.origins {
				if old, ok := p.role[name]; ok && old != r {
					return nil, fmt.Errorf("%s uses %q, which another node uses as a running statistic or a parameter", onnx.NodeText(n), name)
				}
				p.role[name] = r
				multiplied[name] = multiplied[name] || slices.Contains(weightInputs[n.OpType], i)
			}
			out.trained = out.trained || r == parameterRole
		}
		if out.image {
			out.origins = nil
		}
		for _, name := range n.Output {
			flows[name] = out
		}
	}
	var head map[string]bool
	p.headNode, head = findHead(m, flows)
	for _, t := range m.Graph().Initializer {
		tensor, _ := m.Tensor(t.Name)
		w := weight{name: t.Name, dims: tensor.Dims, decay: len(tensor.Dims) > 1 && multiplied[t.Name], head: head[t.Name]}
		switch p.role[t.Name] {
		case parameterRole:
			p.parameters = append(p.parameters, w)
		case statisticRole:
			p.statistics = append(p.statistics, w)
		}
	}
	if !flows[m.Output().Name].trained {
		return nil, fmt.Errorf("the model has no weights that its output depends on, so there is nothing to train")
	}
	return p, nil
}

// findHead returns the last product before the model's output, going back through what only shifts or reshapes, and the names of its weights;
// nil where the output comes from something else.
func findHead(m *onnx.Model, flows map[string]flow) (*protos.NodeProto, map[string]bool) {
	names := map[string]bool{}
	makers := map[string]*protos.NodeProto{}
	for _, n := range m.Graph().Node {
		for _, out := range n.Output {
			makers[out] = n
		}
	}
	for n := makers[m.Output().Name]; n != nil; {
		for _, in := range n.Input {
			if f := flows[in]; !f.image {
				for _, name := range f.origins {
					names[name] = true
				}
			}
		}
		switch n.OpType {
		case "Gemm", "MatMul", "Conv":
			return n, names
		case "Add", "Reshape", "Flatten", "Identity", "Squeeze", "GlobalAveragePool", "ReduceMean":
		default:
			return nil, nil
		}
		var next *protos.NodeProto
		for _, in := range n.Input {
			if made := makers[in]; made != nil && flows[in].image {
				if next != nil {
					return nil, nil // two ways lead here
				}
				next = made
			}
		}
		n = next
	}
	return nil, nil
}

// inputRole says what the initializers behind a node's input i are; trained says that another input depends on a parameter.
func inputRole(m *onnx.Model, n *protos.NodeProto, i int, f flow, trained bool) role {
	if n.OpType == "BatchNormalization" && i >= 3 {
		return statisticRole
	}
	if slices.Contains(weightInputs[n.OpType], i) {
		return parameterRole
	}
	if n.OpType != "Add" && n.OpType != "Mul" && n.OpType != "Concat" || !trained {
		return constantRole
	}
	for _, name := range f.origins {
		if t, _ := m.Tensor(name); len(t.Data) > 1 && !isMask(t) {
			return parameterRole
		}
	}
	return constantRole
}

// isMask recognises what is added to attention's scores to forbid positions.
func isMask(t onnx.Tensor) bool {
	forbids := false
	for _, v := range t.Data {
		if v != 0 && v > attentionMask {
			return false
		}
		forbids = forbids || v != 0
	}
	return forbids
}

// checkOperators names every operator that cannot be trained through, before anything is built.
func checkOperators(m *onnx.Model) error {
	for _, n := range m.Graph().Node {
		standard := n.Domain == "" || n.Domain == "ai.onnx" || n.Domain == onnx.OwnDomain
		if !standard || !supported(n.OpType) {
			return fmt.Errorf("%s cannot be trained through. Supported operators: %s", onnx.NodeText(n), strings.Join(operatorNames(), ", "))
		}
	}
	return nil
}

func operatorNames() []string {
	var names []string
	for n := range operators {
		names = append(names, n)
	}
	for n := range evaluators {
		names = append(names, n)
	}
	names = append(names, "Shape", "Size")
	slices.Sort(names)
	return slices.Compact(names)
}
