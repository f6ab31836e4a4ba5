// Package quantize is the quantize kind: it makes a model smaller and faster by computing in 8 bits, or by keeping its weights in 8 or 4, or everything
// in 16, and says layer by layer what that costs.
//
// Rules of the room: the library onnx/quantization decides what a quantized model looks like; this package runs models to find ranges, errors
// and accuracies (run.go), chooses what stays in float (fallback.go), and writes tables and the report. Everything follows from the model, the images, the arguments
// and the device class.
package quantize

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/quantization"
	"github.com/darkroom-dev/darkroom/stages"
)

// The values of method.
const (
	ptq        = "ptq"
	qat        = "qat"
	dynamic    = "dynamic"
	weightOnly = "weight_only"
	fp16       = "fp16"
	bf16       = "bf16"
)

// The values of hard_swish.
const (
	exactSwish   = "exact"
	boundedSwish = "bounded"
)

// Kind is the quantize kind.
var Kind = &stages.Kind{
	Name:    "quantize",
	Version: 3,
	Doc: "Makes a model smaller and faster. With `method = \"ptq\"`, layers compute in int8, written as pairs of QuantizeLinear and DequantizeLinear that ONNX Runtime and TensorRT fuse; the ranges of " +
		"values are found by running the model on calibration images. `qat` goes on from there: it trains the model for a short time with the rounding of its int8 form, " +
		"which brings back accuracy that rounding alone costs. `dynamic` finds ranges while the model runs, `weight_only` keeps only weights in 8 or 4 bits, `fp16` and `bf16` convert to 16 bits and keep what overflows in float32.\n\n" +
		"The two targets differ. For `onnxruntime`, values are uint8 with a zero point, biases are int32, and element-wise operators between layers are quantized too. For `tensorrt`, values are int8 without a zero point, pairs stand only before layers and on the " +
		"skip branches of sums, and convolutions with under 16 channels, except the first, stay in float. BatchNormalization is folded first. Layer normalisations and products of two activations stay in float.\n\n" +
		"For `onnxruntime`, a HardSwish behind a quantized layer is written as a product of its codes, which says the same and has a kernel in 8 bits; a HardSigmoid behind a convolution goes into its weights; depthwise convolutions get channels of zeros up to a " +
		"multiple of 16, which their kernel takes at a time; and with `slow_in_float` the start of a model stays in float as far as it would be slower in 8 bits.\n\n" +
		"With `validation`, the accuracy before and after is reported, and with `max_accuracy_drop` the layers that cost most go back to float until the drop holds. `ranges` has the columns value, low, high, scale, zero_point and type. The report lists every layer's " +
		"signal to quantization noise ratio (SQNR) in decibels.\n\n" +
		"With `qat`, connect labelled images to `data`; their policy is applied. BatchNormalization is folded before, values and weights are rounded in each step, gradients pass through the rounding within the range and not outside " +
		"(the clipped straight-through estimator), and scales are learned too (by the estimator of LSQ, Esser et al. 2020, as factors of where calibration put them) until `freeze_scales`; zero points stay those of calibration. The block `training` has the arguments that all training has. What is trained is what the file computes.\n\n" +
		"A processor without VNNI adds products in 16 bits, which saturates where weights are large; the log warns of that, and `reduced_range` avoids it at the cost of one bit.",
	Example: `quantize "int8" {
  model             = train.net.model
  calibration       = split.holdout.train
  validation        = split.holdout.validation
  target            = "onnxruntime"
  max_accuracy_drop = 0.01
}`,
	Computes: true,
	Seeded:   true,
	New:      func() stages.Stage { return &quantize{} },
}

type quantize struct {
	method, target   string
	calibrator       string
	percentile       float64
	images, batch    int
	perChannel       bool
	reduced          bool
	slowInFloat      bool
	hardSwish        string
	bits, block      int
	exclude          []string
	equalise         bool
	biasCorrection   bool
	adaround         bool
	smooth           float64
	maxDrop          float64
	validationImages int
	mean, std        []float64
	training         training
}

func (q *quantize) Declare(s *stages.Schema) {
	s.In("model", artifact.Model, "The model to quantize: an ONNX classifier in float32.")
	s.In("calibration", artifact.Dataset, "Images like those that the model will see, 500 or more; their labels and policy are not used. `weight_only`, `dynamic` and `bf16` do without, and `qat` takes those of `data` in their place.").OrNone()
	s.In("data", artifact.Dataset, "Labelled images to train on with `qat`. They must not be those of `validation`.").OrNone()
	s.In("validation", artifact.Dataset, "Labelled images by which the accuracy before and after is measured.").OrNone()
	s.String(&q.method, "method", ptq, "How: post-training int8, int8 with training, int8 with ranges found while it runs, weights alone, or 16 bits.").OneOf(ptq, qat, dynamic, weightOnly, fp16, bf16)
	s.String(&q.target, "target", string(quantization.ONNXRuntime), "Who runs the model. It decides where pairs stand and which integer types they have (methods `ptq` and `qat`).").OneOf(string(quantization.ONNXRuntime), string(quantization.TensorRT))
	s.String(&q.calibrator, "calibrator", string(quantization.MSE), "How a range follows from the numbers seen: least squared error, smallest and largest, their moving average over batches, all but a share, or least divergence (2,048 bins).").OneOf(quantization.Methods...)
	s.Float(&q.percentile, "percentile", 99.99, "With that calibrator: the share of numbers within the range.").In(90, 100).InUnit("%")
	s.Int(&q.images, "images", 1024, "How many calibration images are used, taken evenly from the dataset; 0 takes all.").In(0, 1e7).InUnit("images")
	s.Int(&q.batch, "batch", 32, "Images a run while calibrating. A moving average depends on it, and the last bits of others can.").In(1, 1024).InUnit("images")
	s.Bool(&q.perChannel, "per_channel", true, "A scale for each output channel of a layer's weights; false: one a layer.")
	s.Bool(&q.reduced, "reduced_range", false, "Weights in 7 bits, for processors that would saturate otherwise (x86 without VNNI).")
	s.Bool(&q.slowInFloat, "slow_in_float", true, "With target `onnxruntime`, leaves the start of the model in float as far as ONNX Runtime would be slower there in 8 bits, such as thin convolutions of large images. What is slower follows from the sizes of layers, by times that are a part of darkroom, and not from the machine.")
	s.String(&q.hardSwish, "hard_swish", exactSwish, "With target `onnxruntime`, how HardSwish is computed with codes: exactly, or as x·(x + 3)/6 up to a bound of x which calibration puts between 3 and 6 where that errs least. The latter saves a node for each, is not exact where x is above 3, and does not go with `qat`.").OneOf(exactSwish, boundedSwish)
	s.Int(&q.bits, "bits", 8, "Bits of a weight with `weight_only`: 8 or 4.").In(4, 8)
	s.Int(&q.block, "block", 32, "With 4 bits: how many weights share a scale.").In(16, 1024)
	s.Strings(&q.exclude, "exclude", nil, "Patterns of node names or operators that stay in float: \"*classifier*\", \"Add\".")
	s.Bool(&q.equalise, "equalise", false, "Evens out the ranges of channels across layers first (Nagel et al. 2019), where only a ReLU or nothing is between them. For `per_channel = false`.")
	s.Bool(&q.biasCorrection, "bias_correction", false, "Corrects each bias by the mean error that rounding the weights makes (Nagel et al. 2019).")
	s.Bool(&q.adaround, "adaround", false, "Rounds each weight up or down so that the layer's output on calibration images changes least (AdaRound, Nagel et al. 2020), instead of to the nearest.")
	s.Float(&q.smooth, "smooth", 0, "Moves this share of the activations' outliers into the weights behind layer normalisations (SmoothQuant, Xiao et al. 2022; α, usually 0.5). 0: off.").In(0, 1)
	s.Float(&q.maxDrop, "max_accuracy_drop", 1, "The largest loss of accuracy, as a share; the nodes that cost most stay in float until it holds. It needs `validation`; 1 keeps everything quantized.").In(0, 1)
	s.Int(&q.validationImages, "validation_images", 0, "How many of the validation images are used, the first ones; 0 takes all.").In(0, 1e8).InUnit("images")
	s.Floats(&q.mean, "mean", nil, "Per channel, for models from elsewhere that do not normalise their input themselves: pixels (0–1) have it subtracted. Models made by darkroom do, and are not touched.").In(-1000, 1000)
	s.Floats(&q.std, "std", nil, "Per channel, with `mean`: pixels are divided by it then.").Above(0)
	s.Block("training", &q.training, "How `qat` trains.").Present(&q.training.given)
	s.Out("model", artifact.Model, "The quantized model.")
	s.Out("ranges", artifact.Table, "The range and the parameters of every quantized value, as CSV.")
	s.Out("report", artifact.Report, "Accuracy before and after, the error of every layer, and what stayed in float.")
	s.Reports("accuracy", stages.Number, "Share of right answers of the quantized model on `validation`; null without it.")
	s.Reports("accuracy_before", stages.Number, "Share of right answers of the model before; null without `validation`.")
	s.Reports("accuracy_drop", stages.Number, "The latter minus the former; null without `validation`.")
	s.Reports("accuracy_calibrated", stages.Number, "With `qat`: share of right answers after calibration, before training; null otherwise.")
	s.Reports("size_ratio", stages.Number, "Size of the quantized file as a share of the one before.")
	s.Reports("quantized", stages.Integer, "How many nodes are quantized or converted.")
	s.Reports("kept", stages.Any, "Names of the nodes that stay in float because of `max_accuracy_drop`.")
	s.Measures("images_per_second", "images/s", "With `qat`: training images a second, without validation.")
	s.Reports("calibration_images", stages.Integer, "How many images the ranges come from.")
}

// Check implements stages.Checker.
func (q *quantize) Check() []stages.Problem {
	if len(q.mean) != len(q.std) {
		return []stages.Problem{stages.Problemf("mean", "Mean and deviation do not match", "There are %d numbers in \"mean\" and %d in \"std\". Give both, with one number for each channel, or neither.", len(q.mean), len(q.std))}
	}
	if bad, ok := quantization.CheckPatterns(q.exclude); !ok {
		return []stages.Problem{stages.Problemf("exclude", "Malformed pattern", "The pattern %q cannot be read: a * stands for anything, ? for one character, [a-z] for one of a range.", bad)}
	}
	if q.bits != 8 && q.bits != 4 {
		return []stages.Problem{stages.Problemf("bits", "No such width", "Weights can have 8 or 4 bits, not %d.", q.bits)}
	}
	if q.bits != 8 && q.method != weightOnly {
		return []stages.Problem{stages.Problemf("bits", "Width that the method lacks", "Only method = \"weight_only\" keeps weights in %d bits; the others compute in 8 or 16.", q.bits)}
	}
	return q.checkTraining()
}

// CheckInputs implements stages.InputChecker.
func (q *quantize) CheckInputs(connected map[string]bool) []stages.Problem {
	switch {
	case q.method == qat && !connected["data"]:
		return []stages.Problem{stages.Problemf("data", "No images to train on", "The method \"qat\" trains the model. Connect labelled images to \"data\", a training split for example.")}
	case q.method != qat && connected["data"]:
		return []stages.Problem{stages.Problemf("data", "Argument without effect", "Only method = \"qat\" trains on \"data\". Remove it, or write method = \"qat\".")}
	}
	if !connected["calibration"] && (q.method == ptq || q.method == fp16) {
		return []stages.Problem{stages.Problemf("calibration", "No calibration images", "The method %q finds ranges by running the model on images. Connect \"calibration\", a training split for example.", q.method)}
	}
	if !connected["validation"] && q.maxDrop < 1 {
		return []stages.Problem{stages.Problemf("max_accuracy_drop", "No validation images", "A largest drop of %g can only be held where the accuracy is measured. Connect \"validation\".", q.maxDrop)}
	}
	return nil
}

// Run implements stages.Stage.
func (q *quantize) Run(ctx context.Context, job *stages.Job) error {
	r, err := q.open(job)
	if err != nil {
		return err
	}
	defer r.close()
	var made *outcome
	switch q.method {
	case ptq:
		made, err = r.static(ctx)
	case qat:
		made, err = r.trained(ctx)
	case fp16, bf16:
		made, err = r.half(ctx)
	default:
		made, err = r.weights(ctx)
	}
	if err != nil {
		return err
	}
	return r.write(ctx, made)
}

// run is one execution: the inputs, opened.
type run struct {
	*quantize
	job         *stages.Job
	model       *onnx.Model
	size        int64 // of the model's file, bytes
	calibration *dataset.Dataset
	data        *dataset.Dataset // to train on
	validation  *dataset.Dataset
	before      float64 // accuracy, where there is validation
}

// outcome is what a method made.
type outcome struct {
	model  *onnx.Model
	nodes  int      // quantized or converted
	kept   []string // in float because of max_accuracy_drop
	images int
	ranges []rangeRow
	layers []layerRow
	notes  []string // sentences for the report
	after  *float64 // accuracy, where it is known already
	fit    *fitted  // what training came to; nil: there was none
}

func (r *run) close() {
	for _, d := range []*dataset.Dataset{r.calibration, r.data, r.validation} {
		if d != nil {
			d.Close()
		}
	}
}

func (q *quantize) open(job *stages.Job) (*run, error) {
	in, _ := job.Input("model")
	info, err := os.Stat(in.Path)
	if err != nil {
		return nil, fmt.Errorf("the model: %w", err)
	}
	r := &run{quantize: q, job: job, size: info.Size()}
	if r.model, err = onnx.Load(in.Path); err != nil {
		return nil, stages.Problemf("model", "Model cannot be used", "%s.", sentence(strings.TrimPrefix(err.Error(), in.Path+" ")))
	}
	if _, err := quantization.Prepare(r.model); err != nil {
		return nil, modelProblem(err)
	}
	for port, to := range map[string]**dataset.Dataset{"calibration": &r.calibration, "data": &r.data, "validation": &r.validation} {
		in, ok := job.Input(port)
		if !ok {
			continue
		}
		if *to, err = dataset.Open(in.Path); err != nil {
			r.close()
			return nil, err
		}
		if p := fits(port, r.model, (*to).Info()); p != nil {
			r.close()
			return nil, *p
		}
	}
	return r, nil
}

func modelProblem(err error) error {
	if errors.Is(err, quantization.ErrQuantized) {
		return stages.Problemf("model", "Model is quantized already", "%s. Quantizing twice only adds error: connect the model from before, in float32.", sentence(err.Error()))
	}
	return stages.Problemf("model", "Model cannot be quantized", "%s.", sentence(err.Error()))
}

// sentence begins with a capital letter.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// fits says how images differ from what the model takes; nil when they do not.
func fits(port string, m *onnx.Model, info dataset.Info) *stages.Problem {
	in := m.Input()
	differ := func(fixed, given int) bool { return fixed > 0 && fixed != given }
	if differ(in.Channels, info.Channels) || differ(in.Height, info.Height) || differ(in.Width, info.Width) {
		p := stages.Problemf(port, "Images of another size", "The model takes images of %d×%d with %d channels, these are %d×%d with %d. Use images from the same ingest as the model was trained on.",
			in.Width, in.Height, in.Channels, info.Width, info.Height, info.Channels)
		return &p
	}
	return nil
}
