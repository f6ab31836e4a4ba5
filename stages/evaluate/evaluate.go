// Package evaluate is the evaluate kind: it runs a model over a labelled dataset with ONNX Runtime and says how good its answers are, how
// sure one can be of that, and how it stands against another model: as values, as metrics, as a table of every answer, and as a report.
//
// Rules of the room: everything written follows from the model, the dataset, the arguments and the device class; speeds and memory are
// measurements. Whether a result is good enough is not judged here: `require` is the engine's. The formulas are in infer; here is what is
// asked, of which images, and how it is shown. A model is anything that is an answerer (open.go).
package evaluate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the evaluate kind.
var Kind = &stages.Kind{
	Name:    "evaluate",
	Version: 4,
	Doc: "Runs a model over every image of a dataset and reports how good its answers are: accuracy, top-k accuracy, precision, recall and F1 of each class, " +
		"ROC and precision-recall curves, the confusion matrix, log loss and calibration, each with what one can be sure of, overall and for each group of images that the meta data tell. " +
		"An augmentation policy of the dataset is not applied. With `baseline`, a second model answers the same images, and the " +
		"two are compared image by image. A `require` block fails the run when a value misses; the report is kept.\n\n" +
		"Shares whose denominator is 0 are 0. Macro averages are over the classes that occur as a label or as an answer. Calibration is the expected calibration error over 15 bins " +
		"(Guo et al. 2017); AUROC and average precision are of each class against the rest. Intervals hold 95 % of bootstrap resamples of the images (Efron 1979), the same ones every time.\n\n" +
		"Of images with several classes each, a class is answered when its probability is above `threshold`; accuracy is then the share of images all of whose classes are answered and no other, " +
		"the loss is binary cross entropy, and the mean average precision (mAP) is `average_precision`.\n\n" +
		"`corruptions` spoils the images in five severities, in the manner of Hendrycks and Dietterich (2019): the same pixels every time, so that models compare. " +
		"`views` lets the model look at each image several times and takes the mean probability.\n\n" +
		"An `engine` takes the place of `model`: ONNX Runtime runs it with its TensorRT provider, on the kind of GPU that it was built for; on a machine that lacks what this needs the stage fails with exit code 3 and says what is missing. " +
		"This way has been tested without a GPU only.\n\n" +
		"`predictions` has the columns id, label, predicted, correct, confidence and loss, and baseline with one; several classes are joined by \"|\". Sorted by loss, wrong labels come first. " +
		"`metrics` has the values below and the curves, the calibration bins, the classes, the groups, the confusion matrix (rows are true classes) and the comparison with the baseline.",
	Example: `evaluate "final" {
  model       = train.student.model
  baseline    = train.teacher.model
  data        = split.holdout.test
  top_k       = [3, 5]
  slices      = ["camera"]
  corruptions = ["gaussian_noise", "jpeg"]

  latency {
    batches = [1, 32]
  }
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
	threshold     float64
	probabilities bool
	mean, std     []float64
	slices        []string
	resamples     int
	views         []string
	corruptions   []string
	severities    []int
	timed         latency
}

func (e *evaluate) Declare(s *stages.Schema) {
	s.In("model", artifact.Model, "The model to judge: an ONNX classifier with one image input, (N, C, H, W), float32; quantized ones too.").OrNone()
	s.In("engine", artifact.Engine, "Instead of a model: an engine that a `tensorrt` stage built, run by ONNX Runtime's TensorRT provider.").OrNone()
	s.In("data", artifact.Dataset, "Labelled images that the model has not been trained on.")
	s.In("baseline", artifact.Model, "Another model to compare with, such as the one before compression.").OrNone()
	s.Ints(&e.topK, "top_k", []int{5}, "The numbers k for which `accuracy_topK` is reported: the share of images whose class is among the k most probable.").In(1, 1000)
	s.Float(&e.threshold, "threshold", 0.5, "Of images with several classes: the probability above which a class is answered.").Above(0).Below(1)
	s.Strings(&e.slices, "slices", nil, "Names in the meta data: the images of each of their values are judged on their own as well.")
	s.Int(&e.resamples, "resamples", 1000, "Bootstrap resamples for the intervals; 0 leaves the intervals out.").In(0, 100000)
	s.Strings(&e.corruptions, "corruptions", nil, "Ways to spoil the images, each judged on its own at every severity.").OneOf(corruptionNames()...)
	s.Ints(&e.severities, "severities", []int{1, 2, 3, 4, 5}, "Severities of the corruptions.").In(1, 5)
	s.Strings(&e.views, "views", nil, "Further looks at each image, for the mean probability: mirrored, upside down, or five crops of 7/8 of the sides.").OneOf(viewNames...)
	s.Int(&e.worst, "worst", 24, "How many of the worst mistakes, and of the changed answers, the report shows as thumbnails.").In(0, 500)
	s.Int(&e.batch, "batch", 64, "Images a run of the model. The last bits of an answer can depend on it.").In(1, 4096).InUnit("images")
	s.Bool(&e.probabilities, "probabilities", false, "Whether the table of predictions has a column with the probability of each class.")
	s.Floats(&e.mean, "mean", nil, "Per channel, for models from elsewhere that do not normalise their input themselves: pixels (0–1) have it subtracted. Models made by darkroom do, and are not touched.").In(-1000, 1000)
	s.Floats(&e.std, "std", nil, "Per channel, with `mean`: pixels are divided by it then.").Above(0)
	s.Block("latency", &e.timed, "How the model is timed. Each combination of batch and threads has measurements of its own, named such as `latency_p90_batch8_threads2`.")
	s.Out("metrics", artifact.Metrics, "Everything computed, as JSON.")
	s.Out("predictions", artifact.Table, "Every image with its label, the answer, its probability and the loss, as CSV in the order of the dataset.")
	s.Out("report", artifact.Report, "The confusion matrix, the classes, the curves, the worst mistakes, and the comparison with the baseline.")
	declareValues(s)
	s.Measures("images_per_second", "images/s", "Images a second through the model, in batches.")
	s.Measures("latency", "ms", "Median time of a run of one image alone; absent, as the next two, when the model's batch size is fixed to another.")
	s.Measures("latency_p90", "ms", "The time that nine of ten such runs stay below.")
	s.Measures("latency_p99", "ms", "The time that 99 of 100 such runs stay below.")
	s.Measures("peak_memory", "bytes", "Largest resident memory of the process while the model answered, the images among it; absent where the system does not tell.")
}

func declareValues(s *stages.Schema) {
	s.Reports("count", stages.Integer, "How many images were judged.")
	s.Reports("accuracy", stages.Number, "Share of right answers, 0 to 1.")
	s.Reports("loss", stages.Number, "Mean cross entropy of the true classes, in nats.")
	s.Reports("precision", stages.Number, "Macro average of the classes' precision.")
	s.Reports("recall", stages.Number, "Macro average of the classes' recall.")
	s.Reports("f1", stages.Number, "Macro average of the classes' F1.")
	s.Reports("f1_weighted", stages.Number, "Average of the classes' F1, weighted by their images.")
	s.Reports("f1_micro", stages.Number, "F1 of all pairs of an image and a class together; of images with one class each, the accuracy.")
	s.Reports("hamming_loss", stages.Number, "Share of pairs of an image and a class that are answered wrongly; null where images have one class each.")
	s.Reports("balanced_accuracy", stages.Number, "Mean recall of the classes that have images.")
	s.Reports("calibration_error", stages.Number, "Expected calibration error: how far confidence and accuracy are apart.")
	s.Reports("temperature", stages.Number, "What the logits are to be divided by for the least loss on these images (temperature scaling); null where images have several classes.")
	s.Reports("calibration_error_scaled", stages.Number, "Calibration error after temperature scaling, each half of the images scaled by what the other half says; null where images have several classes.")
	s.Reports("auroc", stages.Number, "Mean area under the ROC curve of each class against the rest; null when every image has the same class.")
	s.Reports("average_precision", stages.Number, "Mean average precision of each class against the rest; null when every image has the same class.")
	s.Reports("per_class", stages.Any, "By class name: images, precision, recall, f1, auroc and average_precision.")
	s.Reports("intervals", stages.Any, "By name (accuracy, loss, f1, accuracy_drop): the two ends of the 95 % interval; empty without resamples.")
	s.Reports("per_slice", stages.Any, "By name in the meta data and by value: images, accuracy, f1 and loss; empty without `slices`.")
	s.Reports("worst_slice_accuracy", stages.Number, "The lowest accuracy of a slice; null without `slices`.")
	s.Reports("robustness", stages.Any, "By corruption: the accuracy at each severity, in their order; empty without `corruptions`.")
	s.Reports("robust_accuracy", stages.Number, "Mean accuracy over all corruptions and severities; null without `corruptions`.")
	s.Reports("model_size", stages.Integer, "Size of the model's file, in bytes.")
	s.Reports("baseline_accuracy", stages.Number, "Share of right answers of the baseline; null without one.")
	s.Reports("accuracy_drop", stages.Number, "Accuracy of the baseline minus accuracy of the model; null without a baseline.")
	s.Reports("agreement", stages.Number, "Share of images to which both models give the same answer; null without a baseline.")
	s.Reports("mcnemar", stages.Number, "Probability of such a difference between equally good models (McNemar's exact test); null without a baseline.")
	s.Reports("size_ratio", stages.Number, "Size of the model's file by that of the baseline's; null without a baseline.")
}

// Check implements stages.Checker.
func (e *evaluate) Check() []stages.Problem {
	for _, k := range repeated(e.topK) {
		return []stages.Problem{stages.Problemf("top_k", "Repeated number", "The argument \"top_k\" holds %d twice. Each number makes one value; keep it once.", k)}
	}
	for _, list := range []struct {
		arg    string
		values []string
	}{{"slices", e.slices}, {"corruptions", e.corruptions}, {"views", e.views}} {
		for _, name := range repeated(list.values) {
			return []stages.Problem{stages.Problemf(list.arg, "Repeated name", "The argument %q holds %q twice. Keep it once.", list.arg, name)}
		}
	}
	for _, n := range repeated(e.severities) {
		return []stages.Problem{stages.Problemf("severities", "Repeated number", "The argument \"severities\" holds %d twice. Keep it once.", n)}
	}
	if len(e.corruptions) > 0 && len(e.severities) == 0 {
		return []stages.Problem{stages.Problemf("severities", "No severity", "The argument \"severities\" is empty, but there are corruptions to try. Give numbers from 1 to 5.")}
	}
	if len(e.mean) != len(e.std) {
		return []stages.Problem{stages.Problemf("mean", "Mean and deviation do not match", "There are %d numbers in \"mean\" and %d in \"std\". Give both, with one number for each channel, or neither.", len(e.mean), len(e.std))}
	}
	return nil
}

// repeated returns the elements that have occurred before.
func repeated[T comparable](list []T) []T {
	seen := map[T]bool{}
	var out []T
	for _, v := range list {
		if seen[v] {
			out = append(out, v)
		}
		seen[v] = true
	}
	return out
}

// CheckInputs implements stages.InputChecker.
func (e *evaluate) CheckInputs(connected map[string]bool) []stages.Problem {
	if connected["model"] != connected["engine"] {
		return nil
	}
	if connected["model"] {
		return []stages.Problem{stages.Problemf("engine", "Two things to judge", "One evaluation judges a model or an engine. Connect one of \"model\" and \"engine\"; the other can be the \"baseline\", or have a stage of its own.")}
	}
	return []stages.Problem{stages.Problemf("", "Nothing to judge", "Connect \"model\" to a model, or \"engine\" to an engine of a tensorrt stage.")}
}

// Shape implements stages.Shaper: every k of top_k has a value of its own, and every timed combination its measurements.
func (e *evaluate) Shape(s *stages.Schema) {
	for _, k := range e.topK {
		s.Reports(topName(k), stages.Number, fmt.Sprintf("Share of images whose class is among the %d most probable; null where images have several classes.", k))
	}
	e.timed.shape(s)
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
	r := &result{evaluate: e, data: data}
	if err := r.readTruth(); err != nil {
		return err
	}
	infer.ResetPeakMemory()
	if err := r.judgeAll(ctx, job); err != nil {
		return err
	}
	if err := r.group(); err != nil {
		return err
	}
	if err := r.bootstrap(ctx, job); err != nil {
		return err
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
	if peak, ok := infer.PeakMemory(); ok {
		job.Measure("peak_memory", float64(peak))
	}
	if err := e.measureLatency(ctx, job, data.Info()); err != nil {
		return err
	}
	r.reportValues(job)
	job.Logf("accuracy %.4f on %d images", r.model.accuracy(), data.Len())
	return nil
}

// result is everything that is known when the models have answered.
type result struct {
	*evaluate
	data     *dataset.Dataset
	labels   []int32   // (images); of images with one class each
	members  []bool    // (images, classes); of images with several classes
	truth    [][]int32 // the classes of each image
	model    *judgement
	baseline *judgement // nil without one
	agreed   infer.Agreement
	robust   []robustness
	groups   []slice
	ranges   []interval
}

// readTruth reads the classes of every image.
func (r *result) readTruth() error {
	info := r.data.Info()
	classes := len(info.Classes)
	switch {
	case info.Task == dataset.MultiLabel:
		r.members = make([]bool, r.data.Len()*classes)
		for i := range r.data.Len() {
			labels := r.data.Labels(i)
			for _, c := range labels {
				r.members[i*classes+int(c)] = true
			}
			r.truth = append(r.truth, labels)
		}
		return nil
	case !r.data.Labelled():
		return stages.Problemf("data", "Images without a class", "The dataset is for %s and not every image has a class, so answers cannot be judged. Evaluate on a dataset for classification, or one with several classes an image.", info.Task)
	}
	for i := range r.data.Len() {
		r.labels = append(r.labels, r.data.Label(i))
		r.truth = append(r.truth, r.labels[i:i+1:i+1])
	}
	return nil
}

func progress(phase string, done, total int, started time.Time) stages.Progress {
	rate := float64(done) / max(time.Since(started).Seconds(), 1e-9)
	return stages.Progress{Phase: phase, Done: int64(done), Total: int64(total), Unit: "images", Rate: rate,
		Left: time.Duration(float64(total-done) / rate * float64(time.Second))}
}

// listed joins names, the first few of many.
func listed(names []string) string {
	const few = 8
	if len(names) > few {
		return strings.Join(names[:few], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}
