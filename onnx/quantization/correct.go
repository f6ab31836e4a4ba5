package quantization

import (
	"math"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Round rounds the weights of every planned layer to the nearest code, as Apply does by itself, by the node's first output.
func (p *Plan) Round(ranges map[string]Range) map[string]*Weights {
	x := p.g.Index()
	all := map[string]*Weights{}
	for _, n := range p.Nodes {
		if axis, ok := layer(x, n); ok && isProduct(n) {
			dims, data, _ := x.Floats(n.Input[1])
			codes := weightsOf(dims, data, axis, p.scheme.PerChannel, p.scheme.levels())
			p.widen(x, n, codes, data, ranges)
			all[n.Output[0]] = codes
		}
	}
	return all
}

// Inputs are the values that the planned layers read, by node in order of Nodes; "" for nodes that are no layers.
func (p *Plan) Inputs() []string {
	list := make([]string, len(p.Nodes))
	for i, n := range p.Nodes {
		if isProduct(n) {
			list[i] = n.Input[0]
		}
	}
	return list
}

// CorrectBiases adds to the bias of every planned convolution and Gemm what rounding its weights takes from the mean of its outputs (Nagel et al. 2019). means
// has the mean by channel of the values that they read; padding counts as mean, too. It changes the graph, and so must come before Apply.
func (p *Plan) CorrectBiases(weights map[string]*Weights, means map[string][]float64) int {
	corrected := 0
	for _, n := range p.Nodes {
		w, mean := weights[n.Output[0]], means[inputOf(n, 0)]
		if w == nil || n.OpType != "Conv" && n.OpType != "Gemm" || mean == nil {
			continue
		}
		_, data, ok := p.g.Index().Floats(n.Input[1])
		if !ok {
			continue
		}
		outputs := w.Dims[w.Axis]
		shift := make([]float64, outputs)
		numbers := w.Numbers()
		for i := range data {
			o, c := p.coordinates(n, w, i)
			if c < len(mean) {
				shift[o] += float64((float64(data[i]) - float64(numbers[i])) * mean[c])
			}
		}
		bias := make([]float32, outputs)
		if len(n.Input) > 2 && n.Input[2] != "" {
			_, have, ok := p.g.Index().Floats(n.Input[2])
			if !ok || len(have) != outputs {
				continue
			}
			copy(bias, have)
		}
		for o := range bias {
			bias[o] = float32(float64(bias[o]) + shift[o])
		}
		p.g.SetFloats(p.g.Owned(n, 2, ".bias"), []int{outputs}, bias)
		corrected++
	}
	return corrected
}

// coordinates returns the output and the input channel of element i of a layer's weights.
func (p *Plan) coordinates(n *protos.NodeProto, w *Weights, i int) (output, input int) {
	if n.OpType != "Conv" {
		row, column := i/w.Dims[1], i%w.Dims[1]
		if w.Axis == 0 {
			return row, column
		}
		return column, row
	}
	tail := 1
	for _, d := range w.Dims[2:] {
		tail *= d
	}
	output, input = i/tail/w.Dims[1], i/tail%w.Dims[1]
	groups := max(1, onnx.Int(n, "group", 1))
	return output, input + output/(w.Dims[0]/groups)*w.Dims[1]
}

// channelAxis is the axis of a layer's input along which its channels lie.
func channelAxis(operator string, rank int) int {
	if operator == "Conv" || operator == "ConvTranspose" {
		return 1
	}
	return rank - 1
}

// Channels gathers a number for each channel of a value.
type Channels struct {
	axis     int // −1: the last
	Sum      []float64
	Largest  []float64
	elements float64 // of each channel
}

// NewChannels gathers along the channels that the operator reads; "" for the last axis.
func NewChannels(operator string) *Channels {
	if operator == "Conv" {
		return &Channels{axis: 1}
	}
	return &Channels{axis: -1}
}

// Add takes one batch.
func (c *Channels) Add(dims []int64, data []float32) {
	axis := c.axis
	if axis < 0 {
		axis = len(dims) - 1
	}
	if axis < 0 || axis >= len(dims) {
		return
	}
	channels, inner := int(dims[axis]), 1
	for _, d := range dims[axis+1:] {
		inner *= int(d)
	}
	if c.Sum == nil {
		c.Sum, c.Largest = make([]float64, channels), make([]float64, channels)
	}
	for i, v := range data {
		k := i / inner % channels
		c.Sum[k] += float64(v)
		c.Largest[k] = math.Max(c.Largest[k], math.Abs(float64(v)))
	}
	c.elements += float64(len(data) / channels)
}

// Means are the sums as means.
func (c *Channels) Means() []float64 {
	means := make([]float64, len(c.Sum))
	for k, s := range c.Sum {
		means[k] = s / math.Max(c.elements, 1)
	}
	return means
}
