package quantization

import (
	"math"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// HardSwish is x·h, with h = min(max(x + 3, 0), 6)/6. ONNX Runtime has no 8-bit kernel of it, and fuses it with a convolution in float32 alone. But where the codes c of x have the scale 3/z and the
// zero point z, so that they begin at −3 below which all is 0, the same codes, read with the scale 1/(2z) and the zero point 0, are h, as long as they are at most 2z. So a Clip of the
// codes, needed only where x can be more than 3, and a product of 8-bit values say the same, exactly: QLinearMul is its kernel.

// bend is where HardSwish begins to be 0, negated, and where it begins to be x.
const bend = 3

// placeHardSwish finds the HardSwish nodes that are computed with codes: behind a quantized layer that nothing else reads, before a quantized node.
func (p *Plan) placeHardSwish(x surgery.Index, quantized map[*protos.NodeProto]bool) {
	for _, n := range p.g.Nodes() {
		if n.OpType != "HardSwish" || p.scheme.excludes(n) {
			continue
		}
		from := x.Producer(n.Input[0])
		if from == nil || !quantized[from] || !isProduct(from) || onlyUser(p.g, x, n.Input[0]) != n {
			continue
		}
		if _, ok := p.pairs[n.Output[0]]; ok {
			p.swishes[n.Input[0]] = n.Output[0]
		}
	}
}

// swishParameters are those of the input of a HardSwish; ok is false where numbers lie so close to 0 that codes from −3 on are too coarse for them.
func swishParameters(r Range) (a parameters, ok bool) {
	high := math.Max(r.High, 0)
	if bend+high > 2*(high-math.Max(r.Low, -bend)) {
		return a, false
	}
	zero := int(math.Min(254, math.RoundToEven(255*bend/(bend+high))))
	return parameters{Scale: scaleOf(bend / float64(zero)), Zero: zero, High: 255}, true
}

// boundSteps is how many bounds are tried for each 1 of x.
const boundSteps = 20

// swishBound puts the end of a range where x·(x + 3)/6, kept up to there, is nearest to HardSwish of the numbers seen, by its squared error. It overshoots between 3 and the bound, and falls short
// beyond.
func (o *observer) swishBound(r Range) Range {
	width := (o.high - o.low) / bins
	best := math.Inf(1)
	for step := 0; bend+float64(step)/boundSteps <= math.Min(2*bend, o.high); step++ {
		bound, sum := bend+float64(step)/boundSteps, 0.0
		for i, n := range o.histogram {
			if v := o.low + (float64(i)+0.5)*width; n > 0 && v > bend {
				x := math.Min(v, bound)
				d := x*(x+bend)/(2*bend) - v
				sum += float64(n) * d * d
			}
		}
		if sum < best {
			best, r.High = sum, bound
		}
	}
	return r
}

// swish returns the parameters of a value that a HardSwish with codes reads.
func (w *writing) swish(value string) (parameters, bool) {
	if _, ok := w.p.swishes[value]; !ok {
		return parameters{}, false
	}
	return swishParameters(w.ranges[value])
}

// writeHardSwish makes n the product, and returns the nodes that stand before it.
func (w *writing) writeHardSwish(n *protos.NodeProto) []*protos.NodeProto {
	value := n.Input[0]
	a, ok := w.swish(value)
	if !ok || n.OpType != "HardSwish" || w.fake {
		return nil
	}
	gate, codes := value+".gate", value+".quantized"
	var nodes []*protos.NodeProto
	if 2*a.Zero < a.High && !w.p.scheme.BoundedSwish {
		w.g.SetTensor(&protos.TensorProto{Name: gate + ".low", DataType: int32(protos.TensorProto_UINT8), RawData: []byte{0}})
		w.g.SetTensor(&protos.TensorProto{Name: gate + ".high", DataType: int32(protos.TensorProto_UINT8), RawData: []byte{byte(2 * a.Zero)}})
		nodes = append(nodes, &protos.NodeProto{OpType: "Clip", Name: gate + ".codes", Input: []string{codes, gate + ".low", gate + ".high"}, Output: []string{gate + ".codes"}})
		codes = gate + ".codes"
	}
	w.g.SetTensor(scaleTensor(gate+".scale", []float64{a.Scale / (2 * bend)}))
	w.g.SetTensor(&protos.TensorProto{Name: gate + ".zero", DataType: int32(protos.TensorProto_UINT8), RawData: []byte{0}})
	nodes = append(nodes, &protos.NodeProto{OpType: "DequantizeLinear", Name: gate, Input: []string{codes, gate + ".scale", gate + ".zero"}, Output: []string{gate}})
	n.OpType, n.Attribute = "Mul", nil
	n.Input = append(n.Input, gate)
	return nodes
}

// fixedFactor gives a value's FakeQuantize a factor that is not trained: the codes of a HardSwish must begin at −3.
func fixedFactor(name string) *protos.NodeProto {
	t := onnx.NewTensor(name, nil, []float32{1})
	return &protos.NodeProto{OpType: "Constant", Name: name, Output: []string{name}, Attribute: []*protos.AttributeProto{{Name: "value", Type: protos.AttributeProto_TENSOR, T: t}}}
}
