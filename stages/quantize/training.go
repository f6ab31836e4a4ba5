package quantize

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/darkroom-dev/darkroom/learn"
	devices "github.com/darkroom-dev/darkroom/learn/device"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/quantization"
	"github.com/darkroom-dev/darkroom/report"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/recipe"
)

// training is the block of quantization-aware training.
type training struct {
	recipe.Recipe
	loss         stages.Chosen
	freezeScales float64
	given        bool
}

func (t *training) Declare(s *stages.Schema) {
	s.Float(&t.freezeScales, "freeze_scales", 0.75, "The share of the steps after which scales stay as they are, so that the weights settle on them; 1: they are learned to the end.").Above(0).In(0, 1)
	s.Choice(&t.loss, "loss", "cross_entropy", "What is made small.", recipe.Losses...)
	t.DeclareWith(s, recipe.Defaults{Epochs: 2, Batch: 64, Rate: 0.002})
}

// Check implements stages.Checker.
func (t *training) Check() []stages.Problem {
	return append(t.CheckRecipe(), recipe.CheckLoss(t.loss)...)
}

// checkTraining returns arguments that do not go with the method.
func (q *quantize) checkTraining() []stages.Problem {
	if q.method != qat {
		if q.training.given {
			return []stages.Problem{stages.Problemf("training", "Argument without effect", "Only method = \"qat\" trains. Remove \"training\", or write method = \"qat\".")}
		}
		return nil
	}
	if q.hardSwish == boundedSwish {
		return []stages.Problem{stages.Problemf("hard_swish", "Argument that the method lacks", "Training rounds a HardSwish that is exact, so the file would not compute what was trained. Remove \"hard_swish\".")}
	}
	for arg, given := range map[string]bool{"adaround": q.adaround, "bias_correction": q.biasCorrection} {
		if given {
			return []stages.Problem{stages.Problemf(arg, "Argument without effect", "Training moves weights and biases itself, so what %q does before it would not stay. Remove it.", arg)}
		}
	}
	if len(q.mean) > 0 {
		return []stages.Problem{stages.Problemf("mean", "Model that cannot be trained as it is", "Training takes models that normalise their input themselves. Fine-tune the model with a stage `train` first, or put the normalisation into its graph.")}
	}
	return nil
}

// fitted is a finished training.
type fitted struct {
	*learn.Result
	calibrated *float64 // accuracy before it; nil without validation
}

// trained is quantization-aware training: calibration first, then training with the rounding in place, then the same form as after calibration alone.
func (r *run) trained(ctx context.Context) (*outcome, error) {
	if r.calibration == nil {
		r.calibration = r.data
	}
	c, made, err := r.prepared(ctx)
	if err != nil {
		return nil, err
	}
	start, err := c.plan.Training(c.ranges)
	if err != nil {
		return nil, modelProblem(err)
	}
	made.fit = &fitted{}
	if r.validation != nil {
		q, err := c.plan.Apply(c.ranges, nil)
		if err != nil {
			return nil, modelProblem(err)
		}
		a, err := r.accuracy(ctx, q.Model, "accuracy after calibration")
		if err != nil {
			return nil, err
		}
		made.fit.calibrated = &a
		r.job.Logf("accuracy %.4f after calibration", a)
	}
	if made.fit.Result, err = r.train(ctx, start); err != nil {
		return nil, trainingProblem(err)
	}
	return made, r.export(ctx, made, c.rows)
}

// export writes the trained model in the form for the target.
func (r *run) export(ctx context.Context, made *outcome, rows []int) error {
	t, err := quantization.ReadTrained(made.fit.Best)
	if err != nil {
		return err
	}
	plan, err := quantization.NewPlan(t.Graph, r.scheme(nil))
	if err != nil {
		return err
	}
	ranges, err := t.Ranges(plan)
	if err != nil {
		return err
	}
	result, err := r.fallBack(ctx, t.Graph, plan, ranges, t.Weights(plan, ranges), rows, made)
	if err != nil {
		return err
	}
	made.model, made.ranges, made.nodes = result.Model, rangeRows(plan, result), len(result.Seen)
	made.layers, err = r.noise(ctx, t.Graph, result, rows)
	return err
}

// train trains with fake quantization.
func (r *run) train(ctx context.Context, start *onnx.Model) (*learn.Result, error) {
	job := r.job
	if job.Device.Backend != stages.CUDA { // the compute library has the cores; see the kind train
		before := runtime.GOMAXPROCS(1)
		defer runtime.GOMAXPROCS(before)
	}
	backend, err := devices.Open(devices.Class{Backend: job.Device.Backend, Precision: job.Device.Precision, Threads: max(job.Device.Threads, 1)})
	if err != nil {
		return nil, err
	}
	defer backend.Finalize()
	t := &r.quantize.training
	c := learn.Config{Backend: backend, Model: start, Data: r.data, Validation: r.validation, Objective: recipe.Objective(t.loss, r.data), Seed: job.Seed,
		Checkpoints: filepath.Join(job.ScratchDir, "training"), CheckpointEvery: time.Duration(t.CheckpointEvery * float64(time.Second)),
		Log: func(line string) { job.Logf("training: %s", line) },
		Progress: func(p learn.Progress) {
			job.Progress(stages.Progress{Phase: fmt.Sprintf("training, epoch %d/%d", p.Epoch, p.Epochs), Done: p.Done, Total: p.Total, Unit: "images", Rate: p.Rate, Left: p.Left,
				Metrics: []stages.Metric{{Name: "loss", Value: p.Loss}, {Name: "accuracy", Value: p.Accuracy}}})
		}}
	t.Apply(&c)
	if t.freezeScales < 1 {
		c.Settle = learn.Settle{Share: t.freezeScales, Patterns: []string{"*" + quantization.FactorSuffix}}
	}
	return learn.Train(ctx, c)
}

func trainingProblem(err error) error {
	var misfit *learn.FitError
	if errors.As(err, &misfit) {
		arg := "training"
		if misfit.What == "data" || misfit.What == "model" || misfit.What == "validation" {
			arg = misfit.What
		}
		return stages.Problemf(arg, "Training cannot start", "%s", misfit.Detail)
	}
	var diverged *learn.DivergedError
	if errors.As(err, &diverged) {
		return stages.Problemf("training", "Training diverged", "%v. Lower its learning_rate.", diverged)
	}
	return err
}

// trainingSection shows how the training went.
func (r *run) trainingSection(p *report.Page, f *fitted) {
	var loss, accuracy, rate []float64
	for _, e := range f.Epochs {
		loss, rate = append(loss, e.TrainLoss), append(rate, e.LearningRate)
		if e.Validation != nil {
			accuracy = append(accuracy, e.Validation.Accuracy)
		}
	}
	p.Section("Training")
	text := fmt.Sprintf("%s over %s with the rounding in place", report.Counted(len(f.Epochs), "epoch"), report.Counted(r.data.Len(), "image"))
	if len(f.Epochs) > 1 {
		text += fmt.Sprintf("; the model is that of epoch %d", f.BestEpoch)
	}
	text += "."
	if share := r.quantize.training.freezeScales; share < 1 {
		text += fmt.Sprintf(" Scales were learned in the first %s of the steps and stayed as they were then.", report.Share(share))
	}
	p.Text(text)
	if len(f.Epochs) > 1 {
		x := report.Axis{Name: "epoch"}
		plots := []report.LinePlot{{Title: "Loss while training", X: x, Y: report.Axis{Name: "loss", Zero: true}, Series: []report.Series{{Name: "loss", Y: loss}}}}
		if len(accuracy) > 0 {
			plots = append(plots, report.LinePlot{Title: "Accuracy on the validation images, rounded", X: x, Y: report.Axis{Name: "accuracy", Percent: true}, Series: []report.Series{{Name: "accuracy", Y: accuracy}}})
		}
		p.Plots(plots...)
	}
	var written stages.Args
	for _, b := range r.job.Args.Blocks {
		if b.Type == "training" {
			written = b.Args
		}
	}
	rows := append([][]string{recipe.ChosenRow(written, "loss", r.quantize.training.loss)}, r.quantize.training.Rows(written)...)
	p.Table(report.Table{Title: "How it was trained", Columns: []report.Column{{Name: "Argument"}, {Name: "Value"}}, Rows: rows})
}
