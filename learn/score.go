package learn

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/darkroom-dev/darkroom/dataset"
)

// score applies the model to every image of the loader. A last batch that is not full is filled up with what the memory held;
// those answers are not counted. judge says how good the answer to image i of n in scores (classes, N) is, which is at a row of the dataset.
func (m *Machine) score(ctx context.Context, loader *dataset.Loader, judge func(scores []float32, i, n, row int) (loss float64, right bool)) (Score, error) {
	loss, correct, count := 0.0, 0, 0
	for b, err := range loader.Epoch(ctx, 0, 0) {
		if err != nil {
			return Score{}, err
		}
		if _, err := m.program("apply", m.buildApply); err != nil {
			return Score{}, err
		}
		if err := m.loadImages(b.Images, b.N, 0); err != nil {
			return Score{}, err
		}
		scores, err := m.logits()
		if err != nil {
			return Score{}, err
		}
		for i, row := range b.Indexes {
			l, right := judge(scores, i, m.microBatch(), row)
			loss += l
			count++
			if right {
				correct++
			}
		}
	}
	return Score{Loss: loss / float64(count), Accuracy: float64(correct) / float64(count)}, nil
}

// judgement returns how answers on a dataset are judged: by the softmax cross entropy of the label and whether its class has the largest logit; by
// the binary cross entropy, the mean over classes, for that objective; and of several classes whether all of them are right.
func judgement(o Objective, d *dataset.Dataset) func(scores []float32, i, n, row int) (float64, bool) {
	several := d.Info().Task == dataset.MultiLabel
	if _, ok := o.(BinaryCrossEntropy); !ok && !several {
		return func(scores []float32, i, n, row int) (float64, bool) {
			return crossEntropy(scores, i, n, int(d.Label(row)))
		}
	}
	return func(scores []float32, i, n, row int) (float64, bool) {
		truth := d.Labels(row)
		if !several {
			truth = []int32{d.Label(row)}
		}
		loss, all := binaryScore(scores, i, n, truth)
		if several {
			return loss, all
		}
		_, right := crossEntropy(scores, i, n, int(truth[0]))
		return loss, right
	}
}

// binaryScore returns the mean binary cross entropy of image i of n over the classes, and whether the logits above 0 are those of its classes.
func binaryScore(scores []float32, i, n int, truth []int32) (loss float64, all bool) {
	classes := len(scores) / n
	all = true
	for c := range classes {
		z := float64(scores[c*n+i])
		has := slices.Contains(truth, int32(c))
		if has {
			loss -= z
		}
		loss += math.Max(z, 0) + math.Log1p(math.Exp(-math.Abs(z)))
		all = all && has == (z > 0)
	}
	return loss / float64(classes), all
}

// crossEntropy returns the loss of image i of n and whether its class has the largest logit. scores is (classes, N).
func crossEntropy(scores []float32, i, n, label int) (loss float64, right bool) {
	classes := len(scores) / n
	largest, best := math.Inf(-1), 0
	for c := range classes {
		if v := float64(scores[c*n+i]); v > largest {
			largest, best = v, c
		}
	}
	sum := 0.0
	for c := range classes {
		sum += math.Exp(float64(scores[c*n+i]) - largest)
	}
	return math.Log(sum) + largest - float64(scores[label*n+i]), best == label
}

// meter measures the speed of training, without the pauses for validation.
type meter struct {
	began     time.Time
	first     int64 // images done when it started
	done      int64
	spent     time.Duration // until the last update
	pausedAt  time.Time
	suspended time.Duration
}

func (m *meter) start(done int64) { m.began, m.first, m.done = time.Now(), done, done }

func (m *meter) update(done int64) {
	m.done, m.spent = done, time.Since(m.began)-m.suspended
}

func (m *meter) pause()  { m.pausedAt = time.Now() }
func (m *meter) resume() { m.suspended += time.Since(m.pausedAt) }

// rate returns images a second; 0 when nothing was done yet.
func (m *meter) rate() float64 {
	if m.spent <= 0 || m.done == m.first {
		return 0
	}
	return float64(m.done-m.first) / m.spent.Seconds()
}
