package infer

import (
	"fmt"
	"math"
)

// Scores judge a classifier's answers on labelled samples. Shares are from 0 to 1.
type Scores struct {
	Count     int
	Confusion [][]int // Confusion[t][p]: samples of class t taken for class p
	Accuracy  float64
	// TopK[k-1] is the share of samples whose class is among the k highest logits, for k up to the number of classes.
	TopK []float64
	// LogLoss is the mean of −log of the true class's probability, in nats.
	LogLoss float64
	// CalibrationError is the expected calibration error: the mean distance between confidence and accuracy over
	// equally wide bins of confidence, weighted by their counts (Guo et al. 2017, "On Calibration of Modern Neural
	// Networks").
	CalibrationError float64
	Calibration      []CalibrationBin
	Classes          []ClassScores
	// Macro is the plain mean over the classes that occur as a label or as an answer; Weighted is the mean over all
	// classes, weighted by the number of their samples.
	Macro, Weighted Average
	// Balanced is the mean recall of the classes that have samples.
	Balanced float64
	// Rankings are per class, one against the rest, and MeanRanking their mean over the classes that have one.
	Rankings    []Ranking
	MeanRanking Ranking
}

// ClassScores are those of one class. A share whose denominator is 0 is 0.
type ClassScores struct {
	Images    int // samples of the class
	Predicted int // samples taken for the class
	Precision float64
	Recall    float64
	F1        float64
}

// Average is a mean over classes.
type Average struct{ Precision, Recall, F1 float64 }

// CalibrationBin gathers the samples whose confidence lies above Low and up to High.
type CalibrationBin struct {
	Low, High  float64
	Count      int
	Accuracy   float64 // share of them that were right
	Confidence float64 // their mean confidence
}

// calibrationBins is the usual number, 15.
const calibrationBins = 15

// Score judges logits, (n, classes), against labels, (n). It refuses logits that are not finite and labels out of range.
func Score(logits []float32, labels []int32, classes int) (*Scores, error) {
	n := len(labels)
	if n == 0 || classes < 1 || len(logits) != n*classes {
		return nil, fmt.Errorf("%d logits are not those of %d samples and %d classes", len(logits), n, classes)
	}
	s := &Scores{Count: n, Confusion: make([][]int, classes), TopK: make([]float64, classes), Calibration: make([]CalibrationBin, calibrationBins)}
	for i := range s.Confusion {
		s.Confusion[i] = make([]int, classes)
	}
	ranks := make([]int, classes)
	loss := 0.0
	for i, label := range labels {
		row := logits[i*classes : (i+1)*classes]
		if err := checkSample(row, label); err != nil {
			return nil, fmt.Errorf("sample %d: %w", i, err)
		}
		answer := Best(row)
		s.Confusion[label][answer]++
		ranks[rank(row, int(label))]++
		loss += LogLoss(row, int(label))
		s.calibrate(Softmax(row)[answer], answer == int(label))
	}
	s.LogLoss = loss / float64(n)
	hits := 0
	for k := range ranks {
		hits += ranks[k]
		s.TopK[k] = float64(hits) / float64(n)
	}
	s.Accuracy = s.TopK[0]
	s.finishCalibration()
	s.scoreClasses()
	s.Rankings = rankClasses(logits, labels, classes)
	s.MeanRanking = meanRanking(s.Rankings)
	return s, nil
}

func checkSample(logits []float32, label int32) error {
	if label < 0 || int(label) >= len(logits) {
		return fmt.Errorf("its label is %d and there are %d classes", label, len(logits))
	}
	for c, l := range logits {
		if math.IsNaN(float64(l)) || math.IsInf(float64(l), 0) {
			return fmt.Errorf("the model's answer for class %d is %v", c, l)
		}
	}
	return nil
}

// calibrate adds a sample to its bin; Accuracy and Confidence hold sums until finishCalibration.
func (s *Scores) calibrate(confidence float64, right bool) {
	at := int(math.Ceil(confidence*calibrationBins)) - 1
	b := &s.Calibration[min(max(at, 0), calibrationBins-1)]
	b.Count++
	b.Confidence += confidence
	if right {
		b.Accuracy++
	}
}

func (s *Scores) finishCalibration() {
	for i := range s.Calibration {
		b := &s.Calibration[i]
		b.Low, b.High = float64(i)/calibrationBins, float64(i+1)/calibrationBins
		if b.Count == 0 {
			continue
		}
		b.Accuracy /= float64(b.Count)
		b.Confidence /= float64(b.Count)
		s.CalibrationError += float64(b.Count) / float64(s.Count) * math.Abs(b.Accuracy-b.Confidence)
	}
}

func (s *Scores) scoreClasses() {
	s.Classes = make([]ClassScores, len(s.Confusion))
	for t, row := range s.Confusion {
		for p, count := range row {
			s.Classes[t].Images += count
			s.Classes[p].Predicted += count
		}
	}
	occurring, labelled := 0, 0
	for i := range s.Classes {
		c := &s.Classes[i]
		right := s.Confusion[i][i]
		c.Precision, c.Recall = share(right, c.Predicted), share(right, c.Images)
		c.F1 = share(2*right, c.Predicted+c.Images)
		s.Weighted.add(c, float64(c.Images)/float64(s.Count))
		if c.Images+c.Predicted > 0 {
			occurring++
			s.Macro.add(c, 1)
		}
		if c.Images > 0 {
			labelled++
			s.Balanced += c.Recall
		}
	}
	s.Balanced /= float64(labelled)
	s.Macro = Average{s.Macro.Precision / float64(occurring), s.Macro.Recall / float64(occurring), s.Macro.F1 / float64(occurring)}
}

func (a *Average) add(c *ClassScores, weight float64) {
	// The conversions keep compilers from fusing the products into the sums, which would give other bits elsewhere.
	a.Precision += float64(weight * c.Precision)
	a.Recall += float64(weight * c.Recall)
	a.F1 += float64(weight * c.F1)
}

func share(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// Interval returns the 95 % confidence interval of a share that was observed over n samples (Wilson 1927).
func Interval(observed float64, n int) (low, high float64) {
	const z = 1.959963984540054
	if n == 0 {
		return 0, 1
	}
	count := float64(n)
	center := (observed + z*z/(2*count)) / (1 + z*z/count)
	half := z / (1 + z*z/count) * math.Sqrt(observed*(1-observed)/count+z*z/(4*count*count))
	return max(0, center-half), min(1, center+half)
}
