package infer

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-12 }

// answers builds logits in which each sample's answer stands 1 above the rest. (n, classes)
func answers(classes int, predicted ...int) []float32 {
	out := make([]float32, len(predicted)*classes)
	for i, p := range predicted {
		out[i*classes+p] = 1
	}
	return out
}

// Labels 0 0 0 1 1 2 and answers 0 0 1 1 0 1, of four classes: the last never occurs, class 2 is never right. Worked out
// by hand from the definitions; scikit-learn's precision_recall_fscore_support (zero_division=0) has the same ones.
func TestScoresByHand(t *testing.T) {
	s, err := Score(answers(4, 0, 0, 1, 1, 0, 1), []int32{0, 0, 0, 1, 1, 2}, 4)
	if err != nil {
		t.Fatal(err)
	}
	if want := [][]int{{2, 1, 0, 0}, {1, 1, 0, 0}, {0, 1, 0, 0}, {0, 0, 0, 0}}; !reflect.DeepEqual(s.Confusion, want) {
		t.Errorf("confusion = %v", s.Confusion)
	}
	for i, want := range []ClassScores{{3, 3, 2.0 / 3, 2.0 / 3, 2.0 / 3}, {2, 3, 1.0 / 3, 0.5, 0.4}, {1, 0, 0, 0, 0}, {}} {
		got := s.Classes[i]
		if got.Images != want.Images || got.Predicted != want.Predicted || !near(got.Precision, want.Precision) || !near(got.Recall, want.Recall) || !near(got.F1, want.F1) {
			t.Errorf("class %d = %+v, want %+v", i, got, want)
		}
	}
	if !near(s.Accuracy, 0.5) || !near(s.Balanced, (2.0/3+0.5)/3) {
		t.Errorf("accuracy %v, balanced %v", s.Accuracy, s.Balanced)
	}
	if m := s.Macro; !near(m.Precision, 1.0/3) || !near(m.Recall, 7.0/18) || !near(m.F1, 16.0/45) {
		t.Errorf("macro = %+v", m)
	}
	if w := s.Weighted; !near(w.Precision, 4.0/9) || !near(w.Recall, 0.5) || !near(w.F1, 7.0/15) {
		t.Errorf("weighted = %+v", w)
	}
	// Each answer has probability e/(e+3); three of six samples are right, and the others' class has 1/(e+3).
	e := math.E
	if want := (-3*math.Log(e/(e+3)) - 3*math.Log(1/(e+3))) / 6; !near(s.LogLoss, want) {
		t.Errorf("log loss = %v, want %v", s.LogLoss, want)
	}
	if want := math.Abs(0.5 - e/(e+3)); !near(s.CalibrationError, want) {
		t.Errorf("calibration error = %v, want %v", s.CalibrationError, want)
	}
	// Behind the answer, equal logits rank by index: the true classes of the wrong samples (0, 1, 2) stand 2nd, 2nd and 3rd.
	if want := []float64{0.5, 5.0 / 6, 1, 1}; !reflect.DeepEqual(s.TopK, want) {
		t.Errorf("top-k = %v, want %v", s.TopK, want)
	}
}

func TestRanking(t *testing.T) {
	// scikit-learn's user guide: labels 0 0 1 1 with scores 0.1 0.4 0.35 0.8 have AUROC 0.75 and average precision 0.83….
	r := rankScored([]scored{{0.1, false}, {0.4, false}, {0.35, true}, {0.8, true}})
	if !near(r.AUROC, 0.75) || !near(r.AveragePrecision, 0.5+0.5*2/3) {
		t.Errorf("ranking = %+v", r)
	}
	// One threshold for all: chance, and precision is the share of positives.
	if r := rankScored([]scored{{0.5, true}, {0.5, false}, {0.5, false}, {0.5, false}}); !near(r.AUROC, 0.5) || !near(r.AveragePrecision, 0.25) {
		t.Errorf("ranking of ties = %+v", r)
	}
	if r := rankScored([]scored{{0.5, true}}); !math.IsNaN(r.AUROC) || !math.IsNaN(r.AveragePrecision) {
		t.Errorf("ranking without negatives = %+v", r)
	}
	s, err := Score([]float32{2, 1, 0, 2, 1, 1, 0, 3}, []int32{0, 1, 0, 1}, 2)
	if err != nil {
		t.Fatal(err)
	}
	// Margins for class 0 are 1, −2, 0, −3: the samples of class 0 are above the others.
	if s.MeanRanking.AUROC != 1 || s.Rankings[1].AveragePrecision != 1 {
		t.Errorf("rankings = %+v", s.Rankings)
	}
}

func TestCalibrationBins(t *testing.T) {
	// Two classes; confidence 0.9 twice (one right), 0.6 once (right).
	lo, hi := float32(math.Log(9)), float32(math.Log(1.5))
	s, err := Score([]float32{lo, 0, lo, 0, hi, 0}, []int32{0, 1, 0}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if want := 2.0/3*0.4 + 1.0/3*0.4; math.Abs(s.CalibrationError-want) > 1e-6 {
		t.Errorf("calibration error = %v, want %v", s.CalibrationError, want)
	}
	if b := s.Calibration[13]; b.Count != 2 || b.Accuracy != 0.5 || math.Abs(b.Confidence-0.9) > 1e-6 {
		t.Errorf("bin of 0.9 = %+v", b)
	}
}

func TestScoreRefusals(t *testing.T) {
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		logits  []float32
		labels  []int32
		classes int
		want    string
	}{
		"none":   {nil, nil, 2, "0 samples"},
		"length": {[]float32{1}, []int32{0}, 2, "1 logits"},
		"label":  {[]float32{1, 2}, []int32{2}, 2, "label is 2"},
		"minus":  {[]float32{1, 2}, []int32{-1}, 2, "label is -1"},
		"nan":    {[]float32{1, 2, 1, nan}, []int32{0, 0}, 2, "sample 1: the model's answer for class 1 is NaN"},
	} {
		if _, err := Score(c.logits, c.labels, c.classes); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProbabilities(t *testing.T) {
	p := Softmax([]float32{1000, 1000, -1000})
	if !near(p[0], 0.5) || !near(p[1], 0.5) || p[2] != 0 {
		t.Errorf("softmax of large logits = %v", p)
	}
	if l := LogLoss([]float32{1000, -1000}, 1); l != 2000 {
		t.Errorf("log loss of an impossible class = %v", l)
	}
	if got := TopK([]float32{1, 3, 3, 2}, 3); got[0].Class != 1 || got[1].Class != 2 || got[2].Class != 3 {
		t.Errorf("top 3 = %v", got)
	}
	if got := TopK([]float32{1}, 5); len(got) != 1 || got[0].Probability != 1 {
		t.Errorf("top 5 of one class = %v", got)
	}
}

func TestInterval(t *testing.T) {
	// Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662, 0 of 20 gives 0 to 0.1611.
	for _, c := range []struct {
		hits, n   int
		low, high float64
	}{{81, 263, 0.2553, 0.3662}, {0, 20, 0, 0.1611}, {29, 29, 0.8830, 1}} {
		low, high := Interval(float64(c.hits)/float64(c.n), c.n)
		if math.Abs(low-c.low) > 5e-5 || math.Abs(high-c.high) > 5e-5 {
			t.Errorf("%d of %d: %.4f to %.4f, want %.4f to %.4f", c.hits, c.n, low, high, c.low, c.high)
		}
	}
}
