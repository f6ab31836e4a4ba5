package learn

import (
	"math"

	"github.com/darkroom-dev/darkroom/dataset"
)

// Statistics returns the mean and the standard deviation of each channel over all pixels of all images, of values 0 to 1. The sums
// are of whole numbers, so they are exact. A channel without any contrast has the deviation 1, so that it can be divided by.
func Statistics(d *dataset.Dataset) (mean, std []float64) {
	c := d.Info().Channels
	sums, squares := make([]uint64, c), make([]uint64, c)
	for i := range d.Len() {
		for k, v := range d.Image(i) {
			sums[k%c] += uint64(v)
			squares[k%c] += uint64(v) * uint64(v)
		}
	}
	n := float64(d.Len()) * float64(d.Info().Height) * float64(d.Info().Width)
	for i := range c {
		m := float64(sums[i]) / n
		variance := float64(squares[i])/n - m*m
		deviation := math.Sqrt(math.Max(variance, 0)) / 255
		if deviation < 1e-3 {
			deviation = 1
		}
		mean, std = append(mean, m/255), append(std, deviation)
	}
	return mean, std
}
