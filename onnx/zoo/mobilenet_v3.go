package zoo

import (
	"fmt"

	"github.com/darkroom-dev/darkroom/onnx"
)

// MobileNetV3 of Howard et al. 2019, "Searching for MobileNetV3".
var mobileNetsV3 = []architecture{
	{name: "mobilenet_v3_small", minimum: 16, parameters: 2_542_856, classes: 1000, size: 224, dropout: 0.2, build: mobileNetV3(1024, []invertedV3{
		{3, 16, 16, true, false, 2}, {3, 72, 24, false, false, 2}, {3, 88, 24, false, false, 1}, {5, 96, 40, true, true, 2}, {5, 240, 40, true, true, 1},
		{5, 240, 40, true, true, 1}, {5, 120, 48, true, true, 1}, {5, 144, 48, true, true, 1}, {5, 288, 96, true, true, 2}, {5, 576, 96, true, true, 1},
		{5, 576, 96, true, true, 1}})},
	{name: "mobilenet_v3_large", minimum: 16, parameters: 5_483_032, classes: 1000, size: 224, dropout: 0.2, build: mobileNetV3(1280, []invertedV3{
		{3, 16, 16, false, false, 1}, {3, 64, 24, false, false, 2}, {3, 72, 24, false, false, 1}, {5, 72, 40, true, false, 2}, {5, 120, 40, true, false, 1},
		{5, 120, 40, true, false, 1}, {3, 240, 80, false, true, 2}, {3, 200, 80, false, true, 1}, {3, 184, 80, false, true, 1}, {3, 184, 80, false, true, 1},
		{3, 480, 112, true, true, 1}, {3, 672, 112, true, true, 1}, {5, 672, 160, true, true, 2}, {5, 960, 160, true, true, 1}, {5, 960, 160, true, true, 1}})},
}

// invertedV3 is a row of the paper's tables 1 and 2.
type invertedV3 struct {
	kernel, expanded, out int
	squeeze, hardSwish    bool
	stride                int
}

// slowStatistics are those of torchvision's MobileNetV3.
var slowStatistics = statistics{1e-3, 0.99}

// mobileNetV3 ends in a dense layer with that many features.
func mobileNetV3(features int, rows []invertedV3) func(b *builder) {
	return func(b *builder) {
		x := b.unitV3("features.0", b.normalised(), b.o.Channels, 16, kernel{size: 3, stride: b.o.stemStride()}, (*builder).hardSwish)
		in := 16
		for i, r := range rows {
			x = b.invertedV3(fmt.Sprintf("features.%d", i+1), x, in, r)
			in = r.out
		}
		x = b.unitV3(fmt.Sprintf("features.%d", len(rows)+1), x, in, 6*in, kernel{size: 1}, (*builder).hardSwish)
		x = b.linear("classifier.0", "classifier.0", b.average("avgpool", x), 6*in, features, normal(0.01), zero)
		x = b.dropout("classifier.2", b.hardSwish("classifier.1", x), b.o.Dropout)
		b.linear("classifier.3", onnx.OutputName, x, features, len(b.o.Classes), normal(0.01), zero)
	}
}

// stemStride is 2, and 1 for small images.
func (o Options) stemStride() int {
	if o.small() {
		return 1
	}
	return 2
}

// unitV3 is a convolution with its normalisation and activation; nil: none.
func (b *builder) unitV3(name, x string, in, out int, k kernel, activation func(b *builder, name, x string) string) string {
	x = b.batchNorm(name+".1", b.convolution(name+".0", x, in, out, k), out, slowStatistics)
	if activation == nil {
		return x
	}
	return activation(b, name+".2", x)
}

// invertedV3 widens, convolves each channel alone, weighs channels by what is in them (Hu et al. 2018), and narrows.
func (b *builder) invertedV3(name, x string, in int, r invertedV3) string {
	activation := (*builder).relu
	if r.hardSwish {
		activation = (*builder).hardSwish
	}
	part := 0
	next := func() string {
		part++
		return fmt.Sprintf("%s.block.%d", name, part-1)
	}
	y := x
	if r.expanded != in {
		y = b.unitV3(next(), y, in, r.expanded, kernel{size: 1}, activation)
	}
	y = b.unitV3(next(), y, r.expanded, r.expanded, kernel{size: r.kernel, stride: r.stride, groups: r.expanded}, activation)
	if r.squeeze {
		y = b.squeeze(next(), y, r.expanded, divisible(float64(r.expanded/4)), (*builder).relu, (*builder).hardSigmoid)
	}
	y = b.unitV3(next(), y, r.expanded, r.out, kernel{size: 1}, nil)
	if r.stride != 1 || in != r.out {
		return y
	}
	return b.Node("Add", name+".add", []string{x, y})
}

// squeeze weighs the channels by a function of their means.
func (b *builder) squeeze(name, x string, channels, inner int, activation, gate func(b *builder, name, x string) string) string {
	y := b.Node("GlobalAveragePool", name+".avgpool", []string{x})
	y = activation(b, name+".activation", b.convolution(name+".fc1", y, channels, inner, kernel{size: 1, bias: zero}))
	y = gate(b, name+".scale_activation", b.convolution(name+".fc2", y, inner, channels, kernel{size: 1, bias: zero}))
	return b.Node("Mul", name, []string{x, y})
}
