package infer

import (
	"math"
	"strings"
	"testing"
)

// measured is a table of a model of two convolutions and a dense layer, with 2 images a run: 3 ms by its nodes, 2.4 ms as a whole.
func measured() []Latency {
	row := func(index int, layer, operator, shape string, macs int, median float64) Latency {
		return Latency{Index: index, Node: layer, Layer: layer, Operator: operator, Shape: shape, MACs: macs, Batch: 2, Threads: 1, Width: 1, Runs: 9, Median: median}
	}
	other := row(-1, "", "", "", 0, 99)
	other.Threads = 4
	return []Latency{row(-1, "", "", "", 0, 2.4), row(0, "a", "Conv", "2x8x4x4", 1280, 1), row(1, "b", "FusedConv", "2x4x2x2", 640, 0.6), row(2, "", "GlobalAveragePool", "2x4x1x1", 0, 1.1),
		row(3, "fc", "Gemm", "2x10", 40, 0.3), other}
}

func TestSurvey(t *testing.T) {
	s, err := NewSurvey(measured(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	model := []Layer{{"Conv", 128, 1280}, {"Conv", 16, 640}, {"Gemm", 10, 40}}
	if got, err := s.Estimate(model); err != nil || math.Abs(got.Milliseconds-2.4) > 1e-12 || got.Measured != 3 || got.Scaled != 0 {
		t.Errorf("the model itself: %+v, %v; want what was measured, 2.4 ms", got, err)
	}
	// The nearest to (800 multiply-accumulates, 16 elements) is b; the rest is 1.1 ms for 154 elements.
	want := (0.6*800/640 + 1.1/154*16) * 0.8
	if got, err := s.Estimate([]Layer{{"Conv", 16, 800}}); err != nil || math.Abs(got.Milliseconds-want) > 1e-12 || got.Scaled != 1 {
		t.Errorf("a layer that was not measured: %+v, %v; want %g ms", got, err, want)
	}
	for _, c := range []struct {
		rows  []Latency
		batch int
		layer Layer
		want  string
	}{
		{nil, 0, Layer{}, "no rows"},
		{measured()[:1], 0, Layer{}, "no times of a model and its layers"},
		{measured(), 8, Layer{}, "for 8 images on 1 threads"},
		{measured()[:4], 0, Layer{"Gemm", 10, 40}, "no matrix product"},
		{measured(), 0, Layer{"Conv", 16, 64000}, "is 100 times the nearest"},
		{append(measured(), Latency{Node: "odd", Layer: "odd", Shape: "?", MACs: 1, Batch: 2, Threads: 1}), 0, Layer{}, `node odd of the latency table: its shape is "?"`},
	} {
		s, err := NewSurvey(c.rows, c.batch, 0)
		if err == nil {
			_, err = s.Estimate([]Layer{c.layer})
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
