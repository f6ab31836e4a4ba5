package zoo

import (
	"fmt"

	"github.com/darkroom-dev/darkroom/onnx"
)

// The residual networks of He et al. 2015, "Deep Residual Learning for Image Recognition": the thin ones of section 4.2 with
// 6n+2 layers for small images, and those of section 4.1. Where a block changes the size, the shortcut is a 1×1 convolution
// (the paper's option B). In ResNet-50 the 3×3 convolution has the stride, as in torchvision.
var resnets = []architecture{
	{name: "resnet8", minimum: 8, parameters: 78_042, classes: 10, size: 32, build: thinResNet(1)},
	{name: "resnet20", minimum: 8, parameters: 272_474, classes: 10, size: 32, build: thinResNet(3)},
	{name: "resnet56", minimum: 8, parameters: 855_770, classes: 10, size: 32, build: thinResNet(9)},
	{name: "resnet18", minimum: 16, parameters: 11_689_512, classes: 1000, size: 224, build: resnet(2, 2, 2, 2)},
	{name: "resnet34", minimum: 16, parameters: 21_797_672, classes: 1000, size: 224, build: resnet(3, 4, 6, 3)},
	{name: "resnet50", minimum: 16, parameters: 25_557_032, classes: 1000, size: 224, build: bottleneckResNet(3, 4, 6, 3)},
}

// smallSide is the side in pixels below which a network for large images keeps the image's size in its stem: with a stride there, a 32×32
// image would reach the last stage as one pixel.
const smallSide = 64

func (o Options) small() bool { return min(o.Height, o.Width) < smallSide }

// residual is a residual block; stride and shortcut follow from its place.
type residual func(b *builder, name, x string, in, width, stride int) string

// thinResNet has three stages of n blocks with 16, 32 and 64 channels.
func thinResNet(n int) func(b *builder) {
	return func(b *builder) {
		x := b.convolution("conv1", b.normalised(), b.o.Channels, 16, kernel{size: 3})
		x = b.relu("relu", b.batchNorm("bn1", x, 16, usual))
		b.residualStages(x, 16, []int{16, 32, 64}, []int{n, n, n}, 1, (*builder).basicBlock)
	}
}

func resnet(blocks ...int) func(b *builder) {
	return func(b *builder) {
		b.residualStages(b.residualStem(), 64, []int{64, 128, 256, 512}, blocks, 1, (*builder).basicBlock)
	}
}

func bottleneckResNet(blocks ...int) func(b *builder) {
	return func(b *builder) {
		b.residualStages(b.residualStem(), 64, []int{64, 128, 256, 512}, blocks, 4, (*builder).bottleneck)
	}
}

// residualStem is a 7×7 convolution with stride 2 and a pooling; for images smaller than smallSide a 3×3 convolution alone.
func (b *builder) residualStem() string {
	k := kernel{size: 7, stride: 2}
	if b.o.small() {
		k = kernel{size: 3}
	}
	x := b.convolution("conv1", b.normalised(), b.o.Channels, 64, k)
	x = b.relu("relu", b.batchNorm("bn1", x, 64, usual))
	if b.o.small() {
		return x
	}
	return b.Node("MaxPool", "maxpool", []string{x}, onnx.IntsOf("kernel_shape", 3, 3), onnx.IntsOf("strides", 2, 2), onnx.IntsOf("pads", 1, 1, 1, 1))
}

// residualStages adds stages of blocks, of which every one but the first halves the image, and the head.
func (b *builder) residualStages(x string, in int, widths, blocks []int, expansion int, add residual) {
	for stage, width := range widths {
		for block := range blocks[stage] {
			stride := 1
			if block == 0 && stage > 0 {
				stride = 2
			}
			x = add(b, fmt.Sprintf("layer%d.%d", stage+1, block), x, in, width, stride)
			in = width * expansion
		}
	}
	b.linear("fc", onnx.OutputName, b.average("avgpool", x), in, len(b.o.Classes), uniformIn, uniformIn)
}

// basicBlock is two 3×3 convolutions with a shortcut around them.
func (b *builder) basicBlock(name, x string, in, width, stride int) string {
	y := b.convolution(name+".conv1", x, in, width, kernel{size: 3, stride: stride})
	y = b.relu(name+".relu1", b.batchNorm(name+".bn1", y, width, usual))
	y = b.convolution(name+".conv2", y, width, width, kernel{size: 3})
	y = b.batchNorm(name+".bn2", y, width, usual)
	return b.relu(name+".relu2", b.Node("Add", name+".add", []string{b.shortcut(name, x, in, width, stride), y}))
}

// bottleneck is a 3×3 convolution between two 1×1 ones; it has four times its width in channels at the end.
func (b *builder) bottleneck(name, x string, in, width, stride int) string {
	y := b.convolution(name+".conv1", x, in, width, kernel{size: 1})
	y = b.relu(name+".relu1", b.batchNorm(name+".bn1", y, width, usual))
	y = b.convolution(name+".conv2", y, width, width, kernel{size: 3, stride: stride})
	y = b.relu(name+".relu2", b.batchNorm(name+".bn2", y, width, usual))
	y = b.convolution(name+".conv3", y, width, 4*width, kernel{size: 1})
	y = b.batchNorm(name+".bn3", y, 4*width, usual)
	return b.relu(name+".relu3", b.Node("Add", name+".add", []string{b.shortcut(name, x, in, 4*width, stride), y}))
}

func (b *builder) shortcut(name, x string, in, out, stride int) string {
	if stride == 1 && in == out {
		return x
	}
	return b.batchNorm(name+".downsample.1", b.convolution(name+".downsample.0", x, in, out, kernel{size: 1, stride: stride}), out, usual)
}
