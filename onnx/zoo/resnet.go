package zoo

import (
	"fmt"

	"github.com/darkroom-dev/darkroom/onnx"
)

// The residual networks of He et al. 2015, "Deep Residual Learning for Image Recognition": the thin ones of section 4.2 with
// 6n+2 layers for small images, and ResNet-18 of section 4.1. Where a block changes the size, the shortcut is a 1×1 convolution
// (the paper's option B).
var resnets = []architecture{
	{"resnet8", 8, thinResNet(1)},
	{"resnet20", 8, thinResNet(3)},
	{"resnet18", 16, resnet18},
}

// thinResNet has three stages of n blocks with 16, 32 and 64 channels.
func thinResNet(n int) func(b *builder) {
	return func(b *builder) {
		x := b.convolution("stem.conv", b.normalised(), b.o.Channels, 16, 3, 1)
		x = b.relu("stem.relu", b.normalisation("stem.norm", x, 16))
		b.head(b.residualStages(x, 16, []int{16, 32, 64}, n), 64)
	}
}

// smallSide is the side in pixels below which resnet18 keeps the image's size in its stem: with the paper's 7×7 stride 2 and pooling a
// 32×32 image would reach the last stage as one pixel.
const smallSide = 64

// resnet18 has four stages of two blocks. For images smaller than smallSide the stem is a 3×3 convolution without pooling.
func resnet18(b *builder) {
	k, stride := 7, 2
	small := min(b.o.Height, b.o.Width) < smallSide
	if small {
		k, stride = 3, 1
	}
	x := b.convolution("stem.conv", b.normalised(), b.o.Channels, 64, k, stride)
	x = b.relu("stem.relu", b.normalisation("stem.norm", x, 64))
	if !small {
		x = b.Node("MaxPool", "stem.pool", []string{x}, onnx.IntsOf("kernel_shape", 3, 3), onnx.IntsOf("strides", 2, 2), onnx.IntsOf("pads", 1, 1, 1, 1))
	}
	b.head(b.residualStages(x, 64, []int{64, 128, 256, 512}, 2), 512)
}

// residualStages adds stages of n basic blocks; every stage but the first halves the image.
func (b *builder) residualStages(x string, in int, channels []int, n int) string {
	for stage, out := range channels {
		for block := range n {
			stride := 1
			if block == 0 && stage > 0 {
				stride = 2
			}
			x = b.basicBlock(fmt.Sprintf("stage%d.block%d", stage+1, block+1), x, in, out, stride)
			in = out
		}
	}
	return x
}

// basicBlock is two 3×3 convolutions with a shortcut around them.
func (b *builder) basicBlock(name, x string, in, out, stride int) string {
	y := b.convolution(name+".conv1", x, in, out, 3, stride)
	y = b.relu(name+".relu1", b.normalisation(name+".norm1", y, out))
	y = b.convolution(name+".conv2", y, out, out, 3, 1)
	y = b.normalisation(name+".norm2", y, out)
	if stride != 1 || in != out {
		x = b.normalisation(name+".shortcut.norm", b.convolution(name+".shortcut.conv", x, in, out, 1, stride), out)
	}
	return b.relu(name+".relu2", b.Node("Add", name+".add", []string{x, y}))
}
