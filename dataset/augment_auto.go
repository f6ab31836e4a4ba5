package dataset

import (
	"math"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// Policies that were found, or that need no search. Their changes and magnitudes are those of the papers, as torchvision has them.

func autoKinds() []*OperationKind {
	fill := []Parameter{edges()[1]}
	bins := integer("num_magnitude_bins", 31, 2, 1000, "", "How many magnitudes there are between none and the strongest.")
	return []*OperationKind{
		{Name: "auto_augment", Doc: "One of 25 pairs of changes that were found for a dataset (Cubuk et al. 2019).",
			Parameters: with([]Parameter{choice("policy", "imagenet", "The dataset that the pairs were found for.", "imagenet", "cifar10", "svhn")}, fill),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				pairs := autoPolicies[b.text("policy")]
				for _, c := range pairs[s.Intn(len(pairs))] {
					if s.Chance(c.p) {
						g.applyChange(c.change, narrow, c.magnitude, 10, b.fill(), s)
					}
				}
			}},
		{Name: "rand_augment", Doc: "Some changes at random, all of one magnitude (Cubuk et al. 2020).",
			Parameters: with([]Parameter{
				integer("num_ops", 2, 1, 16, "", "How many changes."),
				integer("magnitude", 9, 0, 999, "", "Their strength, below num_magnitude_bins."), bins,
			}, fill),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				n := b.whole("num_magnitude_bins")
				for range b.whole("num_ops") {
					g.applyChange(change(s.Intn(int(invert))), narrow, min(b.whole("magnitude"), n-1), n, b.fill(), s)
				}
			}},
		{Name: "trivial_augment", Doc: "One change at random, of random magnitude (Müller and Hutter 2021).",
			Parameters: with([]Parameter{bins}, fill),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				n := b.whole("num_magnitude_bins")
				c := change(s.Intn(int(invert)))
				g.applyChange(c, wide, s.Intn(n), n, b.fill(), s)
			}},
	}
}

// change is a kind of change of these policies.
type change int

// The changes. Rand_augment and trivial_augment take those before invert.
const (
	nothing change = iota
	shearX
	shearY
	translateX
	translateY
	turn
	brighten
	colour
	contrast
	sharpness
	posterise
	solarise
	autoContrast
	equalise
	invert
)

// strengths are the largest magnitudes of a policy.
type strengths struct {
	shear, translate float64 // tangent; share of the side, or pixels where pixels is set
	pixels           bool
	turn             float64 // degrees
	factor           float64 // of brightness, colour, contrast, sharpness: 1 ± factor
	bits             float64 // that posterise takes away
}

var (
	narrow = strengths{shear: 0.3, translate: 150.0 / 331, turn: 30, factor: 0.9, bits: 4}
	wide   = strengths{shear: 0.99, translate: 32, pixels: true, turn: 135, factor: 0.99, bits: 6}
)

// applyChange applies c at magnitude m of n, its sign drawn.
func (g *Augmenter) applyChange(c change, most strengths, m, n int, fill [3]byte, s *Stream) {
	share := float64(m) / float64(n-1)
	signed := share
	if s.Chance(0.5) {
		signed = -share
	}
	h, w := g.size()
	far := func(side int) float64 {
		if most.pixels {
			return math.Trunc(signed * most.translate)
		}
		return math.Trunc(signed * most.translate * float64(side))
	}
	switch c {
	case shearX:
		g.move(matrix{1, signed * most.shear, 0, 0, 1, 0, 0, 0, 1}, pixel.Constant, fill)
	case shearY:
		g.move(matrix{1, 0, 0, signed * most.shear, 1, 0, 0, 0, 1}, pixel.Constant, fill)
	case translateX:
		g.translate(far(w), 0, pixel.Constant, fill)
	case translateY:
		g.translate(0, far(h), pixel.Constant, fill)
	case turn:
		g.rotate(signed*most.turn, pixel.Constant, fill)
	case brighten:
		g.linear(1+signed*most.factor, 0)
	case colour:
		g.saturate(1 + signed*most.factor)
	case contrast:
		g.contrast(1 + signed*most.factor)
	case sharpness:
		g.sharpness(1 + signed*most.factor)
	case posterise:
		g.posterise(8 - int(math.Round(share*most.bits)))
	case solarise:
		g.solarise(255 * (1 - share))
	case autoContrast:
		g.autoContrast()
	case equalise:
		g.equalise()
	case invert:
		g.linear(-1, 255)
	}
}

// sharpness goes from a smoothed image (0) through the image itself (1) beyond (2); the smoothing weighs the centre with 5/13.
func (g *Augmenter) sharpness(factor float64) {
	rest := 1 - factor
	g.filter(1, ring(rest/13, factor+rest*5/13))
}
