package evaluate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/report"
)

// pairsShown is how many of the most frequent mistakes the report lists.
const pairsShown = 12

// classesOpen is the largest number of classes whose table is not folded.
const classesOpen = 60

func (r *result) writeReport(path string, worst int) error {
	info := r.data.Info()
	p := report.New("Evaluation")
	color := "grey"
	if info.Channels == 3 {
		color = "colour"
	}
	p.Subtitle(fmt.Sprintf("%s images of %d classes, %d×%d, %s", report.Count(r.data.Len()), len(info.Classes), info.Width, info.Height, color))
	p.Facts(r.facts()...)
	if r.members == nil {
		p.Section("Confusion matrix")
		p.Text("A row is a true class, a column is what the model took it for.")
		p.Matrix(report.Matrix{Classes: info.Classes, Counts: r.model.single.Confusion})
		if pairs := r.pairTable(); len(pairs.Rows) > 0 {
			p.Table(pairs)
		}
	}
	p.Section("Classes")
	p.Table(r.classTable())
	if r.baseline != nil {
		r.comparisonSection(p, worst)
	}
	if len(r.groups) > 0 {
		r.slicesSection(p)
	}
	if len(r.robust) > 0 {
		r.robustnessSection(p)
	}
	r.curvesSection(p)
	r.calibrationSection(p)
	r.mistakesSection(p, worst)
	return p.WriteFile(path)
}

// percentRange writes the two ends of an interval of shares.
func percentRange(low, high float64) string {
	return report.Percent(low) + " to " + report.Percent(high)
}

func (r *result) facts() []report.Fact {
	m := r.model
	low, high := infer.Interval(m.accuracy(), r.data.Len())
	facts := []report.Fact{{Name: "Accuracy", Value: report.Percent(m.accuracy()), Note: "95 % interval " + percentRange(low, high)}}
	if r.members != nil {
		facts[0].Name = "All classes right"
	} else {
		for _, k := range r.topK {
			if k < len(m.classes) {
				facts = append(facts, report.Fact{Name: fmt.Sprintf("Top-%d accuracy", k), Value: report.Percent(m.top(k))})
			}
		}
	}
	macro, _, _ := m.averages()
	f1 := report.Fact{Name: "Macro F1", Value: report.Percent(macro.F1)}
	if i, ok := r.rangeOf("f1"); ok {
		f1.Note = percentRange(i.low, i.high)
	}
	calibrationError, _ := m.calibration()
	loss := "cross entropy, nats"
	if r.members != nil {
		_, _, mean := m.perClass()
		facts = append(facts, report.Fact{Name: "mAP", Value: report.Percent(mean.AveragePrecision), Note: "mean average precision"},
			report.Fact{Name: "Hamming loss", Value: report.Percent(m.multi.Hamming), Note: "wrong pairs of image and class"})
		loss = "binary cross entropy, nats"
	}
	facts = append(facts, f1,
		report.Fact{Name: "Loss", Value: report.Number(m.logLoss(), 4), Note: loss},
		report.Fact{Name: "Calibration error", Value: report.Percent(calibrationError), Note: "confidence against accuracy"})
	if s := r.worstSlice(); s != nil {
		facts = append(facts, report.Fact{Name: "Worst slice", Value: report.Percent(s.accuracy), Note: s.text()})
	}
	if a, ok := r.robustAccuracy().(float64); ok {
		facts = append(facts, report.Fact{Name: "Spoiled images", Value: report.Percent(a), Note: "mean accuracy under corruptions"})
	}
	if b := r.baseline; b != nil {
		f := report.Fact{Name: "Against the baseline", Value: report.Points(m.accuracy() - b.accuracy()), Note: "baseline " + report.Percent(b.accuracy())}
		switch {
		case m.accuracy() < b.accuracy():
			f.Tone = report.Bad
		case m.accuracy() > b.accuracy():
			f.Tone = report.Good
		}
		facts = append(facts, f)
	}
	return facts
}

// pairTable lists the pairs of classes that are confused most often.
func (r *result) pairTable() report.Table {
	type pair struct{ truth, answer, count int }
	var pairs []pair
	for t, row := range r.model.single.Confusion {
		for p, count := range row {
			if t != p && count > 0 {
				pairs = append(pairs, pair{t, p, count})
			}
		}
	}
	sort.SliceStable(pairs, func(i, j int) bool { return pairs[i].count > pairs[j].count })
	table := report.Table{Title: "Most frequent mistakes", Columns: []report.Column{{Name: "True class"}, {Name: "Taken for"}, {Name: "Images", Number: true}, {Name: "Share of the class", Number: true}}}
	for _, p := range pairs[:min(pairsShown, len(pairs))] {
		table.Rows = append(table.Rows, []string{r.model.classes[p.truth], r.model.classes[p.answer], report.Count(p.count),
			report.Percent(float64(p.count) / float64(r.model.single.Classes[p.truth].Images))})
	}
	return table
}

func (r *result) classTable() report.Table {
	table := report.Table{Title: "Precision, recall and F1", Folded: len(r.model.classes) > classesOpen, Columns: []report.Column{{Name: "Class"}, {Name: "Images", Number: true}, {Name: "Precision", Number: true}, {Name: "Recall", Number: true}, {Name: "F1", Number: true}, {Name: "AUROC", Number: true}, {Name: "Average precision", Number: true}}}
	if r.baseline != nil {
		table.Columns = append(table.Columns, report.Column{Name: "Recall against baseline", Number: true})
	}
	line := func(name string, images int, a infer.Average, rank infer.Ranking, before float64) {
		row := []string{name, report.Count(images), report.Percent(a.Precision), report.Percent(a.Recall), report.Percent(a.F1), report.Number(rank.AUROC, 4), report.Number(rank.AveragePrecision, 4)}
		if r.baseline != nil {
			row = append(row, report.Points(a.Recall-before))
		}
		table.Rows = append(table.Rows, row)
	}
	scores, rankings, mean := r.model.perClass()
	macro, weighted, _ := r.model.averages()
	before := make([]infer.ClassScores, len(scores))
	var beforeMacro, beforeWeighted infer.Average
	if r.baseline != nil {
		before, _, _ = r.baseline.perClass()
		beforeMacro, beforeWeighted, _ = r.baseline.averages()
	}
	none := infer.Ranking{AUROC: math.NaN(), AveragePrecision: math.NaN()}
	for i, c := range scores {
		line(r.model.classes[i], c.Images, infer.Average{Precision: c.Precision, Recall: c.Recall, F1: c.F1}, rankings[i], before[i].Recall)
	}
	line("Macro average", r.data.Len(), macro, mean, beforeMacro.Recall)
	line("Weighted average", r.data.Len(), weighted, none, beforeWeighted.Recall)
	return table
}

func (r *result) slicesSection(p *report.Page) {
	p.Section("Slices")
	p.Text("The images by what their meta data say. Intervals that do not overlap are a difference that chance hardly makes.")
	for _, name := range r.slices {
		table := report.Table{Title: name, Columns: []report.Column{{Name: name}, {Name: "Images", Number: true}, {Name: "Accuracy", Number: true}, {Name: "95 % interval", Number: true}, {Name: "Macro F1", Number: true}, {Name: "Loss", Number: true}}}
		if r.baseline != nil {
			table.Columns = append(table.Columns, report.Column{Name: "Against baseline", Number: true})
		}
		for _, s := range r.groups {
			if s.name != name {
				continue
			}
			row := []string{s.value, report.Count(s.images), report.Percent(s.accuracy), percentRange(s.low, s.high), report.Percent(s.f1), report.Number(s.loss, 4)}
			if r.baseline != nil {
				row = append(row, report.Points(s.accuracy-s.baseline))
			}
			table.Rows = append(table.Rows, row)
		}
		table.Folded = len(table.Rows) > classesOpen
		p.Table(table)
	}
}

func (r *result) robustnessSection(p *report.Page) {
	p.Section("Spoiled images")
	p.Text("Accuracy when the images are spoiled, by severity; 0 are the images as they are.")
	plot := func(title string, clean float64, of func(robustness) []float64) report.LinePlot {
		l := report.LinePlot{Title: title, X: report.Axis{Name: "severity"}, Y: report.Axis{Name: "accuracy", Percent: true, Zero: true}}
		for _, c := range r.robust {
			s := report.Series{Name: c.name, X: []float64{0}, Y: []float64{clean}}
			for _, k := range ascending(r.severities) {
				s.X, s.Y = append(s.X, float64(r.severities[k])), append(s.Y, of(c)[k])
			}
			l.Series = append(l.Series, s)
		}
		return l
	}
	plots := []report.LinePlot{plot("The model", r.model.accuracy(), func(c robustness) []float64 { return c.model })}
	if r.baseline != nil {
		plots = append(plots, plot("The baseline", r.baseline.accuracy(), func(c robustness) []float64 { return c.baseline }))
	}
	p.Plots(plots...)
}

// ascending returns the indexes of numbers in their order.
func ascending(numbers []int) []int {
	at := make([]int, len(numbers))
	for i := range at {
		at[i] = i
	}
	slices.SortFunc(at, func(a, b int) int { return cmp.Compare(numbers[a], numbers[b]) })
	return at
}

// curvesShown is how many classes a plot of curves shows: those that are told from the rest worst.
const curvesShown = 6

func (r *result) curvesSection(p *report.Page) {
	_, rankings, _ := r.model.perClass()
	var order []int
	for c, rank := range rankings {
		if !math.IsNaN(rank.AUROC) {
			order = append(order, c)
		}
	}
	if len(order) == 0 {
		return
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rankings[a].AUROC, rankings[b].AUROC) })
	roc := report.LinePlot{Title: "ROC", X: report.Axis{Name: "false alarms, of the others", Percent: true, Zero: true}, Y: report.Axis{Name: "found, of the class", Percent: true, Zero: true}, NoLast: true, NoDots: true}
	pr := report.LinePlot{Title: "Precision and recall", X: report.Axis{Name: "recall", Percent: true, Zero: true}, Y: report.Axis{Name: "precision", Percent: true, Zero: true}, NoLast: true, NoDots: true}
	for _, c := range order[:min(curvesShown, len(order))] {
		curves, _ := r.curves(c)
		a, b := curves.ROC.Thin(curvePoints), curves.PrecisionRecall.Thin(curvePoints)
		roc.Series = append(roc.Series, report.Series{Name: r.model.classes[c], X: a.X, Y: a.Y})
		pr.Series = append(pr.Series, report.Series{Name: r.model.classes[c], X: b.X, Y: b.Y})
	}
	p.Section("Curves")
	text := "Each class against the rest, at every threshold of its probability."
	if len(order) > curvesShown {
		text += fmt.Sprintf(" Shown are the %d classes that are told from the rest worst; the metrics have the others.", curvesShown)
	}
	p.Text(text)
	p.Plots(roc, pr)
}

// calibrationSection draws accuracy over confidence.
func (r *result) calibrationSection(p *report.Page) {
	line := func(name string, bins []infer.CalibrationBin) report.Series {
		s := report.Series{Name: name}
		for _, b := range bins {
			if b.Count > 0 {
				s.X, s.Y = append(s.X, b.Confidence), append(s.Y, b.Accuracy)
			}
		}
		return s
	}
	calibrationError, bins := r.model.calibration()
	s := line("model", bins)
	series := []report.Series{s, {Name: "honest", X: []float64{s.X[0], 1}, Y: []float64{s.X[0], 1}}}
	text := "How often the model is right, by how sure it is. Below the line of an honest model it is too sure of itself, above it not sure enough."
	if r.members != nil {
		text = "How often a class is there, by how probable the model holds it, over all images and classes. Below the line of an honest model it is too sure of itself."
	}
	if temperature, scaledError, scaled, ok := r.scaled(); ok {
		series = append(series, line("after temperature scaling", scaled))
		text += fmt.Sprintf(" Logits divided by %s are the best calibrated ones (temperature scaling); the calibration error goes from %s to %s then, each half of the images scaled by what the other half says.",
			report.Number(temperature, 3), report.Percent(calibrationError), report.Percent(scaledError))
	}
	p.Section("Confidence")
	p.Text(text)
	p.Lines(report.LinePlot{Title: "Calibration", X: report.Axis{Name: "confidence of the answer", Percent: true}, Y: report.Axis{Name: "right answers", Percent: true, Zero: true}, Series: series, NoLast: true})
	histogram := report.BarChart{Title: "Answers by confidence"}
	for _, b := range bins {
		if b.Count > 0 {
			histogram.Bars = append(histogram.Bars, report.Bar{Name: report.Percent(b.Low) + " to " + report.Percent(b.High), Value: float64(b.Count), Text: report.Count(b.Count)})
		}
	}
	p.Bars(histogram)
}
