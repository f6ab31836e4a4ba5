package evaluate

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/darkroom-dev/darkroom/infer"
)

// field is one entry of the metrics file, in the order to write them.
type field struct {
	name  string
	value any
}

type averageJSON struct {
	Precision float64 `json:"precision"`
	Recall    float64 `json:"recall"`
	F1        float64 `json:"f1"`
}

type classJSON struct {
	Class     string  `json:"class"`
	Images    int     `json:"images"`
	Predicted int     `json:"predicted"`
	Precision float64 `json:"precision"`
	Recall    float64 `json:"recall"`
	F1        float64 `json:"f1"`
	AUROC     any     `json:"auroc"` // null when the class has no images, or all
	Average   any     `json:"average_precision"`
	// The curves in at most curvePoints points each; absent as above, and where there are more than curveClasses classes.
	ROC             *curveJSON `json:"roc,omitempty"`
	PrecisionRecall *curveJSON `json:"precision_recall,omitempty"`
}

// curveJSON is false and true positive rates, or recalls and precisions.
type curveJSON struct {
	X []float64 `json:"x"`
	Y []float64 `json:"y"`
}

const (
	curvePoints  = 200
	curveClasses = 100
)

type binJSON struct {
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Images     int     `json:"images"`
	Accuracy   float64 `json:"accuracy"`
	Confidence float64 `json:"confidence"`
}

type scalingJSON struct {
	Temperature      float64   `json:"temperature"`
	CalibrationError float64   `json:"calibration_error"`
	Calibration      []binJSON `json:"calibration"`
}

type baselineJSON struct {
	Accuracy     float64 `json:"accuracy"`
	AccuracyDrop float64 `json:"accuracy_drop"`
	Loss         float64 `json:"loss"`
	Gained       int     `json:"gained"` // images that only the model answers rightly
	Lost         int     `json:"lost"`   // images that only the baseline answers rightly
	Same         int     `json:"same"`   // images with the same answer
	Agreement    float64 `json:"agreement"`
	Kappa        float64 `json:"kappa"`
	McNemar      float64 `json:"mcnemar"` // the exact test's probability
	Chi2         float64 `json:"mcnemar_chi2"`
	ChiP         float64 `json:"mcnemar_chi2_p"`
	Size         int64   `json:"size"` // bytes
}

type sliceJSON struct {
	Name     string     `json:"name"`
	Value    string     `json:"value"`
	Images   int        `json:"images"`
	Accuracy float64    `json:"accuracy"`
	Interval [2]float64 `json:"interval"` // 95 %, Wilson
	F1       float64    `json:"f1"`
	Loss     float64    `json:"loss"`
	Baseline *float64   `json:"baseline_accuracy,omitempty"`
}

type robustJSON struct {
	Corruption string    `json:"corruption"`
	Severities []int     `json:"severities"`
	Accuracy   []float64 `json:"accuracy"`
	Baseline   []float64 `json:"baseline_accuracy,omitempty"`
}

func binsJSON(bins []infer.CalibrationBin) []binJSON {
	var out []binJSON
	for _, b := range bins {
		out = append(out, binJSON{b.Low, b.High, b.Count, b.Accuracy, b.Confidence})
	}
	return out
}

// metrics lists everything computed. Numbers are written with as many digits as they have.
func (r *result) metrics() []field {
	m := r.model
	low, high := infer.Interval(m.accuracy(), r.data.Len())
	macro, weighted, micro := m.averages()
	calibrationError, bins := m.calibration()
	_, _, mean := m.perClass()
	intervals := map[string][2]any{}
	for _, i := range r.ranges {
		intervals[i.name] = [2]any{defined(i.low), defined(i.high)}
	}
	fields := []field{
		{"count", r.data.Len()}, {"accuracy", m.accuracy()}, {"accuracy_interval", []float64{low, high}}, {"intervals", intervals}, {"loss", m.logLoss()},
		{"macro", averageJSON(macro)}, {"weighted", averageJSON(weighted)}, {"f1_micro", micro}, {"balanced_accuracy", m.balanced()},
		{"auroc", defined(mean.AUROC)}, {"average_precision", defined(mean.AveragePrecision)},
		{"calibration_error", calibrationError}, {"calibration", binsJSON(bins)},
	}
	if temperature, e, bins, ok := r.scaled(); ok {
		fields = append(fields, field{"scaling", scalingJSON{temperature, e, binsJSON(bins)}})
	}
	fields = append(fields, r.kindFields()...)
	fields = append(fields, field{"classes", r.classFields()}, field{"model_size", m.size})
	if len(r.groups) > 0 {
		fields = append(fields, field{"slices", r.sliceFields()})
	}
	if len(r.robust) > 0 {
		var list []robustJSON
		for _, c := range r.robust {
			list = append(list, robustJSON{c.name, r.severities, c.model, c.baseline})
		}
		fields = append(fields, field{"robustness", list})
	}
	if b := r.baseline; b != nil {
		a := r.agreed
		fields = append(fields, field{"baseline", baselineJSON{b.accuracy(), b.accuracy() - m.accuracy(), b.logLoss(), a.Gained, a.Lost, a.Same,
			float64(a.Same) / float64(a.Count), a.Kappa, a.Exact, a.Chi2, a.ChiP, b.size}})
	}
	return fields
}

// kindFields are those that only images with one class each have, or only those with several.
func (r *result) kindFields() []field {
	if r.members != nil {
		return []field{{"hamming_loss", r.model.multi.Hamming}, {"micro", averageJSON(r.model.multi.Micro)}, {"threshold", r.threshold}}
	}
	top := map[string]float64{}
	for _, k := range r.topK {
		top[strconv.Itoa(k)] = r.model.top(k)
	}
	return []field{{"top_k", top}, {"confusion", r.model.single.Confusion}}
}

func (r *result) classFields() []classJSON {
	var out []classJSON
	scores, rankings, _ := r.model.perClass()
	for i, c := range scores {
		entry := classJSON{Class: r.model.classes[i], Images: c.Images, Predicted: c.Predicted, Precision: c.Precision, Recall: c.Recall, F1: c.F1,
			AUROC: defined(rankings[i].AUROC), Average: defined(rankings[i].AveragePrecision)}
		if len(scores) <= curveClasses {
			if curves, ok := r.curves(i); ok {
				entry.ROC, entry.PrecisionRecall = thin(curves.ROC), thin(curves.PrecisionRecall)
			}
		}
		out = append(out, entry)
	}
	return out
}

func thin(c infer.Curve) *curveJSON {
	c = c.Thin(curvePoints)
	return &curveJSON{c.X, c.Y}
}

func (r *result) sliceFields() []sliceJSON {
	var out []sliceJSON
	for _, s := range r.groups {
		entry := sliceJSON{Name: s.name, Value: s.value, Images: s.images, Accuracy: s.accuracy, Interval: [2]float64{s.low, s.high}, F1: s.f1, Loss: s.loss}
		if r.baseline != nil {
			entry.Baseline = &s.baseline
		}
		out = append(out, entry)
	}
	return out
}

// writeMetrics writes one JSON object with a line for each field.
func (r *result) writeMetrics(path string) error {
	var b bytes.Buffer
	for i, f := range r.metrics() {
		text, err := json.Marshal(f.value)
		if err != nil {
			return fmt.Errorf("metrics: %s: %w", f.name, err)
		}
		separator := ",\n"
		if i == 0 {
			separator = "{\n"
		}
		fmt.Fprintf(&b, "%s  %q: %s", separator, f.name, text)
	}
	b.WriteString("\n}\n")
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		return fmt.Errorf("writing the metrics: %w", err)
	}
	return nil
}

// writePredictions writes a CSV file with one line an image; sorted by its loss, wrong labels come first. Probabilities
// and losses have six decimals. The confidence is the highest probability; of several classes, that of the least certain answer or refusal.
func (r *result) writePredictions(path string, all bool) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing the predictions: %w", err)
	}
	defer func() {
		if closed := f.Close(); err == nil && closed != nil {
			err = fmt.Errorf("writing the predictions: %w", closed)
		}
	}()
	buffered := bufio.NewWriter(f)
	w := csv.NewWriter(buffered)
	head := []string{"id", "label", "predicted", "correct", "confidence", "loss"}
	if r.baseline != nil {
		head = append(head, "baseline")
	}
	if all {
		for _, c := range r.model.classes {
			head = append(head, "p_"+c)
		}
	}
	w.Write(head) // a csv.Writer keeps its first error
	m := r.model
	for i, truth := range r.truth {
		p := m.probabilities(i)
		line := []string{r.data.ID(i), names(m.classes, truth, "|"), names(m.classes, m.answers[i], "|"), strconv.FormatBool(m.right[i]), sixDecimals(m.confidence(i, p)), sixDecimals(m.loss[i])}
		if r.baseline != nil {
			line = append(line, names(m.classes, r.baseline.answers[i], "|"))
		}
		if all {
			for _, share := range p {
				line = append(line, sixDecimals(share))
			}
		}
		w.Write(line)
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return fmt.Errorf("writing the predictions: %w", err)
	}
	return buffered.Flush()
}

// confidence is how sure the model is of its answer for an image with these probabilities.
func (j *judgement) confidence(image int, p []float64) float64 {
	if j.single != nil {
		return p[j.answers[image][0]]
	}
	least := 1.0
	for _, v := range p {
		least = min(least, max(v, 1-v))
	}
	return least
}

func sixDecimals(f float64) string { return strconv.FormatFloat(f, 'f', 6, 64) }
