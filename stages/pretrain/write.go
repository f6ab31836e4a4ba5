package pretrain

import (
	"fmt"
	"math"
	"strconv"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/learn/probe"
	"github.com/darkroom-dev/darkroom/report"
	"github.com/darkroom-dev/darkroom/stages/recipe"
)

// write makes the outputs and reports the values.
func (w *work) write(c *learn.Config, r *result) error {
	if err := r.model.Save(w.job.Output("model")); err != nil {
		return err
	}
	epochs := r.training.Epochs
	if err := learn.WriteCurves(w.job.Output("curves"), learn.Curves{BestEpoch: len(epochs), Epochs: epochs, Groups: r.training.Groups}); err != nil {
		return err
	}
	last := epochs[len(epochs)-1]
	knnBefore, linearBefore := r.before.accuracies()
	knn, linear := r.after.accuracies()
	w.job.Value("loss", last.TrainLoss)
	w.job.Value("knn_accuracy", defined(knn))
	w.job.Value("linear_accuracy", defined(linear))
	w.job.Value("knn_before", defined(knnBefore))
	w.job.Value("linear_before", defined(linearBefore))
	w.job.Value("width", r.width)
	recipe.MeasureMemory(w.job, r.training.Memory)
	w.job.Measure("images_per_second", r.training.Rate)
	p, err := w.page(c, r)
	if err != nil {
		return err
	}
	return p.WriteFile(w.job.Output("report"))
}

func (w *work) page(c *learn.Config, r *result) (*report.Page, error) {
	info := w.data.Info()
	epochs := r.training.Epochs
	p := report.New("Pre-training")
	p.Subtitle(fmt.Sprintf("%s on %s images of %d×%d, %s of batches of %d", w.method, report.Count(w.data.Len()), info.Width, info.Height, recipe.Epochs(c.Epochs), w.Batch))
	facts := []report.Fact{{Name: "Loss", Value: report.Number(epochs[len(epochs)-1].TrainLoss, 4), Note: "of the last epoch"}}
	if r.after != nil {
		facts = append(facts,
			report.Fact{Name: "Neighbours", Value: report.Percent(r.after.knn), Note: "of classes told; " + report.Percent(r.before.knn) + " before"},
			report.Fact{Name: "Linear", Value: report.Percent(r.after.linear), Note: "of classes told; " + report.Percent(r.before.linear) + " before"})
	}
	facts = append(facts, report.Fact{Name: "Features", Value: report.Count(r.width)})
	p.Facts(append(facts, recipe.SkippedFacts(epochs)...)...)
	p.Section("Curves")
	p.Plots(w.plots(r)...)
	if r.after != nil {
		if err := w.pictures(p, r.after); err != nil {
			return nil, err
		}
	}
	p.Section("Arguments")
	rows := [][]string{{"model", w.modelName()}, {"method", w.method}}
	number := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	if w.method == simCLR {
		rows = append(rows, []string{"temperature", number(w.temperature)})
	}
	rows = append(rows, []string{"projection", fmt.Sprint(w.projection)})
	if w.method != simCLR {
		rows = append(rows, []string{"prediction", fmt.Sprint(w.prediction)})
	}
	if w.method == byol {
		rows = append(rows, []string{"target_decay", number(w.decay)})
	}
	rows = append(rows, w.Rows(w.job.Args)...)
	p.Table(report.Table{Title: "How it was trained", Columns: []report.Column{{Name: "Argument"}, {Name: "Value"}}, Rows: rows})
	return p, nil
}

func (w *work) modelName() string {
	if w.model == "" {
		return "the given model"
	}
	return w.model
}

func (w *work) plots(r *result) []report.LinePlot {
	var loss, rate, knn, metric []float64
	name := "views recognised"
	for _, e := range r.training.Epochs {
		loss, rate = append(loss, e.TrainLoss), append(rate, e.LearningRate)
		if e.Validation != nil {
			knn = append(knn, e.Validation.Accuracy)
		}
		if w.method != simCLR {
			metric, name = append(metric, e.TrainMetrics[learn.SpreadMetric]), "spread of the projections (0: all images collapsed)"
		} else {
			metric = append(metric, e.TrainAccuracy)
		}
	}
	x := report.Axis{Name: "epoch"}
	plots := []report.LinePlot{{Title: "Loss", X: x, Y: report.Axis{Name: "loss"}, Series: []report.Series{{Name: "loss", Y: loss}}},
		{Title: "While training", X: x, Y: report.Axis{Name: name, Percent: w.method == simCLR}, Series: []report.Series{{Name: name, Y: metric}}}}
	if len(knn) > 0 {
		plots = append(plots, report.LinePlot{Title: "Neighbours", X: x, Y: report.Axis{Name: "accuracy", Percent: true}, Series: []report.Series{{Name: "accuracy", Y: knn}}})
	}
	return append(plots, report.LinePlot{Title: "Learning rate at the end of each epoch", X: x, Y: report.Axis{Name: "learning rate", Zero: true}, Series: []report.Series{{Name: "learning rate", Y: rate}}})
}

// How much the pictures of the report show.
const (
	shownPoints     = 1500
	shownQueries    = 6
	shownNeighbours = 5
)

// pictures shows the embedding in a plane and what lies next to some images.
func (w *work) pictures(p *report.Page, j *judgement) error {
	of := w.probe
	if w.test != nil {
		of = w.test
	}
	f := j.features
	n := min(f.Len(), shownPoints)
	shown := probe.Features{Width: f.Width, Values: f.Values[:n*f.Width], Labels: f.Labels[:n], Classes: f.Classes}
	if plane, err := probe.Plane(shown); err == nil { // fewer than three images, or one feature: there is nothing to draw
		groups := make([]report.PointGroup, f.Classes)
		for c, name := range of.Info().Classes {
			groups[c].Name = name
		}
		for i, at := range plane {
			groups[f.Labels[i]].Points = append(groups[f.Labels[i]].Points, report.Point{X: round(at[0]), Y: round(at[1])})
		}
		p.Section("Embedding")
		p.Scatter(report.ScatterPlot{Title: "Images along the first two principal components of their features", NoTicks: true, Groups: groups})
	}
	p.Section("Nearest neighbours")
	p.Text("An image and, behind it, those whose features are most alike.")
	for q := range min(shownQueries, n) {
		at := q * n / min(shownQueries, n)
		row := []report.Thumbnail{w.thumbnail(of, at, "")}
		for _, i := range probe.Neighbours(shown, at, shownNeighbours) {
			tone := report.Good
			if of.Label(i) != of.Label(at) {
				tone = report.Bad
			}
			t := w.thumbnail(of, i, "")
			t.Tone = tone
			row = append(row, t)
		}
		p.Thumbnails(row...)
	}
	return nil
}

func (w *work) thumbnail(d *dataset.Dataset, i int, note string) report.Thumbnail {
	info := d.Info()
	pixels, err := d.Pixels(i, make([]byte, info.ImageSize()))
	if err != nil { // it was read a moment ago; an empty picture says enough
		pixels = make([]byte, info.ImageSize())
	}
	return report.Thumbnail{Pixels: pixels, Height: info.Height, Width: info.Width, Channels: info.Channels, Caption: info.Classes[d.Label(i)], Note: note}
}

// round keeps six digits: the last ones of an eigenvector are the processor's.
func round(f float64) float64 {
	if f == 0 {
		return 0
	}
	scale := math.Pow(10, 5-math.Floor(math.Log10(math.Abs(f))))
	return math.Round(f*scale) / scale
}
