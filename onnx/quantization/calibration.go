package quantization

import (
	"fmt"
	"math"
)

// Method is how the range of a value follows from what the calibration images make of it.
type Method string

// The methods.
const (
	MinMax        Method = "minmax"         // smallest and largest number seen
	MovingAverage Method = "moving_average" // the average of the batches' smallest and largest, later ones weighing more
	Percentile    Method = "percentile"     // all but a share of the numbers
	Entropy       Method = "entropy"        // least Kullback-Leibler divergence (Migacz 2017), 2,048 bins
	MSE           Method = "mse"            // least squared error of the quantized numbers
)

// Methods lists them in the order of the documentation.
var Methods = []string{string(MSE), string(MinMax), string(MovingAverage), string(Percentile), string(Entropy)}

// bins is the number of bins of a histogram. Fewer make entropy the same as the largest number.
const bins = 2048

// maxClipped is the largest share of the numbers that entropy clips.
const maxClipped = 0.01

// momentum is the weight of what was seen before, in a moving average.
const momentum = 0.9

// Range is what a value's codes stand for: from Low to High, which include 0.
type Range struct{ Low, High float64 }

// Calibration finds the ranges of values from the numbers that images give them.
type Calibration struct {
	method    Method
	share     float64 // of Percentile, 0 to 1
	symmetric bool
	names     []string
	seen      []*observer
	swish     []bool // values that a HardSwish alone reads: what is below −3 does not matter
	raised    []float32
	bounded   bool // see Scheme.BoundedSwish
	pass      int
}

// observer is what is known of one value.
type observer struct {
	count             int
	low, high         float64
	meanLow, meanHigh float64
	histogram         [bins]int64 // of pass 2, over low … high
}

// NewCalibration observes the values of a plan. percentile, from 50 to 100, is for the method of that name.
func NewCalibration(p *Plan, method Method, percentile float64) *Calibration {
	c := &Calibration{method: method, share: percentile / 100, symmetric: p.scheme.Target == TensorRT, names: p.Observed, bounded: p.scheme.BoundedSwish && len(p.swishes) > 0}
	for _, value := range p.Observed {
		c.seen = append(c.seen, &observer{low: math.Inf(1), high: math.Inf(-1)})
		_, swish := p.swishes[value]
		c.swish = append(c.swish, swish)
	}
	return c
}

// Passes is how often all images must be shown: a histogram needs to know its ends.
func (c *Calibration) Passes() int {
	if !c.bounded && (c.method == MinMax || c.method == MovingAverage) {
		return 1
	}
	return 2
}

// NextPass starts the second pass.
func (c *Calibration) NextPass() { c.pass++ }

// Add takes the numbers of one batch for the value i of the plan's Observed. It refuses numbers that are not finite.
func (c *Calibration) Add(i int, data []float32) error {
	o := c.seen[i]
	if c.swish[i] {
		data = c.raise(data)
	}
	if c.pass > 0 {
		o.count2(data)
		return nil
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range data {
		low, high = math.Min(low, float64(v)), math.Max(high, float64(v))
	}
	if math.IsNaN(low) || math.IsInf(low, 0) || math.IsInf(high, 0) {
		return fmt.Errorf("the value %q has numbers that are not finite for the calibration images", c.names[i])
	}
	o.low, o.high = math.Min(o.low, low), math.Max(o.high, high)
	if o.count == 0 {
		o.meanLow, o.meanHigh = low, high
	} else {
		o.meanLow = float64(momentum*o.meanLow) + float64((1-momentum)*low)
		o.meanHigh = float64(momentum*o.meanHigh) + float64((1-momentum)*high)
	}
	o.count++
	return nil
}

// raise returns a copy in which no number is below −3, but such as are not finite.
func (c *Calibration) raise(data []float32) []float32 {
	c.raised = append(c.raised[:0], data...)
	for i, v := range c.raised {
		if v < -bend && v >= -math.MaxFloat32 {
			c.raised[i] = -bend
		}
	}
	return c.raised
}

func (o *observer) count2(data []float32) {
	width := (o.high - o.low) / bins
	if width <= 0 {
		o.histogram[0] += int64(len(data))
		return
	}
	inverse := 1 / width
	for _, v := range data {
		at := int((float64(v) - o.low) * inverse)
		o.histogram[min(max(at, 0), bins-1)]++
	}
}

// Ranges returns the range of every observed value.
func (c *Calibration) Ranges() map[string]Range {
	ranges := map[string]Range{}
	for i, o := range c.seen {
		r := Range{o.low, o.high}
		switch c.method {
		case MovingAverage:
			r = Range{o.meanLow, o.meanHigh}
		case Percentile:
			r = o.percentile(c.share)
		case Entropy:
			r = o.entropy()
		case MSE:
			r = o.leastSquares(c.symmetric)
		}
		if c.bounded && c.swish[i] && o.high > bend {
			r = o.swishBound(r)
		}
		ranges[c.names[i]] = Range{math.Min(r.Low, 0), math.Max(r.High, 0)}
	}
	return ranges
}

// Largest returns the largest magnitude seen of every value.
func (c *Calibration) Largest() map[string]float64 {
	all := map[string]float64{}
	for i, o := range c.seen {
		all[c.names[i]] = math.Max(math.Abs(o.low), math.Abs(o.high))
	}
	return all
}

// edge is the lower end of a bin.
func (o *observer) edge(i int) float64 { return o.low + float64(i)*(o.high-o.low)/bins }

func (o *observer) total() int64 {
	var n int64
	for _, c := range o.histogram {
		n += c
	}
	return n
}

// percentile leaves out half of the rest at either end; of values that are never negative, all of it at the upper one.
func (o *observer) percentile(share float64) Range {
	rest := (1 - share) * float64(o.total())
	below := rest / 2
	if o.low >= 0 {
		below = 0
	}
	above := rest - below
	first, last := 0, bins-1
	for sum := float64(o.histogram[0]); sum <= below && first < last; sum += float64(o.histogram[first]) {
		first++
	}
	for sum := float64(o.histogram[last]); sum <= above && last > first; sum += float64(o.histogram[last]) {
		last--
	}
	return Range{o.edge(first), o.edge(last + 1)}
}

// magnitudes is the histogram of |v| over 0 … the largest magnitude.
func (o *observer) magnitudes() (counts []float64, largest float64) {
	largest = math.Max(math.Abs(o.low), math.Abs(o.high))
	counts = make([]float64, bins)
	for i, n := range o.histogram {
		middle := math.Abs(o.low + (float64(i)+0.5)*(o.high-o.low)/bins)
		counts[min(int(middle/largest*bins), bins-1)] += float64(n)
	}
	return counts, largest
}

// entropy is the calibration of TensorRT 1 to 7 (Migacz 2017, "8-bit Inference with TensorRT"): the threshold at which the numbers up to it, spread over 128
// codes, tell least differently from the numbers themselves.
func (o *observer) entropy() Range {
	const codes = 128 // of the magnitudes
	if o.high <= o.low {
		return Range{o.low, o.high}
	}
	counts, largest := o.magnitudes()
	// The many zeros behind a ReLU are exact whatever the threshold is; as a part of the distribution they would hide the rest.
	counts[0] = counts[1]
	best, threshold := math.Inf(1), largest
	beyond := 0.0
	for _, n := range counts[codes:] {
		beyond += n
	}
	// The divergence does not see where the clipped numbers came from: of numbers that lie far from 0, such as the gates of squeeze and excitation, it would
	// find the smallest one alone a perfect picture of all. So few may be clipped.
	most := maxClipped * float64(o.total())
	for end := codes; end <= bins; end++ {
		if beyond > most {
			beyond -= counts[end] // something lies beyond, so this is not the last one
			continue
		}
		if d := divergence(counts[:end], beyond, codes); d < best {
			best, threshold = d, largest*(float64(end)+0.5)/bins
		}
		if end < bins {
			beyond -= counts[end]
		}
	}
	return Range{math.Max(o.low, -threshold), math.Min(o.high, threshold)}
}

// divergence is that of counts, the last of which takes what is clipped, from counts merged into codes and spread again over what was not 0.
func divergence(counts []float64, clipped float64, codes int) float64 {
	n := len(counts)
	total, merged := clipped, 0.0
	for _, c := range counts {
		total += c
		merged += c
	}
	if total == 0 || merged == 0 {
		return math.Inf(1)
	}
	d := 0.0
	for code := range codes {
		from, to := code*n/codes, (code+1)*n/codes
		sum, filled := 0.0, 0
		for _, c := range counts[from:to] {
			sum += c
			if c > 0 {
				filled++
			}
		}
		for i := from; i < to; i++ {
			p := counts[i]
			if i == n-1 {
				p += clipped
			}
			if p == 0 {
				continue
			}
			q := 1e-10
			if counts[i] > 0 {
				q = sum / float64(filled) / merged
			}
			d += p / total * math.Log(p/total/q)
		}
	}
	return d
}

// leastSquares tries ranges that leave out more and more at either end, and takes the one whose codes are nearest to the numbers.
func (o *observer) leastSquares(symmetric bool) Range {
	const steps = 40
	best, result := math.Inf(1), Range{o.low, o.high}
	try := func(r Range) {
		if e := o.squares(r, symmetric); e < best {
			best, result = e, r
		}
	}
	for i := range steps { // both ends alike, then each alone around the best
		f := 1 - float64(i)/float64(steps+10)
		try(Range{o.low * f, o.high * f})
	}
	for range 2 {
		middle := result
		for i := range steps {
			f := 0.5 + float64(i)/steps
			try(Range{math.Max(o.low, middle.Low*f), middle.High})
		}
		middle = result
		for i := range steps {
			f := 0.5 + float64(i)/steps
			try(Range{middle.Low, math.Min(o.high, middle.High*f)})
		}
	}
	return result
}

// squares is the error of the histogram's middles when r has 256 codes.
func (o *observer) squares(r Range, symmetric bool) float64 {
	p := parametersOf(Range{math.Min(r.Low, 0), math.Max(r.High, 0)}, symmetric)
	width := (o.high - o.low) / bins
	sum := 0.0
	for i, n := range o.histogram {
		if n > 0 {
			v := o.low + (float64(i)+0.5)*width
			d := p.rounded(v) - v
			// Within a bin the numbers are spread; their rounding error is that of the step where the bin is wider than it.
			sum += float64(n) * d * d
		}
	}
	return sum
}
