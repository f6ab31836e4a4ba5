package evaluate

import (
	"context"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/stages"
)

// interval is what holds 95 % of the resamples of a number.
type interval struct {
	name      string
	low, high float64
}

// bootstrapSeed is fixed, so that models are judged by the same resamples whatever the pipeline's seed.
const bootstrapSeed = 0

// bootstrap estimates how much the numbers depend on which images happened to be in the dataset. Both models get the same resamples.
func (r *result) bootstrap(ctx context.Context, job *stages.Job) error {
	if r.resamples == 0 {
		return nil
	}
	kinds := []string{"accuracy", "loss", "f1"}
	if r.baseline != nil {
		kinds = append(kinds, "accuracy_drop")
	}
	job.Progress(stages.Progress{Phase: "intervals"})
	ranges := infer.Bootstrap(r.data.Len(), r.resamples, 0.95, bootstrapSeed, func(drawn []int32) []float64 {
		if ctx.Err() != nil {
			return make([]float64, len(kinds))
		}
		m := r.tally(r.model, drawn)
		out := []float64{m.accuracy, m.loss, m.f1}
		if r.baseline != nil {
			hits := 0
			for _, i := range drawn {
				if r.baseline.right[i] {
					hits++
				}
			}
			out = append(out, float64(hits)/float64(len(drawn))-m.accuracy)
		}
		return out
	})
	for i, name := range kinds {
		r.ranges = append(r.ranges, interval{name, ranges[i][0], ranges[i][1]})
	}
	return ctx.Err()
}

// rangeOf returns the interval of that name.
func (r *result) rangeOf(name string) (interval, bool) {
	for _, i := range r.ranges {
		if i.name == name {
			return i, true
		}
	}
	return interval{}, false
}
