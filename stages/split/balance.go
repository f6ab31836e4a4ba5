package split

import (
	"fmt"
	"math"
)

// deviation returns how far the share of a class in a part is from its share in the whole, 0 to 1, where that is farthest.
func (d *division) deviation() (largest float64, p, stratum int) {
	all := make([]int, d.whole+1)
	for _, row := range d.have {
		for c, n := range row {
			all[c] += n
		}
	}
	for i, row := range d.have {
		for c, n := range row[:d.whole] {
			if row[d.whole] == 0 {
				continue
			}
			off := math.Abs(float64(n)/float64(row[d.whole]) - float64(all[c])/float64(all[d.whole]))
			if off > largest {
				largest, p, stratum = off, i, c
			}
		}
	}
	return largest, p, stratum
}

// farthest returns how many images a part is off the exact share of a class, or of the whole, where that is most.
func (d *division) farthest() (images float64) {
	for p := range d.parts {
		for c := range d.whole + 1 {
			images = max(images, d.off(p, c))
		}
	}
	return images
}

// unexact says where units that stay together won over exact shares.
func (d *division) unexact(classes []string) []string {
	var out []string
	for p, q := range d.parts {
		for c := range d.whole + 1 {
			if !d.beyond(p, c) {
				continue
			}
			what := "images"
			if c != d.whole {
				what = fmt.Sprintf("images of the class %q", classes[c])
			}
			out = append(out, fmt.Sprintf("%s has %d %s; its exact share would be %.1f", q.name, d.have[p][c], what, d.exact[p][c]))
		}
	}
	return out
}
