package infer

import (
	"math"
	"strings"
	"testing"
)

// table is of a model with two layers and something between them, measured at three widths; the profiler makes everything a tenth slower.
func table() []Latency {
	var rows []Latency
	for _, m := range []struct {
		width                  float64
		a, b                   int
		took, first, second, x float64
	}{{1, 100, 400, 10, 3, 6, 2}, {0.5, 25, 100, 6, 2, 3.6, 1}, {0.25, 10, 40, 5, 2.1, 2.8, 0.6}} {
		row := func(index int, layer string, macs int, took float64) {
			rows = append(rows, Latency{Index: index, Layer: layer, Node: layer, Batch: 8, Threads: 2, Width: m.width, MACs: macs, Runs: 5, Median: took})
		}
		row(-1, "", m.a+m.b, m.took)
		row(0, "first", m.a, m.first)
		row(1, "", 0, m.x)
		row(2, "second", m.b, m.second)
	}
	return append(rows, Latency{Index: -1, Batch: 1, Threads: 2, Width: 1, MACs: 500, Runs: 5, Median: 2})
}

func TestEstimate(t *testing.T) {
	e, err := NewEstimator(table(), 0, 0)
	if err != nil || e.Batch != 8 || e.Threads != 2 || e.Widths() != 3 {
		t.Fatalf("%+v, %v", e, err)
	}
	at := func(a, b int) float64 { return e.Milliseconds(map[string]int{"first": a, "second": b}) }
	// At a measured width it says what was measured, but for first at a quarter, which cannot be slower than at half.
	for _, c := range []struct {
		a, b int
		want float64
	}{{100, 400, 10}, {25, 100, 6 * 6.7 / 6.6}, {10, 40, 5}} {
		if got := at(c.a, c.b); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%d and %d multiply-accumulates: %g ms, want %g", c.a, c.b, got, c.want)
		}
	}
	// Half way between two widths in work: 2.55 + 4.8 + 1.5, and the ratio between 10/11 and 6/6.6.
	if got, want := at(62, 250), (2.1+0.9*37.0/75+4.8+1+187.0/375)*(10.0/11); math.Abs(got-want) > 1e-9 {
		t.Errorf("between: %g ms, want %g", got, want)
	}
	last := math.Inf(1)
	for share := 100; share >= 0; share -= 5 {
		got := at(share, 4*share)
		if got > last || got < 0 {
			t.Errorf("a share of %d takes %g ms, more work %g", share, got, last)
		}
		last = got
	}
	if l := e.Unlike(map[string]int{"first": 100, "second": 400, "new": 1}); l != "" {
		t.Errorf("%s is unlike", l)
	}
	if l := e.Unlike(map[string]int{"first": 100, "second": 300}); l != "second" {
		t.Errorf("%q is unlike", l)
	}
}

func TestEstimateOfOneWidthIsProportional(t *testing.T) {
	e, err := NewEstimator(table()[:4], 8, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Milliseconds(map[string]int{"first": 50, "second": 200}); math.Abs(got-5) > 1e-9 {
		t.Errorf("half the work: %g ms, want 5", got)
	}
}

func TestEstimatorRefuses(t *testing.T) {
	for _, c := range []struct {
		rows           []Latency
		batch, threads int
		want           string
	}{
		{nil, 0, 0, "no rows"},
		{table(), 3, 0, "no measurement of 3 images on 2 threads"},
		{table(), 1, 2, "no times of nodes"},
		{table()[1:4], 8, 2, "no measurement of 8 images"},
	} {
		if _, err := NewEstimator(c.rows, c.batch, c.threads); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
