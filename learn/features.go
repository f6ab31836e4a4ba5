package learn

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
)

// FeaturePair is a value of the student's graph and the input that brings what the teacher has in its place.
type FeaturePair struct {
	Student string // the value, (N, Dims…)
	Input   string // its name in the batch, float32
	Dims    []int  // of one image's: (C, H, W) or (D)
}

// Hints is the loss of Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", in one stage with what the labels and the teacher's answers ask for: that of SoftTargets
// plus Factor times the mean square of the difference between the student's projected features and the teacher's, over all numbers of a pair and the mean over pairs.
type Hints struct {
	SoftTargets
	Logits string // the student's output
	Pairs  []FeaturePair
	Factor float64 // at least 0
}

// The metrics that say how far the features are away, as a part of the loss.
const (
	HintMetric      = "hint_loss"
	AttentionMetric = "attention_loss"
)

// Identity implements Objective.
func (o Hints) Identity() string {
	return fmt.Sprintf("hints %+v at %x, %s", o.Pairs, o.Factor, o.SoftTargets.Identity())
}

// Outputs implements Objective.
func (o Hints) Outputs() []string { return pairOutputs(o.Logits, o.Pairs) }

// Inputs implements Objective.
func (o Hints) Inputs() []Input {
	return append(o.SoftTargets.Inputs(), pairInputs(o.Pairs, func(p FeaturePair) []int { return p.Dims })...)
}

// Build implements Objective.
func (o Hints) Build(s *Step) (Terms, error) {
	return withPairs(s, o.SoftTargets, o.Pairs, HintMetric, func(p FeaturePair) (loss, gradient *graph.Node, err error) {
		away := graph.Sub(s.Outputs[p.Student], s.Inputs[p.Input]) // (Dims…, N)
		share := o.Factor / float64(len(o.Pairs)*away.Shape().Size())
		return graph.MulScalar(graph.ReduceAllSum(graph.Mul(away, away)), share), graph.MulScalar(away, 2*share), nil
	})
}

// Attention is activation-based attention transfer (Zagoruyko and Komodakis 2017, "Paying More Attention to Attention"): the loss of SoftTargets plus Factor times the mean square
// of the difference between the attention maps of student and teacher, over places and images and the mean over pairs. A map is the mean over the channels of the squared
// features at each place, scaled to length 1 over the places of an image. The batch brings the teacher's, (N, H, W), whose scale has no effect.
type Attention struct {
	SoftTargets
	Logits string
	Pairs  []FeaturePair // of dimensions (C, H, W), where C is the student's
	Factor float64
}

// Identity implements Objective.
func (o Attention) Identity() string {
	return fmt.Sprintf("attention %+v at %x, %s", o.Pairs, o.Factor, o.SoftTargets.Identity())
}

// Outputs implements Objective.
func (o Attention) Outputs() []string { return pairOutputs(o.Logits, o.Pairs) }

// Inputs implements Objective.
func (o Attention) Inputs() []Input {
	return append(o.SoftTargets.Inputs(), pairInputs(o.Pairs, func(p FeaturePair) []int { return p.Dims[1:] })...)
}

// Build implements Objective.
func (o Attention) Build(s *Step) (Terms, error) {
	return withPairs(s, o.SoftTargets, o.Pairs, AttentionMetric, func(p FeaturePair) (loss, gradient *graph.Node, err error) {
		x := s.Outputs[p.Student] // (C, H, W, N)
		if x.Rank() != 4 {
			return nil, nil, fmt.Errorf("the value %q is not (N, C, H, W)", p.Student)
		}
		d := x.Shape().Dimensions
		places, n := d[1]*d[2], d[3]
		energy := graph.MulScalar(graph.ReduceSum(graph.Mul(x, x), 0), 1/float64(d[0])) // (H, W, N)
		student := unitColumns(graph.Reshape(energy, places, n))
		away := graph.Sub(student, unitColumns(graph.Reshape(s.Inputs[p.Input], places, n)))
		loss = graph.MulScalar(graph.ReduceAllSum(graph.Mul(away, away)), o.Factor/float64(len(o.Pairs)*places*n))
		return loss, Differentiate(loss, x)[0], nil
	})
}

func pairOutputs(logits string, pairs []FeaturePair) []string {
	names := []string{logits}
	for _, p := range pairs {
		if !slices.Contains(names, p.Student) {
			names = append(names, p.Student)
		}
	}
	return names
}

func pairInputs(pairs []FeaturePair, dims func(FeaturePair) []int) []Input {
	var out []Input
	for _, p := range pairs {
		out = append(out, Input{Name: p.Input, Type: dtypes.Float32, Dims: dims(p)})
	}
	return out
}

// withPairs adds the losses of pairs of features to that of soft targets; metric is what their sum is called.
func withPairs(s *Step, soft SoftTargets, pairs []FeaturePair, metric string, of func(FeaturePair) (loss, gradient *graph.Node, err error)) (Terms, error) {
	if len(pairs) == 0 {
		return Terms{}, fmt.Errorf("there is no pair of features to compare")
	}
	t, err := soft.Build(s)
	if err != nil {
		return t, err
	}
	t.Outputs = map[string]*graph.Node{}
	var total *graph.Node
	for _, p := range pairs {
		x, y := s.Outputs[p.Student], s.Inputs[p.Input]
		if x == nil || y == nil {
			return t, fmt.Errorf("the pair of %q and %q is not there", p.Student, p.Input)
		}
		loss, gradient, err := of(p)
		if err != nil {
			return t, err
		}
		if sum := t.Outputs[p.Student]; sum != nil {
			gradient = graph.Add(sum, gradient)
		}
		t.Outputs[p.Student] = gradient
		if total != nil {
			loss = graph.Add(total, loss)
		}
		total = loss
	}
	t.Loss = graph.Add(t.Loss, total)
	t.Metrics = append(t.Metrics, Metric{metric, graph.MulScalar(total, float64(s.Batch))})
	return t, nil
}
