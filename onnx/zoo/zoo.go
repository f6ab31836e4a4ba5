// Package zoo builds architectures as fresh ONNX models, one file per family.
//
// Rules of the room: a model is a function of its name and the options alone; its initial weights come from counter-based
// randomness, so that no weight depends on the order in which others are drawn.
package zoo

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Options say what a model is built for.
type Options struct {
	Classes                 []string
	Channels, Height, Width int
	// Mean and Std normalise each channel of pixels 0–1 inside the graph; both empty: no normalisation.
	Mean, Std []float64
	Seed      uint64
}

// architecture is one name in the zoo.
type architecture struct {
	name    string
	minimum int // pixels, the smallest height and width
	build   func(b *builder)
}

var architectures = slices.Concat(resnets)

// Names returns the architectures in the order of the documentation.
func Names() []string {
	var names []string
	for _, a := range architectures {
		names = append(names, a.name)
	}
	return names
}

func find(name string) (architecture, error) {
	for _, a := range architectures {
		if a.name == name {
			return a, nil
		}
	}
	return architecture{}, fmt.Errorf("there is no architecture %q; there are %s", name, strings.Join(Names(), ", "))
}

// CheckSize says whether the architecture takes images of that size, and if not, which it takes.
func CheckSize(name string, height, width int) error {
	a, err := find(name)
	if err != nil {
		return err
	}
	if min(height, width) < a.minimum {
		return fmt.Errorf("%s needs images of at least %d×%d pixels, these are %d×%d", name, a.minimum, a.minimum, width, height)
	}
	return nil
}

// Build returns the architecture with fresh weights. Convolutions are initialised after He et al. 2015, "Delving Deep into
// Rectifiers" (normal, fan out), dense layers uniformly within 1/√inputs.
func Build(name string, o Options) (*onnx.Model, error) {
	a, err := find(name)
	if err != nil {
		return nil, err
	}
	if err := CheckSize(name, o.Height, o.Width); err != nil {
		return nil, err
	}
	if len(o.Classes) < 1 || o.Channels < 1 {
		return nil, fmt.Errorf("%s for %d classes and %d channels: at least 1 of each is needed", name, len(o.Classes), o.Channels)
	}
	if len(o.Mean) != len(o.Std) || len(o.Mean) != 0 && len(o.Mean) != o.Channels {
		return nil, fmt.Errorf("%d means and %d deviations for %d channels", len(o.Mean), len(o.Std), o.Channels)
	}
	b := &builder{Builder: onnx.NewBuilder(name, o.Channels, o.Height, o.Width), o: o}
	a.build(b)
	return b.Model(len(o.Classes), onnx.Meta{Classes: o.Classes, Task: "classification", Mean: o.Mean, Std: o.Std})
}

// builder adds layers, whose values are named after their parts of the architecture.
type builder struct {
	*onnx.Builder
	o Options
}

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

// convolution adds a k×k convolution without bias that is centred, so that stride 1 keeps the size.
func (b *builder) convolution(name, x string, in, out, k, stride int) string {
	data := make([]float32, out*in*k*k)
	s := newStream(b.o.Seed, name)
	deviation := math.Sqrt(2 / float64(out*k*k))
	for i := range data {
		data[i] = float32(deviation * s.normal(uint64(i)))
	}
	w := b.Tensor(name+".weight", []int{out, in, k, k}, data)
	p := k / 2
	return b.Node("Conv", name, []string{x, w}, onnx.IntsOf("kernel_shape", k, k), onnx.IntsOf("strides", stride, stride), onnx.IntsOf("pads", p, p, p, p))
}

// normalisation adds a batch normalisation with fresh statistics.
func (b *builder) normalisation(name, x string, channels int) string {
	constant := func(part string, v float32) string {
		data := make([]float32, channels)
		for i := range data {
			data[i] = v
		}
		return b.Tensor(name+"."+part, []int{channels}, data)
	}
	return b.Node("BatchNormalization", name, []string{x, constant("scale", 1), constant("bias", 0), constant("mean", 0), constant("variance", 1)},
		onnx.FloatOf("epsilon", 1e-5), onnx.FloatOf("momentum", 0.9))
}

func (b *builder) relu(name, x string) string { return b.Node("Relu", name, []string{x}) }

// head averages over the image and adds the dense layer to the classes.
func (b *builder) head(x string, channels int) {
	x = b.Node("GlobalAveragePool", "pool", []string{x})
	x = b.Node("Flatten", "features", []string{x}, onnx.IntOf("axis", 1))
	classes := len(b.o.Classes)
	w, bias := make([]float32, classes*channels), make([]float32, classes)
	bound := 1 / math.Sqrt(float64(channels))
	s, t := newStream(b.o.Seed, "classifier.weight"), newStream(b.o.Seed, "classifier.bias")
	for i := range w {
		w[i] = float32(bound * (2*s.uniform(uint64(i)) - 1))
	}
	for i := range bias {
		bias[i] = float32(bound * (2*t.uniform(uint64(i)) - 1))
	}
	b.Node("Gemm", onnx.OutputName, []string{x, b.Tensor("classifier.weight", []int{classes, channels}, w), b.Tensor("classifier.bias", []int{classes}, bias)},
		onnx.IntOf("transB", 1))
}
