package train

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/report"
	"github.com/darkroom-dev/darkroom/stages"
)

// write makes the outputs and reports the values.
func (t *train) write(job *stages.Job, c learn.Config, r *learn.Result) error {
	if err := r.Best.Save(job.Output("model")); err != nil {
		return err
	}
	if err := r.Last.Save(job.Output("last")); err != nil {
		return err
	}
	if err := learn.WriteCurves(job.Output("curves"), learn.Curves{BestEpoch: r.BestEpoch, Epochs: r.Epochs}); err != nil {
		return err
	}
	if err := t.page(c, r).WriteFile(job.Output("report")); err != nil {
		return err
	}
	best := score(r.Epochs[r.BestEpoch-1])
	job.Value("best_epoch", r.BestEpoch)
	job.Value("accuracy", best.Accuracy)
	job.Value("loss", best.Loss)
	job.Value("parameters", r.Best.Parameters())
	job.Measure("images_per_second", r.Rate)
	if peak, ok := peakMemory(); ok {
		job.Measure("peak_memory", peak)
	}
	return nil
}

// score is what an epoch is judged by.
func score(e learn.Epoch) learn.Score {
	if e.Validation != nil {
		return *e.Validation
	}
	return learn.Score{Loss: e.TrainLoss, Accuracy: e.TrainAccuracy}
}

// page is the report.
func (t *train) page(c learn.Config, r *learn.Result) *report.Page {
	info := c.Data.Info()
	best := score(r.Epochs[r.BestEpoch-1])
	on := "training images, while the weights moved"
	if c.Validation != nil {
		on = report.Count(c.Validation.Len()) + " validation images"
	}
	p := report.New("Training of " + t.modelName())
	p.Subtitle(fmt.Sprintf("%s images of %d×%d, %d classes, %d epochs", report.Count(c.Data.Len()), info.Width, info.Height, len(info.Classes), c.Epochs))
	p.Facts(
		report.Fact{Name: "Accuracy", Value: report.Percent(best.Accuracy), Note: "on " + on},
		report.Fact{Name: "Loss", Value: report.Number(best.Loss, 4), Note: "cross entropy in nats"},
		report.Fact{Name: "Best epoch", Value: strconv.Itoa(r.BestEpoch), Note: fmt.Sprintf("of %d", c.Epochs)},
		report.Fact{Name: "Parameters", Value: report.Count(r.Best.Parameters())},
	)
	p.Section("Curves")
	p.Plots(t.plots(r)...)
	p.Section("Arguments")
	p.Table(report.Table{Title: "How it was trained", Columns: []report.Column{{Name: "Argument"}, {Name: "Value"}}, Rows: t.arguments(c)})
	return p
}

func (t *train) plots(r *learn.Result) []report.LinePlot {
	var loss, accuracy, rate, validLoss, validAccuracy []float64
	for _, e := range r.Epochs {
		loss, accuracy, rate = append(loss, e.TrainLoss), append(accuracy, e.TrainAccuracy), append(rate, e.LearningRate)
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
	marks := []report.Mark{{X: float64(r.BestEpoch), Name: "best"}}
	x := report.Axis{Name: "epoch"}
	return []report.LinePlot{
		{Title: "Accuracy", X: x, Y: report.Axis{Name: "accuracy", Percent: true}, Series: series(accuracy, validAccuracy), Marks: marks},
		{Title: "Loss", X: x, Y: report.Axis{Name: "loss", Zero: true}, Series: series(loss, validLoss), Marks: marks},
		{Title: "Learning rate at the end of each epoch", X: x, Y: report.Axis{Name: "learning rate", Zero: true}, Series: []report.Series{{Name: "learning rate", Y: rate}}},
	}
}

func (t *train) arguments(c learn.Config) [][]string {
	number := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	rows := [][]string{
		{"model", t.modelName()}, {"epochs", strconv.Itoa(c.Epochs)}, {"batch", strconv.Itoa(c.Batch)}, {"learning_rate", number(c.LearningRate)},
		{"schedule", t.schedule.Name}, {"warmup", number(c.Schedule.Warmup) + " epochs"}, {"optimizer", t.optimizer.Name}, {"momentum", number(t.sgd().momentum)},
		{"weight_decay", number(t.sgd().decay)}, {"nesterov", strconv.FormatBool(t.sgd().nesterov)}, {"loss", t.loss.Name}, {"smoothing", number(t.loss.Body.(*crossEntropy).smoothing)},
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

// peakMemory returns the most bytes of memory that this process had in use, where the system says so.
func peakMemory() (float64, bool) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kilobytes * 1024, err == nil
		}
	}
	return 0, false
}

func (t *train) sgd() *sgd { return t.optimizer.Body.(*sgd) }
