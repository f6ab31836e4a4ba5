package split

import (
	"cmp"
	"math"
	"slices"
)

// inOrder gives units to parts along time: each boundary lies where the images before it are nearest to the exact share, and
// not between units of one time.
func (d *division) inOrder() {
	order := make([]int, len(d.units))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(d.units[a].when, d.units[b].when) })
	p, before, until := 0, 0, d.exact[0][d.whole]
	for i := 0; i < len(order); {
		end, images := i, 0
		for end < len(order) && d.units[order[end]].when == d.units[order[i]].when {
			images += len(d.units[order[end]].items)
			end++
		}
		for p+1 < len(d.parts) && math.Abs(float64(before)-until) <= math.Abs(float64(before+images)-until) {
			p++
			until += d.exact[p][d.whole]
		}
		for _, u := range order[i:end] {
			d.place(u, p)
		}
		i, before = end, before+images
	}
}
