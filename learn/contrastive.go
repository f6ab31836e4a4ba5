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

// ntXent returns the loss of embeddings (D, N) and how many recognise their partner.
func ntXent(z *graph.Node, temperature float64) (loss, right *graph.Node) {
	g, n := z.Graph(), z.Shape().Dimensions[1]
	norm := graph.Sqrt(graph.AddScalar(graph.ReduceAndKeep(graph.Mul(z, z), graph.ReduceSum, 0), normFloor))
	unit := graph.Div(z, norm)
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
