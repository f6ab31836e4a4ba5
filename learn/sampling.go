package learn

import (
	"github.com/darkroom-dev/darkroom/dataset"
)

// balancedRows returns the rows of an epoch, as many as there are images, in which every class that has images comes equally often, as far as that divides:
// the images of a larger class are left out and those of a smaller one repeated, evenly and others in each epoch. It is a function of the seed and the epoch.
func balancedRows(d *dataset.Dataset, seed uint64, epoch int) []int {
	byClass := make([][]int, len(d.Info().Classes))
	for i := range d.Len() {
		if label := d.Label(i); label >= 0 {
			byClass[label] = append(byClass[label], i)
		}
	}
	var present [][]int
	for _, rows := range byClass {
		if len(rows) > 0 {
			present = append(present, rows)
		}
	}
	var out []int
	for c, rows := range present {
		quota := d.Len() / len(present)
		if c < d.Len()%len(present) {
			quota++
		}
		for taken, round := 0, 0; taken < quota; round++ {
			s := dataset.NewStream(seed, "balance", uint64(epoch), uint64(c), uint64(round))
			for _, i := range s.Permutation(len(rows)) {
				if taken == quota {
					break
				}
				out = append(out, rows[i])
				taken++
			}
		}
	}
	mixed := make([]int, len(out))
	s := dataset.NewStream(seed, "balanced order", uint64(epoch))
	for i, at := range s.Permutation(len(out)) {
		mixed[i] = out[at]
	}
	return mixed
}
