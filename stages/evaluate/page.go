package evaluate

import (
	"fmt"
	"math"
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
	p.Subtitle(fmt.Sprintf("%s images of %d classes, %d×%d, %s", report.Count(r.model.Count), len(info.Classes), info.Width, info.Height, color))
	p.Facts(r.facts()...)
	p.Section("Confusion matrix")
	p.Text("A row is a true class, a column is what the model took it for.")
	p.Matrix(report.Matrix{Classes: info.Classes, Counts: r.model.Confusion})
	if pairs := r.pairTable(); len(pairs.Rows) > 0 {
		p.Table(pairs)
	}
	p.Section("Classes")
	p.Table(r.classTable())
	if r.baseline != nil {
		r.comparisonSection(p)
	}
	r.calibrationSection(p)
	r.mistakesSection(p, worst)
	return p.WriteFile(path)
}

func (r *result) facts() []report.Fact {
	m := r.model
	low, high := infer.Interval(m.Accuracy, m.Count)
	facts := []report.Fact{{Name: "Accuracy", Value: report.Percent(m.Accuracy), Note: fmt.Sprintf("95 %% interval %s to %s", report.Percent(low), report.Percent(high))}}
	for _, k := range r.topK {
		if k < len(m.classes) {
			facts = append(facts, report.Fact{Name: fmt.Sprintf("Top-%d accuracy", k), Value: report.Percent(m.top(k))})
		}
	}
	facts = append(facts,
		report.Fact{Name: "Macro F1", Value: report.Percent(m.Macro.F1)},
		report.Fact{Name: "Loss", Value: report.Number(m.LogLoss, 4), Note: "cross entropy, nats"},
		report.Fact{Name: "Calibration error", Value: report.Percent(m.CalibrationError), Note: "confidence against accuracy"})
	if b := r.baseline; b != nil {
		f := report.Fact{Name: "Against the baseline", Value: report.Points(m.Accuracy - b.Accuracy), Note: "baseline " + report.Percent(b.Accuracy)}
		switch {
		case m.Accuracy < b.Accuracy:
			f.Tone = report.Bad
		case m.Accuracy > b.Accuracy:
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
	for t, row := range r.model.Confusion {
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
			report.Percent(float64(p.count) / float64(r.model.Classes[p.truth].Images))})
	}
	return table
}

func (r *result) classTable() report.Table {
	table := report.Table{Title: "Precision, recall and F1", Folded: len(r.model.classes) > classesOpen, Columns: []report.Column{{Name: "Class"}, {Name: "Images", Number: true}, {Name: "Precision", Number: true}, {Name: "Recall", Number: true}, {Name: "F1", Number: true}, {Name: "AUROC", Number: true}}}
	if r.baseline != nil {
		table.Columns = append(table.Columns, report.Column{Name: "Recall against baseline", Number: true})
	}
	line := func(name string, images int, precision, recall, f1, auroc, before float64) {
		row := []string{name, report.Count(images), report.Percent(precision), report.Percent(recall), report.Percent(f1), report.Number(auroc, 4)}
		if r.baseline != nil {
			row = append(row, report.Points(recall-before))
		}
		table.Rows = append(table.Rows, row)
	}
	m, before := r.model, &infer.Scores{Classes: make([]infer.ClassScores, len(r.model.Classes))}
	if r.baseline != nil {
		before = r.baseline.Scores
	}
	for i, c := range m.Classes {
		line(m.classes[i], c.Images, c.Precision, c.Recall, c.F1, m.Rankings[i].AUROC, before.Classes[i].Recall)
	}
	line("Macro average", m.Count, m.Macro.Precision, m.Macro.Recall, m.Macro.F1, m.MeanRanking.AUROC, before.Macro.Recall)
	line("Weighted average", m.Count, m.Weighted.Precision, m.Weighted.Recall, m.Weighted.F1, math.NaN(), before.Weighted.Recall)
	return table
}

// calibrationSection draws accuracy over confidence.
func (r *result) calibrationSection(p *report.Page) {
	s := report.Series{Name: "model"}
	for _, b := range r.model.Calibration {
		if b.Count > 0 {
			s.X, s.Y = append(s.X, b.Confidence), append(s.Y, b.Accuracy)
		}
	}
	p.Section("Confidence")
	p.Text("How often the model is right, by how sure it is. Below the line of an honest model it is too sure of itself, above it not sure enough.")
	p.Lines(report.LinePlot{Title: "Calibration", X: report.Axis{Name: "confidence of the answer", Percent: true}, Y: report.Axis{Name: "right answers", Percent: true, Zero: true},
		Series: []report.Series{s, {Name: "honest", X: []float64{s.X[0], 1}, Y: []float64{s.X[0], 1}}}})
}

// mistakesSection shows the images whose true class the model held least probable.
func (r *result) mistakesSection(p *report.Page, worst int) {
	mistakes := r.model.mistakes()
	p.Section("Worst mistakes")
	if len(mistakes) == 0 {
		p.Text("There is none: every answer is right.")
		return
	}
	shown := mistakes[:min(worst, len(mistakes))]
	p.Text(fmt.Sprintf("%s of %s images are answered wrongly. Shown are the %s for which the true class was held least probable.",
		report.Count(len(mistakes)), report.Count(r.model.Count), report.Count(len(shown))))
	info := r.data.Info()
	var pictures []report.Thumbnail
	for _, m := range shown {
		pictures = append(pictures, report.Thumbnail{Pixels: r.data.Image(m.image), Height: info.Height, Width: info.Width, Channels: info.Channels,
			Caption: fmt.Sprintf("%s %s", info.Classes[m.answer], report.Percent(m.confidence)),
			Note:    fmt.Sprintf("is %s (%s)\n%s", info.Classes[r.model.labels[m.image]], report.Percent(m.truth), r.data.ID(m.image)),
		})
	}
	p.Thumbnails(pictures...)
}

// comparisonSection sets the model against the baseline, image by image.
func (r *result) comparisonSection(p *report.Page) {
	c := r.compare()
	p.Section("Against the baseline")
	p.Table(report.Table{Columns: []report.Column{{Name: ""}, {Name: "Model", Number: true}, {Name: "Baseline", Number: true}}, Rows: [][]string{
		{"Accuracy", report.Percent(r.model.Accuracy), report.Percent(r.baseline.Accuracy)},
		{"Macro F1", report.Percent(r.model.Macro.F1), report.Percent(r.baseline.Macro.F1)},
		{"Loss", report.Number(r.model.LogLoss, 4), report.Number(r.baseline.LogLoss, 4)},
		{"Calibration error", report.Percent(r.model.CalibrationError), report.Percent(r.baseline.CalibrationError)},
		{"Images that only this one answers rightly", report.Count(c.gained), report.Count(c.lost)},
	}})
	verdict := "A difference like this is likely between equally good models, by chance alone"
	if c.chance < 0.05 {
		verdict = "A difference like this is unlikely between equally good models"
	}
	chance := "p = " + report.Number(c.chance, 4)
	if c.chance < 0.0001 {
		chance = "p < 0.0001"
	}
	p.Text(fmt.Sprintf("Both give the same answer for %s of the images. %s (McNemar's exact test, %s).",
		report.Percent(float64(c.same)/float64(r.model.Count)), verdict, chance))
}
