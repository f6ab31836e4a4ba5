package learn

import (
	"math"

	"github.com/gomlx/gomlx/core/graph"
)

// Optimizer says how gradients move the weights: SGD, Adam, LARS, LAMB or Muon. Weight decay leaves out biases and the scales and shifts of
// normalisations, unless an optimizer's DecayAll says otherwise.
type Optimizer interface {
	// moments returns how many tensors of its own shape a parameter has; they start at 0.
	moments(p weight) int
	// knobs returns the numbers that update number t, counted from 1, needs besides the learning rate; always as many. momentum, where it is not
	// 0, replaces the optimizer's own.
	knobs(t int, momentum float64) []float64
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

// scheduledOr returns the momentum of a step: that of the schedule, if it has one.
func scheduledOr(scheduled, own float64) float64 {
	if scheduled != 0 {
		return scheduled
	}
	return own
}

// descend returns value - rate·direction.
func (v variable) descend(direction *graph.Node) *graph.Node {
	return graph.Sub(v.value, graph.Mul(direction, v.rate))
}

// blend returns old·share + new·(1-share), the moving average.
func blend(old, new *graph.Node, share float64) *graph.Node {
	return graph.Add(graph.MulScalar(old, share), graph.MulScalar(new, 1-share))
}

// norm returns the root of the sum of squares, a scalar.
func norm(x *graph.Node) *graph.Node { return graph.Sqrt(graph.ReduceAllSum(graph.Mul(x, x))) }

// ratioOr1 returns a/b where both a and over are above 0, else 1; all are scalars.
func ratioOr1(a, b, over *graph.Node) *graph.Node {
	zero, one := graph.ScalarZero(a.Graph(), a.DType()), graph.ScalarOne(a.Graph(), a.DType())
	both := graph.LogicalAnd(graph.GreaterThan(a, zero), graph.GreaterThan(over, zero))
	return graph.Where(both, graph.Div(a, graph.Where(both, b, one)), one)
}

// SGD is stochastic gradient descent with momentum, as PyTorch defines it: v ← momentum·v + g + decay·w, and w ← w - rate·v, or with
// Nesterov's momentum w ← w - rate·(g + decay·w + momentum·v).
type SGD struct {
	Momentum    float64 // 0 ≤ m < 1
	WeightDecay float64 // added to the gradient as decay·w
	DecayAll    bool    // decay biases, scales and shifts too, not only kernels and matrices
	Nesterov    bool
}

func (s SGD) moments(weight) int {
	if s.Momentum == 0 {
		return 0
	}
	return 1
}

func (s SGD) knobs(_ int, momentum float64) []float64 {
	return []float64{scheduledOr(momentum, s.Momentum)}
}

func (s SGD) update(v variable) (*graph.Node, []*graph.Node) {
	direction := v.gradient
	if s.WeightDecay > 0 && (v.decay || s.DecayAll) {
		direction = graph.Add(direction, graph.MulScalar(v.value, s.WeightDecay))
	}
	if s.Momentum == 0 {
		return v.descend(direction), nil
	}
	direction, velocity := heavyBall(v, direction, s.Nesterov)
	return v.descend(direction), []*graph.Node{velocity}
}

// heavyBall returns the direction and the next velocity for a gradient; the momentum is knob 0.
func heavyBall(v variable, gradient *graph.Node, nesterov bool) (direction, velocity *graph.Node) {
	velocity = graph.Add(graph.Mul(v.moments[0], v.knobs[0]), gradient)
	if nesterov {
		return graph.Add(gradient, graph.Mul(velocity, v.knobs[0])), velocity
	}
	return velocity, velocity
}

// LARS is SGD with momentum whose step is scaled for each kernel and matrix by Trust·‖w‖/(‖g‖ + decay·‖w‖) (You et al. 2017, "Large batch
// training of convolutional networks"). What is not decayed is not scaled either.
type LARS struct {
	Momentum    float64 // 0 ≤ m < 1
	WeightDecay float64
	DecayAll    bool
	Nesterov    bool
	Trust       float64 // the trust coefficient, above 0; 0.001 in the paper
}

func (l LARS) moments(weight) int { return 1 }

func (l LARS) knobs(_ int, momentum float64) []float64 {
	return []float64{scheduledOr(momentum, l.Momentum)}
}

func (l LARS) update(v variable) (*graph.Node, []*graph.Node) {
	gradient := v.gradient
	if v.decay || l.DecayAll {
		w, g := norm(v.value), norm(v.gradient)
		total := graph.AddScalar(graph.Add(g, graph.MulScalar(w, l.WeightDecay)), 1e-8)
		trust := ratioOr1(graph.MulScalar(w, l.Trust), total, g)
		gradient = graph.Mul(graph.Add(gradient, graph.MulScalar(v.value, l.WeightDecay)), trust)
	}
	direction, velocity := heavyBall(v, gradient, l.Nesterov)
	return v.descend(direction), []*graph.Node{velocity}
}

// Adam is Adam (Kingma and Ba 2015), and with Decoupled AdamW (Loshchilov and Hutter 2019), as PyTorch defines them.
type Adam struct {
	Beta1, Beta2 float64 // 0 ≤ β < 1
	Epsilon      float64 // above 0
	WeightDecay  float64 // added to the gradient as decay·w, or with Decoupled w shrinks by rate·decay in each step
	DecayAll     bool
	Decoupled    bool
}

func (a Adam) moments(weight) int { return 2 }

// knobs are β1, 1-β1, and what corrects the averages for having started at 0: 1/(1-β1ᵗ) and 1/√(1-β2ᵗ).
func (a Adam) knobs(t int, momentum float64) []float64 {
	b := scheduledOr(momentum, a.Beta1)
	return []float64{b, 1 - b, 1 / (1 - math.Pow(b, float64(t))), 1 / math.Sqrt(1-math.Pow(a.Beta2, float64(t)))}
}

func (a Adam) update(v variable) (*graph.Node, []*graph.Node) {
	decays := a.WeightDecay > 0 && (v.decay || a.DecayAll)
	if decays && !a.Decoupled {
		v.gradient = graph.Add(v.gradient, graph.MulScalar(v.value, a.WeightDecay))
	}
	direction, moments := adamDirection(v, a.Beta2, a.Epsilon)
	if decays && a.Decoupled {
		direction = graph.Add(direction, graph.MulScalar(v.value, a.WeightDecay))
	}
	return v.descend(direction), moments
}

// adamDirection returns m̂/(√v̂ + ε) and the next moments, with Adam's knobs.
func adamDirection(v variable, beta2, epsilon float64) (*graph.Node, []*graph.Node) {
	k := v.knobs
	first := graph.Add(graph.Mul(v.moments[0], k[0]), graph.Mul(v.gradient, k[1]))
	second := blend(v.moments[1], graph.Mul(v.gradient, v.gradient), beta2)
	root := graph.AddScalar(graph.Mul(graph.Sqrt(second), k[3]), epsilon)
	return graph.Div(graph.Mul(first, k[2]), root), []*graph.Node{first, second}
}

// LAMB is Adam's direction with decay, scaled for each kernel and matrix to the norm of its weight (You et al. 2020, "Large batch optimization for
// deep learning"). What is not decayed is not scaled either.
type LAMB struct {
	Beta1, Beta2 float64
	Epsilon      float64
	WeightDecay  float64
	DecayAll     bool
}

func (l LAMB) moments(weight) int { return 2 }

func (l LAMB) knobs(t int, momentum float64) []float64 {
	return Adam{Beta1: l.Beta1, Beta2: l.Beta2}.knobs(t, momentum)
}

func (l LAMB) update(v variable) (*graph.Node, []*graph.Node) {
	direction, moments := adamDirection(v, l.Beta2, l.Epsilon)
	if v.decay || l.DecayAll {
		direction = graph.Add(direction, graph.MulScalar(v.value, l.WeightDecay))
		n := norm(direction)
		direction = graph.Mul(direction, ratioOr1(norm(v.value), n, n))
	}
	return v.descend(direction), moments
}

// Muon moves kernels and matrices along their momentum made orthogonal by five Newton–Schulz steps (Jordan et al. 2024), scaled by
// 0.2·√(the longer side), so that one learning rate fits it and AdamW (Liu et al. 2025, "Muon is scalable for LLM training"). A kernel counts as the matrix
// (O, I·kh·kw). The classifier's own weights and everything that is no matrix are moved by AdamW with β 0.9 and 0.95.
type Muon struct {
	Momentum    float64 // 0 ≤ m < 1; 0.95 in the paper
	WeightDecay float64 // decoupled
	DecayAll    bool
}

// muonAdam is what moves the other parameters.
var muonAdam = Adam{Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8, Decoupled: true}

func (m Muon) turns(p weight) bool { return p.decay && !p.head }

func (m Muon) moments(p weight) int {
	if m.turns(p) {
		return 1
	}
	return 2
}

func (m Muon) knobs(t int, momentum float64) []float64 {
	return append(muonAdam.knobs(t, 0), scheduledOr(momentum, m.Momentum))
}

func (m Muon) update(v variable) (*graph.Node, []*graph.Node) {
	if !m.turns(v.weight) {
		a := muonAdam
		a.WeightDecay, a.DecayAll = m.WeightDecay, m.DecayAll
		return a.update(v)
	}
	momentum := v.knobs[4]
	one := graph.ScalarOne(momentum.Graph(), momentum.DType())
	rest := graph.Sub(one, momentum)
	velocity := graph.Add(graph.Mul(v.moments[0], momentum), graph.Mul(v.gradient, rest))
	nesterov := graph.Add(graph.Mul(v.gradient, rest), graph.Mul(velocity, momentum))
	rows := v.dims[0]
	matrix := graph.Reshape(nesterov, rows, -1)
	longer := max(rows, matrix.Shape().Dimensions[1])
	direction := graph.MulScalar(graph.Reshape(orthogonal(matrix), v.dims...), 0.2*math.Sqrt(float64(longer)))
	if m.WeightDecay > 0 {
		direction = graph.Add(direction, graph.MulScalar(v.value, m.WeightDecay))
	}
	return v.descend(direction), []*graph.Node{velocity}
}

// orthogonal returns about U·Vᵀ of the matrix U·S·Vᵀ: each of five steps brings the singular values nearer to 1 by the polynomial a·x + b·x³ + c·x⁵.
func orthogonal(x *graph.Node) *graph.Node {
	const a, b, c = 3.4445, -4.7750, 2.0315
	wide := x.Shape().Dimensions[0] <= x.Shape().Dimensions[1]
	if !wide {
		x = graph.Transpose(x, 0, 1)
	}
	x = graph.Div(x, graph.MaxScalar(norm(x), 1e-7))
	for range 5 {
		square := product(x, x, 1, 1)
		polynomial := graph.Add(graph.MulScalar(square, b), graph.MulScalar(product(square, square, 1, 0), c))
		x = graph.Add(graph.MulScalar(x, a), product(polynomial, x, 1, 0))
	}
	if !wide {
		x = graph.Transpose(x, 0, 1)
	}
	return x
}
