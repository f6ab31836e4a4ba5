package recipe

import (
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/stages"
)

// Optimizers are the variants of a block `optimizer`.
var Optimizers = []stages.Variant{
	{Name: "sgd", Doc: "Stochastic gradient descent with momentum, as PyTorch defines it.", New: func() stages.Declarer { return &sgd{} }},
	{Name: "adam", Doc: "Adam (Kingma and Ba 2015), as PyTorch defines it.", New: func() stages.Declarer { return &adam{} }},
	{Name: "adamw", Doc: "Adam with decoupled weight decay (Loshchilov and Hutter 2019), as PyTorch defines it.", New: func() stages.Declarer { return &adam{decoupled: true} }},
	{Name: "lars", Doc: "SGD whose step is scaled for each kernel and matrix to the size of its weight, for large batches (You et al. 2017).", New: func() stages.Declarer { return &lars{} }},
	{Name: "lamb", Doc: "Adam whose step is scaled for each kernel and matrix to the size of its weight, for large batches (You et al. 2020).", New: func() stages.Declarer { return &lamb{} }},
	{Name: "muon", Doc: "Momentum made orthogonal for kernels and matrices (Jordan et al. 2024), scaled so that learning rates of AdamW fit (Liu et al. 2025); AdamW for the classifier and the rest.", New: func() stages.Declarer { return &muon{} }},
}

func momentum(s *stages.Schema, p *float64, def float64) {
	s.Float(p, "momentum", def, "How much of the former direction is kept.").In(0, 1).Below(1)
}

func nesterov(s *stages.Schema, p *bool) { s.Bool(p, "nesterov", false, "Nesterov's momentum.") }

func decay(s *stages.Schema, p *float64, all *bool, def float64, doc string) {
	s.Float(p, "weight_decay", def, doc).In(0, 1)
	s.Bool(all, "decay_all", false, "Decay biases and the scales and shifts of normalisations too, not only kernels and matrices.")
}

func betas(s *stages.Schema, beta1, beta2, epsilon *float64, small float64) {
	s.Float(beta1, "beta1", 0.9, "How much of the mean of gradients is kept in each step.").In(0, 1).Below(1)
	s.Float(beta2, "beta2", 0.999, "How much of the mean of squared gradients is kept in each step.").In(0, 1).Below(1)
	s.Float(epsilon, "epsilon", small, "Added to the root of that mean.").Above(0)
}

const (
	addedDecay = "Pulls weights towards zero: added to the gradient as decay times weight."
	shrinks    = "Pulls weights towards zero: they shrink by learning rate times decay in each step."
)

type sgd struct{ o learn.SGD }

func (a *sgd) Declare(s *stages.Schema) {
	momentum(s, &a.o.Momentum, 0.9)
	decay(s, &a.o.WeightDecay, &a.o.DecayAll, 5e-4, addedDecay)
	nesterov(s, &a.o.Nesterov)
}

func (a *sgd) optimizer() learn.Optimizer { return a.o }

type adam struct {
	o         learn.Adam
	decoupled bool
}

func (a *adam) Declare(s *stages.Schema) {
	betas(s, &a.o.Beta1, &a.o.Beta2, &a.o.Epsilon, 1e-8)
	if a.decoupled {
		decay(s, &a.o.WeightDecay, &a.o.DecayAll, 0.01, shrinks)
		return
	}
	decay(s, &a.o.WeightDecay, &a.o.DecayAll, 0, addedDecay)
}

func (a *adam) optimizer() learn.Optimizer {
	o := a.o
	o.Decoupled = a.decoupled
	return o
}

type lars struct{ o learn.LARS }

func (a *lars) Declare(s *stages.Schema) {
	momentum(s, &a.o.Momentum, 0.9)
	decay(s, &a.o.WeightDecay, &a.o.DecayAll, 1e-4, addedDecay)
	nesterov(s, &a.o.Nesterov)
	s.Float(&a.o.Trust, "trust", 0.001, "The trust coefficient: the step is about this share of the weight, times the learning rate.").Above(0)
}

func (a *lars) optimizer() learn.Optimizer { return a.o }

type lamb struct{ o learn.LAMB }

func (a *lamb) Declare(s *stages.Schema) {
	betas(s, &a.o.Beta1, &a.o.Beta2, &a.o.Epsilon, 1e-6)
	decay(s, &a.o.WeightDecay, &a.o.DecayAll, 0.01, "Pulls weights towards zero: added to the direction as decay times weight.")
}

func (a *lamb) optimizer() learn.Optimizer { return a.o }

type muon struct{ o learn.Muon }

func (a *muon) Declare(s *stages.Schema) {
	momentum(s, &a.o.Momentum, 0.95)
	decay(s, &a.o.WeightDecay, &a.o.DecayAll, 0.01, shrinks)
}

func (a *muon) optimizer() learn.Optimizer { return a.o }
