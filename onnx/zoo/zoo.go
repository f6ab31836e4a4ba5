// Package zoo builds architectures as fresh ONNX models, one file per family.
//
// Rules of the room: a model is a function of its name and the options alone; its initial weights come from counter-based
// randomness, so that no weight depends on the order in which others are drawn.
package zoo

import (
	"fmt"
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
	// Patch is the side of a transformer's patches in pixels; 0: what suits the size of the images, 16 at 224.
	Patch int
	// Dropout is the rate of the architecture's Dropout nodes; 0: it has none. PublishedDropout says what the reference implementation trains with.
	// Stochastic depth needs no nodes: the trainer finds the residual branches of any graph.
	Dropout float64
}

// architecture is one name in the zoo.
type architecture struct {
	name    string
	minimum int // pixels, the smallest height and width
	// parameters is the published number of trained weights, for that many classes and images of 3 channels with that side.
	parameters, classes, size int
	dropout, dropPath         float64               // the published rates
	check                     func(o Options) error // of the size of images; nil: every one from the minimum on
	build                     func(b *builder)
}

// family is the architectures of a paper.
type family struct {
	title string
	// reference is the implementation whose architectures, names of weights and initialisation these have.
	reference     string
	architectures []architecture
}

// families are in the order of the documentation.
var families = []family{
	{"ResNet (He et al. 2015)", "torchvision; those of 8, 20 and 56 layers after the paper's section 4.2 with torchvision's names", resnets},
	{"WideResNet (Zagoruyko and Komodakis 2016)", "the paper's PyTorch port of xternalz", wideResNets},
	{"MobileNetV2 (Sandler et al. 2018)", "torchvision", mobileNetsV2},
	{"MobileNetV3 (Howard et al. 2019)", "torchvision", mobileNetsV3},
	{"EfficientNet (Tan and Le 2019)", "torchvision", efficientNets},
	{"ConvNeXt (Liu et al. 2022)", "torchvision", convNeXts},
	{"ViT (Dosovitskiy et al. 2020)", "timm's vit_tiny_patch16_224 and so on", visionTransformers},
	{"Swin (Liu et al. 2021)", "torchvision", swinTransformers},
}

var architectures = func() (all []architecture) {
	for _, f := range families {
		all = append(all, f.architectures...)
	}
	return all
}()

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
	if a.check != nil {
		return a.check(Options{Height: height, Width: width})
	}
	return nil
}

// PublishedDropout returns the rate of dropout that the reference implementation trains the architecture with.
func PublishedDropout(name string) (float64, error) {
	a, err := find(name)
	return a.dropout, err
}

// Parameters returns the number of trained weights that the architecture has for that many classes and those images, without building it.
func Parameters(name string, classes, channels, height, width int) (int, error) {
	a, err := find(name)
	if err != nil {
		return 0, err
	}
	if err := CheckSize(name, height, width); err != nil {
		return 0, err
	}
	b := &builder{Builder: onnx.NewBuilder(name, channels, height, width), counting: true,
		o: Options{Classes: make([]string, classes), Channels: channels, Height: height, Width: width}}
	a.build(b)
	return b.parameters, nil
}

// fits refuses options that no architecture has; name is what is to be built.
func (o Options) fits(name string) error {
	if len(o.Classes) < 1 || o.Channels < 1 {
		return fmt.Errorf("%s for %d classes and %d channels: at least 1 of each is needed", name, len(o.Classes), o.Channels)
	}
	if len(o.Mean) != len(o.Std) || len(o.Mean) != 0 && len(o.Mean) != o.Channels {
		return fmt.Errorf("%d means and %d deviations for %d channels", len(o.Mean), len(o.Std), o.Channels)
	}
	return nil
}

// Build returns the architecture with fresh weights, initialised as in the reference implementation, torchvision or timm.
func Build(name string, o Options) (*onnx.Model, error) {
	a, err := find(name)
	if err != nil {
		return nil, err
	}
	if err := CheckSize(name, o.Height, o.Width); err != nil {
		return nil, err
	}
	if err := o.fits(name); err != nil {
		return nil, err
	}
	if a.check != nil {
		if err := a.check(o); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if !(o.Dropout >= 0 && o.Dropout < 1) {
		return nil, fmt.Errorf("a rate of dropout of %g: it is at least 0 and below 1", o.Dropout)
	}
	b := &builder{Builder: onnx.NewBuilder(name, o.Channels, o.Height, o.Width), o: o}
	a.build(b)
	return b.Model(len(o.Classes), onnx.Meta{Classes: o.Classes, Task: "classification", Mean: o.Mean, Std: o.Std})
}
