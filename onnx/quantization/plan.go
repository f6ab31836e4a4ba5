package quantization

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// Plan says which nodes of a graph are quantized, and at which values pairs of QuantizeLinear and DequantizeLinear stand.
type Plan struct {
	// Nodes are the quantized ones, in order of the graph.
	Nodes []*protos.NodeProto
	// Observed are the values whose range must be known, in order of the graph.
	Observed []string

	g      *surgery.Graph
	scheme Scheme
	// pairs has the values that get a pair; source is the value whose range, and parameters, it shares.
	pairs map[string]string
	// reads lists where a pair is read, for TensorRT; for ONNX Runtime everybody reads it.
	reads map[place]bool
	// swishes maps what a HardSwish with codes reads to what it gives, for ONNX Runtime.
	swishes map[string]string
}

// place is an input of a node.
type place struct {
	node  *protos.NodeProto
	input int
}

// keepsRange are the operators that give the values they get: what goes out has the parameters of what came in.
var keepsRange = []string{"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"}

// NewPlan decides what is quantized of a graph that Prepare made. A graph in which nothing can be quantized is refused.
func NewPlan(g *surgery.Graph, s Scheme) (*Plan, error) {
	p := &Plan{g: g, scheme: s, pairs: map[string]string{}, reads: map[place]bool{}, swishes: map[string]string{}}
	x := g.Index()
	if s.Target == TensorRT {
		p.placeForTensorRT(x)
	} else {
		p.placeForRuntime(x)
	}
	if len(p.Nodes) == 0 {
		return nil, fmt.Errorf("nothing of the model can be quantized: it has no convolution or matrix product with constant weights that is not excluded")
	}
	p.observe()
	return p, nil
}

// placeForRuntime puts a pair at everything that a quantized operator of ONNX Runtime reads or writes.
func (p *Plan) placeForRuntime(x surgery.Index) {
	quantized := p.runtimeNodes(x, nil)
	if p.scheme.SlowInFloat {
		quantized = p.runtimeNodes(x, slowStart(p.g, quantized))
	}
	for _, n := range p.g.Nodes() {
		if !quantized[n] {
			continue
		}
		p.Nodes = append(p.Nodes, n)
		for _, i := range p.activations(x, n) {
			p.pair(n.Input[i])
		}
		if out := fusedOutput(x, n); out != p.g.Output() {
			p.pair(out)
		}
	}
	p.shareRanges(x)
	p.placeHardSwish(x, quantized)
}

// runtimeNodes are those that ONNX Runtime has 8-bit kernels for, without those whose first output is kept.
func (p *Plan) runtimeNodes(x surgery.Index, keep map[string]bool) map[*protos.NodeProto]bool {
	quantized := map[*protos.NodeProto]bool{}
	for _, n := range p.g.Nodes() {
		if !p.scheme.excludes(n) && !keep[n.Output[0]] && p.runsInRuntime(x, n, quantized) {
			quantized[n] = true
		}
	}
	return quantized
}

// fusedOutput is the value behind n and the activation that ONNX Runtime merges with it.
func fusedOutput(x surgery.Index, n *protos.NodeProto) string {
	out := n.Output[0]
	if users := x.Users(out); len(users) == 1 && (users[0].OpType == "Relu" || users[0].OpType == "Clip") && (isProduct(n) || n.OpType == "Add") {
		return users[0].Output[0]
	}
	return out
}

func isProduct(n *protos.NodeProto) bool {
	return slices.Contains([]string{"Conv", "ConvTranspose", "Gemm", "MatMul"}, n.OpType)
}

// runsInRuntime says whether ONNX Runtime's CPU provider has an 8-bit kernel for the node. Element-wise operators and poolings follow a
// layer before them, or stay as they are.
func (p *Plan) runsInRuntime(x surgery.Index, n *protos.NodeProto, before map[*protos.NodeProto]bool) bool {
	switch n.OpType {
	case "Conv", "Gemm", "MatMul":
		_, ok := layer(x, n)
		return ok
	case "Add", "Mul":
		return len(n.Input) == 2 && p.follows(x, n, before, 0) && p.follows(x, n, before, 1)
	case "GlobalAveragePool", "AveragePool":
		return p.follows(x, n, before, 0)
	case "Concat":
		for i := range n.Input {
			if !p.follows(x, n, before, i) {
				return false
			}
		}
		return true
	}
	return false
}

// follows says whether the node's input i comes from quantized operators, through such as do not change a range.
func (p *Plan) follows(x surgery.Index, n *protos.NodeProto, before map[*protos.NodeProto]bool, i int) bool {
	if x.IsTensor(n.Input[i]) {
		return false
	}
	from := x.Producer(n.Input[i])
	for from != nil && !before[from] && (slices.Contains(keepsRange, from.OpType) || slices.Contains([]string{"Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Swish"}, from.OpType)) {
		from = x.Producer(from.Input[0])
	}
	return from != nil && before[from]
}

// activations are the inputs of a quantized node that are not weights.
func (p *Plan) activations(x surgery.Index, n *protos.NodeProto) []int {
	if isProduct(n) {
		return []int{0}
	}
	var list []int
	for i, in := range n.Input {
		if in != "" && !x.IsTensor(in) {
			list = append(list, i)
		}
	}
	return list
}

func (p *Plan) pair(value string) {
	if _, ok := p.pairs[value]; !ok {
		p.pairs[value] = value
	}
}

// shareRanges gives a pair to what operators that keep a range make of a value with a pair, and the parameters of that value.
func (p *Plan) shareRanges(x surgery.Index) {
	for _, n := range p.g.Nodes() {
		if !slices.Contains(keepsRange, n.OpType) || p.scheme.excludes(n) || n.Output[0] == p.g.Output() {
			continue
		}
		if from, ok := p.pairs[n.Input[0]]; ok {
			p.pairs[n.Output[0]] = from
		}
	}
}

// thin is the number of channels below which TensorRT gains nothing from 8 bits.
const thin = 16

// placeForTensorRT puts a pair before the inputs of layers, and at the skip branch of a sum that fuses with a convolution.
func (p *Plan) placeForTensorRT(x surgery.Index) {
	first := true
	for _, n := range p.g.Nodes() {
		axis, ok := layer(x, n)
		if !ok || p.scheme.excludes(n) {
			continue
		}
		dims, _, _ := x.Floats(n.Input[1])
		if n.OpType == "Conv" && !first && (dims[0] < thin || dims[axis+1]*max(1, groupsOf(n)) < thin) {
			continue
		}
		first = false
		p.Nodes = append(p.Nodes, n)
		p.pair(n.Input[0])
		p.reads[place{n, 0}] = true
	}
	quantized := map[string]bool{}
	for _, n := range p.Nodes {
		quantized[n.Output[0]] = true
	}
	for _, n := range p.g.Nodes() {
		if n.OpType != "Add" || len(n.Input) != 2 || p.scheme.excludes(n) {
			continue
		}
		a, b := quantized[n.Input[0]], quantized[n.Input[1]]
		if skip := 1; a != b {
			if b {
				skip = 0
			}
			if !x.IsTensor(n.Input[skip]) {
				p.pair(n.Input[skip])
				p.reads[place{n, skip}] = true
			}
		}
	}
}

// observe lists the values with a pair. Those that share another's range are among them, so that the ranges also serve a plan with fewer nodes.
func (p *Plan) observe() {
	seen := map[string]bool{}
	add := func(value string) {
		if _, ok := p.pairs[value]; ok && !seen[value] {
			seen[value] = true
			p.Observed = append(p.Observed, value)
		}
	}
	add(p.g.Input())
	for _, n := range p.g.Nodes() {
		for _, out := range n.Output {
			add(out)
		}
	}
}

func groupsOf(n *protos.NodeProto) int { return onnx.Int(n, "group", 1) }
