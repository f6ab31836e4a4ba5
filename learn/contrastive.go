package learn

import (
	"fmt"
	"math"
	"runtime"
	"sync"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// NTXent is the normalised temperature-scaled cross entropy of SimCLR (Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual
// Representations", equation 1): each of the N embeddings of a batch, two views of N/2 images, is to recognise the other view of its image among the N-1 others
// by cosine similarity. The embeddings i and i+N/2 are of one image. It needs no labels.
type NTXent struct {
	Projection  string  // the value of the model's graph that holds the embeddings, (N, D)
	Temperature float64 // above 0
}

// Identity implements Objective.
func (o NTXent) Identity() string { return fmt.Sprintf("nt-xent %q %x", o.Projection, o.Temperature) }

// Outputs implements Objective.
func (o NTXent) Outputs() []string { return []string{o.Projection} }

// Inputs implements Objective.
func (o NTXent) Inputs() []Input { return nil }

// Build implements Objective. Its metric is the share of embeddings whose nearest other one is of the same image.
func (o NTXent) Build(s *Step) (Terms, error) {
	if s.Batch < 4 || s.Batch%2 != 0 {
		return Terms{}, fmt.Errorf("a batch of %d views has no negatives: two views of at least 2 images are needed", s.Batch)
	}
	z := s.Output // (D, N)
	if z.Rank() != 2 {
		return Terms{}, fmt.Errorf("the embeddings %q are not (N, D)", o.Projection)
	}
	loss, right := ntXent(z, o.Temperature)
	return Terms{Loss: loss, Output: Differentiate(loss, z)[0], Metrics: []Metric{{AccuracyMetric, right}}}, nil
}

// Over implements Whole.
func (o NTXent) Over(values map[string][]float32, n int) (float64, map[string][]float32, map[string]float64, error) {
	z := values[o.Projection]
	if n < 4 || n%2 != 0 {
		return 0, nil, nil, fmt.Errorf("a batch of %d views has no negatives: two views of at least 2 images are needed", n)
	}
	loss, gradient, right := NTXentGradient(z, n, len(z)/n, o.Temperature)
	return loss, map[string][]float32{o.Projection: gradient}, map[string]float64{AccuracyMetric: float64(right)}, nil
}

// ntXent returns the loss of embeddings (D, N) and how many recognise their partner.
func ntXent(z *graph.Node, temperature float64) (loss, right *graph.Node) {
	g, n := z.Graph(), z.Shape().Dimensions[1]
	unit := unitColumns(z)
	similarity := graph.MulScalar(graph.MatMul(graph.Transpose(unit, 0, 1), unit), 1/temperature) // (N, N)
	row := graph.Iota(g, shapes.Make(dtypes.Int32, n, n), 0)
	column := graph.Iota(g, shapes.Make(dtypes.Int32, n, n), 1)
	half := graph.Scalar(g, dtypes.Int32, n/2)
	isPartner := graph.Or(graph.Equal(graph.Add(row, half), column), graph.Equal(graph.Add(column, half), row))
	lowest := graph.Scalar(g, z.DType(), -1e9) // an embedding is not its own negative
	others := graph.Where(graph.Equal(row, column), lowest, similarity)
	zero := graph.ScalarZero(g, z.DType())
	partner := graph.ReduceAndKeep(graph.Where(isPartner, similarity, zero), graph.ReduceSum, 1) // (N, 1)
	largest := graph.StopGradient(graph.ReduceAndKeep(others, graph.ReduceMax, 1))
	total := graph.ReduceAndKeep(graph.Exp(graph.Sub(others, largest)), graph.ReduceSum, 1)
	logs := graph.Add(graph.Log(total), graph.Sub(largest, partner)) // (N, 1)
	one := graph.ScalarOne(g, z.DType())
	return graph.MulScalar(graph.ReduceAllSum(logs), 1/float64(n)), graph.ReduceAllSum(graph.Where(graph.GreaterOrEqual(partner, largest), one, zero))
}

// SimSiam is the loss of Chen and He 2021, "Exploring Simple Siamese Representation Learning": the prediction from one view is to point where
// the other view's projection does, which is taken as given. Rows i and i+N/2 are two views of one image. It needs no negatives.
type SimSiam struct {
	Projection, Prediction string // values of the model's graph, (N, D)
}

// Identity implements Objective.
func (o SimSiam) Identity() string { return fmt.Sprintf("simsiam %q %q", o.Projection, o.Prediction) }

// Outputs implements Objective.
func (o SimSiam) Outputs() []string { return []string{o.Prediction, o.Projection} }

// Inputs implements Objective.
func (o SimSiam) Inputs() []Input { return nil }

// Build implements Objective. Its metric is the mean deviation of the normalised projections' entries, times √D: it is near 1 while they are
// spread out, and 0 when all images have collapsed to one point.
func (o SimSiam) Build(s *Step) (Terms, error) {
	if s.Batch < 2 || s.Batch%2 != 0 {
		return Terms{}, fmt.Errorf("a batch of %d images does not hold two views of each", s.Batch)
	}
	p, z := s.Outputs[o.Prediction], s.Outputs[o.Projection] // (D, N)
	target := unitColumns(graph.StopGradient(z))
	loss := cosineLoss(p, swapHalves(target))
	return Terms{Loss: loss, Outputs: map[string]*graph.Node{o.Prediction: Differentiate(loss, p)[0]}, Metrics: []Metric{spread(target)}}, nil
}

// BYOL is the loss of Grill et al. 2020, "Bootstrap Your Own Latent": the prediction from one view is to point where the target network projects the other view. The target's
// weights are an average of those that are trained. Rows i and i+N/2 are two views of one image.
type BYOL struct {
	Projection, Prediction string // values of the model's graph, (N, D)
}

// Identity implements Objective.
func (o BYOL) Identity() string { return fmt.Sprintf("byol %q %q", o.Projection, o.Prediction) }

// Outputs implements Objective.
func (o BYOL) Outputs() []string { return []string{o.Prediction} }

// Inputs implements Objective.
func (o BYOL) Inputs() []Input { return nil }

// Targets implements Targeted.
func (o BYOL) Targets() []string { return []string{o.Projection} }

// Build implements Objective. Its metric is that of SimSiam, of the target's projections.
func (o BYOL) Build(s *Step) (Terms, error) {
	if s.Batch < 2 || s.Batch%2 != 0 {
		return Terms{}, fmt.Errorf("a batch of %d images does not hold two views of each", s.Batch)
	}
	target := unitColumns(s.Targets[o.Projection])
	loss := graph.AddScalar(graph.MulScalar(cosineLoss(s.Output, swapHalves(target)), 2), 2)
	return Terms{Loss: loss, Output: Differentiate(loss, s.Output)[0], Metrics: []Metric{spread(target)}}, nil
}

// SpreadMetric is how far unit vectors are spread out.
const SpreadMetric = "spread"

// spread is the mean deviation of the entries of unit vectors (D, N), times √D, for each of them.
func spread(unit *graph.Node) Metric {
	d, n := float64(unit.Shape().Dimensions[0]), float64(unit.Shape().Dimensions[1])
	mean := graph.MulScalar(graph.ReduceAndKeep(unit, graph.ReduceSum, 1), 1/n)
	away := graph.Sub(unit, mean)
	variance := graph.MulScalar(graph.ReduceAndKeep(graph.Mul(away, away), graph.ReduceSum, 1), 1/n) // (D, 1)
	return Metric{SpreadMetric, graph.MulScalar(graph.ReduceAllSum(graph.Sqrt(graph.AddScalar(variance, normFloor))), n/math.Sqrt(d))}
}

// cosineLoss is the mean over the columns of minus the cosine of p and a unit vector, both (D, N).
func cosineLoss(p, unit *graph.Node) *graph.Node {
	return graph.MulScalar(graph.ReduceAllSum(graph.Mul(unitColumns(p), unit)), -1/float64(p.Shape().Dimensions[1]))
}

// unitColumns scales the columns of z (D, N) to length 1.
func unitColumns(z *graph.Node) *graph.Node {
	return graph.Div(z, graph.Sqrt(graph.AddScalar(graph.ReduceAndKeep(graph.Mul(z, z), graph.ReduceSum, 0), normFloor)))
}

// swapHalves exchanges the columns of the first views of z (D, N) with those of the second.
func swapHalves(z *graph.Node) *graph.Node {
	n := z.Shape().Dimensions[1]
	return graph.Concatenate([]*graph.Node{graph.Slice(z, graph.AxisRange(), graph.AxisRange(n/2, n)), graph.Slice(z, graph.AxisRange(), graph.AxisRange(0, n/2))}, 1)
}

// normFloor keeps the gradient of a vector of zeroes finite.
const normFloor = 1e-12

// NTXentGradient returns the loss of NTXent for embeddings (N, D) and its gradient with respect to them, computed here and not on a device, for a
// loss over more images than pass through the model at once. All sums are in float64 and in a fixed order.
func NTXentGradient(z []float32, n, d int, temperature float64) (loss float64, gradient []float32, right int) {
	unit, norms := make([]float64, n*d), make([]float64, n)
	for i := range n {
		sum := float64(normFloor)
		for _, v := range z[i*d : (i+1)*d] {
			sum += float64(v) * float64(v)
		}
		norms[i] = math.Sqrt(sum)
		for k, v := range z[i*d : (i+1)*d] {
			unit[i*d+k] = float64(v) / norms[i]
		}
	}
	// weights[i, j] is the derivative of the loss with respect to the similarity of i and j, in row i.
	weights, losses, hits := make([]float64, n*n), make([]float64, n), make([]bool, n)
	eachRow(n, func(i int) { losses[i], hits[i] = ntXentRow(unit, weights[i*n:(i+1)*n], i, n, d, temperature) })
	for i := range n {
		loss += losses[i] / float64(n)
		if hits[i] {
			right++
		}
	}
	gradient = make([]float32, n*d)
	eachRow(n, func(i int) {
		g := make([]float64, d) // with respect to unit vector i
		for j := range n {
			w := weights[i*n+j] + weights[j*n+i]
			for k := range d {
				g[k] += w * unit[j*d+k]
			}
		}
		along := 0.0
		for k := range d {
			along += g[k] * unit[i*d+k]
		}
		for k := range d {
			gradient[i*d+k] = float32((g[k] - along*unit[i*d+k]) / norms[i])
		}
	})
	return loss, gradient, right
}

// ntXentRow fills the weights of embedding i and returns its loss and whether it recognises its partner.
func ntXentRow(unit, weights []float64, i, n, d int, temperature float64) (float64, bool) {
	partner := (i + n/2) % n
	largest := math.Inf(-1)
	for j := range n {
		if j == i {
			continue
		}
		dot := 0.0
		for k := range d {
			dot += unit[i*d+k] * unit[j*d+k]
		}
		weights[j] = dot / temperature
		largest = max(largest, weights[j])
	}
	own, total := weights[partner], 0.0
	for j := range n {
		if j != i {
			weights[j] = math.Exp(weights[j] - largest)
			total += weights[j]
		}
	}
	scale := 1 / (float64(n) * temperature)
	for j := range n {
		weights[j] *= scale / total
	}
	weights[i] = 0
	weights[partner] -= scale
	return math.Log(total) + largest - own, own >= largest
}

// eachRow calls f for every row, on all processors.
func eachRow(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; i < n; i += workers {
				f(i)
			}
		})
	}
	group.Wait()
}
