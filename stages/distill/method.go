package distill

import (
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/stages"
)

// methods are the variants of the block `method`.
var methods = []stages.Variant{
	{Name: "soft_targets", Doc: "The divergence from the teacher's probabilities to the student's, both softened (Hinton et al. 2015), beside the cross entropy of the labels.", New: func() stages.Declarer { return &softTargets{} }},
	{Name: "hints", Doc: "Features inside the student, projected by a layer that is learned and dropped afterwards, are to be those of the teacher (FitNets, Romero et al. 2015), beside the cross entropy of the labels. One teacher.", New: func() stages.Declarer { return &hints{} }},
	{Name: "attention", Doc: "Where the student's feature maps are strong is to be where the teacher's are (attention transfer, Zagoruyko and Komodakis 2017), beside the cross entropy of the labels. One teacher.", New: func() stages.Declarer { return &attention{} }},
	{Name: "dkd", Doc: "Decoupled knowledge distillation (Zhao et al. 2022): that divergence in two parts, how sure the teacher is of the image's class and how it weighs the others. It needs labels.", New: func() stages.Declarer { return &dkd{} }},
}

// method is a way to distill.
type method interface {
	// check returns a Problem where the images do not suit it.
	check(labelled, mixed bool) error
	objective(truth learn.CrossEntropy, labelled bool, of *looking, logits string) learn.Objective
	// heat is the temperature at which the answers of several teachers are averaged.
	heat() float64
}

func (d *distill) body() method { return d.method.Body.(method) }

type softTargets struct{ temperature, weight float64 }

func (m *softTargets) Declare(s *stages.Schema) {
	s.Float(&m.temperature, "temperature", 4, "What logits are divided by before the softmax: higher shows more of the unlikely classes.").Above(0).In(0, 1000)
	s.Float(&m.weight, "weight", 0.9, "Share of the teacher in the loss; the labels have the rest.").In(0, 1)
}

func (m *softTargets) heat() float64 { return m.temperature }

func (m *softTargets) check(labelled, _ bool) error {
	if !labelled && m.weight != 1 {
		return stages.Problemf("method", "Images without labels", "The images have no labels, but with weight = %g a part of the loss is theirs. Write method \"soft_targets\" { weight = 1 }.", m.weight)
	}
	return nil
}

func (m *softTargets) objective(truth learn.CrossEntropy, labelled bool, _ *looking, _ string) learn.Objective {
	return learn.SoftTargets{CrossEntropy: truth, Unlabelled: !labelled, Temperature: m.temperature, Weight: m.weight}
}

// featureArgs are the arguments of the methods that compare features.
type featureArgs struct {
	layers            map[string]string
	weight            float64
	soft, temperature float64
}

func (f *featureArgs) declare(s *stages.Schema, weight float64, layers string) {
	s.StringMap(&f.layers, "layers", "Which value of the student's graph learns from which of the teacher's, by their names in the ONNX files, both of one height and width. Without it, "+layers)
	s.Float(&f.weight, "weight", weight, "Factor of the features' part, a mean square, in the loss.").Min(0)
	s.Float(&f.soft, "soft_weight", 0, "Share of the teacher's softened answers in the rest of the loss, as `weight` of \"soft_targets\"; the labels have what is left.").In(0, 1)
	s.Float(&f.temperature, "temperature", 4, "Of these answers: what logits are divided by before the softmax.").Above(0).In(0, 1000)
}

func (f *featureArgs) heat() float64 { return f.temperature }

func (f *featureArgs) check(labelled, _ bool) error {
	if !labelled && f.soft != 1 {
		return stages.Problemf("method", "Images without labels", "The images have no labels, but with soft_weight = %g a part of the loss is theirs. Write soft_weight = 1.", f.soft)
	}
	return nil
}

func (f *featureArgs) base(truth learn.CrossEntropy, labelled bool) learn.SoftTargets {
	return learn.SoftTargets{CrossEntropy: truth, Unlabelled: !labelled, Temperature: f.temperature, Weight: f.soft}
}

type hints struct{ featureArgs }

func (m *hints) Declare(s *stages.Schema) {
	m.declare(s, 1, "the last feature map of the middle one of the sizes that both graphs have.")
}

func (m *hints) objective(truth learn.CrossEntropy, labelled bool, of *looking, logits string) learn.Objective {
	return learn.Hints{SoftTargets: m.base(truth, labelled), Logits: logits, Pairs: of.featurePairs(), Factor: m.weight}
}

type attention struct{ featureArgs }

func (m *attention) Declare(s *stages.Schema) {
	m.declare(s, 1000, "the last feature maps of every size that both graphs have.")
}

func (m *attention) objective(truth learn.CrossEntropy, labelled bool, of *looking, logits string) learn.Objective {
	return learn.Attention{SoftTargets: m.base(truth, labelled), Logits: logits, Pairs: of.featurePairs(), Factor: m.weight}
}

type dkd struct{ temperature, alpha, beta, weight float64 }

func (m *dkd) Declare(s *stages.Schema) {
	s.Float(&m.temperature, "temperature", 4, "What logits are divided by before the softmax.").Above(0).In(0, 1000)
	s.Float(&m.alpha, "alpha", 1, "Factor of the part about the image's class.").Min(0)
	s.Float(&m.beta, "beta", 8, "Factor of the part about the other classes.").Min(0)
	s.Float(&m.weight, "weight", 1, "Factor of the cross entropy of the labels.").Min(0)
}

func (m *dkd) heat() float64 { return m.temperature }

func (m *dkd) check(labelled, mixed bool) error {
	switch {
	case !labelled:
		return stages.Problemf("method", "Images without labels", "\"dkd\" tells the image's class from the others, and the images have no labels. Write method \"soft_targets\" { weight = 1 }.")
	case mixed:
		return stages.Problemf("method", "Mixed images", "\"dkd\" needs one class for each image, and the augmentation mixes images. Use method \"soft_targets\", or a policy that does not mix.")
	}
	return nil
}

func (m *dkd) objective(truth learn.CrossEntropy, _ bool, _ *looking, _ string) learn.Objective {
	return learn.DKD{CrossEntropy: truth, Temperature: m.temperature, Alpha: m.alpha, Beta: m.beta, Weight: m.weight}
}
