package zoo

import (
	"fmt"

	"github.com/darkroom-dev/darkroom/onnx"
)

// The wide residual networks of Zagoruyko and Komodakis 2016: 6n+4 layers, pre-activated, width times as many channels as a thin ResNet.
var wideResNets = []architecture{
	{name: "wide_resnet16_2", minimum: 8, parameters: 691_674, classes: 10, size: 32, build: wideResNet(2, 2)},
	{name: "wide_resnet28_10", minimum: 8, parameters: 36_479_194, classes: 10, size: 32, dropout: 0.3, build: wideResNet(4, 10)},
}

// wideResNet has three stages of n blocks.
func wideResNet(n, width int) func(b *builder) {
	return func(b *builder) {
		x := b.convolution("conv1", b.normalised(), b.o.Channels, 16, kernel{size: 3})
		in := 16
		for stage, out := range []int{16 * width, 32 * width, 64 * width} {
			for block := range n {
				stride := 1
				if block == 0 && stage > 0 {
					stride = 2
				}
				x = b.preactivated(fmt.Sprintf("block%d.layer.%d", stage+1, block), x, in, out, stride)
				in = out
			}
		}
		x = b.relu("relu", b.batchNorm("bn1", x, in, usual))
		b.linear("fc", onnx.OutputName, b.average("avgpool", x), in, len(b.o.Classes), uniformIn, zero)
	}
}

// preactivated is a block that normalises before it convolves. Where it changes the channels, the shortcut is normalised too.
func (b *builder) preactivated(name, x string, in, out, stride int) string {
	y := b.relu(name+".relu1", b.batchNorm(name+".bn1", x, in, usual))
	if in != out {
		x = b.convolution(name+".convShortcut", y, in, out, kernel{size: 1, stride: stride})
	}
	y = b.convolution(name+".conv1", y, in, out, kernel{size: 3, stride: stride})
	y = b.relu(name+".relu2", b.batchNorm(name+".bn2", y, out, usual))
	y = b.convolution(name+".conv2", b.dropout(name+".dropout", y, b.o.Dropout), out, out, kernel{size: 3})
	return b.Node("Add", name+".add", []string{x, y})
}
