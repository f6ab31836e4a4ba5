package evaluate

import (
	"math"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/stages"
)

// What both kinds of scores have, under one name.

func (j *judgement) accuracy() float64 {
	if j.single != nil {
		return j.single.Accuracy
	}
	return j.multi.Exact
}

func (j *judgement) logLoss() float64 {
	if j.single != nil {
		return j.single.LogLoss
	}
	return j.multi.LogLoss
}

func (j *judgement) perClass() ([]infer.ClassScores, []infer.Ranking, infer.Ranking) {
	if j.single != nil {
		return j.single.Classes, j.single.Rankings, j.single.MeanRanking
	}
	return j.multi.Classes, j.multi.Rankings, j.multi.MeanRanking
}

func (j *judgement) averages() (macro, weighted infer.Average, micro float64) {
	if j.single != nil {
		return j.single.Macro, j.single.Weighted, j.single.Accuracy
	}
	return j.multi.Macro, j.multi.Weighted, j.multi.Micro.F1
}

// balanced is the mean recall of the classes that have images.
func (j *judgement) balanced() float64 {
	if j.single != nil {
		return j.single.Balanced
	}
	sum, n := 0.0, 0
	for _, c := range j.multi.Classes {
		if c.Images > 0 {
			sum += c.Recall
			n++
		}
	}
	return sum / float64(max(1, n))
}

func (j *judgement) calibration() (float64, []infer.CalibrationBin) {
	if j.single != nil {
		return j.single.CalibrationError, j.single.Calibration
	}
	return j.multi.CalibrationError, j.multi.Calibration
}

// scaled returns the temperature and what scaling by it does; ok is false where images have several classes.
func (r *result) scaled() (temperature, calibrationError float64, bins []infer.CalibrationBin, ok bool) {
	if r.members != nil {
		return 0, 0, nil, false
	}
	j := r.model
	temperature = infer.Temperature(j.logits, r.labels, len(j.classes))
	calibrationError, bins = infer.Scaled(j.logits, r.labels, len(j.classes))
	return temperature, calibrationError, bins, true
}

// curves returns the curves of a class.
func (r *result) curves(c int) (infer.Curves, bool) {
	j := r.model
	if r.members != nil {
		return infer.LabelCurves(j.logits, r.members, len(j.classes), c)
	}
	return infer.ClassCurves(j.logits, r.labels, len(j.classes), c)
}

func (r *result) reportValues(job *stages.Job) {
	m := r.model
	macro, weighted, micro := m.averages()
	calibrationError, _ := m.calibration()
	classes, rankings, mean := m.perClass()
	for name, v := range map[string]any{"count": r.data.Len(), "accuracy": m.accuracy(), "loss": m.logLoss(), "precision": macro.Precision, "recall": macro.Recall,
		"f1": macro.F1, "f1_weighted": weighted.F1, "f1_micro": micro, "balanced_accuracy": m.balanced(), "calibration_error": calibrationError,
		"auroc": defined(mean.AUROC), "average_precision": defined(mean.AveragePrecision), "model_size": m.size,
		"per_slice": r.slicesValue(), "robustness": r.robustnessValue(), "robust_accuracy": r.robustAccuracy()} {
		job.Value(name, v)
	}
	byClass := map[string]any{}
	for i, c := range classes {
		byClass[m.classes[i]] = map[string]any{"images": c.Images, "precision": c.Precision, "recall": c.Recall, "f1": c.F1,
			"auroc": defined(rankings[i].AUROC), "average_precision": defined(rankings[i].AveragePrecision)}
	}
	job.Value("per_class", byClass)
	ranges := map[string]any{}
	for _, i := range r.ranges {
		ranges[i.name] = []any{defined(i.low), defined(i.high)}
	}
	job.Value("intervals", ranges)
	r.reportSingle(job)
	r.reportBaseline(job)
	var worst any
	if s := r.worstSlice(); s != nil {
		worst = s.accuracy
	}
	job.Value("worst_slice_accuracy", worst)
}

// reportSingle reports what only images with one class each have, or only those with several.
func (r *result) reportSingle(job *stages.Job) {
	var hamming, temperature, scaled any
	if r.members != nil {
		hamming = r.model.multi.Hamming
	} else if t, e, _, ok := r.scaled(); ok {
		temperature, scaled = t, e
	}
	job.Value("hamming_loss", hamming)
	job.Value("temperature", temperature)
	job.Value("calibration_error_scaled", scaled)
	for _, k := range r.topK {
		var top any
		if r.members == nil {
			top = r.model.top(k)
		}
		job.Value(topName(k), top)
	}
}

func (r *result) reportBaseline(job *stages.Job) {
	values := map[string]any{"baseline_accuracy": nil, "accuracy_drop": nil, "agreement": nil, "mcnemar": nil, "size_ratio": nil}
	if b := r.baseline; b != nil {
		values["baseline_accuracy"] = b.accuracy()
		values["accuracy_drop"] = b.accuracy() - r.model.accuracy()
		values["agreement"] = float64(r.agreed.Same) / float64(r.agreed.Count)
		values["mcnemar"] = r.agreed.Exact
		values["size_ratio"] = float64(r.model.size) / float64(b.size)
	}
	for name, v := range values {
		job.Value(name, v)
	}
}

// defined returns f, or nil where it is not a number: JSON and values have none.
func defined(f float64) any {
	if math.IsNaN(f) {
		return nil
	}
	return f
}

// top returns the share of images whose class is among the k most probable; with k classes or fewer it is 1.
func (j *judgement) top(k int) float64 { return j.single.TopK[min(k, len(j.single.TopK))-1] }
