package learn

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// Objective is what a training makes small: a scalar loss that is built on the model's outputs and on what comes with a batch. It is
// immutable, and its computation depends on nothing else.
type Objective interface {
	// Identity is a text with everything that changes the results, so that checkpoints of another objective are not resumed.
	Identity() string
	// Outputs are the values of the model's graph that the loss is built on, by their names in the ONNX file, intermediate ones
	// included. None: the model's output.
	Outputs() []string
	// Inputs are what it takes of each batch besides the images.
	Inputs() []Input
	// Build adds the loss to a computation.
	Build(s *Step) (Terms, error)
}

// Whole is an objective whose loss is over all images of a batch at once, so that it is not the mean of those of micro-batches. Over computes it
// here, from values that passed through the model in micro-batches, and the gradients then pass back in micro-batches (Gao et al. 2021, "Scaling Deep
// Contrastive Learning Batch Size under Memory Limited Setup"): the batch of the loss may be larger than what fits into memory.
type Whole interface {
	Objective
	// Over returns the loss of a batch of n images, from the values that Outputs names, in ONNX's order (N, …), with its gradients with respect to them
	// and the metrics, summed over the images.
	Over(values map[string][]float32, n int) (loss float64, gradients map[string][]float32, metrics map[string]float64, err error)
}

// Targeted is an objective that compares with what the network gives whose weights are the average of those that are trained (MachineOptions.Average, which must be
// apart), for the same batch: Step.Targets.
type Targeted interface {
	Objective
	// Targets are values of the model's graph, by their names in the ONNX file.
	Targets() []string
}

// The inputs that a batch of a labelled dataset brings.
const (
	LabelsInput  = "labels"  // int32, (N): the class
	TargetsInput = "targets" // float32, (N, classes): a share of each class
)

// Input is a tensor that comes with every batch.
type Input struct {
	Name string
	Type dtypes.DType // dtypes.Float32 or dtypes.Int32
	// Dims are those of one image's; none: one number. In memory it is (N, Dims…), as ONNX has it, and in the computation (Dims…, N).
	Dims []int
	// Whole says that it belongs to the batch as a whole, not to its images: (Dims…) in memory and in the computation.
	Whole bool
}

// shape in memory, of a batch of n images.
func (in Input) shape(n int) shapes.Shape {
	if in.Whole {
		return shapes.Make(in.Type, in.Dims...)
	}
	return shapes.Make(in.Type, append([]int{n}, in.Dims...)...)
}

// Step is the computation that an objective is built into.
type Step struct {
	Graph *graph.Graph
	Batch int // N: the images that the loss is over
	// Outputs are the values that the objective asked for, with the batch last: (classes, N), (C, H, W, N). The one without a name of its
	// own is Output.
	Outputs map[string]*graph.Node
	Output  *graph.Node            // the first of them
	Inputs  map[string]*graph.Node // (…, N), by name
	Targets map[string]*graph.Node // of a Targeted objective, like Outputs
	// Parameters are the trained weights by name, as ONNX stores them; those that are frozen are not among them.
	Parameters map[string]*graph.Node
}

// Terms are the loss of a batch and how it changes.
type Terms struct {
	Loss *graph.Node // scalar: the mean over the batch's images
	// Outputs are the gradients of Loss with respect to the outputs, by name and of their shapes; one that is absent is 0. Output is that of
	// Step.Output.
	Outputs map[string]*graph.Node
	Output  *graph.Node
	// Parameters are gradients of Loss with respect to parameters themselves, such as those of a penalty, beside what flows through the outputs.
	Parameters map[string]*graph.Node
	Metrics    []Metric
}

// Metric is a number that is shown beside the loss.
type Metric struct {
	Name  string
	Total *graph.Node // scalar: summed over the batch's images; what is shown is the mean over the images of an epoch
}

// AccuracyMetric is the metric that counts right answers; it is the accuracy of a training.
const AccuracyMetric = "accuracy"

// Differentiate returns the gradients of the scalar loss with respect to nodes by GoMLX's own rules, for an objective that does not write them down.
// The nodes must be what the loss was computed from: Step's outputs or parameters.
func Differentiate(loss *graph.Node, nodes ...*graph.Node) []*graph.Node {
	return graph.Gradient(loss, nodes...)
}

// outputNames returns the objective's outputs, by which a model's graph is asked.
func outputNames(o Objective, modelOutput string) []string {
	if names := o.Outputs(); len(names) > 0 {
		return names
	}
	return []string{modelOutput}
}

// terms builds the objective on values of the lowered graph and checks what it gives.
func buildTerms(o Objective, s *Step, names []string) (Terms, error) {
	s.Output = s.Outputs[names[0]]
	t, err := o.Build(s)
	if err != nil {
		return t, fmt.Errorf("building the loss: %w", err)
	}
	if t.Output != nil {
		if t.Outputs == nil {
			t.Outputs = map[string]*graph.Node{}
		}
		t.Outputs[names[0]] = t.Output
	}
	if t.Loss == nil || t.Loss.Rank() != 0 {
		return t, fmt.Errorf("building the loss: it is not a scalar")
	}
	for name, g := range t.Outputs {
		if y := s.Outputs[name]; y == nil || !slices.Equal(g.Shape().Dimensions, y.Shape().Dimensions) {
			return t, fmt.Errorf("building the loss: the gradient of %q does not have the shape of an output that was asked for", name)
		}
	}
	for name, g := range t.Parameters {
		if w := s.Parameters[name]; w == nil || !slices.Equal(g.Shape().Dimensions, w.Shape().Dimensions) {
			return t, fmt.Errorf("building the loss: the gradient of %q does not have the shape of a trained parameter", name)
		}
	}
	for _, m := range t.Metrics {
		if m.Total.Rank() != 0 {
			return t, fmt.Errorf("building the loss: the metric %s is not a scalar", m.Name)
		}
	}
	return t, nil
}
