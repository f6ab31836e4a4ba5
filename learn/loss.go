package learn

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// CrossEntropy is the softmax cross entropy. With Smoothing s each target is s/classes for every class and 1-s more for the true one
// (Szegedy et al. 2016, section 7).
type CrossEntropy struct {
	Smoothing float64 // 0 ≤ s < 1
}

// Identity implements Objective.
func (c CrossEntropy) Identity() string {
	return fmt.Sprintf("cross entropy, smoothing %x", c.Smoothing)
}

// Outputs implements Objective: the logits.
func (c CrossEntropy) Outputs() []string { return nil }

// Inputs implements Objective.
func (c CrossEntropy) Inputs() []Input { return []Input{{Name: LabelsInput, Type: dtypes.Int32}} }

func (c CrossEntropy) classifies() {}

// Build implements Objective.
func (c CrossEntropy) Build(s *Step) (Terms, error) {
	if s.Output.Rank() != 2 {
		return Terms{}, fmt.Errorf("the model's output of %d dimensions is not (N, classes)", s.Output.Rank())
	}
	t := c.terms(s.Output, s.Inputs[LabelsInput])
	return Terms{Loss: t.mean, Output: t.gradient, Metrics: []Metric{{AccuracyMetric, t.correct}}}, nil
}

// lossTerms are what a loss gives for a batch.
type lossTerms struct {
	mean     *graph.Node // scalar, over the batch
	gradient *graph.Node // (classes, N), of the mean with respect to the logits
	correct  *graph.Node // scalar: how many images have no logit above that of their class
}

// terms computes the loss of logits (classes, N) for labels (N), int32.
func (c CrossEntropy) terms(logits, labels *graph.Node) lossTerms {
	g, dtype := logits.Graph(), logits.DType()
	d := logits.Shape().Dimensions
	classes, n := d[0], d[1]
	index := graph.Iota(g, shapes.Make(dtypes.Int32, classes, n), 0)
	isTrue := graph.Equal(index, graph.BroadcastToDims(graph.Reshape(labels, 1, n), classes, n)) // (classes, N)
	zero := graph.ScalarZero(g, dtype)
	one := graph.ScalarOne(g, dtype)
	targets := graph.Where(isTrue, one, zero)
	if c.Smoothing > 0 {
		targets = graph.AddScalar(graph.MulScalar(targets, 1-c.Smoothing), c.Smoothing/float64(classes))
	}
	largest := graph.ReduceAndKeep(logits, graph.ReduceMax, 0) // (1, N)
	shifted := graph.Sub(logits, largest)
	exponentials := graph.Exp(shifted)
	total := graph.ReduceAndKeep(exponentials, graph.ReduceSum, 0)
	logProbabilities := graph.Sub(shifted, graph.Log(total))
	sum := graph.ReduceAllSum(graph.Mul(targets, logProbabilities))
	own := graph.ReduceAndKeep(graph.Where(isTrue, logits, zero), graph.ReduceSum, 0) // the true class's logit, (1, N)
	right := graph.Where(graph.GreaterOrEqual(own, largest), one, zero)
	return lossTerms{
		mean:     graph.MulScalar(sum, -1/float64(n)),
		gradient: graph.MulScalar(graph.Sub(graph.Div(exponentials, total), targets), 1/float64(n)),
		correct:  graph.ReduceAllSum(right),
	}
}
