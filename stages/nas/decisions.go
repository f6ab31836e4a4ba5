package nas

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/dataset"
)

// decisions is a search space as the strategies see it: a member is one choice for each decision.
type decisions struct {
	sizes []int // the number of choices of each decision
	// valid says whether a point is a member; nil: all are.
	valid func(point) bool
	// canonical returns the point that stands for all that build the same network, so that none is evaluated twice; nil: each stands for itself.
	canonical func(point) point
}

// point is a choice, from 0, for each decision.
type point []int

// key is the point as text.
func (p point) key() string {
	parts := make([]string, len(p))
	for i, c := range p {
		parts[i] = strconv.Itoa(c)
	}
	return strings.Join(parts, ".")
}

// count returns the number of points, members or not; more than a billion count as a billion.
func (d *decisions) count() int {
	n := 1
	for _, s := range d.sizes {
		if n > 1_000_000_000/s {
			return 1_000_000_000
		}
		n *= s
	}
	return n
}

func (d *decisions) settle(p point) (point, bool) {
	if d.valid != nil && !d.valid(p) {
		return nil, false
	}
	if d.canonical != nil {
		p = d.canonical(p)
	}
	return p, true
}

// tries bounds how often a strategy draws for a member that is new. A space that is nearly used up ends the search instead.
const tries = 2000

// errExhausted says that no member could be found that was not drawn before.
type errExhausted struct{ seen int }

func (e errExhausted) Error() string {
	return fmt.Sprintf("no new member of the search space was found in %d draws; %d are known", tries, e.seen)
}

// sample draws a member that is not in seen, uniformly by rejection.
func (d *decisions) sample(s *dataset.Stream, seen map[string]bool) (point, error) {
	for range tries {
		p := make(point, len(d.sizes))
		for i, n := range d.sizes {
			p[i] = s.Intn(n)
		}
		if p, ok := d.settle(p); ok && !seen[p.key()] {
			return p, nil
		}
	}
	return nil, errExhausted{len(seen)}
}

// mutate draws a member that is not in seen and differs from the parent in one decision, or in more: each further one at the given
// rate. When the neighbourhood is used up it moves further away.
func (d *decisions) mutate(parent point, rate float64, s *dataset.Stream, seen map[string]bool) (point, error) {
	for try := range tries {
		p := append(point(nil), parent...)
		d.change(p, s)
		for s.Chance(rate) {
			d.change(p, s)
		}
		for range try / 200 { // the neighbours are known: look beyond them
			d.change(p, s)
		}
		if p, ok := d.settle(p); ok && !seen[p.key()] {
			return p, nil
		}
	}
	return nil, errExhausted{len(seen)}
}

// change moves one decision that has more than one choice to another choice.
func (d *decisions) change(p point, s *dataset.Stream) {
	var open []int
	for i, n := range d.sizes {
		if n > 1 {
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return
	}
	i := open[s.Intn(len(open))]
	c := s.Intn(d.sizes[i] - 1)
	if c >= p[i] {
		c++
	}
	p[i] = c
}
