package quantization

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// Quantized is a quantized model with what is needed to look at it.
type Quantized struct {
	Model *onnx.Model
	// Seen maps the first output of each quantized node, or what is behind its activation, to the value of the quantized model that holds the same
	// numbers, rounded.
	Seen []Pairing
	// Parameters are those of every observed value.
	Parameters map[string]ValueParameters
}

// Pairing names one value in both models.
type Pairing struct {
	Node      *protos.NodeProto // of the graph before
	Before    string
	Quantized string
}

// ValueParameters say how a value is quantized: number = Scale · (code − Zero).
type ValueParameters struct {
	Range
	Scale float64
	Zero  int
	Type  string // int8 or uint8
}

// writing is one application of a plan to a graph.
type writing struct {
	p       *Plan
	g       *surgery.Graph
	x       surgery.Index
	ranges  map[string]Range
	after   map[string][]*protos.NodeProto // pairs to put behind the node that makes a value
	dequant map[string]string              // by value: what its pair gives
	weights map[string]string              // by initializer: what its DequantizeLinear gives
	scales  map[string]*Weights
	before  []*protos.NodeProto // DequantizeLinear of weights and biases, at the start
	fake    bool                // FakeQuantize in place of pairs, for training
}

// Apply writes the quantized model. weights replaces how the weights of a node, by its first output, are rounded; nil: to the nearest. The plan's graph does not
// change, so that it can be applied again with other ranges.
func (p *Plan) Apply(ranges map[string]Range, weights map[string]*Weights) (*Quantized, error) {
	m, err := p.g.Model()
	if err != nil {
		return nil, err
	}
	w := &writing{p: p, g: surgery.Edit(m), ranges: ranges, after: map[string][]*protos.NodeProto{}, dequant: map[string]string{}, weights: map[string]string{}, scales: map[string]*Weights{}}
	w.x = w.g.Index()
	q := &Quantized{Parameters: map[string]ValueParameters{}}
	for _, value := range p.Observed {
		if _, ok := ranges[value]; !ok {
			return nil, fmt.Errorf("the value %q has no range", value)
		}
		a := w.parameters(value)
		typ := "uint8"
		if p.scheme.Target == TensorRT {
			typ = "int8"
		}
		q.Parameters[value] = ValueParameters{ranges[value], a.Scale, a.Zero, typ}
	}
	if err := w.write(weights); err != nil {
		return nil, err
	}
	for _, n := range p.Nodes {
		out := n.Output[0]
		if p.scheme.Target != TensorRT {
			out = fusedOutput(w.x, n)
		}
		if _, ok := w.swish(out); ok { // below −3 its codes do not tell numbers apart
			out = p.swishes[out]
		}
		seen := out
		if to := w.dequant[out]; to != "" {
			seen = to
		}
		q.Seen = append(q.Seen, Pairing{n, out, seen})
	}
	w.g.RemoveDead()
	if q.Model, err = w.g.Model(); err != nil {
		return nil, err
	}
	return q, nil
}

func (w *writing) parameters(value string) parameters {
	if a, ok := w.swish(value); ok {
		return a
	}
	return parametersOf(w.ranges[value], w.p.scheme.Target == TensorRT)
}

// write puts the pairs and the quantized weights into the graph.
func (w *writing) write(rounded map[string]*Weights) error {
	planned := map[string]*protos.NodeProto{} // nodes of the copy are found by their output
	for _, n := range w.p.Nodes {
		planned[n.Output[0]] = n
	}
	nodes := w.g.Nodes()
	w.makePair(w.p.g.Input())
	for _, n := range nodes {
		for _, out := range n.Output {
			w.makePair(out)
		}
	}
	all := append([]*protos.NodeProto(nil), w.after[w.p.g.Input()]...)
	for _, n := range nodes {
		original := planned[n.Output[0]]
		if original != nil && isProduct(n) {
			if err := w.layer(n, rounded[n.Output[0]]); err != nil {
				return fmt.Errorf("%s: %w", onnx.NodeText(n), err)
			}
		}
		before := w.writeHardSwish(n)
		for i, in := range n.Input {
			if to := w.dequant[in]; to != "" && w.reads(original, n, i) {
				n.Input[i] = to
			}
		}
		all = append(append(all, before...), n)
		for _, out := range n.Output {
			all = append(all, w.after[out]...)
		}
	}
	w.g.SetNodes(append(w.before, all...))
	return nil
}

// reads says whether the input i of a node reads what the value's pair gives.
func (w *writing) reads(original, n *protos.NodeProto, i int) bool {
	if w.p.scheme.Target != TensorRT {
		return true
	}
	if original != nil {
		return w.p.reads[place{original, i}]
	}
	for at := range w.p.reads { // a sum is not among the quantized nodes
		if at.node.Output[0] == n.Output[0] && at.input == i {
			return true
		}
	}
	return false
}

// makePair adds QuantizeLinear and DequantizeLinear behind a value that has a pair in the plan.
func (w *writing) makePair(value string) {
	source, ok := w.p.pairs[value]
	if !ok {
		return
	}
	if w.fake {
		if source == value {
			w.makeFake(value)
		}
		return
	}
	a := w.parameters(source)
	scale, zero := source+".quantized.scale", source+".quantized.zero"
	w.g.SetTensor(scaleTensor(scale, []float64{a.Scale}))
	typ := protos.TensorProto_UINT8
	if w.p.scheme.Target == TensorRT {
		typ = protos.TensorProto_INT8
	}
	w.g.SetTensor(&protos.TensorProto{Name: zero, DataType: int32(typ), RawData: []byte{byte(a.Zero)}})
	q, d := value+".quantized", value+".dequantized"
	w.dequant[value] = d
	w.after[value] = []*protos.NodeProto{
		{OpType: "QuantizeLinear", Name: q, Input: []string{value, scale, zero}, Output: []string{q}},
		{OpType: "DequantizeLinear", Name: d, Input: []string{q, scale, zero}, Output: []string{d}},
	}
}

// layer quantizes the weights of a layer, and for ONNX Runtime its bias.
func (w *writing) layer(n *protos.NodeProto, given *Weights) error {
	name := n.Input[1]
	if w.scales[name] == nil {
		axis, ok := layer(w.x, n)
		if !ok {
			return fmt.Errorf("its weights cannot be quantized")
		}
		dims, data, _ := w.x.Floats(name)
		codes := given
		if codes == nil {
			codes = weightsOf(dims, data, axis, w.p.scheme.PerChannel, w.p.scheme.levels())
			w.p.widen(w.x, n, codes, data, w.ranges)
		}
		w.scales[name] = codes
		if w.fake {
			w.fakeLayer(n, codes, int(w.p.scheme.levels()))
			return nil
		}
		w.weights[name] = w.dequantize(name, int8Tensor(name+".quantized", dims, codes.Codes), codes.Scales, codes.Axis)
	}
	codes := w.scales[name]
	n.Input[1] = w.weights[name]
	if w.fake {
		return nil
	}
	if len(n.Input) > 2 && n.Input[2] != "" && w.p.scheme.Target != TensorRT {
		return w.bias(n, codes)
	}
	return nil
}

// dequantize adds a DequantizeLinear of constants at the start, and returns what it gives.
func (w *writing) dequantize(name string, codes *protos.TensorProto, scales []float64, axis int) string {
	w.g.SetTensor(codes)
	w.g.SetTensor(scaleTensor(name+".quantized.scale", scales))
	zero := &protos.TensorProto{Name: name + ".quantized.zero", DataType: codes.DataType}
	width := 1
	if codes.DataType == int32(protos.TensorProto_INT32) {
		width = 4
	}
	zero.RawData = make([]byte, width*len(scales))
	if len(scales) > 1 {
		zero.Dims = []int64{int64(len(scales))}
	}
	w.g.SetTensor(zero)
	d := &protos.NodeProto{OpType: "DequantizeLinear", Name: name + ".dequantized", Input: []string{codes.Name, name + ".quantized.scale", zero.Name}, Output: []string{name + ".dequantized"}}
	if len(scales) > 1 {
		d.Attribute = []*protos.AttributeProto{onnx.IntOf("axis", axis)}
	}
	w.before = append(w.before, d)
	return d.Output[0]
}

// largestBias is the largest code of a bias: the sum of products must fit beside it into 32 bits.
const largestBias = 1 << 30

// widen raises the scales of weights that are so small that the bias's code would not fit into 32 bits.
func (p *Plan) widen(x surgery.Index, n *protos.NodeProto, codes *Weights, data []float32, ranges map[string]Range) {
	bias, ok := biasOf(x, n)
	source, paired := p.pairs[n.Input[0]]
	if !ok || !paired || p.scheme.Target == TensorRT {
		return
	}
	scale := parametersOf(ranges[source], false).Scale
	changed := false
	for k := range codes.Scales {
		for c, b := range bias {
			if len(codes.Scales) > 1 && c != k {
				continue
			}
			if least := math.Abs(float64(b)) / scale / largestBias; least > codes.Scales[k] {
				codes.Scales[k], changed = scaleOf(least), true
			}
		}
	}
	if changed {
		codes.round(data, p.scheme.levels())
	}
}

func biasOf(x surgery.Index, n *protos.NodeProto) ([]float32, bool) {
	if len(n.Input) < 3 || n.Input[2] == "" {
		return nil, false
	}
	_, bias, ok := x.Floats(n.Input[2])
	return bias, ok
}

// bias writes the bias as int32 with the scale of the products, which ONNX Runtime's kernels add before they round.
func (w *writing) bias(n *protos.NodeProto, codes *Weights) error {
	bias, ok := biasOf(w.x, n)
	source, paired := w.p.pairs[n.Input[0]]
	if !ok || !paired {
		return fmt.Errorf("its bias is computed while the model runs")
	}
	scale := w.parameters(source).Scale
	scales := make([]float64, len(codes.Scales))
	for k := range scales {
		scales[k] = float64(float32(codes.Scales[k]) * float32(scale))
	}
	raw := make([]byte, 0, 4*len(bias))
	for c, b := range bias {
		k := 0
		if len(scales) > 1 {
			k = c
		}
		v := math.RoundToEven(float64(b) / math.Max(scales[k], smallestScale))
		raw = binary.LittleEndian.AppendUint32(raw, uint32(int32(math.Max(-math.MaxInt32, math.Min(math.MaxInt32, v)))))
	}
	name := n.Output[0] + ".bias"
	n.Input[2] = w.dequantize(name, &protos.TensorProto{Name: name + ".quantized", DataType: int32(protos.TensorProto_INT32), Dims: []int64{int64(len(bias))}, RawData: raw}, scales, 0)
	return nil
}
