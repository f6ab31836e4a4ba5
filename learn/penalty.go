package learn

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
)

// Penalised adds Strength·Σ|w| over some parameters to an objective, so that some of them go to 0 (network slimming, Liu et al. 2017, penalises the scales of
// normalisations). The penalty is shown as the metric "penalty".
type Penalised struct {
	Objective
	Parameters []string // names in the ONNX file
	Strength   float64  // above 0
}

// Identity implements Objective.
func (p Penalised) Identity() string {
	return fmt.Sprintf("%s, and L1 %x on %q", p.Objective.Identity(), p.Strength, p.Parameters)
}

// Build implements Objective.
func (p Penalised) Build(s *Step) (Terms, error) {
	t, err := p.Objective.Build(s)
	if err != nil {
		return t, err
	}
	own := map[string]*graph.Node{}
	for name, g := range t.Parameters {
		own[name] = g
	}
	total := graph.ScalarZero(s.Graph, t.Loss.DType())
	for _, name := range p.Parameters {
		w := s.Parameters[name]
		if w == nil {
			return t, fmt.Errorf("the penalty is on %q, which is not a trained parameter", name)
		}
		total = graph.Add(total, graph.MulScalar(graph.ReduceAllSum(graph.Abs(w)), p.Strength))
		g := graph.MulScalar(graph.Sign(w), p.Strength)
		if own[name] != nil {
			g = graph.Add(own[name], g)
		}
		own[name] = g
	}
	t.Loss, t.Parameters = graph.Add(t.Loss, total), own
	t.Metrics = append(t.Metrics, Metric{"penalty", graph.MulScalar(total, float64(s.Batch))})
	return t, nil
}
