package zoo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Network describes an architecture block by block, such as a member of a search space.
type Network struct {
	Shrink int // the images are averaged over squares of that side first; 1: not
	Stem   int // channels of the first convolution, 3×3
	Blocks []Block
}

// Block is one step of a Network.
type Block struct {
	Operator string // of Operators
	Out      int    // channels
	Kernel   int    // side, odd
	Stride   int
	// Expansion is the inner width: times Out for residual, times the channels that come in for inverted; without meaning for the others.
	Expansion float64
	Squeeze   bool // weigh the channels by what is in them (Hu et al. 2018); of inverted and separable
}

// Operators are what a Block can be: a convolution; one of each channel alone and a 1×1 one (Howard et al. 2017); two convolutions with a shortcut (He et
// al. 2015); a widening, a convolution of each channel alone and a narrowing, with a shortcut where the shapes allow (Sandler et al. 2018); nothing, or
// where shapes change a 1×1 convolution.
func Operators() []string {
	return []string{"convolution", "separable", "residual", "inverted", "identity"}
}

// blocks builds a Block's operator.
var blocks = map[string]func(b *builder, name, x string, in int, k Block) string{
	"convolution": (*builder).plainBlock, "separable": (*builder).separableBlock, "residual": (*builder).residualBlock, "inverted": (*builder).invertedBlock,
	"identity": func(b *builder, name, x string, in int, k Block) string {
		return b.shortcut(name, x, in, k.Out, k.Stride)
	},
}

// String is a description in one line that BuildNetwork's result follows from: stem 16, residual 16 k3 s1 e1, ….
func (n Network) String() string {
	var parts []string
	if n.Shrink > 1 {
		parts = append(parts, fmt.Sprintf("shrink %d", n.Shrink))
	}
	parts = append(parts, fmt.Sprintf("stem %d", n.Stem))
	for _, k := range n.Blocks {
		text := fmt.Sprintf("%s %d k%d s%d", k.Operator, k.Out, k.Kernel, k.Stride)
		if k.Operator == "residual" || k.Operator == "inverted" {
			text += " e" + strconv.FormatFloat(k.Expansion, 'g', -1, 64)
		}
		if k.Squeeze {
			text += " se"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// check refuses what cannot be built.
func (n Network) check(o Options) error {
	if n.Shrink < 1 || n.Stem < 1 || o.Height/n.Shrink < 1 || o.Width/n.Shrink < 1 {
		return fmt.Errorf("a network with a stem of %d channels for images of %d×%d that are averaged over squares of %d", n.Stem, o.Width, o.Height, n.Shrink)
	}
	for i, k := range n.Blocks {
		if !slices.Contains(Operators(), k.Operator) {
			return fmt.Errorf("block %d: there is no operator %q; there are %s", i+1, k.Operator, strings.Join(Operators(), ", "))
		}
		if k.Out < 1 || k.Kernel < 1 || k.Kernel%2 == 0 || k.Stride < 1 || !(k.Expansion >= 0) || k.inner(1) < 1 {
			return fmt.Errorf("block %d: %+v has no channels, an even kernel, or no stride", i+1, k)
		}
	}
	return nil
}

// inner is the inner width of a block with that many channels coming in.
func (k Block) inner(in int) int {
	from := k.Out
	if k.Operator == "inverted" {
		from = in
	}
	if k.Expansion == 0 {
		return from
	}
	return max(1, int(float64(from)*k.Expansion+0.5))
}

// BuildNetwork returns the network with fresh weights; its head is an average over the image and a dense layer.
func BuildNetwork(n Network, o Options) (*onnx.Model, error) {
	if err := o.fits("a network"); err != nil {
		return nil, err
	}
	if err := n.check(o); err != nil {
		return nil, err
	}
	b := &builder{Builder: onnx.NewBuilder("network", o.Channels, o.Height, o.Width), o: o}
	x := b.normalised()
	if n.Shrink > 1 {
		x = b.Node("AveragePool", "shrink", []string{x}, onnx.IntsOf("kernel_shape", n.Shrink, n.Shrink), onnx.IntsOf("strides", n.Shrink, n.Shrink))
	}
	x = b.activated("stem", x, o.Channels, n.Stem, kernel{size: 3})
	in := n.Stem
	for i, k := range n.Blocks {
		x = blocks[k.Operator](b, fmt.Sprintf("blocks.%d", i), x, in, k)
		in = k.Out
	}
	b.linear("fc", onnx.OutputName, b.average("avgpool", x), in, len(o.Classes), uniformIn, uniformIn)
	return b.Model(len(o.Classes), onnx.Meta{Classes: o.Classes, Task: "classification", Mean: o.Mean, Std: o.Std})
}

// activated is a convolution with normalisation and ReLU.
func (b *builder) activated(name, x string, in, out int, k kernel) string {
	return b.relu(name+".relu", b.batchNorm(name+".bn", b.convolution(name+".conv", x, in, out, k), out, usual))
}

func (b *builder) plainBlock(name, x string, in int, k Block) string {
	return b.activated(name, x, in, k.Out, kernel{size: k.Kernel, stride: k.Stride})
}

func (b *builder) separableBlock(name, x string, in int, k Block) string {
	x = b.activated(name+".depthwise", x, in, in, kernel{size: k.Kernel, stride: k.Stride, groups: in})
	if k.Squeeze {
		x = b.squeezed(name, x, in)
	}
	return b.activated(name+".pointwise", x, in, k.Out, kernel{size: 1})
}

func (b *builder) residualBlock(name, x string, in int, k Block) string {
	inner := k.inner(in)
	y := b.convolution(name+".conv1", x, in, inner, kernel{size: k.Kernel, stride: k.Stride})
	y = b.relu(name+".relu1", b.batchNorm(name+".bn1", y, inner, usual))
	y = b.batchNorm(name+".bn2", b.convolution(name+".conv2", y, inner, k.Out, kernel{size: k.Kernel}), k.Out, usual)
	return b.relu(name+".relu2", b.Node("Add", name+".add", []string{b.shortcut(name, x, in, k.Out, k.Stride), y}))
}

func (b *builder) invertedBlock(name, x string, in int, k Block) string {
	inner, y := k.inner(in), x
	if inner != in {
		y = b.activated(name+".expand", y, in, inner, kernel{size: 1})
	}
	y = b.activated(name+".depthwise", y, inner, inner, kernel{size: k.Kernel, stride: k.Stride, groups: inner})
	if k.Squeeze {
		y = b.squeezed(name, y, inner)
	}
	y = b.batchNorm(name+".project.bn", b.convolution(name+".project.conv", y, inner, k.Out, kernel{size: 1}), k.Out, usual)
	if k.Stride != 1 || in != k.Out {
		return y
	}
	return b.Node("Add", name+".add", []string{x, y})
}

// squeezed weighs channels by what is in them.
func (b *builder) squeezed(name, x string, channels int) string {
	less := max(4, channels/4)
	y := b.Node("GlobalAveragePool", name+".squeeze.pool", []string{x})
	y = b.relu(name+".squeeze.relu", b.convolution(name+".squeeze.fc1", y, channels, less, kernel{size: 1, bias: zero}))
	y = b.hardSigmoid(name+".squeeze.gate", b.convolution(name+".squeeze.fc2", y, less, channels, kernel{size: 1, bias: zero}))
	return b.Node("Mul", name+".squeeze", []string{x, y})
}
