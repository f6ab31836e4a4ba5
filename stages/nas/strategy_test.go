package nas

import (
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/darkroom-dev/darkroom/dataset"
)

// table is a cell space of 5⁶ = 15,625 members whose score is a fixed function of our own: each decision has a good choice, neighbours
// interact, and a little noise that belongs to the member makes it rugged.
func table(p point) float64 {
	good := []int{3, 1, 4, 1, 0, 2}
	sum := 0.0
	for i, c := range p {
		sum -= 0.1 * math.Abs(float64(c-good[i]))
		if i > 0 && (p[i-1]+c)%3 == 0 {
			sum += 0.08
		}
	}
	s := dataset.NewStream(7, p.key())
	return sum + 0.05*s.Normal()
}

func cells() *decisions { return &decisions{sizes: []int{5, 5, 5, 5, 5, 5}} }

// search runs a strategy to its end and returns all trials.
func search(t testing.TB, s strategy, f func(point) float64) []trial {
	t.Helper()
	var done []trial
	for {
		next, err := s.propose(done)
		if err != nil {
			t.Fatal(err)
		}
		if len(next) == 0 {
			return done
		}
		for _, n := range next {
			n.score = score{f(n.point)}
			done = append(done, n)
		}
	}
}

func best(done []trial) float64 {
	b := math.Inf(-1)
	for _, d := range done {
		b = max(b, d.score[0])
	}
	return b
}

// TestEvolutionBeatsRandomSearch is the comparison that a search strategy owes: 50 seeds of 150 evaluations each on a table of
// known scores, by Welch's test.
func TestEvolutionBeatsRandomSearch(t *testing.T) {
	var random, evolved []float64
	for seed := range uint64(50) {
		random = append(random, best(search(t, &randomSearch{newDrawing(cells(), seed), 150}, table)))
		evolved = append(evolved, best(search(t, &regularizedEvolution{newDrawing(cells(), seed), 150, 30, 10, 0, 1}, table)))
	}
	mr, vr := moments(random)
	me, ve := moments(evolved)
	statistic := (me - mr) / math.Sqrt(vr/50+ve/50)
	p := math.Erfc(statistic/math.Sqrt2) / 2 // one-sided; with some 90 degrees of freedom t is normal to a few percent
	t.Logf("random %.4f ± %.4f, evolution %.4f ± %.4f, Welch's t %.2f, p %.2g", mr, math.Sqrt(vr), me, math.Sqrt(ve), statistic, p)
	if me <= mr || p >= 0.05 {
		t.Errorf("regularized evolution (mean %.4f) is not better than random search (%.4f): p %.2g", me, mr, p)
	}
}

// moments returns the mean and the variance.
func moments(list []float64) (mean, variance float64) {
	for _, v := range list {
		mean += v / float64(len(list))
	}
	for _, v := range list {
		variance += (v - mean) * (v - mean) / float64(len(list)-1)
	}
	return mean, variance
}

func TestNothingIsProposedTwice(t *testing.T) {
	for name, s := range map[string]strategy{
		"random":    &randomSearch{newDrawing(cells(), 1), 400},
		"evolution": &regularizedEvolution{newDrawing(cells(), 1), 400, 20, 5, 0.2, 4},
	} {
		seen := map[string]bool{}
		for _, d := range search(t, s, table) {
			if seen[d.point.key()] {
				t.Errorf("%s proposed %s twice", name, d.point.key())
			}
			seen[d.point.key()] = true
		}
		if len(seen) != 400 {
			t.Errorf("%s proposed %d members, want 400", name, len(seen))
		}
	}
}

func TestASmallSpaceIsSearchedThrough(t *testing.T) {
	small := &decisions{sizes: []int{2, 3}, valid: func(p point) bool { return p[0]+p[1] > 0 }}
	for name, s := range map[string]strategy{
		"random":    &randomSearch{newDrawing(small, 1), 100},
		"evolution": &regularizedEvolution{newDrawing(small, 1), 100, 2, 2, 0, 1},
	} {
		if got := len(search(t, s, table)); got != 5 {
			t.Errorf("%s found %d of 5 members", name, got)
		}
	}
	none := &decisions{sizes: []int{2}, valid: func(point) bool { return false }}
	if _, err := (&randomSearch{newDrawing(none, 1), 3}).propose(nil); err == nil {
		t.Error("a space without a member was searched")
	}
}

func TestCanonicalMembersAreEvaluatedOnce(t *testing.T) {
	// The second decision has no effect when the first is 0.
	d := &decisions{sizes: []int{2, 4}, canonical: func(p point) point {
		if p[0] == 0 {
			return point{0, 0}
		}
		return p
	}}
	if got := len(search(t, &randomSearch{newDrawing(d, 1), 100}, table)); got != 5 {
		t.Errorf("%d members, want 5", got)
	}
}

// A proposal depends on the results before it and not on how it was reached: a search that goes on from its trials proposes the same.
func TestProposalsFollowFromTheTrials(t *testing.T) {
	for _, cohort := range []int{1, 3} {
		whole := search(t, &regularizedEvolution{newDrawing(cells(), 5), 60, 12, 4, 0.1, cohort}, table)
		again := search(t, &regularizedEvolution{newDrawing(cells(), 5), 60, 12, 4, 0.1, cohort}, table)
		if !reflect.DeepEqual(whole, again) {
			t.Errorf("cohort %d: two searches of one seed differ", cohort)
		}
	}
}

func TestSuccessiveHalving(t *testing.T) {
	h := &successiveHalving{newDrawing(cells(), 1), 27, 3, 3}
	done := search(t, h, table)
	counts := map[string]int{}
	for _, d := range done {
		counts[fmt.Sprintf("%.3f", d.budget)]++
	}
	if want := map[string]int{"0.111": 27, "0.333": 9, "1.000": 3}; !reflect.DeepEqual(counts, want) {
		t.Errorf("trials by budget %v, want %v", counts, want)
	}
	// Without noise between the rounds, the best of the first round is the best of the last.
	if first, last := best(done[:27]), best(done[36:]); first != last {
		t.Errorf("the best member %g was lost; the last round has %g", first, last)
	}
}

func TestPareto(t *testing.T) {
	scores := []score{{1, 5}, {2, 4}, {2, 3}, nil, {3, 1}, {0, 6}, {2, 4}}
	if got := front(scores); !reflect.DeepEqual(got, []int{0, 1, 4, 5, 6}) {
		t.Errorf("front %v", got)
	}
	order := ranking(scores)
	if order[len(order)-1] != 3 || order[len(order)-2] != 2 {
		t.Errorf("ranking %v: the dominated and the failed one come last", order)
	}
	if got := ranking([]score{{1}, {3}, {2}, {3}}); !reflect.DeepEqual(got, []int{1, 3, 2, 0}) {
		t.Errorf("one objective: %v", got)
	}
}
