package infer

import (
	"cmp"
	"fmt"
	"slices"
)

// Estimator tells from a latency table how long the model would take with fewer channels, in the manner of NetAdapt (Yang et al. 2018): the time of each layer
// is looked up by its multiply-accumulates, between the widths that were measured. At a measured width it says what was measured.
type Estimator struct {
	Batch, Threads int
	layers         map[string]curve
	rest           curve // what is no layer, by the multiply-accumulates of all
	whole          curve // the time of a run by that of its nodes under the profiler, by the multiply-accumulates of all
	total          int   // multiply-accumulates of all layers of the model itself
	widths         int
}

// point is one measurement of something that does so many multiply-accumulates.
type point struct {
	macs  int
	value float64
}

// curve is made of points in order of their work.
type curve []point

// NewEstimator takes the rows of a batch and a number of threads; 0 stands for those of the first row.
func NewEstimator(rows []Latency, batch, threads int) (*Estimator, error) {
	if len(rows) == 0 {
		return nil, fmt.Errorf("the latency table has no rows")
	}
	e := &Estimator{Batch: cmp.Or(batch, rows[0].Batch), Threads: cmp.Or(threads, rows[0].Threads), layers: map[string]curve{}}
	sums, rests, wholes := map[float64]float64{}, map[float64]float64{}, map[float64]Latency{}
	for _, l := range rows {
		switch {
		case l.Batch != e.Batch || l.Threads != e.Threads:
		case l.Index < 0:
			wholes[l.Width] = l
		default:
			sums[l.Width] += l.Median
			if l.Layer == "" {
				rests[l.Width] += l.Median
			} else {
				e.layers[l.Layer] = append(e.layers[l.Layer], point{l.MACs, l.Median})
			}
		}
	}
	whole, ok := wholes[1]
	if !ok {
		return nil, fmt.Errorf("the latency table has no measurement of %d images on %d threads", e.Batch, e.Threads)
	}
	for width, l := range wholes {
		if sums[width] == 0 || l.Median == 0 {
			return nil, fmt.Errorf("the latency table has no times of nodes for %d images on %d threads at the width %g", e.Batch, e.Threads, width)
		}
		e.rest = append(e.rest, point{l.MACs, rests[width]})
		e.whole = append(e.whole, point{l.MACs, l.Median / sums[width]})
	}
	for name := range e.layers {
		e.layers[name].order()
		e.layers[name].rise()
	}
	e.rest.order()
	e.rest.rise()
	e.whole.order()
	e.total, e.widths = whole.MACs, len(wholes)
	return e, nil
}

// Widths is how many widths were measured. With one, times are taken to be proportional to the work, which leaves out what every run of a node costs.
func (e *Estimator) Widths() int { return e.widths }

// Unlike names a layer whose multiply-accumulates in the model are not those that the table was measured with; "" where it is a table of this model.
func (e *Estimator) Unlike(macs map[string]int) string {
	var names []string
	for name := range e.layers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c := e.layers[name]
		if macs[name] != c[len(c)-1].macs {
			return name
		}
	}
	return ""
}

// Milliseconds estimates a run of a model with these multiply-accumulates, by layer.
func (e *Estimator) Milliseconds(macs map[string]int) float64 {
	total, sum := 0, 0.0
	var names []string
	for name, n := range macs {
		total += n
		names = append(names, name)
	}
	slices.Sort(names) // the order of a sum counts for its last bits
	for _, name := range names {
		if c, ok := e.layers[name]; ok {
			sum += c.at(macs[name])
		}
	}
	// The ratio of the two ways of measuring lies between those at the measured widths.
	return (sum + e.rest.at(total)) * e.whole.clamped(total)
}

func (c curve) order() {
	slices.SortFunc(c, func(a, b point) int { return cmp.Compare(a.macs, b.macs) })
}

// rise makes more work never faster, which is noise.
func (c curve) rise() {
	for i := 1; i < len(c); i++ {
		c[i].value = max(c[i].value, c[i-1].value)
	}
}

// at interpolates between points; beyond them it goes on as between the nearest two, but never below what is proportional to the work.
func (c curve) at(macs int) float64 {
	if len(c) == 0 || macs <= 0 && len(c) == 1 {
		return 0
	}
	low, high := c.around(macs)
	proportional := low.value
	if low.macs > 0 {
		proportional *= float64(macs) / float64(low.macs)
	}
	if low.macs == high.macs {
		return proportional
	}
	v := low.value + (high.value-low.value)*float64(macs-low.macs)/float64(high.macs-low.macs)
	if macs < low.macs {
		return max(v, proportional)
	}
	return v
}

// clamped interpolates between points; beyond them it is the nearest one's value.
func (c curve) clamped(macs int) float64 {
	if macs <= c[0].macs {
		return c[0].value
	}
	if last := c[len(c)-1]; macs >= last.macs {
		return last.value
	}
	return c.at(macs)
}

// around returns the two points to draw a line through; the same one twice where there is only one.
func (c curve) around(macs int) (low, high point) {
	i := 1
	for i < len(c)-1 && c[i].macs < macs {
		i++
	}
	if len(c) == 1 {
		return c[0], c[0]
	}
	return c[i-1], c[i]
}
