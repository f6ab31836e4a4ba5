package profile

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/report"
)

// nodesShown is how many nodes the report draws.
const nodesShown = 20

func writeReport(path string, rows []infer.Latency) error {
	p := report.New("Profile")
	whole := wholes(rows)
	p.Subtitle(fmt.Sprintf("%d runs of the first combination; all numbers are measured, on one machine", whole[0].Runs))
	var facts []report.Fact
	for _, l := range whole[:min(4, len(whole))] {
		f := report.Fact{Name: title(l), Value: report.Number(l.Median, 3) + "\u00a0ms", Note: report.Number(l.P10, 3) + " to " + report.Number(l.P90, 3) + " ms in the middle 80 %"}
		if l.Spread() > noisy {
			f.Tone = report.Bad
		}
		facts = append(facts, f)
	}
	p.Facts(facts...)
	p.Section("Batches and threads")
	if slices.ContainsFunc(whole, func(l infer.Latency) bool { return l.Spread() > noisy }) {
		p.Text("Something else used the processor during the marked measurements: the middle 80 % of their runs are more than half of the median apart. Measure again on a quiet machine before deciding by them.")
	}
	p.Table(wholeTable(whole))
	if plot := ratePlot(whole); len(plot.Series) > 0 {
		p.Lines(plot)
	}
	for _, l := range whole {
		nodeSection(p, l, rows)
	}
	widthSection(p, rows)
	return p.WriteFile(path)
}

// widthSection shows how the time falls with the channels, where narrower models were timed.
func widthSection(p *report.Page, rows []infer.Latency) {
	plot := report.LinePlot{Title: "Time by multiply-accumulates, as shares of the model's", NoLast: true,
		X: report.Axis{Name: "multiply-accumulates", Percent: true, Zero: true}, Y: report.Axis{Name: "time", Percent: true, Zero: true}}
	t := report.Table{Columns: []report.Column{{Name: "Threads", Number: true}, {Name: "Batch", Number: true}, {Name: "Channels", Number: true}, {Name: "Multiply-accumulates", Number: true},
		{Name: "Median", Unit: "ms", Number: true}, {Name: "of the model's", Number: true}}}
	for _, w := range wholes(rows) {
		s := report.Series{Name: title(w)}
		for _, l := range rows {
			if l.Index >= 0 || l.Batch != w.Batch || l.Threads != w.Threads {
				continue
			}
			work, took := float64(l.MACs)/float64(max(w.MACs, 1)), l.Median/w.Median
			s.X, s.Y = append(s.X, work), append(s.Y, took)
			t.Rows = append(t.Rows, []string{fmt.Sprint(l.Threads), fmt.Sprint(l.Batch), report.Percent(l.Width), report.Percent(work), report.Number(l.Median, 3), report.Percent(took)})
		}
		if len(s.X) < 2 {
			return
		}
		slices.Reverse(s.X)
		slices.Reverse(s.Y)
		plot.Series = append(plot.Series, s)
	}
	p.Section("With fewer channels")
	p.Text("The model with a share of the channels of each layer. Where the line lies above the diagonal, the machine does not save as much time as work.")
	p.Lines(plot)
	p.Table(t)
}

func title(l infer.Latency) string {
	return fmt.Sprintf("Batch %d, %s", l.Batch, threads(l.Threads))
}

func threads(n int) string {
	if n == 1 {
		return "1 thread"
	}
	return fmt.Sprintf("%d threads", n)
}

// wholes are the measurements of the model itself.
func wholes(rows []infer.Latency) []infer.Latency {
	var out []infer.Latency
	for _, l := range rows {
		if l.Index < 0 && l.Width == 1 {
			out = append(out, l)
		}
	}
	return out
}

func wholeTable(whole []infer.Latency) report.Table {
	t := report.Table{Columns: []report.Column{{Name: "Threads", Number: true}, {Name: "Batch", Number: true}, {Name: "Median", Unit: "ms", Number: true}, {Name: "p10", Unit: "ms", Number: true},
		{Name: "p90", Unit: "ms", Number: true}, {Name: "Images a second", Number: true}, {Name: "Runs", Number: true}}, Marks: map[int]report.Tone{}}
	for i, l := range whole {
		if l.Spread() > noisy {
			t.Marks[i] = report.Bad
		}
		t.Rows = append(t.Rows, []string{fmt.Sprint(l.Threads), fmt.Sprint(l.Batch), report.Number(l.Median, 3), report.Number(l.P10, 3), report.Number(l.P90, 3),
			report.Number(1000*float64(l.Batch)/l.Median, 1), report.Count(l.Runs)})
	}
	return t
}

// ratePlot draws images a second over the batch, where there are several batches.
func ratePlot(whole []infer.Latency) report.LinePlot {
	plot := report.LinePlot{Title: "Throughput", X: report.Axis{Name: "batch", Log: true}, Y: report.Axis{Name: "images a second", Zero: true}}
	byThreads := map[int]int{}
	for _, l := range whole {
		at, ok := byThreads[l.Threads]
		if !ok {
			at = len(plot.Series)
			byThreads[l.Threads] = at
			plot.Series = append(plot.Series, report.Series{Name: threads(l.Threads)})
		}
		s := &plot.Series[at]
		s.X, s.Y = append(s.X, float64(l.Batch)), append(s.Y, math.Round(1000*float64(l.Batch)/l.Median))
	}
	if len(whole) == len(plot.Series) {
		return report.LinePlot{}
	}
	return plot
}

// nodeSection shows where the time of one combination goes.
func nodeSection(p *report.Page, whole infer.Latency, rows []infer.Latency) {
	var nodes []infer.Latency
	sum := 0.0
	operators, counts := map[string]float64{}, map[string]int{}
	for _, l := range rows {
		if l.Index >= 0 && l.Width == 1 && l.Batch == whole.Batch && l.Threads == whole.Threads {
			nodes = append(nodes, l)
			sum += l.Median
			operators[l.Operator] += l.Median
			counts[l.Operator]++
		}
	}
	p.Section(title(whole))
	p.Text(fmt.Sprintf("The nodes' medians sum up to %s ms, measured with the profiler; a run without it takes %s ms.", report.Number(sum, 3), report.Number(whole.Median, 3)))
	chart := report.BarChart{Title: "By operator"}
	var names []string
	for name := range operators {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(operators[b], operators[a]), cmp.Compare(a, b)) })
	for _, name := range names {
		chart.Bars = append(chart.Bars, report.Bar{Name: fmt.Sprintf("%s (%d)", name, counts[name]), Value: operators[name], Text: share(operators[name], sum)})
	}
	p.Bars(chart)
	t := report.Table{Title: fmt.Sprintf("All %d nodes in the order of execution", len(nodes)), Folded: true, Columns: []report.Column{{Name: "Node"}, {Name: "Operator"}, {Name: "Output"}, {Name: "Median", Unit: "ms", Number: true},
		{Name: "p10", Unit: "ms", Number: true}, {Name: "p90", Unit: "ms", Number: true}, {Name: "Share", Number: true}}}
	for _, l := range nodes {
		t.Rows = append(t.Rows, []string{l.Node, l.Operator, l.Shape, report.Number(l.Median, 3), report.Number(l.P10, 3), report.Number(l.P90, 3), share(l.Median, sum)})
	}
	slowest := slices.Clone(nodes)
	slices.SortStableFunc(slowest, func(a, b infer.Latency) int { return cmp.Compare(b.Median, a.Median) })
	bars := report.BarChart{Title: "The slowest nodes"}
	for _, l := range slowest[:min(nodesShown, len(slowest))] {
		bars.Bars = append(bars.Bars, report.Bar{Name: l.Node + ", " + l.Operator, Value: l.Median, Text: report.Number(l.Median, 3) + "\u00a0ms, " + share(l.Median, sum)})
	}
	p.Bars(bars)
	p.Table(t)
}

func share(part, whole float64) string {
	if whole <= 0 {
		return report.Percent(0)
	}
	return report.Percent(part / whole)
}
