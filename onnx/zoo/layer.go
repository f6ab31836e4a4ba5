package zoo

import (
	"math"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// builder adds layers. A layer's node is named after the module in the reference implementation (torchvision or timm), and its weights as that
// module's state has them: layer1.0.bn1.running_mean. So the weights of a file with such names need no table of renames.
type builder struct {
	*onnx.Builder
	o Options
	// counting builds no weights but counts those that are trained.
	counting   bool
	parameters int
}

// weight adds a weight of those dimensions whose elements are drawn, and returns its name.
func (b *builder) weight(name string, dims []int, draw initialiser, fanIn, fanOut int) string {
	n := 1
	for _, d := range dims {
		n *= d
	}
	b.parameters += n
	if b.counting {
		return name
	}
	data := make([]float32, n)
	s := newStream(b.o.Seed, name)
	for i := range data {
		data[i] = float32(draw(s, uint64(i), fanIn, fanOut))
	}
	return b.Tensor(name, dims, data)
}

// constant draws one number.
func constant(v float64) initialiser { return func(stream, uint64, int, int) float64 { return v } }

// normalised returns the input with each channel's mean and deviation applied.
func (b *builder) normalised() string {
	x := onnx.InputName
	if len(b.o.Mean) == 0 {
		return x
	}
	vector := func(name string, list []float64) string {
		data := make([]float32, len(list))
		for i, v := range list {
			data[i] = float32(v)
		}
		return b.Tensor(name, []int{1, len(list), 1, 1}, data)
	}
	x = b.Node("Sub", "normalise.centre", []string{x, vector(onnx.NormalMean, b.o.Mean)})
	return b.Node("Div", "normalise.scale", []string{x, vector(onnx.NormalStd, b.o.Std)})
}

// kernel is how a convolution is made. The zero value of a field means: stride 1, one group, padding that keeps the size at stride 1, no bias,
// heNormal.
type kernel struct {
	size, stride, groups int
	unpadded             bool
	padding              int // 0: half of the size
	bias                 initialiser
	draw                 initialiser
}

// convolution adds a convolution from in to out channels.
func (b *builder) convolution(name, x string, in, out int, k kernel) string {
	k.stride, k.groups = max(k.stride, 1), max(k.groups, 1)
	if k.draw == nil {
		k.draw = heNormal
	}
	fanIn, fanOut := in/k.groups*k.size*k.size, out/k.groups*k.size*k.size
	if k.groups > 1 { // PyTorch does not divide the fan out by the groups
		fanOut = out * k.size * k.size
	}
	dims := []int{out, in / k.groups, k.size, k.size}
	w := name + ".weight"
	inputs := []string{x, b.weight(w, dims, k.draw, fanIn, fanOut)}
	if k.bias != nil {
		inputs = append(inputs, b.weight(name+".bias", []int{out}, k.bias, fanIn, fanOut))
	}
	p := k.size / 2
	if k.padding > 0 {
		p = k.padding
	}
	if k.unpadded {
		p = 0
	}
	attributes := []*protos.AttributeProto{onnx.IntsOf("kernel_shape", k.size, k.size), onnx.IntsOf("strides", k.stride, k.stride), onnx.IntsOf("pads", p, p, p, p)}
	if k.groups > 1 {
		attributes = append(attributes, onnx.IntOf("group", k.groups))
	}
	return b.Node("Conv", name, inputs, attributes...)
}

// statistics are the constants of a batch normalisation. Momentum is ONNX's: what stays of the running value.
type statistics struct{ epsilon, momentum float64 }

var usual = statistics{1e-5, 0.9}

// batchNorm adds a batch normalisation with fresh statistics.
func (b *builder) batchNorm(name, x string, channels int, s statistics) string {
	return b.Node("BatchNormalization", name, []string{x, b.weight(name+".weight", []int{channels}, constant(1), 0, 0),
		b.weight(name+".bias", []int{channels}, zero, 0, 0), b.statistic(name+".running_mean", channels, 0), b.statistic(name+".running_var", channels, 1)},
		onnx.FloatOf("epsilon", s.epsilon), onnx.FloatOf("momentum", s.momentum))
}

// statistic adds a vector of one number repeated.
func (b *builder) statistic(name string, n int, v float32) string {
	data := make([]float32, n)
	for i := range data {
		data[i] = v
	}
	return b.Tensor(name, []int{n}, data)
}

// layerNorm adds a layer normalisation over the last axis.
func (b *builder) layerNorm(name, x string, features int, epsilon float64) string {
	return b.Node("LayerNormalization", name, []string{x, b.weight(name+".weight", []int{features}, constant(1), 0, 0),
		b.weight(name+".bias", []int{features}, zero, 0, 0)},
		onnx.IntOf("axis", -1), onnx.FloatOf("epsilon", epsilon))
}

// linear adds a dense layer to features (N, in).
func (b *builder) linear(name, output, x string, in, out int, draw, bias initialiser) string {
	w, c := name+".weight", name+".bias"
	return b.Node("Gemm", output, []string{x, b.weight(w, []int{out, in}, draw, in, out), b.weight(c, []int{out}, bias, in, out)},
		onnx.IntOf("transB", 1))
}

// project adds a dense layer over the last axis of (N, …, in). Its matrix is (in, out), the other way round than in PyTorch. A nil bias: none.
func (b *builder) project(name, x string, in, out int, draw, bias initialiser) string {
	w, c := name+".weight", name+".bias"
	x = b.Node("MatMul", name+".product", []string{x, b.weight(w, []int{in, out}, draw, in, out)})
	if bias == nil {
		return x
	}
	return b.Node("Add", name, []string{x, b.weight(c, []int{out}, bias, in, out)})
}

func (b *builder) relu(name, x string) string { return b.Node("Relu", name, []string{x}) }

// relu6 is min(max(x, 0), 6).
func (b *builder) relu6(name, x string) string {
	return b.Node("Clip", name, []string{x, b.Number(name+".min", 0), b.Number(name+".max", 6)})
}

func (b *builder) hardSwish(name, x string) string { return b.Node("HardSwish", name, []string{x}) }

// hardSigmoid is min(max(x/6 + 1/2, 0), 1).
func (b *builder) hardSigmoid(name, x string) string {
	return b.Node("HardSigmoid", name, []string{x}, onnx.FloatOf("alpha", 1.0/6), onnx.FloatOf("beta", 0.5))
}

func (b *builder) sigmoid(name, x string) string { return b.Node("Sigmoid", name, []string{x}) }

// silu is x·σ(x).
func (b *builder) silu(name, x string) string {
	return b.Node("Mul", name, []string{x, b.Node("Sigmoid", name+".gate", []string{x})})
}

// gelu is x·Φ(x), in the operators that there are before operator set 20.
func (b *builder) gelu(name, x string) string {
	y := b.Node("Div", name+".scaled", []string{x, b.Number(name+".root", math.Sqrt2)})
	y = b.Node("Erf", name+".erf", []string{y})
	y = b.Node("Add", name+".shifted", []string{y, b.Number(name+".one", 1)})
	y = b.Node("Mul", name+".gated", []string{x, y})
	return b.Node("Mul", name, []string{y, b.Number(name+".half", 0.5)})
}

// dropout adds a Dropout node, which is the identity except in training. A rate of 0 adds none.
func (b *builder) dropout(name, x string, rate float64) string {
	if rate == 0 {
		return x
	}
	return b.Node("Dropout", name, []string{x, b.Number(name+".ratio", rate)})
}

// average is the mean over the image, (N, channels).
func (b *builder) average(name, x string) string {
	return b.Node("Flatten", name+".flat", []string{b.Node("GlobalAveragePool", name, []string{x})}, onnx.IntOf("axis", 1))
}

// divisible rounds channels to a multiple of 8, and never down by more than a tenth (MobileNet).
func divisible(channels float64) int {
	n := max(8, int(channels+4)/8*8)
	if float64(n) < 0.9*channels {
		n += 8
	}
	return n
}
