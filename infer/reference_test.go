package infer

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
)

type referenceCurves struct{ FPR, TPR, Precision, Recall []float64 }

// reference is what testdata/scikit_learn.py wrote.
type reference struct {
	Single struct {
		Logits, Other                                   []float32
		Labels                                          []int32
		Classes                                         int
		Accuracy, Top3, Loss, Balanced, AUROC           float64
		Macro, Weighted                                 Average
		AveragePrecision                                float64 `json:"average_precision"`
		Curves                                          []referenceCurves
		ECE, Temperature, Kappa, Agreement, Exact, Chi2 float64
		ChiP                                            float64 `json:"chi_p"`
		Gained, Lost                                    int
	}
	Multi struct {
		Logits                 []float32
		Members                []bool
		Classes                int
		Exact, Hamming, Loss   float64
		AUROC                  float64
		AveragePrecision       float64 `json:"average_precision"`
		Macro, Weighted, Micro Average
	}
}

func readReference(t *testing.T) reference {
	t.Helper()
	b, err := os.ReadFile("testdata/scikit_learn.json")
	if err != nil {
		t.Fatal(err)
	}
	var r reference
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func agree(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("%s = %v, scikit-learn says %v", what, got, want)
	}
}

func agreeAverage(t *testing.T, what string, got, want Average) {
	t.Helper()
	agree(t, what+" precision", got.Precision, want.Precision, 1e-12)
	agree(t, what+" recall", got.Recall, want.Recall, 1e-12)
	agree(t, what+" f1", got.F1, want.F1, 1e-12)
}

func agreeLine(t *testing.T, what string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s has %d points, scikit-learn's %d", what, len(got), len(want))
		return
	}
	for i := range got {
		agree(t, what, got[i], want[i], 1e-12)
	}
}

func TestSingleAgainstScikitLearn(t *testing.T) {
	r := readReference(t).Single
	s, err := Score(r.Logits, r.Labels, r.Classes)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, "accuracy", s.Accuracy, r.Accuracy, 1e-12)
	agree(t, "top 3", s.TopK[2], r.Top3, 1e-12)
	agree(t, "loss", s.LogLoss, r.Loss, 1e-12)
	agree(t, "balanced accuracy", s.Balanced, r.Balanced, 1e-12)
	agreeAverage(t, "macro", s.Macro, r.Macro)
	agreeAverage(t, "weighted", s.Weighted, r.Weighted)
	agree(t, "AUROC", s.MeanRanking.AUROC, r.AUROC, 1e-12)
	agree(t, "average precision", s.MeanRanking.AveragePrecision, r.AveragePrecision, 1e-12)
	agree(t, "calibration error", s.CalibrationError, r.ECE, 1e-12)
	agree(t, "temperature", Temperature(r.Logits, r.Labels, r.Classes), r.Temperature, 1e-5) // the reference minimises a flat function
	for c, want := range r.Curves {
		got, ok := ClassCurves(r.Logits, r.Labels, r.Classes, c)
		if !ok {
			t.Fatalf("class %d has no curves", c)
		}
		agreeLine(t, "false positive rate", got.ROC.X, want.FPR)
		agreeLine(t, "true positive rate", got.ROC.Y, want.TPR)
		agreeLine(t, "recall", got.PrecisionRecall.X, want.Recall)
		agreeLine(t, "precision", got.PrecisionRecall.Y, want.Precision)
	}
	answers := func(logits []float32) (out []int) {
		for i := range r.Labels {
			out = append(out, Best(logits[i*r.Classes:(i+1)*r.Classes]))
		}
		return out
	}
	c := Compare(answers(r.Logits), answers(r.Other), r.Labels, r.Classes)
	if c.Gained != r.Gained || c.Lost != r.Lost {
		t.Errorf("gained %d, lost %d; expected %d and %d", c.Gained, c.Lost, r.Gained, r.Lost)
	}
	agree(t, "kappa", c.Kappa, r.Kappa, 1e-12)
	agree(t, "agreement", float64(c.Same)/float64(c.Count), r.Agreement, 1e-12)
	agree(t, "McNemar's exact probability", c.Exact, r.Exact, 1e-9)
	agree(t, "McNemar's χ²", c.Chi2, r.Chi2, 1e-12)
	agree(t, "its probability", c.ChiP, r.ChiP, 1e-12)
}

func TestSeveralLabelsAgainstScikitLearn(t *testing.T) {
	r := readReference(t).Multi
	s, err := ScoreLabels(r.Logits, r.Members, r.Classes, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, "exact", s.Exact, r.Exact, 1e-12)
	agree(t, "Hamming loss", s.Hamming, r.Hamming, 1e-12)
	agree(t, "loss", s.LogLoss, r.Loss, 1e-12)
	agreeAverage(t, "macro", s.Macro, r.Macro)
	agreeAverage(t, "weighted", s.Weighted, r.Weighted)
	agreeAverage(t, "micro", s.Micro, r.Micro)
	agree(t, "AUROC", s.MeanRanking.AUROC, r.AUROC, 1e-12)
	agree(t, "mAP", s.MeanRanking.AveragePrecision, r.AveragePrecision, 1e-12)
	if _, err := ScoreLabels([]float32{float32(math.NaN())}, []bool{true}, 1, 0.5); err == nil {
		t.Error("an answer that is not a number must be refused")
	}
}

// Scaling mends what a factor broke, on samples it was not fitted to.
func TestScaled(t *testing.T) {
	var logits []float32
	var labels []int32
	for i := range 4000 {
		// The model is right three times of four, and says so twice as surely as is so.
		label := int32(i / 2 % 2)
		labels = append(labels, label)
		z := float32(2 * math.Log(3) / 2)
		if (label == 1) != (i/4%4 == 0) {
			z = -z
		}
		logits = append(logits, z, -z)
	}
	s, err := Score(logits, labels, 2)
	if err != nil {
		t.Fatal(err)
	}
	after, _ := Scaled(logits, labels, 2)
	if s.CalibrationError < 0.1 || after > 1e-6 {
		t.Errorf("calibration error %v before and %v after", s.CalibrationError, after)
	}
	if got := Temperature(logits, labels, 2); math.Abs(got-2) > 1e-6 {
		t.Errorf("temperature %v, want 2", got)
	}
}

func TestBootstrap(t *testing.T) {
	right := make([]bool, 400)
	for i := range right {
		right[i] = i%5 > 0
	}
	calls := func() [2]float64 {
		return Bootstrap(len(right), 2000, 0.95, 3, func(drawn []int32) []float64 {
			n := 0
			for _, i := range drawn {
				if right[i] {
					n++
				}
			}
			return []float64{float64(n) / float64(len(drawn)), math.NaN()}
		})[0]
	}
	got := calls()
	low, high := Interval(0.8, len(right))
	if math.Abs(got[0]-low) > 0.01 || math.Abs(got[1]-high) > 0.01 {
		t.Errorf("bootstrap %v, Wilson %v to %v", got, low, high)
	}
	if again := calls(); again != got {
		t.Errorf("%v, then %v", got, again)
	}
}

func TestThin(t *testing.T) {
	var c Curve
	for i := range 1000 {
		x := float64(i) / 999
		c.add(x, math.Floor(10*math.Sqrt(x))/10)
	}
	thin := c.Thin(40)
	if len(thin.X) > 40 || thin.X[0] != 0 || thin.X[len(thin.X)-1] != 1 || !slices.IsSorted(thin.X) {
		t.Errorf("%d points from %v", len(thin.X), thin)
	}
	if len(c.Thin(2000).X) > 40 {
		t.Error("points on a straight line were to go")
	}
}

func TestSignTest(t *testing.T) {
	// Two-sided binomial test at 1/2: 8 of 10 gives 0.109375, 0 of 5 gives 0.0625.
	for _, c := range []struct {
		a, b int
		want float64
	}{{8, 2, 0.109375}, {0, 5, 0.0625}, {3, 3, 1}, {0, 0, 1}} {
		if got := signTest(c.a, c.b); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("signTest(%d, %d) = %v, want %v", c.a, c.b, got, c.want)
		}
	}
}
