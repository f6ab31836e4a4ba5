package infer

import (
	"math"
	"sort"
)

// Softmax returns the probabilities of one image's logits, computed in float64 after subtracting the largest.
func Softmax(logits []float32) []float64 {
	p := make([]float64, len(logits))
	if len(logits) == 0 {
		return p
	}
	largest := float64(logits[Best(logits)])
	sum := 0.0
	for i, l := range logits {
		p[i] = math.Exp(float64(l) - largest)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// Best returns the index of the largest logit, the first of equal ones.
func Best(logits []float32) int {
	at := 0
	for i, l := range logits {
		if l > logits[at] {
			at = i
		}
	}
	return at
}

// rank returns how many classes come before class in order of falling logits; equal logits in order of their index.
func rank(logits []float32, class int) int {
	before := 0
	for i, l := range logits {
		if l > logits[class] || l == logits[class] && i < class {
			before++
		}
	}
	return before
}

// LogLoss returns −log of the softmax of the class, in float64, without forming a probability that could be 0.
func LogLoss(logits []float32, class int) float64 {
	largest := float64(logits[Best(logits)])
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(float64(l) - largest)
	}
	return math.Log(sum) - (float64(logits[class]) - largest)
}

// Guess is a class and the probability that a model gives it.
type Guess struct {
	Class       int
	Probability float64
}

// TopK returns the k most probable classes of one image's logits, most probable first, equal ones in order of their
// index; all of them when there are fewer than k.
func TopK(logits []float32, k int) []Guess {
	p := Softmax(logits)
	guesses := make([]Guess, len(p))
	for i := range p {
		guesses[i] = Guess{i, p[i]}
	}
	sort.SliceStable(guesses, func(i, j int) bool {
		return logits[guesses[i].Class] > logits[guesses[j].Class]
	})
	return guesses[:min(max(k, 0), len(guesses))]
}
