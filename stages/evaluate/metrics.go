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
}

type binJSON struct {
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Images     int     `json:"images"`
	Accuracy   float64 `json:"accuracy"`
	Confidence float64 `json:"confidence"`
}

type baselineJSON struct {
	Accuracy     float64 `json:"accuracy"`
	AccuracyDrop float64 `json:"accuracy_drop"`
	Loss         float64 `json:"loss"`
	Gained       int     `json:"gained"` // images that only the model answers rightly
	Lost         int     `json:"lost"`   // images that only the baseline answers rightly
	Same         int     `json:"same"`   // images with the same answer
}

// metrics lists everything measured. Numbers are written with as many digits as they have.
func (r *result) metrics() []field {
	m := r.model
	low, high := infer.Interval(m.Accuracy, m.Count)
	top := map[string]float64{}
	for _, k := range r.topK {
		top[strconv.Itoa(k)] = m.top(k)
	}
	var classes []classJSON
	for i, c := range m.Classes {
		classes = append(classes, classJSON{m.classes[i], c.Images, c.Predicted, c.Precision, c.Recall, c.F1,
			defined(m.Rankings[i].AUROC), defined(m.Rankings[i].AveragePrecision)})
	}
	var bins []binJSON
	for _, b := range m.Calibration {
		bins = append(bins, binJSON{b.Low, b.High, b.Count, b.Accuracy, b.Confidence})
	}
	fields := []field{
		{"count", m.Count}, {"accuracy", m.Accuracy}, {"accuracy_interval", []float64{low, high}}, {"top_k", top}, {"loss", m.LogLoss},
		{"macro", averageJSON(m.Macro)}, {"weighted", averageJSON(m.Weighted)}, {"balanced_accuracy", m.Balanced},
		{"auroc", defined(m.MeanRanking.AUROC)}, {"average_precision", defined(m.MeanRanking.AveragePrecision)},
		{"calibration_error", m.CalibrationError}, {"calibration", bins}, {"classes", classes}, {"confusion", m.Confusion},
	}
	if b := r.baseline; b != nil {
		c := r.compare()
		fields = append(fields, field{"baseline", baselineJSON{b.Accuracy, b.Accuracy - m.Accuracy, b.LogLoss, c.gained, c.lost, c.same}})
	}
	return fields
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
// and losses have six decimals.
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
	if all {
		for _, c := range r.model.classes {
			head = append(head, "p_"+c)
		}
	}
	w.Write(head) // a csv.Writer keeps its first error
	for i, label := range r.model.labels {
		p := infer.Softmax(r.model.row(i))
		answer := infer.Best(r.model.row(i))
		line := []string{r.data.ID(i), r.model.classes[label], r.model.classes[answer], strconv.FormatBool(int(label) == answer), sixDecimals(p[answer]), sixDecimals(infer.LogLoss(r.model.row(i), int(label)))}
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

func sixDecimals(f float64) string { return strconv.FormatFloat(f, 'f', 6, 64) }
