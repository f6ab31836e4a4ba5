package split

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
)

// item is what a division knows of one image.
type item struct {
	id      string
	content artifact.Digest
	labels  []int32 // strata, distinct and sorted: its classes, or none where classes do not count
	group   string  // "" when it belongs to none
	when    float64 // larger is later
}

// unit is images that stay together: of one group, of equal content, or alike, and whatever these connect.
type unit struct {
	items []int    // indexes, in canonical order
	sizes []column // images by stratum, sorted by stratum
	order uint64   // random, a function of the seed and the first id
	when  float64  // of the latest image
}

// column is how many images of a unit are of a stratum.
type column struct{ stratum, n int }

// canonical returns the indexes of items in an order that does not depend on the order in which they are given.
func canonical(items []item) []int {
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(strings.Compare(items[a].id, items[b].id), cmp.Compare(items[a].content, items[b].content),
			slices.Compare(items[a].labels, items[b].labels))
	})
	return order
}

// newUnits joins items of one content, of one group, and the pairs in alike. The units are in random order, a function of
// the seed and the ids alone.
func newUnits(items []item, alike [][2]int, seed uint64) []unit {
	order := canonical(items)
	sets := newSets(len(items))
	byContent, byGroup := map[artifact.Digest]int{}, map[string]int{}
	for _, i := range order {
		if first, ok := byContent[items[i].content]; ok {
			sets.join(first, i)
		} else {
			byContent[items[i].content] = i
		}
		if items[i].group == "" {
			continue
		}
		if first, ok := byGroup[items[i].group]; ok {
			sets.join(first, i)
		} else {
			byGroup[items[i].group] = i
		}
	}
	for _, pair := range alike {
		sets.join(pair[0], pair[1])
	}
	at := map[int]int{} // unit by the root of its set
	var units []unit
	for _, i := range order {
		root := sets.find(i)
		u, ok := at[root]
		if !ok {
			u = len(units)
			at[root] = u
			units = append(units, unit{order: randomOrder(seed, items[i].id), when: items[i].when})
		}
		units[u].add(items, i)
	}
	slices.SortStableFunc(units, func(a, b unit) int { return cmp.Compare(a.order, b.order) })
	return units
}

func (u *unit) add(items []item, i int) {
	u.items = append(u.items, i)
	u.when = max(u.when, items[i].when)
	for _, l := range items[i].labels {
		at, ok := slices.BinarySearchFunc(u.sizes, int(l), func(c column, l int) int { return cmp.Compare(c.stratum, l) })
		if !ok {
			u.sizes = slices.Insert(u.sizes, at, column{stratum: int(l)})
		}
		u.sizes[at].n++
	}
}

func randomOrder(seed uint64, id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id)) //nolint:errcheck // it never fails
	s := dataset.NewStream(seed, "split", h.Sum64())
	return s.Uint64()
}

// sets are disjoint sets of numbers (Tarjan 1975), joined by making the smaller root the root.
type sets []int

func newSets(n int) sets {
	s := make(sets, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func (s sets) find(i int) int {
	for s[i] != i {
		s[i] = s[s[i]]
		i = s[i]
	}
	return i
}

func (s sets) join(a, b int) {
	a, b = s.find(a), s.find(b)
	s[max(a, b)] = min(a, b)
}
