package evaluate

import (
	"math"

	"github.com/darkroom-dev/darkroom/infer"
)

// comparison counts images by who is right.
type comparison struct {
	gained, lost, same int
	chance             float64 // exact two-sided McNemar test (McNemar 1947)
}

func (r *result) compare() comparison {
	var c comparison
	for i, label := range r.model.labels {
		a, b := infer.Best(r.model.row(i)), infer.Best(r.baseline.row(i))
		switch {
		case a == b:
			c.same++
		case a == int(label):
			c.gained++
		case b == int(label):
			c.lost++
		}
	}
	c.chance = signTest(c.gained, c.lost)
	return c
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
