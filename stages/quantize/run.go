package quantize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/quantization"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/report"
	"github.com/darkroom-dev/darkroom/stages"
)

// fewImages is the number of calibration images below which ranges are unreliable.
const fewImages = 500

func (r *run) options(info dataset.Info, batch int) infer.Options {
	return infer.Options{Threads: r.job.Device.Threads, Batch: batch, Channels: info.Channels, Height: info.Height, Width: info.Width, Mean: r.mean, Std: r.std}
}

// sample chooses the rows of the calibration images, evenly over the dataset.
func (r *run) sample() []int {
	n := r.calibration.Len()
	k := n
	if r.images > 0 {
		k = min(n, r.images)
	}
	rows := make([]int, k)
	for i := range rows {
		rows[i] = i * n / k
	}
	return rows
}

func (r *run) warnOfFew(n int) string {
	if n >= fewImages {
		return ""
	}
	text := fmt.Sprintf("The number of images that the ranges come from is %d. Use %d or more, or they may not hold for others.", n, fewImages)
	r.job.Logf("warning: %s", text)
	return text
}

// look runs the graph on calibration images and hands the named values to visit, batch after batch.
func (r *run) look(ctx context.Context, g *surgery.Graph, values []string, rows []int, phase string, visit func(value int, dims []int64, data []float32) error) error {
	b, err := g.Expose(values)
	if err != nil {
		return err
	}
	path := filepath.Join(r.job.ScratchDir, "probe.onnx")
	if err := os.WriteFile(path, b, 0o666); err != nil {
		return err
	}
	defer os.Remove(path)
	probe, err := infer.OpenProbe(path, values, r.options(r.calibration.Info(), 0))
	if err != nil {
		return r.inferProblem(err)
	}
	defer probe.Close()
	batch := r.batch
	if probe.Batch() > 0 {
		batch = probe.Batch()
		if len(rows) < batch {
			return stages.Problemf("calibration", "Too few calibration images", "The model takes %d images at once and there are %d. Export it with an open batch size, or calibrate with more images.", batch, len(rows))
		}
		rows = rows[:len(rows)/batch*batch]
	}
	for first := 0; first < len(rows); first += batch {
		part := rows[first:min(first+batch, len(rows))]
		images, err := pixelsOf(r.calibration, part)
		if err != nil {
			return err
		}
		var failed error
		err = probe.Run(ctx, images, len(part), func(i int, dims []int64, data []float32) {
			if failed == nil {
				failed = visit(i, dims, data)
			}
		})
		if err = errors.Join(err, failed); err != nil {
			return r.inferProblem(err)
		}
		r.job.Progress(stages.Progress{Phase: phase, Done: int64(first + len(part)), Total: int64(len(rows)), Unit: "images"})
	}
	return nil
}

func (r *run) inferProblem(err error) error {
	var broken *infer.ModelError
	if errors.As(err, &broken) {
		return stages.Problemf("model", "Model cannot be run", "%s.", sentence(broken.Detail))
	}
	return err
}

// pixelsOf reads rows of a dataset as (N, C, H, W) from 0 to 1.
func pixelsOf(d *dataset.Dataset, rows []int) ([]float32, error) {
	info := d.Info()
	size, plane := info.ImageSize(), info.Height*info.Width
	out := make([]float32, len(rows)*size)
	buffer := make([]byte, size)
	for i, row := range rows {
		pixels, err := d.Pixels(row, buffer)
		if err != nil {
			return nil, err
		}
		for k, v := range pixels {
			out[i*size+k%info.Channels*plane+k/info.Channels] = float32(v) * (1.0 / 255)
		}
	}
	return out, nil
}

// accuracy lets a model answer the validation images.
func (r *run) accuracy(ctx context.Context, m *onnx.Model, phase string) (float64, error) {
	path := filepath.Join(r.job.ScratchDir, "candidate.onnx")
	if err := m.Save(path); err != nil {
		return 0, err
	}
	defer os.Remove(path)
	s, err := infer.Open(path, r.options(r.validation.Info(), 64))
	if err != nil {
		return 0, r.inferProblem(err)
	}
	defer s.Close()
	total := r.validation.Len()
	if r.validationImages > 0 {
		total = min(total, r.validationImages)
	}
	answers, err := infer.Answer(ctx, s, r.validation, r.validationImages, func(done int) {
		r.job.Progress(stages.Progress{Phase: phase, Done: int64(done), Total: int64(total), Unit: "images"})
	})
	if err != nil {
		return 0, r.inferProblem(err)
	}
	return answers.Accuracy(), nil
}

// calibrated is a model made ready for the target, with a plan and the ranges of its values.
type calibrated struct {
	g      *surgery.Graph
	plan   *quantization.Plan
	ranges map[string]quantization.Range
	rows   []int // of the calibration images
}

// prepared calibrates; what there is to say about it is noted in the outcome.
func (r *run) prepared(ctx context.Context) (*calibrated, *outcome, error) {
	g, err := quantization.Prepare(r.model)
	if err != nil {
		return nil, nil, modelProblem(err)
	}
	quantization.Adapt(g, quantization.Target(r.target))
	c := &calibrated{g: g, rows: r.sample()}
	made := &outcome{images: len(c.rows)}
	made.note(r.warnOfFew(len(c.rows)))
	made.note(r.warnOfSaturation())
	if err := r.refine(ctx, g, c.rows, made); err != nil {
		return nil, nil, err
	}
	if c.plan, err = quantization.NewPlan(g, r.scheme(nil)); err != nil {
		return nil, nil, modelProblem(err)
	}
	c.ranges, err = r.calibrate(ctx, g, c.plan, c.rows)
	return c, made, err
}

// static is post-training quantization with ranges from calibration images.
func (r *run) static(ctx context.Context) (*outcome, error) {
	c, made, err := r.prepared(ctx)
	if err != nil {
		return nil, err
	}
	g, plan, ranges, rows := c.g, c.plan, c.ranges, c.rows
	weights, err := r.fit(ctx, g, plan, ranges, rows)
	if err != nil {
		return nil, err
	}
	result, err := r.fallBack(ctx, g, plan, ranges, weights, rows, made)
	if err != nil {
		return nil, err
	}
	made.model, made.ranges = result.Model, rangeRows(plan, result)
	made.nodes = len(result.Seen)
	made.layers, err = r.noise(ctx, g, result, rows)
	return made, err
}

func (o *outcome) note(text string) {
	if text != "" {
		o.notes = append(o.notes, text)
	}
}

func (r *run) scheme(keep map[string]bool) quantization.Scheme {
	return quantization.Scheme{Target: quantization.Target(r.target), PerChannel: r.perChannel, Reduced: r.reduced, SlowInFloat: r.slowInFloat, BoundedSwish: r.hardSwish == boundedSwish, Exclude: r.exclude, Keep: keep}
}

// warnOfSaturation says when the processor's 8-bit kernels would saturate. The instruction set is in the key, as a part of the device class.
func (r *run) warnOfSaturation() string {
	isa := r.job.Device.ISA
	if r.target != string(quantization.ONNXRuntime) || r.reduced || !(isa == "avx512" || isa == "avx2" || isa == "avx" || isa == "sse") {
		return ""
	}
	text := fmt.Sprintf("This processor (%s) has no VNNI: its 8-bit products are added in 16 bits and saturate where weights are large, so accuracies measured here can be lower than elsewhere. reduced_range = true avoids that.", isa)
	r.job.Logf("warning: %s", text)
	return text
}

// calibrate finds the range of every value of the plan.
func (r *run) calibrate(ctx context.Context, g *surgery.Graph, plan *quantization.Plan, rows []int) (map[string]quantization.Range, error) {
	c := quantization.NewCalibration(plan, quantization.Method(r.calibrator), r.percentile)
	for pass := range c.Passes() {
		phase := "calibrating"
		if pass > 0 {
			c.NextPass()
			phase = "counting"
		}
		err := r.look(ctx, g, plan.Observed, rows, phase, func(i int, _ []int64, data []float32) error { return c.Add(i, data) })
		if err != nil {
			return nil, err
		}
	}
	return c.Ranges(), nil
}

// noiseImages is how many images the error of each layer is measured on.
const noiseImages = 128

// noise compares what the layers give before and after, on calibration images.
func (r *run) noise(ctx context.Context, g *surgery.Graph, q *quantization.Quantized, rows []int) ([]layerRow, error) {
	rows = every(rows, noiseImages)
	var before, after []string
	for _, p := range q.Seen {
		before, after = append(before, p.Before), append(after, p.Quantized)
	}
	var kept [][]float32
	if err := r.look(ctx, g, before, rows, "layers before", func(_ int, _ []int64, data []float32) error {
		kept = append(kept, append([]float32(nil), data...))
		return nil
	}); err != nil {
		return nil, err
	}
	list := make([]layerRow, len(before))
	signal, error2 := make([]float64, len(before)), make([]float64, len(before))
	at := 0
	err := r.look(ctx, surgery.Edit(q.Model), after, rows, "layers after", func(i int, _ []int64, data []float32) error {
		s, e := squares(kept[at], data)
		signal[i] += s
		error2[i] += e
		at++
		return nil
	})
	for i, p := range q.Seen {
		list[i] = layerRow{Node: quantization.Name(p.Node), Operator: p.Node.OpType, SQNR: decibels(signal[i], error2[i])}
	}
	return list, err
}

// every takes at most n of rows, evenly.
func every(rows []int, n int) []int {
	if len(rows) <= n {
		return rows
	}
	list := make([]int, n)
	for i := range list {
		list[i] = rows[i*len(rows)/n]
	}
	return list
}

func squares(a, b []float32) (signal, noise float64) {
	for i, v := range a {
		d := float64(v) - float64(b[i])
		signal += float64(float64(v) * float64(v))
		noise += float64(d * d)
	}
	return signal, noise
}

// most is the ratio shown where there is no error at all, in decibels.
const most = 100

func decibels(signal, noise float64) float64 {
	if noise == 0 {
		return most
	}
	if signal == 0 {
		return 0
	}
	return math.Min(most, 10*math.Log10(signal/noise))
}

// half converts to 16 bits.
func (r *run) half(ctx context.Context) (*outcome, error) {
	g := surgery.Edit(r.model)
	if err := g.Simplify(); err != nil {
		return nil, modelProblem(err)
	}
	if _, err := g.FoldNormalization(); err != nil {
		return nil, modelProblem(err)
	}
	o := surgery.HalfOptions{Precision: surgery.Float16, Keep: quantization.Matcher(r.exclude)}
	made := &outcome{}
	if r.method == bf16 {
		o.Precision = surgery.BFloat16
	} else {
		rows := r.sample()
		made.images = len(rows)
		made.note(r.warnOfFew(len(rows)))
		largest, err := r.largest(ctx, g, rows)
		if err != nil {
			return nil, err
		}
		o.Largest = largest
	}
	done, err := g.Half(o)
	if err != nil {
		return nil, modelProblem(err)
	}
	made.nodes = done.Converted
	var names []string
	for _, n := range done.Kept {
		names = append(names, quantization.Name(n))
	}
	if len(names) > 0 {
		made.note(fmt.Sprintf("In float32, since excluded, without a kernel in 16 bits, or with numbers that 16 bits cannot hold (%s): %s.", report.Counted(len(names), "node"), strings.Join(names, ", ")))
	}
	if done.Vanished > 0 {
		made.note(fmt.Sprintf("Too small for 16 bits, and so 0 now: %s.", report.Counted(done.Vanished, "weight")))
	}
	if made.model, err = g.Model(); err != nil {
		return nil, err
	}
	return made, nil
}

// largest measures the largest magnitude of every float value.
func (r *run) largest(ctx context.Context, g *surgery.Graph, rows []int) (map[string]float64, error) {
	shapes, err := g.Shapes()
	if err != nil {
		return nil, modelProblem(err)
	}
	var values []string
	for _, n := range g.Nodes() {
		for _, out := range n.Output {
			if out != "" && shapes.Of(out).IsFloat() {
				values = append(values, out)
			}
		}
	}
	all := map[string]float64{}
	err = r.look(ctx, g, values, rows, "measuring", func(i int, _ []int64, data []float32) error {
		for _, v := range data {
			if a := math.Abs(float64(v)); a > all[values[i]] {
				all[values[i]] = a
			}
		}
		return nil
	})
	return all, err
}
