package infer

import (
	"fmt"
	"math"
)

// LabelScores judge answers for samples that may have several classes each. A class is answered when its probability, the logistic
// function of its logit, is above the threshold. Shares are from 0 to 1.
type LabelScores struct {
	Count     int
	Threshold float64
	// Exact is the share of samples all of whose classes are answered, and no other.
	Exact float64
	// Hamming is the share of (sample, class) pairs that are answered wrongly.
	Hamming float64
	// LogLoss is the mean binary cross entropy over (sample, class) pairs, in nats.
	LogLoss float64
	Classes []ClassScores
	// Macro is the plain mean over the classes that occur as a label or as an answer, Weighted that over all classes weighted by the number
	// of their samples, Micro counts all (sample, class) pairs together.
	Macro, Weighted, Micro Average
	Rankings               []Ranking // per class
	MeanRanking            Ranking   // over the classes that have one; its AveragePrecision is known as mAP
	CalibrationError       float64   // over the probabilities of all (sample, class) pairs, against how often the class is there
	Calibration            []CalibrationBin
}

// ScoreLabels judges logits, (n, classes), against members, (n, classes), true where a sample has a class.
func ScoreLabels(logits []float32, members []bool, classes int, threshold float64) (*LabelScores, error) {
	if classes < 1 || len(members) == 0 || len(logits) != len(members) || len(members)%classes != 0 {
		return nil, fmt.Errorf("%d logits do not fit %d memberships of %d classes", len(logits), len(members), classes)
	}
	n := len(members) / classes
	s := &LabelScores{Count: n, Threshold: threshold, Classes: make([]ClassScores, classes)}
	bins := Scores{Count: len(members), Calibration: make([]CalibrationBin, calibrationBins)}
	right := make([]int, classes)
	exact, wrong, loss := 0, 0, 0.0
	for i := range n {
		errors := 0
		for c := range classes {
			logit, member := float64(logits[i*classes+c]), members[i*classes+c]
			if math.IsNaN(logit) || math.IsInf(logit, 0) {
				return nil, fmt.Errorf("sample %d: the model's answer for class %d is %v", i, c, logit)
			}
			p := Logistic(logit)
			answered := p > threshold
			s.Classes[c].count(member, answered, &right[c])
			if member != answered {
				errors++
			}
			loss += BinaryLoss(logit, member)
			bins.calibrate(p, member)
		}
		wrong += errors
		if errors == 0 {
			exact++
		}
	}
	s.Exact, s.Hamming, s.LogLoss = share(exact, n), share(wrong, len(members)), loss/float64(len(members))
	bins.finishCalibration()
	s.Calibration, s.CalibrationError = bins.Calibration, bins.CalibrationError
	s.average(right)
	s.rank(logits, members)
	return s, nil
}

func (c *ClassScores) count(member, answered bool, right *int) {
	if member {
		c.Images++
	}
	if answered {
		c.Predicted++
	}
	if member && answered {
		*right++
	}
}

func (s *LabelScores) average(right []int) {
	occurring, labels, hits, answers := 0, 0, 0, 0
	for i := range s.Classes {
		labels += s.Classes[i].Images
		answers += s.Classes[i].Predicted
		hits += right[i]
	}
	for i := range s.Classes {
		c := &s.Classes[i]
		c.Precision, c.Recall, c.F1 = share(right[i], c.Predicted), share(right[i], c.Images), share(2*right[i], c.Predicted+c.Images)
		if labels > 0 {
			s.Weighted.add(c, float64(c.Images)/float64(labels))
		}
		if c.Images+c.Predicted > 0 {
			occurring++
			s.Macro.add(c, 1)
		}
	}
	n := float64(max(1, occurring))
	s.Macro = Average{s.Macro.Precision / n, s.Macro.Recall / n, s.Macro.F1 / n}
	s.Micro = Average{share(hits, answers), share(hits, labels), share(2*hits, answers+labels)}
}

func (s *LabelScores) rank(logits []float32, members []bool) {
	classes := len(s.Classes)
	column := make([]scored, s.Count)
	for c := range classes {
		for i := range column {
			column[i] = scored{float64(logits[i*classes+c]), members[i*classes+c]}
		}
		s.Rankings = append(s.Rankings, rankScored(column))
	}
	s.MeanRanking = meanRanking(s.Rankings)
}

// Logistic returns 1 / (1 + e^−x) without overflow.
func Logistic(x float64) float64 {
	if x < 0 {
		e := math.Exp(x)
		return e / (1 + e)
	}
	return 1 / (1 + math.Exp(-x))
}

// BinaryLoss returns −log of the logistic function of the logit, or of its complement.
func BinaryLoss(logit float64, member bool) float64 {
	if member {
		logit = -logit
	}
	return max(logit, 0) + math.Log1p(math.Exp(-math.Abs(logit)))
}
