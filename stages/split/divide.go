package split

import (
	"context"
	"fmt"
	"slices"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
)

// shares divides images into parts. Strata are the classes, or one for all when classes do not matter.
type shares struct {
	parts  []part
	strata int
	groups []group
	open   [][]int // by part and stratum: images still to come until the exact share; negative where groups went beyond
	of     []int   // the part of each image
}

// group is all images with the same bytes.
type group struct {
	images []int
	sizes  map[int]int // images by stratum: the same image may carry several labels
	strata []int       // keys of sizes, sorted
}

func newShares(ctx context.Context, d *dataset.Dataset, parts []part, stratify bool) (*shares, error) {
	s := &shares{parts: parts, strata: 1, of: make([]int, d.Len())}
	if stratify {
		s.strata = len(d.Info().Classes)
	}
	totals := make([]int, s.strata)
	byDigest := map[artifact.Digest]int{}
	for i := range d.Len() {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		stratum := 0
		if stratify {
			stratum = int(d.Label(i))
		}
		digest := artifact.DigestBytes(d.Image(i))
		at, ok := byDigest[digest]
		if !ok {
			at = len(s.groups)
			byDigest[digest] = at
			s.groups = append(s.groups, group{sizes: map[int]int{}})
		}
		g := &s.groups[at]
		g.images = append(g.images, i)
		if g.sizes[stratum]++; g.sizes[stratum] == 1 {
			g.strata = append(g.strata, stratum)
			slices.Sort(g.strata)
		}
		totals[stratum]++
	}
	s.open = make([][]int, len(parts))
	for p := range parts {
		s.open[p] = make([]int, s.strata)
	}
	// taken levels the remainders, so that no part gains or loses one image in every class.
	taken := make([]float64, len(parts))
	for stratum, n := range totals {
		for p, q := range quotas(n, parts, taken) {
			s.open[p][stratum] = q
		}
	}
	return s, nil
}

// quotas divides n by the shares so that each part is within one of its exact share: the whole numbers below, and one
// more for the parts that lack most of theirs, over this and earlier strata. lack carries that from stratum to stratum.
func quotas(n int, parts []part, lack []float64) []int {
	var sum float64
	for _, p := range parts {
		sum += p.share
	}
	out := make([]int, len(parts))
	left := n
	type remainder struct {
		part int
		size float64
	}
	var rest []remainder
	for i, p := range parts {
		exact := float64(n) * p.share / sum
		out[i] = int(exact)
		left -= out[i]
		lack[i] += exact - float64(out[i])
		if exact > float64(out[i]) {
			rest = append(rest, remainder{i, lack[i]})
		}
	}
	slices.SortStableFunc(rest, func(a, b remainder) int {
		switch {
		case a.size > b.size:
			return -1
		case a.size < b.size:
			return 1
		}
		return 0
	})
	for _, r := range rest[:left] {
		out[r.part]++
		lack[r.part]--
	}
	return out
}

// tooFew finds a class that cannot be in every part.
func (s *shares) tooFew(classes []string) *stages.Problem {
	if s.strata != len(classes) {
		return nil
	}
	images, distinct := make([]int, s.strata), make([]int, s.strata)
	for _, g := range s.groups {
		for _, c := range g.strata {
			distinct[c]++
			images[c] += g.sizes[c]
		}
	}
	for c, n := range distinct {
		if n >= len(s.parts) {
			continue
		}
		p := stages.Problemf("data", "Class with too few images", "The class %q has %d different images (%d in all), but there are %d parts, and each needs at least one. Add images, merge or leave out the class, make fewer parts, or write stratify = false.", classes[c], n, images[c], len(s.parts))
		return &p
	}
	return nil
}

// divide gives every group its part: first those of several images, the largest first, while there is room; then single
// images fill every share exactly.
func (s *shares) divide(seed uint64) {
	stream := dataset.NewStream(seed, "split")
	order := stream.Permutation(len(s.groups))
	slices.SortStableFunc(order, func(a, b int) int { return len(s.groups[b].images) - len(s.groups[a].images) })
	for _, at := range order {
		g := &s.groups[at]
		p := s.roomiest(g)
		for _, image := range g.images {
			s.of[image] = p
		}
		for stratum, n := range g.sizes {
			s.open[p][stratum] -= n
		}
	}
}

// roomiest returns the part in which the group overflows least, and of those the one that lacks most of its share.
func (s *shares) roomiest(g *group) int {
	best, bestOver, bestLack := 0, 0, 0.0
	for p, q := range s.parts {
		over, lack := 0, 0.0
		for _, stratum := range g.strata {
			n := g.sizes[stratum]
			over += max(0, n-max(0, s.open[p][stratum]))
			lack += float64(s.open[p][stratum]) / q.share
		}
		if p == 0 || over < bestOver || over == bestOver && lack > bestLack {
			best, bestOver, bestLack = p, over, lack
		}
	}
	return best
}

// overflows says where groups won over exact shares.
func (s *shares) overflows(classes []string) []string {
	var out []string
	for p, q := range s.parts {
		for stratum, n := range s.open[p] {
			if n >= 0 {
				continue
			}
			what := "images"
			if s.strata == len(classes) {
				what = fmt.Sprintf("images of the class %q", classes[stratum])
			}
			out = append(out, fmt.Sprintf("%s has %d %s more than its share, since equal images stay together", q.name, -n, what))
		}
	}
	return out
}
