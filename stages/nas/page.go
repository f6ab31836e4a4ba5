package nas

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/report"
	"github.com/darkroom-dev/darkroom/stages"
)

// write chooses the best candidate and makes the outputs.
func (e *evaluator) write(all []candidate) error {
	onFront := e.front(all)
	best := -1
	for _, i := range onFront {
		if best < 0 || all[i].accuracy > all[best].accuracy {
			best = i
		}
	}
	if best < 0 {
		return stages.Problemf("budget", "No candidate could be trained", "All %d candidates diverged. Lower the learning_rate of the budget.", len(all))
	}
	b := all[best]
	model, err := e.build(b.point)
	if err != nil {
		return err
	}
	if err := model.Save(e.job.Output("model")); err != nil {
		return err
	}
	trained, err := os.ReadFile(filepath.Join(b.folder, "trained.onnx"))
	if err != nil {
		return fmt.Errorf("taking the weights of the best candidate: %w", err)
	}
	if err := os.WriteFile(e.job.Output("trained"), trained, 0o666); err != nil {
		return fmt.Errorf("taking the weights of the best candidate: %w", err)
	}
	if err := e.writeTable(e.job.Output("candidates"), all, onFront); err != nil {
		return err
	}
	e.job.Value("accuracy", b.accuracy)
	e.job.Value("flops", b.cost.flops)
	e.job.Value("parameters", b.cost.parameters)
	for _, port := range []string{latencyPort, int8LatencyPort} {
		e.job.Value(port+"_estimate", nil)
		if e.surveys[port] != nil {
			e.job.Value(port+"_estimate", b.cost.of(port))
		}
	}
	e.job.Value("architecture", b.text)
	e.job.Value("correlation", e.correlations(all))
	e.job.Value("evaluated", len(all))
	return e.page(all, onFront, b).WriteFile(e.job.Output("report"))
}

// front returns the candidates with the whole budget that no other one dominates, by index.
func (e *evaluator) front(all []candidate) []int {
	scores := make([]score, len(all))
	for i, c := range all {
		if c.budget == 1 {
			scores[i] = c.score
		}
	}
	return front(scores)
}

func (e *evaluator) writeTable(path string, all []candidate, onFront []int) error {
	var b bytes.Buffer
	out := csv.NewWriter(&b)
	write := func(fields ...string) { _ = out.Write(fields) } // a bytes.Buffer takes everything
	write(append([]string{"number", "accuracy", "loss", "flops", "parameters", "budget", "epochs", "front", "failed", "architecture"}, append(e.tables(), e.scores...)...)...)
	for i, c := range all {
		row := []string{strconv.Itoa(c.number), number(c.accuracy), number(c.loss), strconv.Itoa(c.cost.flops), strconv.Itoa(c.cost.parameters), number(c.budget), strconv.Itoa(c.epochs),
			strconv.FormatBool(slices.Contains(onFront, i)), c.failed, c.text}
		for _, port := range e.tables() {
			row = append(row, number(c.cost.of(port)))
		}
		for _, v := range c.scores {
			row = append(row, number(v))
		}
		write(row...)
	}
	out.Flush()
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		return fmt.Errorf("writing the table of candidates: %w", err)
	}
	return nil
}

// axisNames are the costs as a reader has them.
var axisNames = map[string]string{"flops": "FLOPs", "parameters": "parameters", latencyPort: "latency, ms", int8LatencyPort: "int8 latency, ms"}

var columnNames = map[string]string{latencyPort: "Latency", int8LatencyPort: "Int8 latency"}

// of returns one of the costs.
func (c cost) of(name string) float64 {
	return map[string]float64{"flops": float64(c.flops), "parameters": float64(c.parameters), latencyPort: c.latency, int8LatencyPort: c.int8Latency}[name]
}

// tables are the ports with a latency table.
func (e *evaluator) tables() []string {
	return slices.DeleteFunc([]string{latencyPort, int8LatencyPort}, func(port string) bool { return e.surveys[port] == nil })
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func (e *evaluator) page(all []candidate, onFront []int, best candidate) *report.Page {
	info := e.data.Info()
	p := report.New("Architecture search")
	p.Subtitle(fmt.Sprintf("%s of %s members, %s; %s images of %d×%d, %d epochs at most", report.Count(len(all)), e.space.sizeText(), strings.ReplaceAll(e.strategy.Name, "_", " "),
		report.Count(e.images.Len()), info.Width, info.Height, e.budget.epochs))
	facts := []report.Fact{
		{Name: "Accuracy", Value: report.Percent(best.accuracy), Note: "of the best, on " + report.Count(e.validation.Len()) + " images"},
		{Name: "FLOPs", Value: report.Count(best.cost.flops), Note: "for one image"},
		{Name: "Parameters", Value: report.Count(best.cost.parameters)},
		{Name: "Candidate", Value: strconv.Itoa(best.number), Note: fmt.Sprintf("of %d", len(all))},
	}
	for _, port := range e.tables() {
		facts = append(facts, report.Fact{Name: columnNames[port], Value: report.Number(best.cost.of(port), 3) + " ms", Note: fmt.Sprintf("estimated, batch %d, threads %d", e.surveys[port].Batch, e.surveys[port].Threads)})
	}
	p.Facts(facts...)
	p.Code("The best", best.text)
	p.Section("Candidates")
	against := "flops" // the first objective beside accuracy
	if i := slices.IndexFunc(e.objectives, func(o string) bool { return o != "accuracy" }); i >= 0 {
		against = e.objectives[i]
	}
	axis := report.Axis{Name: axisNames[against], Log: true}
	var others, whole, line []report.Point
	for i, c := range all {
		if c.failed != "" {
			continue
		}
		q := report.Point{X: c.cost.of(against), Y: c.accuracy, Name: fmt.Sprintf("candidate %d", c.number)}
		if slices.Contains(onFront, i) {
			line = append(line, q)
		}
		if c.budget == 1 {
			whole = append(whole, q)
		} else {
			others = append(others, q)
		}
	}
	slices.SortStableFunc(line, func(a, b report.Point) int { return int(math.Copysign(1, a.X-b.X)) })
	groups := []report.PointGroup{{Name: "candidates", Points: whole}, {Name: "front", Points: line, Joined: true}}
	if len(others) > 0 {
		groups = append(groups, report.PointGroup{Name: "with less training", Points: others})
	}
	p.Scatter(report.ScatterPlot{Title: "Accuracy and cost", X: axis, Y: report.Axis{Name: "accuracy", Percent: true}, Groups: groups})
	var soFar []float64
	for i, c := range all {
		soFar = append(soFar, c.accuracy)
		if i > 0 {
			soFar[i] = max(soFar[i], soFar[i-1])
		}
	}
	p.Lines(report.LinePlot{Title: "The best so far", X: report.Axis{Name: "trial"}, Y: report.Axis{Name: "accuracy", Percent: true}, Series: []report.Series{{Name: "best accuracy", Y: soFar}}})
	if len(e.scores) > 0 {
		e.showScores(p, all)
	}
	table := report.Table{Title: "All candidates", Folded: len(all) > 30, Marks: map[int]report.Tone{}, Columns: []report.Column{{Name: "Trial", Number: true}, {Name: "Accuracy", Number: true}, {Name: "FLOPs", Number: true},
		{Name: "Parameters", Number: true}, {Name: "Epochs", Number: true}}}
	for _, port := range e.tables() {
		table.Columns = append(table.Columns, report.Column{Name: columnNames[port] + ", ms", Number: true})
	}
	table.Columns = append(table.Columns, report.Column{Name: "Architecture"})
	for i, c := range all {
		accuracy := report.Percent(c.accuracy)
		if c.failed != "" {
			accuracy = "failed"
		}
		if slices.Contains(onFront, i) {
			table.Marks[i] = report.Good
		}
		row := []string{strconv.Itoa(c.number), accuracy, report.Count(c.cost.flops), report.Count(c.cost.parameters), strconv.Itoa(c.epochs)}
		for _, port := range e.tables() {
			row = append(row, report.Number(c.cost.of(port), 3))
		}
		table.Rows = append(table.Rows, append(row, c.text))
	}
	p.Table(table)
	return p
}

// showScores shows how the scores without training go with what the candidates came to.
func (e *evaluator) showScores(p *report.Page, all []candidate) {
	p.Section("Scores without training")
	found := e.correlations(all)
	table := report.Table{Title: "How well each ranks these candidates", Columns: []report.Column{{Name: "Score"}, {Name: "Spearman's rank correlation", Number: true}}}
	best := -1
	for i, name := range e.scores {
		text := "not defined"
		if r, ok := found[name]; ok {
			text = strconv.FormatFloat(r, 'f', 2, 64)
			if best < 0 || r > found[e.scores[best]] {
				best = i
			}
		}
		table.Rows = append(table.Rows, []string{name, text})
	}
	p.Table(table)
	if best < 0 {
		return
	}
	var points []report.Point
	for _, c := range all {
		if c.budget == 1 && c.failed == "" {
			points = append(points, report.Point{X: c.scores[best], Y: c.accuracy, Name: fmt.Sprintf("candidate %d", c.number)})
		}
	}
	p.Scatter(report.ScatterPlot{Title: "Accuracy and " + e.scores[best], X: report.Axis{Name: e.scores[best]}, Y: report.Axis{Name: "accuracy", Percent: true}, Groups: []report.PointGroup{{Name: "candidates", Points: points}}})
}
