package nas

import (
	"errors"
	"math"

	"github.com/darkroom-dev/darkroom/dataset"
)

// trial is one evaluation of a member with a budget.
type trial struct {
	number int // from 0, in order of proposal
	point  point
	budget float64 // share of the full budget, above 0, at most 1
	score  score   // nil: it failed or breaks a constraint
}

// strategy proposes what to evaluate. What it proposes is a function of the seed and of the trials before, in order of their numbers, so it
// does not depend on how many are evaluated at a time.
type strategy interface {
	// propose returns the next trials, without scores; none when the search is over. They do not depend on each other's results and may be
	// evaluated in any order.
	propose(done []trial) ([]trial, error)
}

// drawing is what all strategies draw from.
type drawing struct {
	space *decisions
	seed  uint64
	seen  map[string]bool // points that were proposed

	// pool, when above 1, is how many members are drawn for each trial, of which the one that judge ranks highest is proposed.
	pool  int
	judge func(point) (float64, error)
}

func newDrawing(space *decisions, seed uint64) drawing {
	return drawing{space: space, seed: seed, seen: map[string]bool{}}
}

// stream returns the randomness of trial number n.
func (d *drawing) stream(n int) *dataset.Stream {
	s := dataset.NewStream(d.seed, "search", uint64(n))
	return &s
}

// fresh proposes a random new member as trial number n; nil when the space has none left.
func (d *drawing) fresh(n int) (*trial, error) { return d.take(n, nil, 0) }

// take proposes a mutation of the parent, or a random member without one: the best ranked of several where there is a judge.
func (d *drawing) take(n int, parent point, rate float64) (*trial, error) {
	s := d.stream(n)
	var chosen point
	highest := math.Inf(-1)
	drawn := map[string]bool{}
	for range max(d.pool, 1) {
		var p point
		var err error
		if parent == nil {
			p, err = d.space.sample(s, d.seen)
		} else {
			p, err = d.space.mutate(parent, rate, s, d.seen)
		}
		var exhausted errExhausted
		if errors.As(err, &exhausted) && (exhausted.seen > 0 || chosen != nil) {
			break // every member has been proposed: a small space is searched through
		}
		if err != nil {
			return nil, err
		}
		if drawn[p.key()] {
			continue
		}
		drawn[p.key()] = true
		if d.judge == nil {
			chosen = p
			break
		}
		v, err := d.judge(p)
		if err != nil {
			return nil, err
		}
		if chosen == nil || v > highest {
			chosen, highest = p, v
		}
	}
	if chosen == nil {
		return nil, nil
	}
	d.seen[chosen.key()] = true
	return &trial{number: n, point: chosen, budget: 1}, nil
}

// randomSearch proposes members at random, none twice.
type randomSearch struct {
	drawing
	trials int
}

func (r *randomSearch) propose(done []trial) ([]trial, error) {
	var out []trial
	for n := len(done); n < r.trials; n++ {
		t, err := r.fresh(n)
		if err != nil || t == nil {
			return out, err
		}
		out = append(out, *t)
	}
	return out, nil
}

// regularizedEvolution is aging evolution (Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search"): each child is a mutation
// of the best of a random sample of the population, and the oldest member leaves, however good. Children come in cohorts whose members do
// not see each other's results.
type regularizedEvolution struct {
	drawing
	trials     int
	population int
	sample     int
	rate       float64 // of each further mutation of a child
	cohort     int
}

func (e *regularizedEvolution) propose(done []trial) ([]trial, error) {
	n := len(done)
	if n >= e.trials {
		return nil, nil
	}
	first := min(e.population, e.trials)
	if n < first {
		return (&randomSearch{e.drawing, first}).propose(done)
	}
	living := done[n-e.population:]
	var out []trial
	for k := n; k < min(n+e.cohort, e.trials); k++ {
		t, err := e.take(k, e.parent(living, k), e.rate)
		if err != nil || t == nil {
			return out, err
		}
		out = append(out, *t)
	}
	return out, nil
}

// parent returns the best of a sample of the population, drawn without replacement.
func (e *regularizedEvolution) parent(living []trial, number int) point {
	s := dataset.NewStream(e.seed, "tournament", uint64(number))
	order := s.Permutation(len(living))[:min(e.sample, len(living))]
	scores := make([]score, len(order))
	for i, k := range order {
		scores[i] = living[k].score
	}
	return living[order[ranking(scores)[0]]].point
}

// successiveHalving evaluates many members with a small budget and the best of them with more (Jamieson and Talwalkar 2016, "Non-stochastic Best
// Arm Identification and Hyperparameter Optimization"): of each round the best 1/eta go on with eta times the budget.
type successiveHalving struct {
	drawing
	members int // in the first round
	eta     int // at least 2
	rounds  int // at least 1; the last has the full budget
}

// rungs returns how many trials each round has, and with which budget.
func (h *successiveHalving) rungs() (sizes []int, budgets []float64) {
	size, budget := h.members, 1.0
	for range h.rounds - 1 {
		budget /= float64(h.eta)
	}
	for range h.rounds {
		sizes, budgets = append(sizes, max(1, size)), append(budgets, budget)
		size, budget = size/h.eta, budget*float64(h.eta)
	}
	return sizes, budgets
}

func (h *successiveHalving) propose(done []trial) ([]trial, error) {
	sizes, budgets := h.rungs()
	if len(done) == 0 {
		out, err := (&randomSearch{h.drawing, sizes[0]}).propose(nil)
		for i := range out {
			out[i].budget = budgets[0]
		}
		return out, err
	}
	round := 0 // the one that was done last
	for round+1 < len(budgets) && done[len(done)-1].budget != budgets[round] {
		round++
	}
	if round+1 == len(budgets) {
		return nil, nil
	}
	last := done[:0:0]
	for _, t := range done {
		if t.budget == budgets[round] {
			last = append(last, t)
		}
	}
	scores := make([]score, len(last))
	for i, t := range last {
		scores[i] = t.score
	}
	var out []trial
	for _, i := range ranking(scores)[:min(sizes[round+1], len(last))] {
		if last[i].score != nil {
			out = append(out, trial{number: len(done) + len(out), point: last[i].point, budget: budgets[round+1]})
		}
	}
	return out, nil
}
