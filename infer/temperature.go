package infer

import "math"

// Temperature returns the T above 0 by which logits, (n, classes), are to be divided so that the cross entropy against labels, (n), is least
// (temperature scaling: Guo et al. 2017). It lies between 1/1000 and 1000.
func Temperature(logits []float32, labels []int32, classes int) float64 {
	// The loss is convex in the inverse b: Newton's method, kept within what the sign of its slope leaves.
	low, high, b := 1e-3, 1e3, 1.0
	for range 60 {
		slope, bend := lossSlope(logits, labels, classes, b)
		if slope > 0 {
			high = b
		} else {
			low = b
		}
		next := b - slope/bend
		if !(next > low && next < high) {
			next = math.Sqrt(low * high)
		}
		done := math.Abs(next-b) <= 1e-12*b
		b = next
		if done {
			break
		}
	}
	return 1 / b
}

// lossSlope returns the first and second derivative of the mean cross entropy of b·logits by b.
func lossSlope(logits []float32, labels []int32, classes int, b float64) (slope, bend float64) {
	for i, label := range labels {
		row := logits[i*classes : (i+1)*classes]
		largest := float64(row[Best(row)])
		var sum, first, second float64
		for _, l := range row {
			z := float64(l) - largest
			p := math.Exp(b * z)
			sum += p
			first += p * z
			second += p * z * z
		}
		mean := first / sum
		slope += mean - (float64(row[label]) - largest)
		bend += second/sum - mean*mean
	}
	n := float64(len(labels))
	return slope / n, bend / n
}

// Scaled returns the expected calibration error and the bins of logits divided by the temperature that each half of the samples,
// the even and the odd ones, gets from the other: an honest estimate of what scaling does on samples it was not fitted to.
func Scaled(logits []float32, labels []int32, classes int) (calibrationError float64, bins []CalibrationBin) {
	s := Scores{Count: len(labels), Calibration: make([]CalibrationBin, calibrationBins)}
	var halves [2]float64
	for half := range halves {
		var rows []float32
		var of []int32
		for i := half; i < len(labels); i += 2 {
			rows, of = append(rows, logits[i*classes:(i+1)*classes]...), append(of, labels[i])
		}
		halves[half] = 1
		if len(of) > 0 {
			halves[half] = Temperature(rows, of, classes)
		}
	}
	row := make([]float32, classes)
	for i, label := range labels {
		t := halves[1-i%2]
		for c := range row {
			row[c] = float32(float64(logits[i*classes+c]) / t)
		}
		answer := Best(logits[i*classes : (i+1)*classes])
		s.calibrate(Softmax(row)[answer], answer == int(label))
	}
	s.finishCalibration()
	return s.CalibrationError, s.Calibration
}
