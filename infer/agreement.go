package infer

import "math"

// Agreement compares two models' answers on the same samples.
type Agreement struct {
	Count int
	Same  int // samples with the same answer
	// Gained are samples that only the first model answers rightly, Lost those that only the second does.
	Gained, Lost int
	// Kappa is Cohen's: 1 for equal answers, 0 for no more agreement than chance gives to such shares of answers (Cohen 1960).
	Kappa float64
	// Exact is the two-sided probability of a Gained and Lost at least as uneven between equally good models, by the binomial distribution
	// (McNemar 1947); Chi2 and ChiP are its approximation with continuity correction (Edwards 1948) and that one's probability.
	Exact, Chi2, ChiP float64
}

// Compare compares answers of two models, each (n), against labels (n). Answers are class indexes below classes.
func Compare(a, b []int, labels []int32, classes int) Agreement {
	r := Agreement{Count: len(labels), Kappa: 1, ChiP: 1}
	ofA, ofB := make([]float64, classes), make([]float64, classes)
	for i, label := range labels {
		ofA[a[i]]++
		ofB[b[i]]++
		switch {
		case a[i] == b[i]:
			r.Same++
		case a[i] == int(label):
			r.Gained++
		case b[i] == int(label):
			r.Lost++
		}
	}
	n := float64(r.Count)
	chance := 0.0
	for c := range ofA {
		chance += ofA[c] / n * (ofB[c] / n)
	}
	if chance < 1 {
		r.Kappa = (float64(r.Same)/n - chance) / (1 - chance)
	}
	r.Exact = signTest(r.Gained, r.Lost)
	if sum := r.Gained + r.Lost; sum > 0 {
		off := max(0, math.Abs(float64(r.Gained-r.Lost))-1)
		r.Chi2 = off * off / float64(sum)
		r.ChiP = math.Erfc(math.Sqrt(r.Chi2 / 2))
	}
	return r
}

// signTest returns the probability of a split at least as uneven as a to b among a+b fair coins.
func signTest(a, b int) float64 {
	n, few := a+b, min(a, b)
	all, _ := math.Lgamma(float64(n + 1))
	tail := 0.0
	for k := range few + 1 {
		chosen, _ := math.Lgamma(float64(k + 1))
		rest, _ := math.Lgamma(float64(n - k + 1))
		tail += math.Exp(all - chosen - rest - float64(n)*math.Ln2)
	}
	return min(1, 2*tail)
}
