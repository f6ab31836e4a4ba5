package zoo

import (
	"fmt"

	"github.com/darkroom-dev/darkroom/onnx"
)

// ConvNeXt of Liu et al. 2022, "A ConvNet for the 2020s".
var convNeXts = []architecture{
	{name: "convnext_tiny", minimum: 16, parameters: 28_589_128, classes: 1000, size: 224, build: convNeXt([]int{96, 192, 384, 768}, []int{3, 3, 9, 3})},
}

const convNeXtEpsilon = 1e-6

func convNeXt(widths, depths []int) func(b *builder) {
	return func(b *builder) {
		x := b.patches("features.0.0", b.normalised(), widths[0], normal(0.02), zero)
		x = b.imageNorm("features.0.1", x, widths[0])
		for stage, width := range widths {
			if stage > 0 {
				name := fmt.Sprintf("features.%d", 2*stage)
				x = b.imageNorm(name+".0", x, widths[stage-1])
				x = b.convolution(name+".1", x, widths[stage-1], width, kernel{size: 2, stride: 2, unpadded: true, draw: normal(0.02), bias: zero})
			}
			for block := range depths[stage] {
				x = b.convNeXtBlock(fmt.Sprintf("features.%d.%d", 2*stage+1, block), x, width)
			}
		}
		width := widths[len(widths)-1]
		x = b.imageNorm("classifier.0", b.Node("GlobalAveragePool", "avgpool", []string{x}), width)
		x = b.Node("Flatten", "classifier.1", []string{x}, onnx.IntOf("axis", 1))
		b.linear("classifier.2", onnx.OutputName, x, width, len(b.o.Classes), normal(0.02), zero)
	}
}

// patches cuts the image into patches of 4×4 pixels with that many features; images smaller than smallSide into overlapping ones, 2 apart.
func (b *builder) patches(name, x string, width int, draw, bias initialiser) string {
	k := kernel{size: 4, stride: 4, unpadded: true, draw: draw, bias: bias}
	if b.o.small() {
		k.stride, k.unpadded, k.padding = 2, false, 1
	}
	return b.convolution(name, x, b.o.Channels, width, k)
}

// channelsLast is (N, H, W, C) of (N, C, H, W), and channelsFirst the way back.
func (b *builder) channelsLast(name, x string) string {
	return b.Node("Transpose", name, []string{x}, onnx.IntsOf("perm", 0, 2, 3, 1))
}

func (b *builder) channelsFirst(name, x string) string {
	return b.Node("Transpose", name, []string{x}, onnx.IntsOf("perm", 0, 3, 1, 2))
}

// imageNorm is a layer normalisation over the channels of (N, C, H, W).
func (b *builder) imageNorm(name, x string, channels int) string {
	return b.channelsFirst(name+".back", b.layerNorm(name, b.channelsLast(name+".channels", x), channels, convNeXtEpsilon))
}

// convNeXtBlock is a wide convolution of each channel alone and a perceptron over the channels, scaled by a learned vector.
func (b *builder) convNeXtBlock(name, x string, width int) string {
	y := b.convolution(name+".block.0", x, width, width, kernel{size: 7, groups: width, draw: normal(0.02), bias: zero})
	y = b.layerNorm(name+".block.2", b.channelsLast(name+".block.1", y), width, convNeXtEpsilon)
	y = b.channelsFirst(name+".block.6", b.perceptron(name+".block.3", name+".block.5", y, width, 4*width, 0))
	scale := b.weight(name+".layer_scale", []int{width, 1, 1}, constant(1e-6), 0, 0)
	return b.Node("Add", name+".add", []string{x, b.Node("Mul", name+".scaled", []string{y, scale})})
}
