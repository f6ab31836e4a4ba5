package train

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/report"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/recipe"
)

// page is the report.
func (t *train) page(args stages.Args, c learn.Config, r *learn.Result) *report.Page {
	info, _ := c.Data.Info().Augmented() // it was trained on
	best := score(r)
	on := "training images, while the weights moved"
	if c.Validation != nil {
		on = report.Count(c.Validation.Len()) + " validation images"
	}
	p := report.New("Training of " + t.modelName())
	p.Subtitle(fmt.Sprintf("%s images of %d×%d, %d classes, %s", report.Count(c.Data.Len()), info.Width, info.Height, len(info.Classes), recipe.Epochs(len(r.Epochs))))
	facts := []report.Fact{
		{Name: "Accuracy", Value: report.Percent(best.Accuracy), Note: "on " + on},
		{Name: "Loss", Value: report.Number(best.Loss, 4), Note: t.lossNote(c)},
		t.epochFact(c, r),
		{Name: "Parameters", Value: report.Count(r.Best.Parameters())},
	}
	p.Facts(append(facts, recipe.SkippedFacts(r.Epochs)...)...)
	p.Section("Curves")
	if len(r.Epochs) == 1 {
		p.Table(epochTable(r.Epochs[0]))
	}
	p.Plots(t.plots(c, r)...)
	if len(t.notes) > 0 {
		p.Section("The model it started from")
		for _, n := range t.notes {
			p.Text(strings.ToUpper(n[:1]) + n[1:] + ".")
		}
		if t.taken != nil {
			p.Table(t.taken.Table())
		}
	}
	p.Section("Arguments")
	p.Table(report.Table{Title: "How it was trained", Columns: []report.Column{{Name: "Argument"}, {Name: "Value"}}, Rows: t.arguments(args, c)})
	return p
}

// epochTable holds the numbers of a training's only epoch, of which there is no curve.
func epochTable(e learn.Epoch) report.Table {
	out := report.Table{Title: "The only epoch", Columns: []report.Column{{Name: "Images"}, {Name: "Accuracy", Number: true}, {Name: "Loss", Number: true}},
		Rows: [][]string{{"training, while the weights moved", report.Percent(e.TrainAccuracy), report.Number(e.TrainLoss, 4)}}}
	if v := e.Validation; v != nil {
		out.Rows = append(out.Rows, []string{"validation", report.Percent(v.Accuracy), report.Number(v.Loss, 4)})
	}
	return out
}

func (t *train) plots(c learn.Config, r *learn.Result) []report.LinePlot {
	var loss, accuracy, validLoss, validAccuracy []float64
	for _, e := range r.Epochs {
		loss, accuracy = append(loss, e.TrainLoss), append(accuracy, e.TrainAccuracy)
		if e.Validation != nil {
			validLoss, validAccuracy = append(validLoss, e.Validation.Loss), append(validAccuracy, e.Validation.Accuracy)
		}
	}
	series := func(train, validation []float64) []report.Series {
		s := []report.Series{{Name: "training", Y: train}}
		if len(validation) > 0 {
			s = append(s, report.Series{Name: "validation", Y: validation})
		}
		return s
	}
	var marks []report.Mark
	if len(validLoss) > 0 {
		marks = []report.Mark{{X: float64(bestEpoch(r)), Name: "best"}}
	}
	schedule := schedulePlot(c, r)
	if len(r.Epochs) == 1 {
		return []report.LinePlot{schedule}
	}
	x := report.Axis{Name: "epoch"}
	return append([]report.LinePlot{
		{Title: "Accuracy", X: x, Y: report.Axis{Name: "accuracy", Percent: true}, Series: series(accuracy, validAccuracy), Marks: marks},
		{Title: "Loss", X: x, Y: report.Axis{Name: "loss", Zero: true}, Series: series(loss, validLoss), Marks: marks},
		schedule,
	}, recipe.SkippedPlot(r.Epochs)...)
}

// shownGroups is the most groups of parameters whose learning rates are drawn; of more, the first and the last.
const shownGroups = 6

// schedulePlot is the learning rate of every step of the whole training, at most 400 points of it, of each group of parameters, up to the end of the last.
func schedulePlot(c learn.Config, r *learn.Result) report.LinePlot {
	perEpoch := max(c.Data.Len()/c.Batch, 1)
	total := c.Epochs * perEpoch
	every := (total + 398) / 399
	var x, y []float64
	for step := 0; step < total; step += every {
		x, y = append(x, float64(step)/float64(perEpoch)), append(y, c.StepRate(step, total, perEpoch))
	}
	x, y = append(x, float64(c.Epochs)), append(y, c.StepRate(total-1, total, perEpoch))
	p := report.LinePlot{Title: "Learning rate, as the schedule has it", X: report.Axis{Name: "epochs done"}, Y: report.Axis{Name: "learning rate", Zero: true},
		Series: []report.Series{{Name: "learning rate", X: x, Y: y}}, NoLast: true, NoDots: true}
	if len(r.Epochs) < c.Epochs {
		p.Marks = []report.Mark{{X: float64(len(r.Epochs)), Name: "stopped"}}
	}
	groups := r.Groups
	if len(groups) == 0 {
		return p
	}
	if len(groups) > shownGroups {
		groups = []learn.RateGroup{groups[0], groups[len(groups)-1]}
	}
	p.Series = nil
	for _, g := range groups {
		scaled := make([]float64, len(y))
		for i, v := range y {
			scaled[i] = v * g.Factor
		}
		p.Series = append(p.Series, report.Series{Name: "from " + g.First + " on", X: x, Y: scaled})
	}
	return p
}

func (t *train) epochFact(c learn.Config, r *learn.Result) report.Fact {
	if c.Validation == nil && !r.UseMean {
		return report.Fact{Name: "Weights", Value: "last", Note: fmt.Sprintf("of %s; nothing to judge them on", recipe.Epochs(len(r.Epochs)))}
	}
	note := "of " + report.Count(len(r.Epochs))
	if len(r.Epochs) < c.Epochs {
		note += fmt.Sprintf("; stopped early, %d were asked for", c.Epochs)
	}
	if r.UseMean {
		return report.Fact{Name: "Weights", Value: fmt.Sprintf("mean of %d", r.Averaged.Count), Note: fmt.Sprintf("epochs, from %d on", r.Averaged.From)}
	}
	return report.Fact{Name: "Best epoch", Value: strconv.Itoa(r.BestEpoch), Note: note}
}

func (t *train) lossNote(c learn.Config) string {
	if _, ok := c.Objective.(learn.BinaryCrossEntropy); ok {
		return "binary cross entropy in nats"
	}
	return "cross entropy in nats"
}

func (t *train) arguments(args stages.Args, c learn.Config) [][]string {
	rows := append([][]string{{"model", t.modelName()}}, t.Rows(args)...)
	rows = append(rows, recipe.ChosenRow(args, "loss", t.loss))
	if t.balanced {
		rows = append(rows, []string{"balanced", "true"})
	}
	if policy := c.Data.Info().Policy; policy != nil {
		var names []string
		for _, o := range policy.Operations() {
			names = append(names, o.Name)
		}
		rows = append(rows, []string{"augmentation", strings.Join(names, ", ")})
	}
	return rows
}
