package prune

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"strconv"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/report"
	"github.com/darkroom-dev/darkroom/stages"
)

// sensitivity is how the accuracy falls when a layer, with those that it is bound to, is pruned alone.
type sensitivity struct {
	layer    string
	accuracy []float64 // at each of sensitivityRatios
}

// sensitivityRatios are the shares of channels at which the layers are looked at.
var sensitivityRatios = []float64{0, 0.25, 0.5, 0.75}

// sensitivity prunes each group alone and judges the model on some images.
func (w *work) sensitivity(m *onnx.Model) ([]sensitivity, error) {
	if w.validation == nil || w.sense == 0 || w.sparsity != noSparsity {
		return nil, nil
	}
	whole, err := w.accuracy(m, w.sense)
	if err != nil {
		return nil, err
	}
	score := byNorm(1) // that of the arguments may need gradients of each model
	_, groups, err := grouped(m)
	if err != nil {
		return nil, err
	}
	list, err := w.cutter.candidates(m, groups, score)
	if err != nil {
		return nil, err
	}
	var out []sensitivity
	for i, k := range list {
		s := sensitivity{k.name, []float64{whole}}
		for _, ratio := range sensitivityRatios[1:] {
			a, err := w.alone(m, score, i, ratio)
			if err != nil {
				return nil, err
			}
			s.accuracy = append(s.accuracy, a)
		}
		out = append(out, s)
		w.job.Progress(stages.Progress{Phase: "sensitivity", Done: int64(i + 1), Total: int64(len(list)), Unit: "layers"})
	}
	return out, nil
}

// alone returns the accuracy of the model with one group pruned.
func (w *work) alone(m *onnx.Model, score importance, at int, ratio float64) (float64, error) {
	g, groups, err := grouped(m)
	if err != nil {
		return 0, err
	}
	list, err := w.cutter.candidates(m, groups, score)
	if err != nil {
		return 0, err
	}
	one := cutter{round: 1}
	k := list[at]
	k.fixed = ratio
	if err := groups.Prune(one.cuts([]candidate{k}, 0)...); err != nil {
		return 0, err
	}
	pruned, err := g.Model()
	if err != nil {
		return 0, err
	}
	return w.accuracy(pruned, w.sense)
}

// row is a layer before and after.
type row struct {
	name, operator string
	before, after  surgery.NodeCost
	channels       [2]int
}

// rows lists the layers with weights. A node keeps its name through surgery.
func rows(before, after *surgery.Costs) []row {
	byName := map[string]surgery.NodeCost{}
	for _, n := range after.Nodes {
		byName[n.Name()] = n
	}
	var out []row
	for _, n := range before.Nodes {
		if n.MACs == 0 {
			continue
		}
		a := byName[n.Name()]
		out = append(out, row{n.Name(), n.Node.OpType, n, a, [2]int{channels(n), channels(a)}})
	}
	return out
}

// channels is the size of the output's axis of channels.
func channels(n surgery.NodeCost) int {
	if len(n.Output) < 2 {
		return 0
	}
	axis := 1
	if n.Node.OpType == "MatMul" {
		axis = len(n.Output) - 1
	}
	size, _ := n.Output[axis].At(1)
	return size
}

// write makes the outputs and reports the values.
func (w *work) write(r *result) error {
	before, err := simplified(r.before)
	if err != nil {
		return err
	}
	after, err := simplified(r.after)
	if err != nil {
		return err
	}
	if err := r.after.Save(w.job.Output("model")); err != nil {
		return err
	}
	table := rows(before, after)
	if err := writeTable(w.job.Output("layers"), table); err != nil {
		return err
	}
	channelsRatio, err := keptChannels(r.before, table)
	if err != nil {
		return err
	}
	zeroes := countZeroes(r.after)
	flopsRatio := float64(after.Total.FLOPs) / float64(max(before.Total.FLOPs, 1))
	parametersRatio := float64(after.Total.Parameters-zeroes) / float64(max(before.Total.Parameters, 1))
	w.job.Value("flops_ratio", flopsRatio)
	w.job.Value("parameters_ratio", parametersRatio)
	w.job.Value("channels_ratio", channelsRatio)
	w.job.Value("accuracy", defined(r.accuracyAfter))
	w.job.Value("accuracy_before", defined(r.accuracyBefore))
	w.job.Value("used_ratio", r.ratio)
	if err := w.measureLatency(r); err != nil {
		return err
	}
	return w.page(r, before, after, table, flopsRatio, parametersRatio, channelsRatio).WriteFile(w.job.Output("report"))
}

// defined returns f, or nil where it is not a number.
func defined(f float64) any {
	if math.IsNaN(f) {
		return nil
	}
	return f
}

// keptChannels returns the share that stays of the channels of all layers that may lose some; 1 where there are none.
func keptChannels(before *onnx.Model, table []row) (float64, error) {
	_, groups, err := grouped(before)
	if err != nil {
		return 0, err
	}
	free := map[string]bool{}
	for _, g := range groups.List {
		for _, n := range g.Layers() {
			free[n.Name] = true
		}
	}
	all, stay := 0, 0
	for _, r := range table {
		if free[r.name] {
			all, stay = all+r.channels[0], stay+r.channels[1]
		}
	}
	if all == 0 {
		return 1, nil
	}
	return float64(stay) / float64(all), nil
}

func simplified(m *onnx.Model) (*surgery.Costs, error) {
	g := surgery.Edit(m)
	if err := g.Simplify(); err != nil {
		return nil, err
	}
	return g.Costs()
}

// countZeroes counts the zeroes among the kernels and matrices.
func countZeroes(m *onnx.Model) int {
	n := 0
	for _, t := range m.Graph().Initializer {
		if v, ok := m.Tensor(t.Name); ok && len(v.Dims) > 1 {
			for _, f := range v.Data {
				if f == 0 {
					n++
				}
			}
		}
	}
	return n
}

func writeTable(path string, table []row) error {
	var b bytes.Buffer
	out := csv.NewWriter(&b)
	write := func(fields ...string) { _ = out.Write(fields) } // a bytes.Buffer takes everything
	write("layer", "operator", "channels_before", "channels_after", "parameters_before", "parameters_after", "flops_before", "flops_after")
	for _, r := range table {
		write(r.name, r.operator, strconv.Itoa(r.channels[0]), strconv.Itoa(r.channels[1]), strconv.Itoa(r.before.Parameters), strconv.Itoa(r.after.Parameters),
			strconv.Itoa(r.before.FLOPs), strconv.Itoa(r.after.FLOPs))
	}
	out.Flush()
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		return fmt.Errorf("writing the table of layers: %w", err)
	}
	return nil
}

func (w *work) page(r *result, before, after *surgery.Costs, table []row, flopsRatio, parametersRatio, channelsRatio float64) *report.Page {
	p := report.New("Pruning")
	what := fmt.Sprintf("%s of the channels removed by %s", report.Percent(1-channelsRatio), w.method.Name)
	if w.sparsity != noSparsity {
		what = fmt.Sprintf("weights set to zero, %s, ratio %s", w.sparsity, report.Percent(r.ratio))
	}
	p.Subtitle(what)
	facts := []report.Fact{
		{Name: "FLOPs", Value: report.Percent(flopsRatio), Note: fmt.Sprintf("%s of %s", surgery.Text(after.Total.FLOPs), surgery.Text(before.Total.FLOPs))},
		{Name: "Parameters", Value: report.Percent(parametersRatio), Note: fmt.Sprintf("of %s, zeroes left out", report.Count(before.Total.Parameters))},
	}
	if !math.IsNaN(r.accuracyAfter) {
		tone := report.Good
		if r.accuracyAfter < r.accuracyBefore-0.01 {
			tone = report.Bad
		}
		facts = append(facts, report.Fact{Name: "Accuracy", Value: report.Percent(r.accuracyAfter), Note: "was " + report.Percent(r.accuracyBefore), Tone: tone})
	}
	if r.latency > 0 {
		facts = append(facts, report.Fact{Name: "Estimated time", Value: report.Number(r.latency, 3) + "\u00a0ms",
			Note: fmt.Sprintf("of %s ms, batch %d on %d threads, as the table tells", report.Number(w.estimator.Milliseconds(macsOf(before)), 3), w.estimator.Batch, w.estimator.Threads)})
	}
	p.Facts(facts...)
	p.Section("Layers")
	layers := report.Table{Columns: []report.Column{{Name: "Layer"}, {Name: "Operator"}, {Name: "Channels", Number: true}, {Name: "that stay", Number: true}, {Name: "Parameters", Number: true}, {Name: "that stay", Number: true},
		{Name: "FLOPs", Number: true}, {Name: "that stay", Number: true}, {Name: "Share", Number: true}}}
	for _, l := range table {
		layers.Rows = append(layers.Rows, []string{l.name, l.operator, report.Count(l.channels[0]), report.Count(l.channels[1]), report.Count(l.before.Parameters), report.Count(l.after.Parameters),
			surgery.Text(l.before.FLOPs), surgery.Text(l.after.FLOPs), report.Percent(float64(l.after.FLOPs) / float64(max(l.before.FLOPs, 1)))})
	}
	p.Table(layers)
	if len(r.sensitivity) > 0 {
		p.Section("Sensitivity")
		p.Text(fmt.Sprintf("Accuracy on %s images when the channels of one layer alone, with those that are bound to them, are removed by their L1 norm, without fine-tuning.", report.Count(min(w.sense, w.validation.Len()))))
		plot := report.LinePlot{Title: "Accuracy by share removed", X: report.Axis{Name: "share of the channels removed", Percent: true}, Y: report.Axis{Name: "accuracy", Percent: true}}
		for _, s := range r.sensitivity {
			plot.Series = append(plot.Series, report.Series{Name: s.layer, X: sensitivityRatios, Y: s.accuracy})
		}
		p.Lines(plot)
	}
	return p
}
