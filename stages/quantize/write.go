package quantize

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/onnx/quantization"
	"github.com/darkroom-dev/darkroom/report"
)

// rangeRow is one line of the table of ranges.
type rangeRow struct {
	value string
	quantization.ValueParameters
}

// layerRow is one layer's error.
type layerRow struct {
	Node, Operator string
	SQNR           float64 // decibels
}

func rangeRows(p *quantization.Plan, q *quantization.Quantized) []rangeRow {
	var rows []rangeRow
	for _, value := range p.Observed {
		if parameters, ok := q.Parameters[value]; ok {
			rows = append(rows, rangeRow{value, parameters})
		}
	}
	return rows
}

// write makes the outputs and reports the values.
func (r *run) write(ctx context.Context, made *outcome) error {
	if err := made.model.Save(r.job.Output("model")); err != nil {
		return err
	}
	info, err := os.Stat(r.job.Output("model"))
	if err != nil {
		return err
	}
	if err := r.judge(ctx, made); err != nil {
		return err
	}
	if err := writeRanges(r.job.Output("ranges"), made.ranges); err != nil {
		return err
	}
	ratio := float64(info.Size()) / float64(r.size)
	if err := r.page(made, info.Size(), ratio).WriteFile(r.job.Output("report")); err != nil {
		return err
	}
	r.job.Value("size_ratio", ratio)
	r.job.Value("quantized", made.nodes)
	r.job.Value("kept", append([]string{}, made.kept...))
	r.job.Value("calibration_images", made.images)
	r.job.Value("accuracy_calibrated", nil)
	if made.fit != nil {
		r.job.Measure("images_per_second", made.fit.Rate)
		if made.fit.calibrated != nil {
			r.job.Value("accuracy_calibrated", *made.fit.calibrated)
		}
	}
	if made.after == nil {
		r.job.Value("accuracy", nil)
		r.job.Value("accuracy_before", nil)
		r.job.Value("accuracy_drop", nil)
		return nil
	}
	r.job.Value("accuracy", *made.after)
	r.job.Value("accuracy_before", r.before)
	r.job.Value("accuracy_drop", r.before-*made.after)
	r.job.Logf("accuracy %.4f, %.4f before; %.3f of the size", *made.after, r.before, ratio)
	return nil
}

// judge measures accuracies that the method has not measured itself.
func (r *run) judge(ctx context.Context, made *outcome) error {
	if r.validation == nil || made.after != nil {
		return nil
	}
	var err error
	if r.before, err = r.accuracy(ctx, r.model, "accuracy before"); err != nil {
		return err
	}
	after, err := r.accuracy(ctx, made.model, "accuracy after")
	made.after = &after
	return err
}

func writeRanges(path string, rows []rangeRow) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := csv.NewWriter(f)
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	w.Write([]string{"value", "low", "high", "scale", "zero_point", "type"}) // errors are sticky: w.Error has them
	for _, row := range rows {
		w.Write([]string{row.value, number(row.Low), number(row.High), number(row.Scale), strconv.Itoa(row.Zero), row.Type})
	}
	w.Flush()
	err = w.Error()
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

var methodNames = map[string]string{ptq: "int8 after training", qat: "int8 with training", dynamic: "int8 with ranges found while it runs", weightOnly: "weights alone", fp16: "float16", bf16: "bfloat16"}

var targetNames = map[string]string{string(quantization.ONNXRuntime): "ONNX Runtime", string(quantization.TensorRT): "TensorRT"}

func (r *run) page(made *outcome, size int64, ratio float64) *report.Page {
	p := report.New("Quantization")
	subtitle := methodNames[r.method]
	switch r.method {
	case ptq, qat:
		subtitle += fmt.Sprintf(", for %s, ranges by %s over %s", targetNames[r.target], strings.ReplaceAll(r.calibrator, "_", " "), report.Counted(made.images, "image"))
	case weightOnly:
		subtitle += fmt.Sprintf(", in %d bits", r.bits)
	}
	p.Subtitle(subtitle)
	p.Facts(r.facts(made, size, ratio)...)
	for _, note := range made.notes {
		p.Text(note)
	}
	if len(made.kept) > 0 {
		p.Section("In float")
		p.Text(fmt.Sprintf("Quantized whole, the model loses more than the %g percentage points that max_accuracy_drop allows. These nodes cost most when quantized alone and stay in float.", 100*r.maxDrop))
		t := report.Table{Columns: []report.Column{{Name: "Node"}}}
		for _, name := range made.kept {
			t.Rows = append(t.Rows, []string{name})
		}
		p.Table(t)
	}
	if made.fit != nil {
		r.trainingSection(p, made.fit)
	}
	if len(made.layers) > 0 {
		layersSection(p, made.layers)
	}
	if len(made.ranges) > 0 {
		p.Section("Ranges")
		t := report.Table{Title: "What the codes of each value stand for", Folded: len(made.ranges) > 20, Columns: []report.Column{{Name: "Value"}, {Name: "Low", Number: true}, {Name: "High", Number: true}, {Name: "Scale", Number: true}, {Name: "Zero point", Number: true}, {Name: "Type"}}}
		for _, row := range made.ranges {
			t.Rows = append(t.Rows, []string{row.value, fmt.Sprintf("%.4g", row.Low), fmt.Sprintf("%.4g", row.High), fmt.Sprintf("%.4g", row.Scale), strconv.Itoa(row.Zero), row.Type})
		}
		p.Table(t)
	}
	return p
}

func (r *run) facts(made *outcome, size int64, ratio float64) []report.Fact {
	var facts []report.Fact
	if made.after != nil {
		f := report.Fact{Name: "Accuracy", Value: report.Percent(*made.after), Note: fmt.Sprintf("%s before, on %s", report.Percent(r.before), report.Counted(r.validationCount(), "image"))}
		d := report.Fact{Name: "Change", Value: report.Points(*made.after - r.before)}
		if r.before-*made.after > 0.01 {
			d.Tone = report.Bad
		}
		if made.fit != nil {
			f.Note = fmt.Sprintf("%s before, %s after calibration alone, on %s", report.Percent(r.before), report.Percent(*made.fit.calibrated), report.Counted(r.validationCount(), "image"))
		}
		facts = append(facts, f, d)
	}
	return append(facts, report.Fact{Name: "Size", Value: report.Percent(ratio), Note: fmt.Sprintf("%s bytes, %s before", report.Count(int(size)), report.Count(int(r.size)))},
		report.Fact{Name: "Nodes", Value: report.Count(made.nodes), Note: "in fewer bits"})
}

func (r *run) validationCount() int {
	if r.validationImages > 0 {
		return min(r.validationImages, r.validation.Len())
	}
	return r.validation.Len()
}

func layersSection(p *report.Page, rows []layerRow) {
	p.Section("Layers")
	p.Text("The signal to quantization noise ratio compares what a layer gives before and after, with everything before it quantized too. 10 dB more is a tenth of the noise; below 10 dB a layer deserves a look.")
	s := report.Series{Name: "SQNR"}
	t := report.Table{Title: "Every layer", Folded: len(rows) > 24, Columns: []report.Column{{Name: "Node"}, {Name: "Operator"}, {Name: "SQNR", Unit: "dB", Number: true}}, Marks: map[int]report.Tone{}}
	worst := 0
	for i, row := range rows {
		s.Y = append(s.Y, row.SQNR)
		if row.SQNR < rows[worst].SQNR {
			worst = i
		}
		t.Rows = append(t.Rows, []string{row.Node, row.Operator, fmt.Sprintf("%.1f", row.SQNR)})
	}
	t.Marks[worst] = report.Bad
	if len(rows) > 1 {
		p.Lines(report.LinePlot{Title: "SQNR in order of the model", X: report.Axis{Name: "Layer"}, Y: report.Axis{Name: "SQNR, dB", Zero: true}, Series: []report.Series{s}})
	}
	p.Table(t)
}
