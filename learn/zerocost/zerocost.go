// Package zerocost ranks networks that are not trained yet, each by one or two passes of a single batch.
//
// Rules of the room: a score is a function of the model, its initial weights and the batch. Larger is better in each. None is more than a hint: what a network
// comes to is known when it has been trained.
package zerocost

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"gonum.org/v1/gonum/mat"

	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// Case is what a score is taken of.
type Case struct {
	Backend                 compute.Backend
	Model                   *onnx.Model
	Channels, Height, Width int
	Batch                   *learn.Batch // with labels
}

// scores are the functions by name.
var scores = map[string]func(Case) (float64, error){
	"grad_norm": gradientNorm, "snip": snip, "synflow": synFlow, "naswot": nasWOT, "parameters": parameters, "flops": flops,
}

// Names returns the scores: the norm of the gradient; SNIP, how much single weights matter (Lee et al. 2019); SynFlow, how much of a constant input passes through the weights
// (Tanaka et al. 2020); NASWOT, how differently images activate the units (Mellor et al. 2021); and two sizes, which the others must beat.
func Names() []string {
	return []string{"synflow", "naswot", "snip", "grad_norm", "parameters", "flops"}
}

// Score returns the score of that name.
func Score(name string, c Case) (float64, error) {
	f := scores[name]
	if f == nil {
		return 0, fmt.Errorf("there is no score %q; there are %s", name, strings.Join(Names(), ", "))
	}
	v, err := f(c)
	if err != nil {
		return 0, fmt.Errorf("the score %s: %w", name, err)
	}
	return v, nil
}

func (c Case) machine(o learn.Objective) (*learn.Machine, error) {
	return learn.NewMachine(learn.MachineOptions{Backend: c.Backend, Model: c.Model, Channels: c.Channels, Height: c.Height, Width: c.Width, Batch: len(c.Batch.Indexes), Objective: o})
}

// gradients returns those of the objective on the batch with the machine that they belong to, which the caller closes.
func (c Case) gradients(o learn.Objective) (*learn.Machine, map[string][]float32, error) {
	m, err := c.machine(o)
	if err != nil {
		return nil, nil, err
	}
	g, _, err := m.Gradients(c.Batch)
	if err != nil {
		m.Close()
		return nil, nil, err
	}
	return m, g, nil
}

// gradientNorm is the sum over the parameters of the Euclidean norms of their gradients.
func gradientNorm(c Case) (float64, error) {
	m, g, err := c.gradients(learn.CrossEntropy{})
	if err != nil {
		return 0, err
	}
	defer m.Close()
	total := 0.0
	for _, name := range m.Parameters() {
		sum := 0.0
		for _, v := range g[name] {
			sum += float64(v) * float64(v)
		}
		total += math.Sqrt(sum)
	}
	return total, nil
}

// saliency is Σ|w·∂L/∂w| over all parameters.
func (c Case) saliency(o learn.Objective) (float64, error) {
	m, g, err := c.gradients(o)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	total := 0.0
	for _, name := range m.Parameters() {
		w, err := m.Weight(name)
		if err != nil {
			return 0, err
		}
		for i, v := range g[name] {
			total += math.Abs(float64(w[i]) * float64(v))
		}
	}
	return total, nil
}

func snip(c Case) (float64, error) { return c.saliency(learn.CrossEntropy{}) }

// synFlow passes ones through the absolute weights of the network without its normalisations, and returns the logarithm of the saliency for the
// sum of the outputs. It needs no data.
func synFlow(c Case) (float64, error) {
	g := surgery.Edit(c.Model)
	if err := g.Simplify(); err != nil {
		return 0, err
	}
	if _, err := g.FoldNormalization(); err != nil {
		return 0, err
	}
	m, err := g.Model()
	if err != nil {
		return 0, err
	}
	for _, t := range m.Graph().Initializer {
		v, ok := m.Tensor(t.Name)
		if !ok {
			continue
		}
		for i := range v.Data {
			switch t.Name {
			case onnx.NormalMean:
				v.Data[i] = 0
			case onnx.NormalStd:
				v.Data[i] = 1
			default:
				v.Data[i] = max(v.Data[i], -v.Data[i])
			}
		}
		if err := m.SetTensor(t.Name, v.Data); err != nil {
			return 0, err
		}
	}
	c.Model = m
	ones := make([]float32, c.Channels*c.Height*c.Width)
	for i := range ones {
		ones[i] = 1
	}
	c.Batch = &learn.Batch{Images: ones, Indexes: []int{0}}
	s, err := c.saliency(sum{})
	return math.Log(s), err
}

// sum is the objective Σ logits.
type sum struct{}

func (sum) Identity() string      { return "sum" }
func (sum) Outputs() []string     { return nil }
func (sum) Inputs() []learn.Input { return nil }
func (sum) Build(s *learn.Step) (learn.Terms, error) {
	return learn.Terms{Loss: graph.ReduceAllSum(s.Output), Output: graph.OnesLike(s.Output)}, nil
}

// activations are the operators whose zeroes NASWOT looks at.
var activations = []string{"Relu", "HardSwish", "Clip"}

// nasWOT is log|det K|, where K[i, j] counts the units that images i and j both switch on or both switch off.
func nasWOT(c Case) (float64, error) {
	var names []string
	for _, n := range c.Model.Graph().Node {
		if slices.Contains(activations, n.OpType) {
			names = append(names, n.Output[0])
		}
	}
	if len(names) == 0 {
		return 0, fmt.Errorf("the model has none of the activations %s", strings.Join(activations, ", "))
	}
	m, err := c.machine(nil)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	values, err := m.Values(c.Batch, true, names...)
	if err != nil {
		return 0, err
	}
	n := len(c.Batch.Indexes)
	kernel := mat.NewSymDense(n, nil)
	for _, name := range names {
		addAgreement(kernel, values[name], n)
	}
	det, _ := mat.LogDet(kernel)
	if math.IsInf(det, 0) || math.IsNaN(det) {
		return math.Inf(-1), nil // two images that nothing tells apart
	}
	return det, nil
}

// addAgreement adds to each pair of images how many units of values (N, units) both have on or both off.
func addAgreement(kernel *mat.SymDense, values []float32, n int) {
	units := len(values) / n
	words := (units + 63) / 64
	codes := make([]uint64, n*words)
	for i := range n {
		for u, v := range values[i*units : (i+1)*units] {
			if v > 0 {
				codes[i*words+u/64] |= 1 << (u % 64)
			}
		}
	}
	for i := range n {
		for j := i; j < n; j++ {
			differ := 0
			for w := range words {
				differ += bits.OnesCount64(codes[i*words+w] ^ codes[j*words+w])
			}
			kernel.SetSym(i, j, kernel.At(i, j)+float64(units-differ))
		}
	}
}

func parameters(c Case) (float64, error) { return float64(c.Model.Parameters()), nil }

func flops(c Case) (float64, error) {
	g := surgery.Edit(c.Model)
	if err := g.Simplify(); err != nil {
		return 0, err
	}
	costs, err := g.Costs()
	if err != nil {
		return 0, err
	}
	return float64(costs.Total.FLOPs), nil
}
