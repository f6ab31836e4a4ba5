package recipe

import (
	"testing"

	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/report"
)

// What loss scaling skipped is shown where a loss was scaled, and is bad news where it is more than the search for a scale takes.
func TestSkippedFacts(t *testing.T) {
	for _, c := range []struct {
		last  learn.Epoch
		facts int
		plots int
		tone  report.Tone
	}{
		{learn.Epoch{Step: 100}, 0, 0, ""},
		{learn.Epoch{Step: 100, LossScale: 1024}, 1, 0, ""},
		{learn.Epoch{Step: 100, LossScale: 1024, Skipped: 5}, 1, 1, ""},
		{learn.Epoch{Step: 100, LossScale: 1, Skipped: 6}, 1, 1, report.Bad},
	} {
		epochs := []learn.Epoch{{}, c.last}
		facts, plots := SkippedFacts(epochs), SkippedPlot(epochs)
		if len(facts) != c.facts || len(plots) != c.plots || len(facts) > 0 && facts[0].Tone != c.tone {
			t.Errorf("%+v: %+v, %d plots", c.last, facts, len(plots))
		}
	}
}
