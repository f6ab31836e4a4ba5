package infer

import (
	"cmp"
	"math"
	"slices"
)

// Curve is a line through points in the order of falling thresholds.
type Curve struct{ X, Y []float64 }

// Curves are how a class's score separates its samples from all others, threshold by threshold.
type Curves struct {
	ROC             Curve // X: share of the others above the threshold, Y: share of the class's own
	PrecisionRecall Curve // X: recall, Y: precision
}

// ClassCurves returns the curves of class c against the rest, and whether they are defined: some samples are of the class, and some
// are not. logits are (n, classes).
func ClassCurves(logits []float32, labels []int32, classes, c int) (Curves, bool) {
	samples := make([]scored, len(labels))
	for i, label := range labels {
		row := logits[i*classes : (i+1)*classes]
		samples[i] = scored{math.Exp(-LogLoss(row, c)), int(label) == c}
	}
	return curves(samples)
}

// LabelCurves is ClassCurves for samples that have several classes each: scores (n, classes), members (n, classes).
func LabelCurves(scores []float32, members []bool, classes, c int) (Curves, bool) {
	samples := make([]scored, len(members)/classes)
	for i := range samples {
		samples[i] = scored{float64(scores[i*classes+c]), members[i*classes+c]}
	}
	return curves(samples)
}

// curves sorts the samples.
func curves(samples []scored) (Curves, bool) {
	slices.SortFunc(samples, func(a, b scored) int { return cmp.Compare(b.probability, a.probability) })
	all := 0
	for _, s := range samples {
		if s.positive {
			all++
		}
	}
	if all == 0 || all == len(samples) {
		return Curves{}, false
	}
	var c Curves
	c.ROC.add(0, 0)
	hits, others := 0, 0
	for i := 0; i < len(samples); {
		for p := samples[i].probability; i < len(samples) && samples[i].probability == p; i++ {
			if samples[i].positive {
				hits++
			} else {
				others++
			}
		}
		c.ROC.add(share(others, len(samples)-all), share(hits, all))
		c.PrecisionRecall.add(share(hits, all), share(hits, hits+others))
	}
	return c, true
}

func (c *Curve) add(x, y float64) { c.X, c.Y = append(c.X, x), append(c.Y, y) }

// Thin returns the curve through at most n of its points, its ends among them, chosen so that the line misses the others by little.
func (c Curve) Thin(n int) Curve {
	for tolerance := 1e-9; ; tolerance *= 4 {
		out := c.simplify(tolerance)
		if len(out.X) <= n || tolerance > 1 {
			return out
		}
	}
}

// simplify keeps the points that a line through those kept would miss by more than tolerance in x or y (Ramer 1972; Douglas and
// Peucker 1973).
func (c Curve) simplify(tolerance float64) Curve {
	keep := make([]bool, len(c.X))
	keep[0], keep[len(keep)-1] = true, true
	type span struct{ a, b int }
	for stack := []span{{0, len(keep) - 1}}; len(stack) > 0; {
		s := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		far, at := tolerance, -1
		dx, dy := c.X[s.b]-c.X[s.a], c.Y[s.b]-c.Y[s.a]
		length := math.Hypot(dx, dy)
		for i := s.a + 1; i < s.b; i++ {
			d := math.Hypot(c.X[i]-c.X[s.a], c.Y[i]-c.Y[s.a])
			if length > 0 {
				d = math.Abs(dx*(c.Y[i]-c.Y[s.a])-dy*(c.X[i]-c.X[s.a])) / length
			}
			if d > far {
				far, at = d, i
			}
		}
		if at >= 0 {
			keep[at] = true
			stack = append(stack, span{s.a, at}, span{at, s.b})
		}
	}
	var out Curve
	for i, k := range keep {
		if k {
			out.add(c.X[i], c.Y[i])
		}
	}
	return out
}
