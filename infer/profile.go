package infer

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// NodeTime is how long one node of a graph took in each of several runs. The graph is the one that ONNX Runtime executes: nodes that it
// fused are one node, with the name of one of them.
type NodeTime struct {
	Index    int // place in the order of execution
	Name     string
	Operator string
	Shape    string    // of its first output, "1x16x32x32"; "" when it is not told
	Took     []float64 // milliseconds, sorted, in steps of 0.001
}

// TimeNodes runs the model at path with ONNX Runtime's profiler and returns its nodes in the order of execution. Profiling itself takes
// time, so the nodes' sum is more than what Time says of a run. scratch is a folder for the profiler's file.
func TimeNodes(ctx context.Context, path string, o Options, t TimingOptions, scratch string) ([]NodeTime, error) {
	dir, err := os.MkdirTemp(scratch, "profile-")
	if err != nil {
		return nil, fmt.Errorf("profiling %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	o.profile = filepath.Join(dir, "events")
	s, err := Open(path, o)
	if err != nil {
		return nil, err
	}
	_, err = Time(ctx, s, o.Threads, t)
	s.Close() // the profiler writes its file now
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(o.profile + "*.json")
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("profiling %s: ONNX Runtime wrote %d files of events", path, len(files))
	}
	f, err := os.Open(files[0])
	if err != nil {
		return nil, fmt.Errorf("profiling %s: %w", path, err)
	}
	defer f.Close()
	nodes, err := readEvents(f, max(1, t.Warmup))
	if err != nil {
		return nil, fmt.Errorf("profiling %s: %w", path, err)
	}
	return nodes, nil
}

// event is one entry of ONNX Runtime's profile.
type event struct {
	Category string  `json:"cat"`
	Name     string  `json:"name"`
	Duration float64 `json:"dur"` // microseconds
	Args     struct {
		Index    string             `json:"node_index"`
		Operator string             `json:"op_name"`
		Outputs  []map[string][]int `json:"output_type_shape"`
	} `json:"args"`
}

// readEvents collects the times of each node, without those of the first runs.
func readEvents(r io.Reader, skip int) ([]NodeTime, error) {
	var events []event
	if err := json.NewDecoder(r).Decode(&events); err != nil {
		return nil, fmt.Errorf("reading the profiler's events: %w", err)
	}
	at := map[string]int{}
	var nodes []NodeTime
	for _, e := range events {
		name, ok := strings.CutSuffix(e.Name, "_kernel_time")
		if e.Category != "Node" || !ok {
			continue
		}
		key := e.Args.Index + " " + name
		i, ok := at[key]
		if !ok {
			i = len(nodes)
			at[key] = i
			nodes = append(nodes, NodeTime{Index: i, Name: name, Operator: e.Args.Operator, Shape: shapeOf(e.Args.Outputs)})
		}
		nodes[i].Took = append(nodes[i].Took, e.Duration/1000)
	}
	for i := range nodes {
		if len(nodes[i].Took) <= skip {
			return nil, fmt.Errorf("the node %s was run %d times, and %d of them are warm-up", nodes[i].Name, len(nodes[i].Took), skip)
		}
		nodes[i].Took = nodes[i].Took[skip:]
		slices.Sort(nodes[i].Took)
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("the profiler saw no node")
	}
	return nodes, nil
}

func shapeOf(outputs []map[string][]int) string {
	for _, o := range outputs {
		for _, shape := range o {
			var parts []string
			for _, d := range shape {
				parts = append(parts, strconv.Itoa(d))
			}
			return strings.Join(parts, "x")
		}
	}
	return ""
}

// Latency is one row of a latency table: how long the whole model, or one of its nodes, takes with so many images a run on so many threads.
type Latency struct {
	Node           string // "" for the whole model
	Index          int    // place in the order of execution; -1 for the whole model
	Operator       string
	Shape          string // of the node's output
	Batch, Threads int
	Runs           int
	Median         float64 // milliseconds
	P10, P90       float64
}

// Spread is how far the middle 80 % of the runs are apart, as a share of the median.
func (l *Latency) Spread() float64 { return (l.P90 - l.P10) / l.Median }

// NewLatency makes a row of sorted times.
func NewLatency(took []float64, batch, threads int) Latency {
	return Latency{Index: -1, Batch: batch, Threads: threads, Runs: len(took), Median: Quantile(took, 0.5), P10: Quantile(took, 0.1), P90: Quantile(took, 0.9)}
}

// latencyColumns is the head of a latency table.
var latencyColumns = []string{"scope", "batch", "threads", "index", "node", "operator", "shape", "runs", "median_ms", "p10_ms", "p90_ms"}

// The scopes of rows.
const (
	scopeModel = "model"
	scopeNode  = "node"
)

// WriteLatencies writes a latency table as CSV.
func WriteLatencies(w io.Writer, rows []Latency) error {
	c := csv.NewWriter(w)
	c.Write(latencyColumns) // a csv.Writer keeps its first error
	ms := func(v float64) string { return strconv.FormatFloat(v, 'f', 6, 64) }
	for _, l := range rows {
		scope, index := scopeNode, strconv.Itoa(l.Index)
		if l.Index < 0 {
			scope, index = scopeModel, ""
		}
		c.Write([]string{scope, strconv.Itoa(l.Batch), strconv.Itoa(l.Threads), index, l.Node, l.Operator, l.Shape, strconv.Itoa(l.Runs), ms(l.Median), ms(l.P10), ms(l.P90)})
	}
	c.Flush()
	if err := c.Error(); err != nil {
		return fmt.Errorf("writing the latency table: %w", err)
	}
	return nil
}

// ReadLatencies reads what WriteLatencies wrote. Its errors name the line.
func ReadLatencies(r io.Reader) ([]Latency, error) {
	c := csv.NewReader(r)
	head, err := c.Read()
	if err != nil || !slices.Equal(head, latencyColumns) {
		return nil, fmt.Errorf("this is not a latency table: its first line must be %s", strings.Join(latencyColumns, ","))
	}
	var out []Latency
	for {
		record, err := c.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading the latency table: %w", err)
		}
		line, _ := c.FieldPos(0)
		l, err := parseLatency(record)
		if err != nil {
			return nil, fmt.Errorf("line %d of the latency table: %w", line, err)
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the latency table has no rows")
	}
	return out, nil
}

func parseLatency(record []string) (Latency, error) {
	l := Latency{Node: record[4], Operator: record[5], Shape: record[6], Index: -1}
	if record[0] != scopeModel && record[0] != scopeNode {
		return l, fmt.Errorf("the scope is %q; it must be %s or %s", record[0], scopeModel, scopeNode)
	}
	for _, n := range []struct {
		column int
		to     *int
		least  int
	}{{1, &l.Batch, 1}, {2, &l.Threads, 1}, {3, &l.Index, 0}, {7, &l.Runs, 1}} {
		if n.column == 3 && record[0] == scopeModel {
			continue
		}
		v, err := strconv.Atoi(record[n.column])
		if err != nil || v < n.least {
			return l, fmt.Errorf("%s is %q; it must be a whole number of at least %d", latencyColumns[n.column], record[n.column], n.least)
		}
		*n.to = v
	}
	for i, to := range []*float64{&l.Median, &l.P10, &l.P90} {
		v, err := strconv.ParseFloat(record[8+i], 64)
		if err != nil || !(v >= 0) || math.IsInf(v, 0) {
			return l, fmt.Errorf("%s is %q; it must be a number of milliseconds", latencyColumns[8+i], record[8+i])
		}
		*to = v
	}
	return l, nil
}

// SortLatencies orders rows by threads, batch and place in the graph, the whole model first.
func SortLatencies(rows []Latency) {
	slices.SortStableFunc(rows, func(a, b Latency) int {
		return cmp.Or(cmp.Compare(a.Threads, b.Threads), cmp.Compare(a.Batch, b.Batch), cmp.Compare(a.Index, b.Index))
	})
}
