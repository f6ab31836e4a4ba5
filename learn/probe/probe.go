// Package probe judges representations: how well the features of images tell their classes apart, by their neighbours and by a linear
// classifier, and what they look like in a plane.
//
// Rules of the room: it knows features and labels, no model and no device. Every sum is in a fixed order, so that an answer does not depend on the
// number of processors.
package probe

import (
	"errors"
	"fmt"
	"math"
	"sort"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize"
	"gonum.org/v1/gonum/stat"
)

// Features are those of labelled images.
type Features struct {
	Width   int
	Values  []float32 // (N, Width)
	Labels  []int32   // (N), 0 to Classes-1
	Classes int
}

// Len returns the number of images.
func (f Features) Len() int { return len(f.Labels) }

// Row returns the features of image i.
func (f Features) Row(i int) []float32 { return f.Values[i*f.Width : (i+1)*f.Width] }

// unit returns the features scaled to length 1; zeroes stay as they are.
func (f Features) unit() []float32 {
	out := make([]float32, len(f.Values))
	for i := range f.Len() {
		sum := 0.0
		for _, v := range f.Row(i) {
			sum += float64(v) * float64(v)
		}
		if sum == 0 {
			continue
		}
		scale := 1 / math.Sqrt(sum)
		for k, v := range f.Row(i) {
			out[i*f.Width+k] = float32(float64(v) * scale)
		}
	}
	return out
}

// neighbour is an image of the bank with its cosine similarity.
type neighbour struct {
	index      int
	similarity float32
}

// block is how many queries are compared with the bank at a time.
const block = 256

// nearest calls use for each query, in order, with the k most similar images of the bank, the most similar first. When the bank is the queries
// themselves, an image is not its own neighbour.
func nearest(bank, queries Features, k int, same bool, use func(query int, list []neighbour)) {
	b, q := bank.unit(), queries.unit()
	n := bank.Len()
	similarities := make([]float32, block*n)
	list := make([]neighbour, 0, n)
	for first := 0; first < queries.Len(); first += block {
		rows := min(block, queries.Len()-first)
		blas32.Gemm(blas.NoTrans, blas.Trans, 1,
			blas32.General{Rows: rows, Cols: bank.Width, Stride: bank.Width, Data: q[first*bank.Width:]},
			blas32.General{Rows: n, Cols: bank.Width, Stride: bank.Width, Data: b}, 0,
			blas32.General{Rows: rows, Cols: n, Stride: n, Data: similarities})
		for r := range rows {
			list = list[:0]
			for j, s := range similarities[r*n : (r+1)*n] {
				if !same || j != first+r {
					list = append(list, neighbour{j, s})
				}
			}
			// Of equals the first one of the bank is the nearer.
			sort.SliceStable(list, func(x, y int) bool { return list[x].similarity > list[y].similarity })
			use(first+r, list[:min(k, len(list))])
		}
	}
}

// KNN returns the share of queries whose class is told right by the k most similar images of the bank, each of which votes with the weight
// exp(similarity/temperature) (Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", with k 200 and
// temperature 0.1 in the literature).
func KNN(bank, queries Features, k int, temperature float64) (float64, error) {
	return knn(bank, queries, k, temperature, false)
}

// KNNWithin is KNN with each image's class told by the others of the same set.
func KNNWithin(f Features, k int, temperature float64) (float64, error) {
	return knn(f, f, k, temperature, true)
}

func knn(bank, queries Features, k int, temperature float64, same bool) (float64, error) {
	if err := fits(bank, queries); err != nil {
		return 0, err
	}
	if k < 1 || !(temperature > 0) {
		return 0, fmt.Errorf("%d neighbours at temperature %g", k, temperature)
	}
	right := 0
	nearest(bank, queries, k, same, func(query int, list []neighbour) {
		votes := make([]float64, bank.Classes)
		for _, n := range list {
			votes[bank.Labels[n.index]] += math.Exp((float64(n.similarity) - 1) / temperature)
		}
		best := 0
		for c, v := range votes {
			if v > votes[best] {
				best = c
			}
		}
		if best == int(queries.Labels[query]) {
			right++
		}
	})
	return float64(right) / float64(queries.Len()), nil
}

// Neighbours returns the indexes of the k images most similar to image i, the most similar first.
func Neighbours(f Features, i, k int) []int {
	one := Features{Width: f.Width, Values: f.Row(i), Labels: f.Labels[i : i+1], Classes: f.Classes}
	var out []int
	nearest(f, one, k+1, false, func(_ int, list []neighbour) {
		for _, n := range list {
			if n.index != i && len(out) < k {
				out = append(out, n.index)
			}
		}
	})
	return out
}

func fits(bank, queries Features) error {
	switch {
	case bank.Len() == 0 || queries.Len() == 0:
		return errors.New("there are no features")
	case bank.Width != queries.Width || len(bank.Values) != bank.Len()*bank.Width || len(queries.Values) != queries.Len()*queries.Width:
		return fmt.Errorf("features of %d and %d numbers do not fit each other", bank.Width, queries.Width)
	}
	for _, f := range []Features{bank, queries} {
		for i, l := range f.Labels {
			if l < 0 || int(l) >= bank.Classes {
				return fmt.Errorf("image %d has the label %d, which is not one of %d classes", i, l, bank.Classes)
			}
		}
	}
	return nil
}

// Linear returns the share of test whose class is told right by a multinomial logistic regression on the standardised features of train,
// with an L2 penalty of decay/2·‖W‖² per image. It is fitted with L-BFGS, which needs no learning rate.
func Linear(train, test Features, decay float64) (float64, error) {
	if err := fits(train, test); err != nil {
		return 0, err
	}
	r := newRegression(train, decay)
	w := make([]float64, train.Classes*(train.Width+1))
	problem := optimize.Problem{Func: r.loss, Grad: func(grad, w []float64) { r.gradient(grad, w) }}
	settings := &optimize.Settings{MajorIterations: 300, GradientThreshold: 1e-5, Converger: &optimize.FunctionConverge{Relative: 1e-7, Iterations: 20}}
	result, err := optimize.Minimize(problem, w, settings, &optimize.LBFGS{})
	if result == nil {
		return 0, fmt.Errorf("fitting the linear probe: %w", err)
	}
	// A line search that finds no better point near the optimum is an end, not a failure.
	return r.accuracy(result.X, test), nil
}

// regression is a multinomial logistic regression. Weights are (classes, width+1), the last of each row the bias.
type regression struct {
	width, classes int
	mean, scale    []float64
	x              []float64 // (N, width+1), standardised, with a 1 behind
	labels         []int32
	decay          float64

	at     []float64 // the weights of scores and total
	scores []float64 // (N, classes): the probabilities, less 1 for the own class
	total  float64
}

func newRegression(f Features, decay float64) *regression {
	r := &regression{width: f.Width, classes: f.Classes, labels: f.Labels, decay: decay, mean: make([]float64, f.Width), scale: make([]float64, f.Width),
		scores: make([]float64, f.Len()*f.Classes)}
	column := make([]float64, f.Len())
	for k := range f.Width {
		for i := range column {
			column[i] = float64(f.Row(i)[k])
		}
		mean, deviation := stat.MeanStdDev(column, nil)
		if !(deviation > 1e-12) { // a feature that never changes, or a single image
			deviation = 1
		}
		r.mean[k], r.scale[k] = mean, 1/deviation
	}
	r.x = r.standardise(f)
	return r
}

func (r *regression) standardise(f Features) []float64 {
	x := make([]float64, f.Len()*(r.width+1))
	for i := range f.Len() {
		row := x[i*(r.width+1):]
		for k, v := range f.Row(i) {
			row[k] = (float64(v) - r.mean[k]) * r.scale[k]
		}
		row[r.width] = 1
	}
	return x
}

// products returns x·Wᵀ, (N, classes).
func (r *regression) products(x, w, to []float64) {
	n, d := len(x)/(r.width+1), r.width+1
	blas64.Gemm(blas.NoTrans, blas.Trans, 1, blas64.General{Rows: n, Cols: d, Stride: d, Data: x},
		blas64.General{Rows: r.classes, Cols: d, Stride: d, Data: w}, 0, blas64.General{Rows: n, Cols: r.classes, Stride: r.classes, Data: to})
}

// evaluate fills scores and total for the weights.
func (r *regression) evaluate(w []float64) {
	if r.at != nil && equal(r.at, w) {
		return
	}
	r.at = append(r.at[:0], w...)
	r.products(r.x, w, r.scores)
	n := len(r.labels)
	r.total = 0
	for i, label := range r.labels {
		row := r.scores[i*r.classes : (i+1)*r.classes]
		largest := row[0]
		for _, v := range row {
			largest = max(largest, v)
		}
		own, sum := row[label], 0.0
		for c, v := range row {
			row[c] = math.Exp(v - largest)
			sum += row[c]
		}
		r.total += (math.Log(sum) + largest - own) / float64(n)
		for c := range row {
			row[c] /= sum
		}
		row[label]--
	}
	for c := range r.classes {
		for _, v := range w[c*(r.width+1) : c*(r.width+1)+r.width] {
			r.total += r.decay / 2 * v * v
		}
	}
}

func (r *regression) loss(w []float64) float64 {
	r.evaluate(w)
	return r.total
}

func (r *regression) gradient(grad, w []float64) {
	r.evaluate(w)
	n, d := len(r.labels), r.width+1
	blas64.Gemm(blas.Trans, blas.NoTrans, 1/float64(n), blas64.General{Rows: n, Cols: r.classes, Stride: r.classes, Data: r.scores},
		blas64.General{Rows: n, Cols: d, Stride: d, Data: r.x}, 0, blas64.General{Rows: r.classes, Cols: d, Stride: d, Data: grad})
	for c := range r.classes {
		for k := range r.width {
			grad[c*d+k] += r.decay * w[c*d+k]
		}
	}
}

func (r *regression) accuracy(w []float64, f Features) float64 {
	scores := make([]float64, f.Len()*r.classes)
	r.products(r.standardise(f), w, scores)
	right := 0
	for i, label := range f.Labels {
		best := 0
		row := scores[i*r.classes : (i+1)*r.classes]
		for c, v := range row {
			if v > row[best] {
				best = c
			}
		}
		if best == int(label) {
			right++
		}
	}
	return float64(right) / float64(f.Len())
}

func equal(a, b []float64) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// Plane returns the coordinates of each image along the first two principal components of the features. The sign of a component is such that its
// largest entry is positive.
func Plane(f Features) ([][2]float64, error) {
	n := f.Len()
	if n < 3 || f.Width < 2 {
		return nil, fmt.Errorf("%d images with %d features do not span a plane", n, f.Width)
	}
	x := mat.NewDense(n, f.Width, nil)
	for i := range n {
		for k, v := range f.Row(i) {
			x.Set(i, k, float64(v))
		}
	}
	var pc stat.PC
	if !pc.PrincipalComponents(x, nil) {
		return nil, errors.New("the principal components of the features cannot be computed")
	}
	var vectors mat.Dense
	pc.VectorsTo(&vectors)
	out := make([][2]float64, n)
	for axis := range 2 {
		direction := mat.Col(nil, axis, &vectors)
		largest := 0.0
		for _, v := range direction {
			if math.Abs(v) > math.Abs(largest) {
				largest = v
			}
		}
		for i := range n {
			sum := 0.0
			for k, v := range direction {
				sum += x.At(i, k) * v
			}
			out[i][axis] = math.Copysign(1, largest) * sum
		}
	}
	return out, nil
}
