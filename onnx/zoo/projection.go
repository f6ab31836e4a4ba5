package zoo

import (
	"fmt"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Projected returns a model that ends in a multilayer perceptron on the backbone's features, with fresh weights: dense layers of those widths, with a
// batch normalisation and ReLU behind all but the last, called projection.0 and so on. With a predictor, a second one of those widths follows, called prediction.0
// and so on. It returns the values that hold their results; without a predictor prediction is "".
func Projected(backbone *onnx.Model, widths, predictor []int, seed uint64) (m *onnx.Model, projection, prediction string, err error) {
	if len(widths) == 0 {
		return nil, "", "", fmt.Errorf("a projection without a layer")
	}
	b := &builder{Builder: backbone.Extend(), o: Options{Seed: seed}}
	in := backbone.Output().Classes
	last := func(name string, of []int, isLast bool) string {
		if isLast {
			return onnx.OutputName
		}
		return fmt.Sprintf("%s.%d", name, len(of)-1)
	}
	projection = b.denseLayers("projection", last("projection", widths, len(predictor) == 0), onnx.FeaturesName, in, widths)
	out := widths[len(widths)-1]
	if len(predictor) > 0 {
		prediction = b.denseLayers("prediction", onnx.OutputName, projection, out, predictor)
		out = predictor[len(predictor)-1]
	}
	m, err = b.Model(out, onnx.Meta{Task: "projection"})
	return m, projection, prediction, err
}

// denseLayers adds dense layers; the last one's value is called output.
func (b *builder) denseLayers(name, output, x string, in int, widths []int) string {
	for i, w := range widths {
		layer := fmt.Sprintf("%s.%d", name, i)
		if i == len(widths)-1 {
			return b.linear(layer, output, x, in, w, uniformIn, uniformIn)
		}
		x = b.linear(layer, layer+".product", x, in, w, uniformIn, uniformIn)
		x = b.relu(layer+".relu", b.batchNorm(layer+".bn", x, w, usual))
		in = w
	}
	return x
}

// Tap is a value of a graph that is projected to another width.
type Tap struct {
	Value   string
	In, Out int  // channels
	Map     bool // (N, In, H, W): by a 1×1 convolution; else (N, In): by a dense layer
}

// Tapped returns a copy of a model in which each tap is projected by a layer with fresh weights, called hint.0 and so on as is its value. Nothing of the model
// depends on them.
func Tapped(m *onnx.Model, taps []Tap, seed uint64) (*onnx.Model, error) {
	return m.Grow(func(base *onnx.Builder) {
		b := &builder{Builder: base, o: Options{Seed: seed}}
		for i, t := range taps {
			name := fmt.Sprintf("hint.%d", i)
			if t.Map {
				w, c := b.weight(name+".weight", []int{t.Out, t.In, 1, 1}, heNormal, t.In, t.Out), b.weight(name+".bias", []int{t.Out}, uniformIn, t.In, t.Out)
				b.Node("Conv", name, []string{t.Value, w, c}, onnx.IntsOf("kernel_shape", 1, 1))
				continue
			}
			b.linear(name, name, t.Value, t.In, t.Out, uniformIn, uniformIn)
		}
	})
}
