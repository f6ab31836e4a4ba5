package learn

import (
	"math"

	"github.com/gomlx/gomlx/core/graph"
)

// SGD is stochastic gradient descent with momentum, as PyTorch defines it: v ← momentum·v + g + decay·w, and w ← w - rate·v, or with
// Nesterov's momentum w ← w - rate·(g + decay·w + momentum·v).
type SGD struct {
	Momentum    float64 // 0 ≤ m < 1
	WeightDecay float64 // added to the gradient as decay·w
	DecayAll    bool    // decay biases, scales and shifts too, not only kernels and matrices
	Nesterov    bool
}

// update returns the next value and velocity of one parameter; rate is a scalar.
func (s SGD) update(p weight, w, velocity, gradient, rate *graph.Node) (next, nextVelocity *graph.Node) {
	if s.WeightDecay > 0 && (p.decay || s.DecayAll) {
		gradient = graph.Add(gradient, graph.MulScalar(w, s.WeightDecay))
	}
	if s.Momentum == 0 {
		return graph.Sub(w, graph.Mul(gradient, rate)), velocity
	}
	velocity = graph.Add(graph.MulScalar(velocity, s.Momentum), gradient)
	direction := velocity
	if s.Nesterov {
		direction = graph.Add(gradient, graph.MulScalar(velocity, s.Momentum))
	}
	return graph.Sub(w, graph.Mul(direction, rate)), velocity
}

// Schedule says how the learning rate goes over the steps of a training.
type Schedule struct {
	Cosine bool    // from the peak down to Final·peak along half a cosine (Loshchilov and Hutter 2017); else constant
	Warmup float64 // epochs in which the rate rises linearly to the peak
	Final  float64 // share of the peak that a cosine ends at
}

// rate returns the learning rate of a step, counted from 0, of a training of total steps with perEpoch in each epoch.
func (s Schedule) rate(peak float64, step, total, perEpoch int) float64 {
	warmup := s.Warmup * float64(perEpoch)
	at := float64(step)
	if at < warmup {
		return peak * (at + 1) / (warmup + 1)
	}
	if !s.Cosine {
		return peak
	}
	share := (at - warmup) / math.Max(float64(total)-warmup, 1)
	return peak * (s.Final + (1-s.Final)*0.5*(1+math.Cos(math.Pi*math.Min(share, 1))))
}
