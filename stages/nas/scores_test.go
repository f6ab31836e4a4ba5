package nas

import (
	"math"
	"strconv"
	"testing"

	"github.com/darkroom-dev/darkroom/stages"
)

// Answers of scipy.stats.spearmanr.
func TestSpearman(t *testing.T) {
	for _, c := range []struct {
		x, y []float64
		want float64
		ok   bool
	}{
		{[]float64{1, 2, 3, 4, 5}, []float64{5, 6, 7, 8, 7}, 0.8207826816681233, true},
		{[]float64{0.1, 0.1, 0.4, -3, 9, 2}, []float64{7, 6, 5, 4, 3, 2}, -0.5797710356524485, true},
		{[]float64{1, 2, 3}, []float64{10, 100, 1e6}, 1, true},
		{[]float64{1, 2}, []float64{1, 2}, 0, false},
		{[]float64{1, 1, 1}, []float64{1, 2, 3}, 0, false},
	} {
		if got, ok := spearman(c.x, c.y); ok != c.ok || math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v and %v: %.15f, %t; want %g", c.x, c.y, got, ok, c.want)
		}
	}
}

// Every candidate has each score in the table, taken once even where it is evaluated twice, and the correlation is that of the table's columns.
func TestScores(t *testing.T) {
	dir := t.TempDir()
	a := small(6, stages.BlockArgs{Type: "strategy", Label: "successive_halving", Args: args(map[string]any{"eta": 2.0, "rounds": 2.0})})
	a.Values["scores"] = []any{"parameters", "naswot"}
	job, got, err := run(t, a, 2, dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.made != 15 { // 6 members briefly, 3 of them in full, and the scores of 6
		t.Errorf("%d parts were made, want 15", got.made)
	}
	rows := rowsOf(t, job)
	var parameters, accuracies []float64
	for _, row := range rows {
		if row[10] != row[4] || row[11] == "" {
			t.Errorf("scores %q of a candidate with %s parameters", row[10:], row[4])
		}
		if row[5] == "1" {
			p, _ := strconv.ParseFloat(row[10], 64)
			accuracy, _ := strconv.ParseFloat(row[1], 64)
			parameters, accuracies = append(parameters, p), append(accuracies, accuracy)
		}
	}
	found := got.values["correlation"].(map[string]float64)
	if want, ok := spearman(parameters, accuracies); found["parameters"] != want && ok || len(parameters) != 3 {
		t.Errorf("correlations %v of %d candidates, want %g", found, len(parameters), want)
	}
	if _, again, err := run(t, a, 1, dir); err != nil || again.made != 0 {
		t.Errorf("again %d parts were made, %v", again.made, err)
	}
}
