package split

import (
	"cmp"
	"math"
	"slices"

	"github.com/darkroom-dev/darkroom/dataset"
)

// part is one part of a division with its share.
type part struct {
	name  string
	share float64 // relative to the others, above 0
}

// division places units into parts. Its columns are the strata, and one more for the whole.
type division struct {
	parts []part
	units []unit
	whole int         // the column of the whole
	exact [][]float64 // (parts, columns): the exact shares, in images
	want  [][]float64 // (parts, columns): what to reach, the exact shares or whole numbers beside them
	have  [][]int     // (parts, columns)
	of    []int       // the part of each unit; -1 while it has none
	heavy float64     // how much more than a stratum the whole counts: above all where units are single images
}

// newDivision counts what there is. strata is the number of classes, or 0 where they do not count.
func newDivision(units []unit, parts []part, strata int) *division {
	d := &division{parts: parts, units: units, whole: strata, of: make([]int, len(units)), heavy: 1}
	totals := make([]int, strata+1)
	single := true // no image has several classes
	for i, u := range units {
		d.of[i] = -1
		labels := 0
		for _, c := range u.sizes {
			totals[c.stratum] += c.n
			labels += c.n
		}
		totals[strata] += len(u.items)
		single = single && (strata == 0 || labels == len(u.items))
	}
	if totals[strata] == len(units) {
		d.heavy = 1000
	}
	sum := 0.0
	for _, p := range parts {
		sum += p.share
	}
	for _, p := range parts {
		row := make([]float64, strata+1)
		for s, n := range totals {
			row[s] = float64(n) * p.share / sum
		}
		d.exact = append(d.exact, row)
		d.have = append(d.have, make([]int, strata+1))
	}
	d.setGoals(single && strata > 0)
	return d
}

// setGoals makes the goals whole numbers, each within one of the exact share, that add up to what there is: of every column
// where the strata together are the whole, else of the whole alone.
func (d *division) setGoals(sums bool) {
	first, last := d.whole, d.whole
	if sums {
		first, last = 0, d.whole-1
	}
	var table [][]float64 // (columns from first to last, parts)
	for c := first; c <= last; c++ {
		var row []float64
		for p := range d.parts {
			row = append(row, d.exact[p][c])
		}
		table = append(table, row)
	}
	rounded := roundTable(table)
	for p := range d.parts {
		row := slices.Clone(d.exact[p])
		if sums {
			row[d.whole] = 0
		}
		for i := range rounded {
			row[first+i] = float64(rounded[i][p])
			if sums {
				row[d.whole] += row[first+i]
			}
		}
		d.want = append(d.want, row)
	}
}

// columns calls visit for every column that a unit counts in.
func (d *division) columns(u *unit, visit func(column, n int)) {
	for _, c := range u.sizes {
		visit(c.stratum, c.n)
	}
	visit(d.whole, len(u.items))
}

func (d *division) place(u, p int) {
	from := d.of[u]
	d.of[u] = p
	d.columns(&d.units[u], func(c, n int) {
		if from >= 0 {
			d.have[from][c] -= n
		}
		d.have[p][c] += n
	})
}

// lack is how many images a part still wants of a column.
func (d *division) lack(p, c int) float64 { return d.want[p][c] - float64(d.have[p][c]) }

// stratify gives every unit its part, the scarcest class first, in each the largest units first: to the part that lacks
// most of the class, then most of the whole, then to the largest (iterative stratification: Sechidis, Tsoumakas and Vlahavas
// 2011, with units in the place of samples). Then it mends what it can.
func (d *division) stratify(seed uint64) {
	byStratum := make([][]int, d.whole)
	left := make([]int, d.whole)
	var plain []int // units without a class
	for i := range d.units {
		for _, c := range d.units[i].sizes {
			byStratum[c.stratum] = append(byStratum[c.stratum], i)
			left[c.stratum] += c.n
		}
		if len(d.units[i].sizes) == 0 {
			plain = append(plain, i)
		}
	}
	for {
		scarce := -1
		for s, n := range left {
			if n > 0 && (scarce < 0 || n < left[scarce]) {
				scarce = s
			}
		}
		if scarce < 0 {
			break
		}
		d.fill(byStratum[scarce], scarce, left)
	}
	d.fill(plain, d.whole, left)
	d.mend(seed)
}

// fill places those of the units that have no part yet; left counts the images of each stratum that have none.
func (d *division) fill(units []int, stratum int, left []int) {
	slices.SortStableFunc(units, func(a, b int) int { return len(d.units[b].items) - len(d.units[a].items) })
	for _, u := range units {
		if d.of[u] >= 0 {
			continue
		}
		d.place(u, d.roomiest(&d.units[u], stratum))
		for _, c := range d.units[u].sizes {
			left[c.stratum] -= c.n
		}
	}
}

// roomiest returns the part for a unit: where it goes least beyond what is wanted, and of those the one that lacks most.
func (d *division) roomiest(u *unit, stratum int) int {
	best := 0
	var least, most, whole float64
	for p := range d.parts {
		over := 0.0
		d.columns(u, func(c, n int) { over += d.weight(c) * max(0, float64(n)-max(0, d.lack(p, c))) })
		lack, all := d.lack(p, stratum), d.lack(p, d.whole)
		if p == 0 || cmp.Or(cmp.Compare(over, least), cmp.Compare(most, lack), cmp.Compare(whole, all)) < 0 {
			best, least, most, whole = p, over, lack, all
		}
	}
	return best
}

// off is how far a part is from the exact share of a column, in images.
func (d *division) off(p, c int) float64 { return math.Abs(float64(d.have[p][c]) - d.exact[p][c]) }

// beyond reports whether a part is off by an image or more.
func (d *division) beyond(p, c int) bool { return d.off(p, c) >= 1-integral }

// The bounds of mend's work: how many exchanges it looks at, for a unit and in all of a pass, and how often it goes
// through the units.
const (
	mendTrials = 400
	mendWork   = 4_000_000
	mendPasses = 30
)

// mend moves and exchanges units while that brings parts that are off nearer to their shares. It looks at a bounded number of
// exchanges, the same ones for the same seed.
func (d *division) mend(seed uint64) {
	for pass := range uint64(mendPasses) {
		changed := false
		for u := range d.units {
			if !d.concerned(u) {
				continue
			}
			stream := dataset.NewStream(seed, "split mend", pass, d.units[u].order)
			changed = d.improve(u, &stream) || changed
		}
		if !changed {
			return
		}
	}
}

// concerned reports whether some part is off in a column of the unit.
func (d *division) concerned(u int) bool {
	found := false
	d.columns(&d.units[u], func(c, _ int) {
		for p := range d.parts {
			found = found || d.beyond(p, c)
		}
	})
	return found
}

// improve makes the best move or exchange of a unit, if one is better than none.
func (d *division) improve(u int, stream *dataset.Stream) bool {
	from := d.of[u]
	best, bestOther, bestPart := -integral, -1, -1
	for p := range d.parts {
		if p == from {
			continue
		}
		if delta := d.delta(u, -1, p); delta < best {
			best, bestOther, bestPart = delta, -1, p
		}
	}
	trials := min(mendTrials, max(4, mendWork/len(d.units)), len(d.units))
	for i := range trials {
		v := i // few units are all looked at
		if trials < len(d.units) {
			v = stream.Intn(len(d.units))
		}
		if d.of[v] == from {
			continue
		}
		if delta := d.delta(u, v, d.of[v]); delta < best {
			best, bestOther, bestPart = delta, v, d.of[v]
		}
	}
	if bestPart < 0 {
		return false
	}
	d.place(u, bestPart)
	if bestOther >= 0 {
		d.place(bestOther, from)
	}
	return true
}

// delta is what moving unit u to part p, and unit v (-1: none) back to where u was, adds to the sum of penalties.
func (d *division) delta(u, v, p int) float64 {
	from := d.of[u]
	// Both units' columns, merged, so that a column that both have counts once.
	sum := 0.0
	change := func(c, n int) {
		if n != 0 {
			sum += d.penalty(from, c, -n) - d.penalty(from, c, 0) + d.penalty(p, c, n) - d.penalty(p, c, 0)
		}
	}
	a := d.units[u].sizes
	var b []column
	items := len(d.units[u].items)
	if v >= 0 {
		b = d.units[v].sizes
		items -= len(d.units[v].items)
	}
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].stratum < b[0].stratum:
			change(a[0].stratum, a[0].n)
			a = a[1:]
		case len(a) == 0 || b[0].stratum < a[0].stratum:
			change(b[0].stratum, -b[0].n)
			b = b[1:]
		default:
			change(a[0].stratum, a[0].n-b[0].n)
			a, b = a[1:], b[1:]
		}
	}
	change(d.whole, items)
	return sum
}

// penalty grows with the square of what a part is off after n more images, and much faster beyond one image.
func (d *division) penalty(p, c, n int) float64 {
	off := math.Abs(float64(d.have[p][c]+n) - d.want[p][c])
	past := max(0, math.Abs(float64(d.have[p][c]+n)-d.exact[p][c])-1+integral)
	return d.weight(c) * (off*off + 64*past*past)
}

func (d *division) weight(c int) float64 {
	if c == d.whole {
		return d.heavy
	}
	return 1
}

// byItem returns the part of each item.
func (d *division) byItem(items int) []int {
	of := make([]int, items)
	for u := range d.units {
		for _, i := range d.units[u].items {
			of[i] = d.of[u]
		}
	}
	return of
}
