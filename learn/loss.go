package learn

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// Targets say how a classification loss learns what is right. With neither of them, from the labels.
type Targets struct {
	Smoothing float64 // s: each target is s/classes for every class and 1-s of itself more (Szegedy et al. 2016, section 7); 0 ≤ s < 1
	// Soft says that a batch brings targets (N, classes), shares of each class, such as those of mixed images, instead of labels.
	Soft bool
	// Weights multiply the loss of each class; none: all are 1.
	Weights []float64
}

func (t Targets) identity() string {
	return fmt.Sprintf("smoothing %x, soft %t, weights %x", t.Smoothing, t.Soft, t.Weights)
}

func (t Targets) inputs(classes int) []Input {
	if t.Soft {
		return []Input{{Name: TargetsInput, Type: dtypes.Float32, Dims: []int{classes}}}
	}
	return []Input{{Name: LabelsInput, Type: dtypes.Int32}}
}

// groundTruth is what is right about a batch, in the computation.
type groundTruth struct {
	targets *graph.Node // (classes, N), smoothed
	raw     *graph.Node // (classes, N), not smoothed
	weights *graph.Node // (classes, 1), or nil where all are 1
	correct *graph.Node // scalar: how many images have no logit above that of their class; of a mixed image, its largest share
}

// of builds the truth for logits (classes, N) from the step's labels (N) or targets (classes, N).
func (t Targets) of(logits *graph.Node, inputs map[string]*graph.Node) groundTruth {
	g, dtype, d := logits.Graph(), logits.DType(), logits.Shape().Dimensions
	zero, one := graph.ScalarZero(g, dtype), graph.ScalarOne(g, dtype)
	var out groundTruth
	var mine *graph.Node // (classes, N): which class is the image's
	if t.Soft {
		out.raw = inputs[TargetsInput]
		mine = graph.Equal(out.raw, graph.BroadcastToDims(graph.ReduceAndKeep(out.raw, graph.ReduceMax, 0), d...))
	} else {
		index := graph.Iota(g, shapes.Make(dtypes.Int32, d...), 0)
		mine = graph.Equal(index, graph.BroadcastToDims(graph.Reshape(inputs[LabelsInput], 1, d[1]), d...))
		out.raw = graph.Where(mine, one, zero)
	}
	out.targets = out.raw
	if t.Smoothing > 0 {
		out.targets = graph.AddScalar(graph.MulScalar(out.raw, 1-t.Smoothing), t.Smoothing/float64(d[0]))
	}
	if len(t.Weights) > 0 {
		out.weights = graph.ConvertDType(graph.Const(g, t.Weights), dtype)
		out.weights = graph.Reshape(out.weights, d[0], 1)
	}
	largest := graph.ReduceAndKeep(logits, graph.ReduceMax, 0) // (1, N)
	lowest := graph.ReduceAndKeep(logits, graph.ReduceMin, 0)
	own := graph.ReduceAndKeep(graph.Where(mine, logits, graph.BroadcastToDims(lowest, d...)), graph.ReduceMax, 0)
	out.correct = graph.ReduceAllSum(graph.Where(graph.GreaterOrEqual(own, largest), one, zero))
	return out
}

// weighted multiplies x (classes, N) by the weights of classes.
func (t groundTruth) weighted(x *graph.Node) *graph.Node {
	if t.weights == nil {
		return x
	}
	return graph.Mul(x, t.weights)
}

// logSoftmax returns the logarithms of the probabilities and these, (classes, N).
func logSoftmax(logits *graph.Node) (logs, probabilities *graph.Node) {
	shifted := graph.Sub(logits, graph.ReduceAndKeep(logits, graph.ReduceMax, 0))
	exponentials := graph.Exp(shifted)
	total := graph.ReduceAndKeep(exponentials, graph.ReduceSum, 0)
	return graph.Sub(shifted, graph.Log(total)), graph.Div(exponentials, total)
}

// classifier is an objective on logits (N, classes).
func classifier(s *Step, build func(logits *graph.Node) Terms) (Terms, error) {
	if s.Output.Rank() != 2 {
		return Terms{}, fmt.Errorf("the model's output of %d dimensions is not (N, classes)", s.Output.Rank())
	}
	return build(s.Output), nil
}

// CrossEntropy is the softmax cross entropy, Σ -w·t·log p, over the sum of the weights of the images' classes, as PyTorch has it; with soft targets
// over the number of images.
type CrossEntropy struct {
	Targets
	Classes int // of soft targets
}

// Identity implements Objective.
func (c CrossEntropy) Identity() string { return "cross entropy, " + c.identity() }

// Outputs implements Objective: the logits.
func (c CrossEntropy) Outputs() []string { return nil }

// Inputs implements Objective.
func (c CrossEntropy) Inputs() []Input { return c.inputs(c.Classes) }

// Build implements Objective.
func (c CrossEntropy) Build(s *Step) (Terms, error) {
	return classifier(s, func(logits *graph.Node) Terms { return c.terms(logits, s.Inputs) })
}

func (c CrossEntropy) terms(logits *graph.Node, inputs map[string]*graph.Node) Terms {
	t := c.of(logits, inputs)
	logs, probabilities := logSoftmax(logits)
	targets := t.weighted(t.targets)
	share := graph.Scalar(logits.Graph(), logits.DType(), 1/float64(logits.Shape().Dimensions[1]))
	if t.weights != nil && !c.Soft {
		share = graph.Reciprocal(graph.ReduceAllSum(t.weighted(t.raw)))
	}
	spread := probabilities // times the sum of an image's targets, which is 1 for labels without weights
	if t.weights != nil || c.Soft {
		spread = graph.Mul(probabilities, graph.ReduceAndKeep(targets, graph.ReduceSum, 0))
	}
	return Terms{
		Loss:    graph.Neg(graph.Mul(graph.ReduceAllSum(graph.Mul(targets, logs)), share)),
		Output:  graph.Mul(graph.Sub(spread, targets), share),
		Metrics: []Metric{{AccuracyMetric, t.correct}},
	}
}

// Focal is the focal loss on softmax probabilities, Σ -α·w·t·(1-p)^γ·log p (Lin et al. 2017), the mean over the images.
type Focal struct {
	Targets
	Classes int     // of soft targets
	Gamma   float64 // at least 0; 2 in the paper
	Alpha   float64 // above 0
}

// Identity implements Objective.
func (f Focal) Identity() string {
	return fmt.Sprintf("focal loss, γ %x, α %x, %s", f.Gamma, f.Alpha, f.identity())
}

// Outputs implements Objective: the logits.
func (f Focal) Outputs() []string { return nil }

// Inputs implements Objective.
func (f Focal) Inputs() []Input { return f.inputs(f.Classes) }

// Build implements Objective.
func (f Focal) Build(s *Step) (Terms, error) {
	return classifier(s, func(logits *graph.Node) Terms { return f.terms(logits, s.Inputs) })
}

func (f Focal) terms(logits *graph.Node, inputs map[string]*graph.Node) Terms {
	t := f.of(logits, inputs)
	logs, p := logSoftmax(logits)
	scale := f.Alpha / float64(logits.Shape().Dimensions[1])
	targets := graph.MulScalar(t.weighted(t.targets), scale)
	// 1-p of a sure answer is kept above 0, where powers below 1 have no derivative.
	rest := graph.MaxScalar(graph.OneMinus(p), 1e-12)
	power := graph.Exp(graph.MulScalar(graph.Log(rest), f.Gamma)) // (1-p)^γ
	loss := graph.Neg(graph.ReduceAllSum(graph.Mul(graph.Mul(targets, power), logs)))
	// With s = t·(γ·(1-p)^(γ-1)·p·log p - (1-p)^γ): ∂z = s - p·Σs.
	slope := graph.Sub(graph.MulScalar(graph.Mul(graph.Div(power, rest), graph.Mul(p, logs)), f.Gamma), power)
	slope = graph.Mul(targets, slope)
	gradient := graph.Sub(slope, graph.Mul(p, graph.ReduceAndKeep(slope, graph.ReduceSum, 0)))
	return Terms{Loss: loss, Output: gradient, Metrics: []Metric{{AccuracyMetric, t.correct}}}
}

// BinaryCrossEntropy has one yes or no for each class: Σ -w·(t·log σ(z) + (1-t)·log(1-σ(z))), the mean over images and classes. With soft targets an image
// may have several classes; with labels each image has one. An answer to several classes is right when all of them are.
type BinaryCrossEntropy struct {
	Targets
	Classes int // of soft targets
}

// Identity implements Objective.
func (b BinaryCrossEntropy) Identity() string { return "binary cross entropy, " + b.identity() }

// Outputs implements Objective: the logits.
func (b BinaryCrossEntropy) Outputs() []string { return nil }

// Inputs implements Objective.
func (b BinaryCrossEntropy) Inputs() []Input { return b.inputs(b.Classes) }

// Build implements Objective.
func (b BinaryCrossEntropy) Build(s *Step) (Terms, error) {
	return classifier(s, func(logits *graph.Node) Terms { return b.terms(logits, s.Inputs) })
}

func (b BinaryCrossEntropy) terms(logits *graph.Node, inputs map[string]*graph.Node) Terms {
	t := b.of(logits, inputs)
	if b.Soft {
		t.correct = wholeMatches(logits, t.raw)
	}
	loss, gradient := binaryCrossEntropy(logits, t.targets)
	share := 1 / float64(logits.Shape().Size())
	return Terms{
		Loss:    graph.MulScalar(graph.ReduceAllSum(t.weighted(loss)), share),
		Output:  graph.MulScalar(t.weighted(gradient), share),
		Metrics: []Metric{{AccuracyMetric, t.correct}},
	}
}

// wholeMatches returns how many images have a logit above 0 for just those classes whose target is above 1/2.
func wholeMatches(logits, targets *graph.Node) *graph.Node {
	zero, one := graph.ScalarZero(logits.Graph(), logits.DType()), graph.ScalarOne(logits.Graph(), logits.DType())
	yes := graph.Where(graph.GreaterThan(logits, zero), one, zero)
	want := graph.Where(graph.GreaterThan(targets, graph.MulScalar(one, 0.5)), one, zero)
	wrong := graph.ReduceMax(graph.Abs(graph.Sub(yes, want)), 0) // (N)
	return graph.ReduceAllSum(graph.OneMinus(wrong))
}

// binaryCrossEntropy returns the loss of each element, max(z, 0) - z·t + log(1 + e^-|z|), and its gradient σ(z) - t.
func binaryCrossEntropy(logits, targets *graph.Node) (loss, gradient *graph.Node) {
	soft := graph.Log1P(graph.Exp(graph.Neg(graph.Abs(logits))))
	loss = graph.Add(graph.Sub(graph.MaxScalar(logits, 0), graph.Mul(logits, targets)), soft)
	return loss, graph.Sub(graph.Sigmoid(logits), targets)
}

// BalancedWeights returns a weight for each class with which all classes weigh the same in the loss of a whole epoch: images/(classes·count), and 1 for a
// class without images. The counts are images by class.
func BalancedWeights(counts []int) []float64 {
	total := 0
	for _, n := range counts {
		total += n
	}
	weights := make([]float64, len(counts))
	for i, n := range counts {
		weights[i] = 1
		if n > 0 {
			weights[i] = float64(total) / (float64(len(counts)) * float64(n))
		}
	}
	return weights
}

// targetsOf returns the targets of an objective that learns classes from labels.
func targetsOf(o Objective) (Targets, bool) {
	switch o := o.(type) {
	case CrossEntropy:
		return o.Targets, true
	case Focal:
		return o.Targets, true
	case BinaryCrossEntropy:
		return o.Targets, true
	case SoftTargets:
		return o.Targets, !o.Unlabelled
	case Hints:
		return targetsOf(o.SoftTargets)
	case Attention:
		return targetsOf(o.SoftTargets)
	case DKD:
		return o.Targets, true
	case Penalised:
		return targetsOf(o.Objective)
	}
	return Targets{}, false
}
