package quantization

import (
	"fmt"
	"math"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// FactorSuffix ends the names of the trained factors of scales in a model that Training made.
const FactorSuffix = ".quantized.factor"

// Training returns the model for quantization-aware training: with a FakeQuantize (see package onnx) in place of each pair, and behind the float weights of each
// planned layer. Scales start at those of the ranges and of the weights' largest magnitudes; zero points stay what they are. Values that share another's range are
// on its codes already and are not rounded again. Biases are not rounded: their codes have 32 bits.
func (p *Plan) Training(ranges map[string]Range) (*onnx.Model, error) {
	m, err := p.g.Model()
	if err != nil {
		return nil, err
	}
	w := &writing{p: p, g: surgery.Edit(m), ranges: ranges, fake: true, after: map[string][]*protos.NodeProto{}, dequant: map[string]string{}, weights: map[string]string{}, scales: map[string]*Weights{}}
	w.x = w.g.Index()
	for _, value := range p.Observed {
		if _, ok := ranges[value]; !ok {
			return nil, fmt.Errorf("the value %q has no range", value)
		}
	}
	if err := w.write(nil); err != nil {
		return nil, err
	}
	return w.g.Model()
}

// makeFake adds a FakeQuantize behind a value.
func (w *writing) makeFake(value string) {
	a := w.parameters(value)
	f := onnx.FakeQuantize{Scales: []float32{float32(a.Scale)}, Low: a.Low - a.Zero, High: a.High - a.Zero}
	if _, ok := w.swish(value); ok {
		factor := fixedFactor(value + ".quantized.fixed")
		n := f.Node(value+".quantized", value, factor.Output[0])
		w.dequant[value] = n.Output[0]
		w.after[value] = []*protos.NodeProto{factor, n}
		return
	}
	n := w.fakeNode(f, value)
	w.dequant[value] = n.Output[0]
	w.after[value] = []*protos.NodeProto{n}
}

func (w *writing) fakeNode(f onnx.FakeQuantize, value string) *protos.NodeProto {
	ones, dims := make([]float32, len(f.Scales)), []int(nil)
	for i := range ones {
		ones[i] = 1
	}
	if len(ones) > 1 {
		dims = []int{len(ones)}
	}
	w.g.SetFloats(value+FactorSuffix, dims, ones)
	return f.Node(value+".quantized", value, value+FactorSuffix)
}

// fakeLayer puts a FakeQuantize behind the weights of a layer, one for all who read them.
func (w *writing) fakeLayer(n *protos.NodeProto, codes *Weights, levels int) {
	name := n.Input[1]
	if w.weights[name] == "" {
		f := onnx.FakeQuantize{Axis: codes.Axis, Low: -levels, High: levels}
		for _, s := range codes.Scales {
			f.Scales = append(f.Scales, float32(s))
		}
		node := w.fakeNode(f, name)
		w.before = append(w.before, node)
		w.weights[name] = node.Output[0]
	}
	n.Input[1] = w.weights[name]
}

// Trained is what a training of Training's model came to, as NewPlan and Apply take it.
type Trained struct {
	Graph   *surgery.Graph // in float
	ranges  map[string]Range
	weights map[string]*Weights // by initializer
}

// ReadTrained takes the FakeQuantize nodes out of a model and reads the scales that they came to.
func ReadTrained(m *onnx.Model) (*Trained, error) {
	t := &Trained{Graph: surgery.Edit(m), ranges: map[string]Range{}, weights: map[string]*Weights{}}
	x := t.Graph.Index()
	instead := map[string]string{}
	var nodes []*protos.NodeProto
	for _, n := range t.Graph.Nodes() {
		f, ok := onnx.ReadFakeQuantize(n)
		if !ok {
			for i, in := range n.Input {
				if to, is := instead[in]; is {
					n.Input[i] = to
				}
			}
			nodes = append(nodes, n)
			continue
		}
		_, factors, ok := x.Floats(n.Input[1])
		if from := x.Producer(n.Input[1]); !ok && from != nil && from.OpType == "Constant" {
			factors, ok = []float32{1}, true // see fixedFactor
		}
		if !ok || len(factors) != len(f.Scales) {
			return nil, fmt.Errorf("%s has %d factors for %d scales", onnx.NodeText(n), len(factors), len(f.Scales))
		}
		instead[n.Output[0]] = n.Input[0]
		for k := range f.Scales {
			f.Scales[k] = f.Scale(k, factors[k])
		}
		if dims, data, ok := x.Floats(n.Input[0]); ok {
			t.weights[n.Input[0]] = trainedWeights(f, dims, data)
		} else {
			t.ranges[n.Input[0]] = Range{float64(f.Low) * float64(f.Scales[0]), float64(f.High) * float64(f.Scales[0])}
		}
	}
	t.Graph.SetNodes(nodes)
	t.Graph.RemoveDead()
	return t, nil
}

// trainedWeights rounds as FakeQuantize does, in float32.
func trainedWeights(f onnx.FakeQuantize, dims []int, data []float32) *Weights {
	w := &Weights{Dims: dims, Axis: f.Axis, Codes: make([]int8, len(data))}
	for _, s := range f.Scales {
		w.Scales = append(w.Scales, float64(s))
	}
	for i, v := range data {
		c := math.RoundToEven(float64(v / f.Scales[w.channelOf(i)]))
		w.Codes[i] = int8(math.Max(float64(f.Low), math.Min(float64(f.High), c)))
	}
	return w
}

// Ranges are those of the observed values of a plan for Graph.
func (t *Trained) Ranges(p *Plan) (map[string]Range, error) {
	all := map[string]Range{}
	for _, value := range p.Observed {
		r, ok := t.ranges[p.pairs[value]]
		if !ok {
			return nil, fmt.Errorf("the value %q was not rounded while training", value)
		}
		all[value] = r
	}
	return all, nil
}

// Weights are those of the layers of a plan for Graph, by the node's first output, with scales that leave room for the biases.
func (t *Trained) Weights(p *Plan, ranges map[string]Range) map[string]*Weights {
	x := p.g.Index()
	all := map[string]*Weights{}
	for _, n := range p.Nodes {
		if w := t.weights[inputOf(n, 1)]; w != nil && isProduct(n) {
			_, data, _ := x.Floats(n.Input[1])
			p.widen(x, n, w, data, ranges)
			all[n.Output[0]] = w
		}
	}
	return all
}
