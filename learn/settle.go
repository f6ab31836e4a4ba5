package learn

import (
	"math"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Settle freezes parameters late in a training, so that the others adapt to what does not move any more: the scales of a quantization, for example.
type Settle struct {
	Share    float64  // of the training's steps, after which they stay as they are: above 0, below 1; 0: they do not
	Patterns []string // of their names; * stands for any text and ? for one character
}

// from returns the first step, counted from 0, in which they are frozen; −1: none.
func (s Settle) from(total int) int {
	if s.Share <= 0 {
		return -1
	}
	return int(math.Ceil(s.Share * float64(total)))
}

// freeze adds them to what is frozen in a step.
func (s Settle) freeze(frozen map[string]bool, step, total int, m *onnx.Model, p *plan) error {
	if from := s.from(total); from < 0 || step < from {
		return nil
	}
	l := findLayers(m, p)
	for _, text := range s.Patterns {
		names, err := l.matching(p, text)
		if err != nil {
			return err
		}
		for _, name := range names {
			frozen[name] = true
		}
	}
	return nil
}
