package infer

import (
	"cmp"
	"math"
	"slices"
)

// Ranking says how well a class's probability orders samples of the class before all others, whatever the threshold.
// Both are NaN for a class that no sample or every sample has.
type Ranking struct {
	AUROC            float64 // area under the ROC curve: the chance that a sample of the class has the higher probability, ties counting half
	AveragePrecision float64 // sum over thresholds of precision times the gain in recall; equal probabilities are one threshold
}

// rankClasses judges every class against the rest. logits are (n, classes).
func rankClasses(logits []float32, labels []int32, classes int) []Ranking {
	norms := make([]float64, len(labels)) // −log of the softmax's denominator
	for i := range labels {
		row := logits[i*classes : (i+1)*classes]
		norms[i] = -LogLoss(row, 0) - float64(row[0])
	}
	out := make([]Ranking, classes)
	column := make([]scored, len(labels))
	for c := range out {
		for i, label := range labels {
			column[i] = scored{math.Exp(float64(logits[i*classes+c]) + norms[i]), int(label) == c}
		}
		out[c] = rankScored(column)
	}
	return out
}

// scored is one sample's probability of a class, and whether it is of that class.
type scored struct {
	probability float64
	positive    bool
}

// rankScored judges one class; it sorts samples.
func rankScored(samples []scored) Ranking {
	slices.SortFunc(samples, func(a, b scored) int { return cmp.Compare(b.probability, a.probability) })
	all := 0
	for _, s := range samples {
		if s.positive {
			all++
		}
	}
	if all == 0 || all == len(samples) {
		return Ranking{math.NaN(), math.NaN()}
	}
	var r Ranking
	before, negatives := 0, 0 // positives and negatives above the current threshold
	won := 0.0                // pairs of a positive above a negative
	for i := 0; i < len(samples); {
		positives, others := 0, 0
		for p := samples[i].probability; i < len(samples) && samples[i].probability == p; i++ {
			if samples[i].positive {
				positives++
			} else {
				others++
			}
		}
		won += (float64(before) + float64(positives)/2) * float64(others)
		before, negatives = before+positives, negatives+others
		r.AveragePrecision += share(positives, all) * share(before, before+negatives)
	}
	r.AUROC = won / (float64(all) * float64(len(samples)-all))
	return r
}

// meanRanking averages over the classes for which the ranking is defined; NaN when there are none.
func meanRanking(list []Ranking) Ranking {
	var sum Ranking
	n := 0.0
	for _, r := range list {
		if !math.IsNaN(r.AUROC) {
			sum.AUROC += r.AUROC
			sum.AveragePrecision += r.AveragePrecision
			n++
		}
	}
	return Ranking{sum.AUROC / n, sum.AveragePrecision / n}
}
