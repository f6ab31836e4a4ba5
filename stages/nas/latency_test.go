package nas

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/stages"
)

// writeTable makes a table in which a layer has 4,000 multiply-accumulates or a few times as many, and the whole takes that many milliseconds.
func writeTable(t *testing.T, factor float64, operators ...string) string {
	t.Helper()
	rows := []infer.Latency{{Index: -1, Batch: 1, Threads: 1, Width: 1, Runs: 9, Median: factor}}
	for i, operator := range operators {
		macs := 4000 * (i + 1)
		rows = append(rows, infer.Latency{Index: i, Node: fmt.Sprint(i), Layer: fmt.Sprint(i), Operator: operator, Shape: "1x4x6x6", MACs: macs, Batch: 1, Threads: 1, Width: 1, Runs: 9,
			Median: factor / float64(len(operators))})
	}
	path := filepath.Join(t.TempDir(), "table")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := infer.WriteLatencies(f, rows); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Estimated times are objectives, limits, columns and values, the same whatever the machine.
func TestLatencies(t *testing.T) {
	tables := map[string]string{latencyPort: writeTable(t, 1, "FusedConv", "Conv", "Gemm"), int8LatencyPort: writeTable(t, 0.25, "QLinearConv", "QGemm")}
	a := small(5, stages.BlockArgs{Type: "strategy", Label: "random"})
	a.Values["objectives"] = []any{"accuracy", "latency", "int8_latency"}
	job, got, err := run(t, a, 2, t.TempDir(), tables)
	if err != nil {
		t.Fatal(err)
	}
	var times []float64
	for _, row := range rowsOf(t, job) {
		ms, _ := strconv.ParseFloat(row[10], 64)
		int8, _ := strconv.ParseFloat(row[11], 64)
		if ms <= 0 || int8 <= 0 || int8 >= ms {
			t.Errorf("a candidate takes %s ms, and %s in int8", row[10], row[11])
		}
		times = append(times, ms)
	}
	if v, ok := got.values["latency_estimate"].(float64); !ok || !slices.Contains(times, v) {
		t.Errorf("the best takes %v ms, candidates %v", got.values["latency_estimate"], times)
	}
	if !slices.ContainsFunc(got.lines, func(line string) bool { return strings.Contains(line, "follow from the nearest ones") }) {
		t.Errorf("the log does not say how many layers the table has: %q", got.lines)
	}
	slices.Sort(times)
	limit := (times[0] + times[1]) / 2
	a.Blocks = append(a.Blocks, stages.BlockArgs{Type: "limit", Args: args(map[string]any{"latency": limit})})
	if job, _, err = run(t, a, 1, t.TempDir(), tables); err != nil {
		t.Fatal(err)
	}
	for _, row := range rowsOf(t, job) {
		if ms, _ := strconv.ParseFloat(row[10], 64); ms > limit {
			t.Errorf("a candidate takes %g ms, the limit is %g", ms, limit)
		}
	}
}

func TestLatencyMistakes(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("hello\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		limit float64
		table string
		arg   string
		want  string
	}{
		{1, text, "latency", "is not a latency table"},
		{1, writeTable(t, 1, "Gemm"), "latency", "has no convolution. Profile a model whose layers"},
		{1e-9, writeTable(t, 1, "Conv", "Gemm"), "limit", "keeps the limit of latency. The nearest one, stem"},
	} {
		_, _, err := run(t, small(3, stages.BlockArgs{Type: "limit", Args: args(map[string]any{"latency": c.limit})}), 1, t.TempDir(), map[string]string{latencyPort: c.table})
		p, ok := err.(stages.Problem)
		if !ok || p.Arg != c.arg || !strings.Contains(p.Detail, c.want) {
			t.Errorf("%v, want %q on %s", err, c.want, c.arg)
		}
	}
	for _, a := range []stages.Args{args(map[string]any{"objectives": []any{"accuracy", "int8_latency"}}), {Blocks: []stages.BlockArgs{{Type: "limit", Args: args(map[string]any{"int8_latency": 3.0})}}}} {
		_, problems := stages.Decode(Kind.New(), a, map[string]bool{"data": true, "validation": true})
		if len(problems) != 1 || problems[0].Arg != "int8_latency" || !strings.Contains(problems[0].Detail, "profile.NAME.latency") {
			t.Errorf("%v", problems)
		}
	}
}
