package train

import (
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/recipe"
)

// write makes the outputs and reports the values.
func (t *train) write(job *stages.Job, c learn.Config, r *learn.Result) error {
	if err := r.Best.Save(job.Output("model")); err != nil {
		return err
	}
	if err := r.Last.Save(job.Output("last")); err != nil {
		return err
	}
	if err := learn.WriteCurves(job.Output("curves"), learn.Curves{BestEpoch: r.BestEpoch, Epochs: r.Epochs, Groups: r.Groups}); err != nil {
		return err
	}
	if err := t.page(job.Args, c, r).WriteFile(job.Output("report")); err != nil {
		return err
	}
	best := score(r)
	job.Value("best_epoch", bestEpoch(r))
	job.Value("epochs", len(r.Epochs))
	job.Value("accuracy", best.Accuracy)
	job.Value("loss", best.Loss)
	job.Value("skipped_steps", r.Epochs[len(r.Epochs)-1].Skipped)
	job.Value("parameters", r.Best.Parameters())
	job.Measure("images_per_second", r.Rate)
	recipe.MeasureMemory(job, r.Memory)
	if peak, ok := infer.PeakMemory(); ok {
		job.Measure("peak_memory", float64(peak))
	}
	return nil
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
