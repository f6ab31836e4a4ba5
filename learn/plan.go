package learn

import (
	"fmt"
	"sort"
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
}

// weight is an initializer that changes in training.
type weight struct {
	name  string
	dims  []int
	decay bool // a kernel or a matrix; biases, scales and shifts are not decayed by default
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

// trainedInputs are the inputs of each operator that are trained when they are initializers.
var trainedInputs = map[string][]int{"Conv": {1, 2}, "Gemm": {1, 2}, "MatMul": {1}, "BatchNormalization": {1, 2}}

// makePlan finds the roles and refuses operators that are not supported. The other operand of Add and Mul is trained when it has
// more than one element and what it meets depends on a parameter: so the normalisation of the input stays as it is.
func makePlan(m *onnx.Model) (*plan, error) {
	p := &plan{role: map[string]role{}}
	if err := checkOperators(m); err != nil {
		return nil, err
	}
	trained := map[string]bool{} // values that depend on a parameter
	claim := func(name string, r role, n *protos.NodeProto) error {
		if old, ok := p.role[name]; ok && old != r {
			return fmt.Errorf("%s uses %q, which another node uses as a running statistic or a parameter", onnx.NodeText(n), name)
		}
		p.role[name] = r
		trained[name] = r == parameterRole
		return nil
	}
	for _, n := range m.Graph().Node {
		for i, in := range n.Input {
			if _, float := m.Tensor(in); !float {
				continue
			}
			r := initializerRole(m, n, i, trained)
			if r == constantRole {
				continue
			}
			if err := claim(in, r, n); err != nil {
				return nil, err
			}
		}
		for _, in := range n.Input {
			if trained[in] {
				trained[n.Output[0]] = true
			}
		}
	}
	for _, t := range m.Graph().Initializer {
		tensor, _ := m.Tensor(t.Name)
		w := weight{t.Name, tensor.Dims, len(tensor.Dims) > 1}
		switch p.role[t.Name] {
		case parameterRole:
			p.parameters = append(p.parameters, w)
		case statisticRole:
			p.statistics = append(p.statistics, w)
		}
	}
	if !trained[m.Output().Name] {
		return nil, fmt.Errorf("the model has no weights that its output depends on, so there is nothing to train")
	}
	return p, nil
}

func initializerRole(m *onnx.Model, n *protos.NodeProto, i int, trained map[string]bool) role {
	if n.OpType == "BatchNormalization" && i >= 3 {
		return statisticRole
	}
	for _, t := range trainedInputs[n.OpType] {
		if i == t {
			return parameterRole
		}
	}
	if (n.OpType == "Add" || n.OpType == "Mul") && len(n.Input) == 2 && trained[n.Input[1-i]] {
		if t, _ := m.Tensor(n.Input[i]); len(t.Data) > 1 {
			return parameterRole
		}
	}
	return constantRole
}

// checkOperators names every operator that cannot be trained through, before anything is built.
func checkOperators(m *onnx.Model) error {
	for _, n := range m.Graph().Node {
		if n.Domain != "" && n.Domain != "ai.onnx" || operators[n.OpType] == nil {
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
	sort.Strings(names)
	return names
}
