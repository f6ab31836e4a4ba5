package zoo

import (
	"fmt"

	"github.com/darkroom-dev/darkroom/onnx"
)

// MobileNetV2 of Sandler et al. 2018, "Inverted Residuals and Linear Bottlenecks".
var mobileNetsV2 = []architecture{
	{name: "mobilenet_v2", minimum: 16, parameters: 3_504_872, classes: 1000, size: 224, dropout: 0.2, build: mobileNetV2},
}

func mobileNetV2(b *builder) {
	// The paper's table 2: expansion, channels, blocks, stride of the first.
	rows := [][4]int{{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}}
	const first, last = 32, 1280
	x := b.unitV2("features.0", b.normalised(), b.o.Channels, first, kernel{size: 3, stride: b.o.stemStride()})
	in, place := first, 1
	for _, r := range rows {
		for block := range r[2] {
			stride := 1
			if block == 0 {
				stride = r[3]
			}
			x = b.invertedV2(fmt.Sprintf("features.%d", place), x, in, r[1], r[0], stride)
			in = r[1]
			place++
		}
	}
	x = b.unitV2(fmt.Sprintf("features.%d", place), x, in, last, kernel{size: 1})
	x = b.dropout("classifier.0", b.average("avgpool", x), b.o.Dropout)
	b.linear("classifier.1", onnx.OutputName, x, last, len(b.o.Classes), normal(0.01), zero)
}

// unitV2 is a convolution with its normalisation and a rectifier that ends at 6.
func (b *builder) unitV2(name, x string, in, out int, k kernel) string {
	return b.relu6(name+".2", b.batchNorm(name+".1", b.convolution(name+".0", x, in, out, k), out, usual))
}

// invertedV2 widens by the expansion, convolves each channel alone, and narrows without an activation.
func (b *builder) invertedV2(name, x string, in, out, expansion, stride int) string {
	y, inner, part := x, in*expansion, 0
	if expansion != 1 {
		y = b.unitV2(name+".conv.0", y, in, inner, kernel{size: 1})
		part = 1
	}
	y = b.unitV2(fmt.Sprintf("%s.conv.%d", name, part), y, inner, inner, kernel{size: 3, stride: stride, groups: inner})
	y = b.convolution(fmt.Sprintf("%s.conv.%d", name, part+1), y, inner, out, kernel{size: 1})
	y = b.batchNorm(fmt.Sprintf("%s.conv.%d", name, part+2), y, out, usual)
	if stride != 1 || in != out {
		return y
	}
	return b.Node("Add", name+".add", []string{x, y})
}
