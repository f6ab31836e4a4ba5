package zoo

import (
	"fmt"
	"math"

	"github.com/darkroom-dev/darkroom/onnx"
)

// EfficientNet of Tan and Le 2019: one network, scaled in width and depth together. Size is that of torchvision's weights.
var efficientNets = []architecture{
	{name: "efficientnet_b0", minimum: 16, parameters: 5_288_548, classes: 1000, size: 224, dropout: 0.2, build: efficientNet(1, 1)},
	{name: "efficientnet_b1", minimum: 16, parameters: 7_794_184, classes: 1000, size: 240, dropout: 0.2, build: efficientNet(1, 1.1)},
	{name: "efficientnet_b2", minimum: 16, parameters: 9_109_994, classes: 1000, size: 288, dropout: 0.3, build: efficientNet(1.1, 1.2)},
	{name: "efficientnet_b3", minimum: 16, parameters: 12_233_232, classes: 1000, size: 300, dropout: 0.3, build: efficientNet(1.2, 1.4)},
	{name: "efficientnet_b4", minimum: 16, parameters: 19_341_616, classes: 1000, size: 380, dropout: 0.4, build: efficientNet(1.4, 1.8)},
}

func efficientNet(width, depth float64) func(b *builder) {
	// The paper's table 1: expansion, kernel, stride, channels, blocks.
	rows := [][5]int{{1, 3, 1, 16, 1}, {6, 3, 2, 24, 2}, {6, 5, 2, 40, 2}, {6, 3, 2, 80, 3}, {6, 5, 1, 112, 3}, {6, 5, 2, 192, 4}, {6, 3, 1, 320, 1}}
	wide := func(channels int) int { return divisible(float64(channels) * width) }
	return func(b *builder) {
		in := wide(32)
		x := b.unitSilu("features.0", b.normalised(), b.o.Channels, in, kernel{size: 3, stride: b.o.stemStride()})
		for stage, r := range rows {
			for block := range int(math.Ceil(float64(r[4]) * depth)) {
				k := kernel{size: r[1], stride: 1}
				if block == 0 {
					k.stride = r[2]
				}
				x = b.mobileBlock(fmt.Sprintf("features.%d.%d", stage+1, block), x, in, wide(r[3]), r[0], k)
				in = wide(r[3])
			}
		}
		x = b.unitSilu("features.8", x, in, 4*in, kernel{size: 1})
		x = b.dropout("classifier.0", b.average("avgpool", x), b.o.Dropout)
		b.linear("classifier.1", onnx.OutputName, x, 4*in, len(b.o.Classes), uniformOut, zero)
	}
}

// unitSilu is a convolution with its normalisation and x·σ(x).
func (b *builder) unitSilu(name, x string, in, out int, k kernel) string {
	return b.silu(name+".2", b.batchNorm(name+".1", b.convolution(name+".0", x, in, out, k), out, usual))
}

// mobileBlock widens by the expansion, convolves each channel alone, weighs channels, and narrows.
func (b *builder) mobileBlock(name, x string, in, out, expansion int, k kernel) string {
	y, inner, part := x, in*expansion, 0
	if expansion != 1 {
		y = b.unitSilu(name+".block.0", y, in, inner, kernel{size: 1})
		part = 1
	}
	k.groups = inner
	y = b.unitSilu(fmt.Sprintf("%s.block.%d", name, part), y, inner, inner, k)
	y = b.squeeze(fmt.Sprintf("%s.block.%d", name, part+1), y, inner, max(1, in/4), (*builder).silu, (*builder).sigmoid)
	last := fmt.Sprintf("%s.block.%d", name, part+2)
	y = b.batchNorm(last+".1", b.convolution(last+".0", y, inner, out, kernel{size: 1}), out, usual)
	if k.stride != 1 || in != out {
		return y
	}
	return b.Node("Add", name+".add", []string{x, y})
}
