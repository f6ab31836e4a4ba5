package infer

import (
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/darkroom-dev/darkroom/dataset"
)

// Bootstrap returns for each of a statistic's numbers the interval that holds the share level of its values over resamples of n samples drawn
// with replacement (the percentile bootstrap: Efron 1979). statistic gets the drawn samples' indexes, must not keep them, and may be called
// from several goroutines. Resample r is a function of (seed, r) alone. Values that are not numbers are left out.
func Bootstrap(n, resamples int, level float64, seed uint64, statistic func(drawn []int32) []float64) [][2]float64 {
	values := make([][]float64, resamples)
	var workers sync.WaitGroup
	count := min(resamples, runtime.GOMAXPROCS(0))
	for w := range count {
		workers.Go(func() {
			drawn := make([]int32, n)
			for r := w; r < resamples; r += count {
				s := dataset.NewStream(seed, "bootstrap", uint64(r))
				for i := range drawn {
					drawn[i] = int32(s.Intn(n))
				}
				values[r] = statistic(drawn)
			}
		})
	}
	workers.Wait()
	var out [][2]float64
	for k := range values[0] {
		var column []float64
		for _, v := range values {
			if !math.IsNaN(v[k]) {
				column = append(column, v[k])
			}
		}
		slices.Sort(column)
		out = append(out, [2]float64{Quantile(column, (1-level)/2), Quantile(column, (1+level)/2)})
	}
	return out
}

// Quantile returns the q-quantile of sorted values, between two of them in proportion; NaN of none.
func Quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	part := at - float64(below)
	return sorted[below]*(1-part) + sorted[above]*part
}
