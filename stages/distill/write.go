package distill

import (
	"fmt"
	"strings"

	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/report"
	"github.com/darkroom-dev/darkroom/stages/recipe"
)

// result is what a distillation came to.
type result struct {
	student *learn.Result
	alone   *learn.Result // without the teacher; nil: not trained
	teacher any           // share of right answers on validation, or nil
}

// write makes the outputs and reports the values.
func (w *work) write(c learn.Config, r *result) error {
	s := r.student
	if err := s.Best.Save(w.job.Output("model")); err != nil {
		return err
	}
	if err := s.Last.Save(w.job.Output("last")); err != nil {
		return err
	}
	if err := learn.WriteCurves(w.job.Output("curves"), learn.Curves{BestEpoch: s.BestEpoch, Epochs: s.Epochs, Groups: s.Groups}); err != nil {
		return err
	}
	if err := w.page(c, r).WriteFile(w.job.Output("report")); err != nil {
		return err
	}
	best := score(s)
	w.job.Value("best_epoch", bestEpoch(s))
	w.job.Value("accuracy", w.accuracy(best))
	w.job.Value("loss", best.Loss)
	w.job.Value("parameters", s.Best.Parameters())
	w.job.Value("teacher_accuracy", r.teacher)
	w.job.Value("gain", nil)
	if r.alone != nil {
		w.job.Value("gain", best.Accuracy-score(r.alone).Accuracy)
	}
	recipe.MeasureMemory(w.job, s.Memory)
	w.job.Measure("images_per_second", s.Rate)
	return nil
}

// accuracy is nil where there are no labels to tell it by.
func (w *work) accuracy(s learn.Score) any {
	if w.validation == nil && !w.labelled {
		return nil
	}
	return s.Accuracy
}

// score is what the best model is judged by.
func score(r *learn.Result) learn.Score {
	if r.UseMean && r.Averaged.Score != nil {
		return *r.Averaged.Score
	}
	e := r.Epochs[bestEpoch(r)-1]
	if e.Validation != nil {
		return *e.Validation
	}
	return learn.Score{Loss: e.TrainLoss, Accuracy: e.TrainAccuracy}
}

func bestEpoch(r *learn.Result) int {
	if r.UseMean {
		return len(r.Epochs)
	}
	return r.BestEpoch
}

// page is the report.
func (w *work) page(c learn.Config, r *result) *report.Page {
	info, best := w.images, score(r.student)
	p := report.New("Distillation into " + w.modelName())
	p.Subtitle(fmt.Sprintf("%s images of %d×%d, %d classes, %s", report.Count(w.data.Len()), info.Width, info.Height, len(w.classes), recipe.Epochs(len(r.student.Epochs))))
	var facts []report.Fact
	if w.accuracy(best) != nil {
		on := "of the training images, while the weights moved"
		if w.validation != nil {
			on = "of " + report.Count(w.validation.Len()) + " validation images"
		}
		facts = append(facts, report.Fact{Name: "Accuracy", Value: report.Percent(best.Accuracy), Note: on})
	}
	if r.alone != nil {
		alone := score(r.alone).Accuracy
		gain, tone := 100*(best.Accuracy-alone), report.Good
		if gain < 0 {
			tone = report.Bad
		}
		facts = append(facts, report.Fact{Name: "Gain", Value: fmt.Sprintf("%+.2f", gain), Note: "points; " + report.Percent(alone) + " without the teacher", Tone: tone})
	}
	if share, ok := r.teacher.(float64); ok {
		name := "Teacher"
		if n := len(w.teachers); n > 1 {
			name = fmt.Sprintf("%d teachers together", n)
		}
		facts = append(facts, report.Fact{Name: name, Value: report.Percent(share), Note: "of the validation images"})
	}
	facts = append(facts, report.Fact{Name: "Parameters", Value: report.Count(r.student.Best.Parameters()), Note: "of the student"})
	p.Facts(append(facts, recipe.SkippedFacts(r.student.Epochs)...)...)
	p.Section("Curves")
	p.Plots(w.plots(r)...)
	if len(w.notes) > 0 {
		p.Section("What to know")
		for _, n := range w.notes {
			p.Text(strings.ToUpper(n[:1]) + n[1:] + ".")
		}
	}
	p.Section("Arguments")
	rows := append([][]string{{"model", w.modelName()}, recipe.ChosenRow(w.job.Args, "method", w.method)}, w.Rows(w.job.Args)...)
	p.Table(report.Table{Title: "How it was trained", Columns: []report.Column{{Name: "Argument"}, {Name: "Value"}}, Rows: rows})
	return p
}

func (w *work) plots(r *result) []report.LinePlot {
	var loss, agreed, accuracy, rate, alone []float64
	for _, e := range r.student.Epochs {
		loss, rate = append(loss, e.TrainLoss), append(rate, e.LearningRate)
		agreed = append(agreed, e.TrainMetrics[learn.AgreementMetric])
		if e.Validation != nil {
			accuracy = append(accuracy, e.Validation.Accuracy)
		} else if w.labelled {
			accuracy = append(accuracy, e.TrainAccuracy)
		}
	}
	if r.alone != nil {
		for _, e := range r.alone.Epochs {
			alone = append(alone, e.Validation.Accuracy)
		}
	}
	x := report.Axis{Name: "epoch"}
	var plots []report.LinePlot
	features := []float64{} // of the methods that compare them
	for _, e := range r.student.Epochs {
		for _, name := range []string{learn.HintMetric, learn.AttentionMetric} {
			if v, ok := e.TrainMetrics[name]; ok {
				features = append(features, v)
			}
		}
	}
	if len(accuracy) > 0 {
		series := []report.Series{{Name: "with the teacher", Y: accuracy}}
		if len(alone) > 0 {
			series = append(series, report.Series{Name: "without", Y: alone})
		}
		title := "Accuracy while training"
		if w.validation != nil {
			title = "Accuracy on the validation images"
		}
		plots = append(plots, report.LinePlot{Title: title, X: x, Y: report.Axis{Name: "accuracy", Percent: true}, Series: series,
			Marks: []report.Mark{{X: float64(bestEpoch(r.student)), Name: "best"}}})
	}
	if len(features) > 0 {
		plots = append(plots, report.LinePlot{Title: "Distance of the features from the teacher's", X: x, Y: report.Axis{Name: "part of the loss", Zero: true}, Series: []report.Series{{Name: "features", Y: features}}})
	}
	return append(plots,
		report.LinePlot{Title: "Agreement with the teacher while training", X: x, Y: report.Axis{Name: "same first answer", Percent: true}, Series: []report.Series{{Name: "agreement", Y: agreed}}},
		report.LinePlot{Title: "Loss of the distillation", X: x, Y: report.Axis{Name: "loss", Zero: true}, Series: []report.Series{{Name: "loss", Y: loss}}},
		report.LinePlot{Title: "Learning rate at the end of each epoch", X: x, Y: report.Axis{Name: "learning rate", Zero: true}, Series: []report.Series{{Name: "learning rate", Y: rate}}})
}
