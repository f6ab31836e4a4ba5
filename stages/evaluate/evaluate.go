// Package evaluate is the evaluate kind: it runs a model over a labelled dataset with ONNX Runtime, once, and says how
// good its answers are: as values, as metrics, as a table of every answer, and as a report.
//
// Rules of the room: everything written follows from the model, the dataset, the arguments and the device class; speeds
// are measurements. Whether a result is good enough is not judged here: `require` is the engine's.
package evaluate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the evaluate kind.
var Kind = &stages.Kind{
	Name:    "evaluate",
	Version: 2,
	Doc: "Runs a model over every image of a dataset and reports how good its answers are: accuracy, top-k accuracy, precision, recall and F1 of each class, " +
		"the confusion matrix, log loss and calibration. An augmentation policy of the dataset is not applied. With `baseline`, a second model answers the same images, and the " +
		"two are compared image by image. A `require` block fails the run when a value misses; the report is kept.\n\n" +
		"Shares whose denominator is 0 are 0. Macro averages are over the classes that occur as a label or as an answer. Calibration is the expected calibration error over 15 bins " +
		"(Guo et al. 2017); AUROC and average precision are of each class against the rest.\n\n" +
		"`predictions` has the columns id, label, predicted, correct, confidence and loss; sorted by loss, wrong labels come first. `metrics` has the values below, " +
		"the 95 % interval of the accuracy (Wilson 1927), the calibration bins, the classes, the confusion matrix (rows are true classes) and, with a baseline, how many images only one of the two answers rightly.",
	Example: `evaluate "final" {
  model    = train.student.model
  baseline = train.teacher.model
  data     = split.holdout.test
  top_k    = [3, 5]

  require {
    condition = self.accuracy_drop <= 0.01
    message   = "The compressed model lost more than one point."
  }
}`,
	Computes: true,
	New:      func() stages.Stage { return &evaluate{} },
}

type evaluate struct {
	topK          []int
	worst         int
	batch         int
	probabilities bool
	mean, std     []float64
}

func (e *evaluate) Declare(s *stages.Schema) {
	s.In("model", artifact.Model, "The model to judge: an ONNX classifier with one image input, (N, C, H, W), float32.")
	s.In("data", artifact.Dataset, "Labelled images that the model has not been trained on.")
	s.In("baseline", artifact.Model, "Another model to compare with, such as the one before compression.").OrNone()
	s.Ints(&e.topK, "top_k", []int{5}, "The numbers k for which `accuracy_topK` is reported: the share of images whose class is among the k most probable.").In(1, 1000)
	s.Int(&e.worst, "worst", 24, "How many of the worst mistakes the report shows as thumbnails.").In(0, 500)
	s.Int(&e.batch, "batch", 64, "Images a run of the model. The last bits of an answer can depend on it.").In(1, 4096).InUnit("images")
	s.Bool(&e.probabilities, "probabilities", false, "Whether the table of predictions has a column with the probability of each class.")
	s.Floats(&e.mean, "mean", nil, "Per channel, for models from elsewhere that do not normalise their input themselves: pixels (0–1) have it subtracted. Models made by darkroom do, and are not touched.").In(-1000, 1000)
	s.Floats(&e.std, "std", nil, "Per channel, with `mean`: pixels are divided by it then.").Above(0)
	s.Out("metrics", artifact.Metrics, "Everything measured, as JSON.")
	s.Out("predictions", artifact.Table, "Every image with its label, the answer, its probability and the loss, as CSV in the order of the dataset.")
	s.Out("report", artifact.Report, "The confusion matrix, the classes, the worst mistakes, and the comparison with the baseline.")
	s.Reports("count", stages.Integer, "How many images were judged.")
	s.Reports("accuracy", stages.Number, "Share of right answers, 0 to 1.")
	s.Reports("loss", stages.Number, "Mean cross entropy of the true classes, in nats.")
	s.Reports("precision", stages.Number, "Macro average of the classes' precision.")
	s.Reports("recall", stages.Number, "Macro average of the classes' recall.")
	s.Reports("f1", stages.Number, "Macro average of the classes' F1.")
	s.Reports("balanced_accuracy", stages.Number, "Mean recall of the classes that have images.")
	s.Reports("calibration_error", stages.Number, "Expected calibration error: how far confidence and accuracy are apart.")
	s.Reports("auroc", stages.Number, "Mean area under the ROC curve of each class against the rest; null when every image has the same class.")
	s.Reports("average_precision", stages.Number, "Mean average precision of each class against the rest; null when every image has the same class.")
	s.Reports("per_class", stages.Any, "By class name: images, precision, recall, f1, auroc and average_precision.")
	s.Reports("baseline_accuracy", stages.Number, "Share of right answers of the baseline; null without one.")
	s.Reports("accuracy_drop", stages.Number, "Accuracy of the baseline minus accuracy of the model; null without a baseline.")
	s.Measures("images_per_second", "images/s", "Images a second through the model, in batches.")
	s.Measures("latency", "ms", "Median time for one image alone; absent when the model's batch size is fixed.")
}

// Check implements stages.Checker.
func (e *evaluate) Check() []stages.Problem {
	seen := map[int]bool{}
	for _, k := range e.topK {
		if seen[k] {
			return []stages.Problem{stages.Problemf("top_k", "Repeated number", "The argument \"top_k\" holds %d twice. Each number makes one value; keep it once.", k)}
		}
		seen[k] = true
	}
	if len(e.mean) != len(e.std) {
		return []stages.Problem{stages.Problemf("mean", "Mean and deviation do not match", "There are %d numbers in \"mean\" and %d in \"std\". Give both, with one number for each channel, or neither.", len(e.mean), len(e.std))}
	}
	return nil
}

// Shape implements stages.Shaper: every k of top_k has a value of its own.
func (e *evaluate) Shape(s *stages.Schema) {
	for _, k := range e.topK {
		s.Reports(topName(k), stages.Number, fmt.Sprintf("Share of images whose class is among the %d most probable.", k))
	}
}

func topName(k int) string { return fmt.Sprintf("accuracy_top%d", k) }

// Run implements stages.Stage.
func (e *evaluate) Run(ctx context.Context, job *stages.Job) error {
	in, _ := job.Input("data")
	data, err := dataset.Open(in.Path)
	if err != nil {
		return err
	}
	defer data.Close()
	r := &result{data: data, topK: e.topK}
	if r.model, err = e.judge(ctx, job, "model", data); err != nil {
		return err
	}
	if _, ok := job.Input("baseline"); ok {
		if r.baseline, err = e.judge(ctx, job, "baseline", data); err != nil {
			return err
		}
	}
	if err := r.writeMetrics(job.Output("metrics")); err != nil {
		return err
	}
	if err := r.writePredictions(job.Output("predictions"), e.probabilities); err != nil {
		return err
	}
	if err := r.writeReport(job.Output("report"), e.worst); err != nil {
		return err
	}
	r.reportValues(job)
	job.Logf("accuracy %.4f on %d images", r.model.Accuracy, r.model.Count)
	return nil
}

// result is everything that is known when the models have answered.
type result struct {
	data     *dataset.Dataset
	topK     []int
	model    *judgement
	baseline *judgement // nil without one
}

// judgement is a model's answers and their scores.
type judgement struct {
	*infer.Scores
	classes []string
	labels  []int32   // (images)
	logits  []float32 // (images, classes)
}

// row returns the logits of one image.
func (j *judgement) row(image int) []float32 {
	return j.logits[image*len(j.classes) : (image+1)*len(j.classes)]
}

func (r *result) reportValues(job *stages.Job) {
	m := r.model
	job.Value("count", m.Count)
	job.Value("accuracy", m.Accuracy)
	job.Value("loss", m.LogLoss)
	job.Value("precision", m.Macro.Precision)
	job.Value("recall", m.Macro.Recall)
	job.Value("f1", m.Macro.F1)
	job.Value("balanced_accuracy", m.Balanced)
	job.Value("calibration_error", m.CalibrationError)
	for _, k := range r.topK {
		job.Value(topName(k), m.top(k))
	}
	classes := map[string]any{}
	for i, c := range m.Classes {
		classes[m.classes[i]] = map[string]any{"images": c.Images, "precision": c.Precision, "recall": c.Recall, "f1": c.F1,
			"auroc": defined(m.Rankings[i].AUROC), "average_precision": defined(m.Rankings[i].AveragePrecision)}
	}
	job.Value("auroc", defined(m.MeanRanking.AUROC))
	job.Value("average_precision", defined(m.MeanRanking.AveragePrecision))
	job.Value("per_class", classes)
	if r.baseline == nil {
		job.Value("baseline_accuracy", nil)
		job.Value("accuracy_drop", nil)
		return
	}
	job.Value("baseline_accuracy", r.baseline.Accuracy)
	job.Value("accuracy_drop", r.baseline.Accuracy-m.Accuracy)
}

// defined returns f, or nil where it is not a number: JSON and values have none.
func defined(f float64) any {
	if math.IsNaN(f) {
		return nil
	}
	return f
}

// top returns the share of images whose class is among the k most probable; with k classes or fewer it is 1.
func (j *judgement) top(k int) float64 { return j.TopK[min(k, len(j.TopK))-1] }

// openModel opens the model on that port for the dataset's images and checks that their classes agree.
func (e *evaluate) openModel(job *stages.Job, port string, data dataset.Info, batch int) (*infer.Session, error) {
	in, _ := job.Input(port)
	session, err := infer.Open(in.Path, infer.Options{Threads: job.Device.Threads, Batch: batch,
		Channels: data.Channels, Height: data.Height, Width: data.Width, Mean: e.mean, Std: e.std})
	var broken *infer.ModelError
	if errors.As(err, &broken) {
		return nil, stages.Problemf(port, "Model does not fit", "The model cannot be run on these images of %d×%d with %d channels: %s.", data.Width, data.Height, data.Channels, broken.Detail)
	}
	if err != nil {
		return nil, err
	}
	if p := classProblem(port, session.Info(), data.Classes); p != nil {
		session.Close()
		return nil, *p
	}
	return session, nil
}

// classProblem says how a model's classes differ from those of the images; nil when they agree. A model without class
// names only has to have as many.
func classProblem(port string, model infer.Info, classes []string) *stages.Problem {
	const summary = "Classes do not agree"
	if len(model.Classes) == 0 {
		if model.Outputs != 0 && model.Outputs != len(classes) {
			p := stages.Problemf(port, summary, "The model has %d outputs, but the images have %d classes (%s).", model.Outputs, len(classes), listed(classes))
			return &p
		}
		return nil
	}
	if len(model.Classes) != len(classes) {
		p := stages.Problemf(port, summary, "The model knows %d classes (%s), but the images have %d (%s). Evaluate on images from the same ingest as the model was trained on.",
			len(model.Classes), listed(model.Classes), len(classes), listed(classes))
		return &p
	}
	for i := range classes {
		if model.Classes[i] != classes[i] {
			p := stages.Problemf(port, summary, "Class %d is %q for the model but %q for the images. Class names and their order must be the same, or its answers would be counted for the wrong classes.",
				i, model.Classes[i], classes[i])
			return &p
		}
	}
	return nil
}

// listed joins names, the first few of many.
func listed(names []string) string {
	const few = 8
	if len(names) > few {
		return strings.Join(names[:few], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}
