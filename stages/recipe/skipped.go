package recipe

import (
	"fmt"
	"strconv"

	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/report"
)

// SkippedFacts says how many steps loss scaling skipped; none where the loss was not scaled.
func SkippedFacts(epochs []learn.Epoch) []report.Fact {
	last := epochs[len(epochs)-1]
	if last.LossScale == 0 {
		return nil
	}
	f := report.Fact{Name: "Skipped steps", Value: strconv.Itoa(last.Skipped), Note: fmt.Sprintf("of %s; gradients not finite in fp16", report.Count(last.Step))}
	if last.Skipped*20 > last.Step { // the search for a scale takes a few
		f.Tone = report.Bad
	}
	return []report.Fact{f}
}

// SkippedPlot shows when steps were skipped; none where none were.
func SkippedPlot(epochs []learn.Epoch) []report.LinePlot {
	var skipped []float64
	for _, e := range epochs {
		skipped = append(skipped, float64(e.Skipped))
	}
	if epochs[len(epochs)-1].Skipped == 0 {
		return nil
	}
	return []report.LinePlot{{Title: "Steps skipped so far by loss scaling", X: report.Axis{Name: "epoch"}, Y: report.Axis{Name: "steps", Zero: true}, Series: []report.Series{{Name: "skipped", Y: skipped}}}}
}
