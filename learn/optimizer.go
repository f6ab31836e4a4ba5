package learn

import (
	"math"

	"github.com/gomlx/gomlx/core/graph"
)

// Optimizer says how gradients move the weights: SGD.
type Optimizer interface {
	// moments returns how many tensors of its own shape each parameter has; they start at 0.
	moments() int
	// knobs returns the numbers that update number t, counted from 1, needs besides the learning rate; always as many.
	knobs(t int) []float64
	// update returns the next value of a parameter and of its moments.
	update(v variable) (next *graph.Node, moments []*graph.Node)
}

// variable is a parameter in the computation of its update.
type variable struct {
	weight
	value, gradient *graph.Node
	moments         []*graph.Node
	rate            *graph.Node   // scalar
	knobs           []*graph.Node // scalars
}

// SGD is stochastic gradient descent with momentum, as PyTorch defines it: v ← momentum·v + g + decay·w, and w ← w - rate·v, or with
// Nesterov's momentum w ← w - rate·(g + decay·w + momentum·v).
type SGD struct {
	Momentum    float64 // 0 ≤ m < 1
	WeightDecay float64 // added to the gradient as decay·w
	DecayAll    bool    // decay biases, scales and shifts too, not only kernels and matrices
	Nesterov    bool
}

func (s SGD) moments() int {
	if s.Momentum == 0 {
		return 0
	}
	return 1
}

func (s SGD) knobs(int) []float64 { return nil }

func (s SGD) update(v variable) (*graph.Node, []*graph.Node) {
	direction := v.gradient
	if s.WeightDecay > 0 && (v.decay || s.DecayAll) {
		direction = graph.Add(direction, graph.MulScalar(v.value, s.WeightDecay))
	}
	if s.Momentum == 0 {
		return graph.Sub(v.value, graph.Mul(direction, v.rate)), nil
	}
	velocity := graph.Add(graph.MulScalar(v.moments[0], s.Momentum), direction)
	if s.Nesterov {
		direction = graph.Add(direction, graph.MulScalar(velocity, s.Momentum))
	} else {
		direction = velocity
	}
	return graph.Sub(v.value, graph.Mul(direction, v.rate)), []*graph.Node{velocity}
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
