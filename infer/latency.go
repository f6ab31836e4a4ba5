package infer

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Latency is one row of a latency table: how long the whole model, or one of its nodes, takes with so many images a run on so many threads, with all its
// channels or with a share of them.
type Latency struct {
	Node           string // "" for the whole model
	Index          int    // place in the order of execution; -1 for the whole model
	Layer          string // the layer of the graph that the node is, or that was fused into it; "" for none
	Operator       string
	Shape          string // of the node's output
	Batch, Threads int
	Width          float64 // share of the channels of each layer that the timed model has, above 0 to 1
	MACs           int     // multiply-accumulates of the layer for one image, or of all layers of the model
	Runs           int
	Median         float64 // milliseconds
	P10, P90       float64
}

// Spread is how far the middle 80 % of the runs are apart, as a share of the median.
func (l *Latency) Spread() float64 { return (l.P90 - l.P10) / l.Median }

// NewLatency makes a row of sorted times.
func NewLatency(took []float64, batch, threads int) Latency {
	return Latency{Index: -1, Batch: batch, Threads: threads, Width: 1, Runs: len(took), Median: Quantile(took, 0.5), P10: Quantile(took, 0.1), P90: Quantile(took, 0.9)}
}

// latencyColumns is the head of a latency table.
var latencyColumns = []string{"scope", "batch", "threads", "width", "index", "node", "layer", "operator", "shape", "macs", "runs", "median_ms", "p10_ms", "p90_ms"}

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
		c.Write([]string{scope, strconv.Itoa(l.Batch), strconv.Itoa(l.Threads), strconv.FormatFloat(l.Width, 'g', -1, 64), index, l.Node, l.Layer, l.Operator, l.Shape, strconv.Itoa(l.MACs),
			strconv.Itoa(l.Runs), ms(l.Median), ms(l.P10), ms(l.P90)})
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
	l := Latency{Node: record[5], Layer: record[6], Operator: record[7], Shape: record[8], Index: -1}
	if record[0] != scopeModel && record[0] != scopeNode {
		return l, fmt.Errorf("the scope is %q; it must be %s or %s", record[0], scopeModel, scopeNode)
	}
	const index = 4
	for _, n := range []struct {
		column int
		to     *int
		least  int
	}{{1, &l.Batch, 1}, {2, &l.Threads, 1}, {index, &l.Index, 0}, {9, &l.MACs, 0}, {10, &l.Runs, 1}} {
		if n.column == index && record[0] == scopeModel {
			continue
		}
		v, err := strconv.Atoi(record[n.column])
		if err != nil || v < n.least {
			return l, fmt.Errorf("%s is %q; it must be a whole number of at least %d", latencyColumns[n.column], record[n.column], n.least)
		}
		*n.to = v
	}
	width, err := strconv.ParseFloat(record[3], 64)
	if err != nil || !(width > 0 && width <= 1) {
		return l, fmt.Errorf("width is %q; it must be a share above 0 and at most 1", record[3])
	}
	l.Width = width
	for i, to := range []*float64{&l.Median, &l.P10, &l.P90} {
		v, err := strconv.ParseFloat(record[11+i], 64)
		if err != nil || !(v >= 0) || math.IsInf(v, 0) {
			return l, fmt.Errorf("%s is %q; it must be a number of milliseconds", latencyColumns[11+i], record[11+i])
		}
		*to = v
	}
	return l, nil
}

// SortLatencies orders rows by width, the whole model first, then threads, batch and place in the graph, where the model stands before its nodes.
func SortLatencies(rows []Latency) {
	slices.SortStableFunc(rows, func(a, b Latency) int {
		return cmp.Or(cmp.Compare(b.Width, a.Width), cmp.Compare(a.Threads, b.Threads), cmp.Compare(a.Batch, b.Batch), cmp.Compare(a.Index, b.Index))
	})
}
