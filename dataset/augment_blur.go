package dataset

import (
	"math"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// Operations that mix a pixel with its surroundings.

func blurKinds() []*OperationKind {
	half := []Parameter{probability(0.5)}
	return []*OperationKind{
		{Name: "gaussian_blur", Doc: "Blurs by a Gaussian.",
			Parameters: with([]Parameter{span("sigma_limit", 0.5, 3, 0.1, 20, "pixels", "Range of the standard deviation.")}, half),
			apply:      func(g *Augmenter, b *bound, s *Stream) { g.gaussianBlur(b.between("sigma_limit", s)) }},
		{Name: "motion_blur", Doc: "Blurs along a line of random direction and place.",
			Parameters: with([]Parameter{wholeSpan("blur_limit", 3, 7, 3, 63, "pixels", "Range of the line's length; even ones are made odd.")}, half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				size := b.wholeBetween("blur_limit", s) | 1
				angle, bias := s.In(0, 2*math.Pi), s.In(-1, 1)
				r := float64(size/2) / 2
				g.motionBlur(size, angle, bias, s.In(-r, r), s.In(-r, r))
			}},
		{Name: "median_blur", Doc: "Takes the median of a square around each pixel.",
			Parameters: with([]Parameter{wholeSpan("blur_limit", 3, 7, 3, 7, "pixels", "Range of the square's side; even ones are made odd.")}, half),
			apply:      func(g *Augmenter, b *bound, s *Stream) { g.medianBlur(b.wholeBetween("blur_limit", s) / 2) }},
		{Name: "sharpen", Doc: "Adds a share of what distinguishes a pixel from its neighbours.",
			Parameters: with([]Parameter{
				span("alpha", 0.2, 0.5, 0, 1, "", "Range of the share of the sharpened image."),
				span("lightness", 0.5, 1, 0, 4, "", "Range of the weight of the image itself in the sharpened one."),
			}, half),
			apply: func(g *Augmenter, b *bound, s *Stream) { g.sharpen(b.between("alpha", s), b.between("lightness", s)) }},
		{Name: "image_compression", Doc: "What writing the image as JPEG, with halved chroma, and reading it again does to it.",
			Parameters: with([]Parameter{wholeSpan("quality_range", 99, 100, 1, 100, "", "Range of the quality, as libjpeg counts it.")}, half),
			apply:      func(g *Augmenter, b *bound, s *Stream) { g.compress(b.wholeBetween("quality_range", s)) }},
	}
}

// gaussianBlur has a kernel as far as 3.5 standard deviations.
func (g *Augmenter) gaussianBlur(sigma float64) {
	g.change(func(src, dst []byte) { pixel.Blur(src, dst, g.h, g.w, g.c, pixel.Gaussian(sigma, int(sigma*3.5))) })
}

// motionBlur averages size places along a line, which reaches from the middle to both sides (bias 0), or to one of them (-1, 1), and lies x and
// y pixels from the middle, as far as the square of that side allows.
func (g *Augmenter) motionBlur(size int, angle, bias, x, y float64) {
	half := float64(size / 2)
	from, to := -half*(1-max(bias, 0)), half*(1+min(bias, 0))
	sin, cos := math.Sincos(angle)
	seen := map[pixel.Tap]bool{}
	var taps []pixel.Tap
	for i := range size {
		t := from + (to-from)*float64(i)/float64(size-1)
		place := func(v float64) int32 { return int32(min(max(math.RoundToEven(v), -half), half)) }
		if tap := (pixel.Tap{DY: place(sin*t + y), DX: place(cos*t + x)}); !seen[tap] {
			seen[tap] = true
			taps = append(taps, tap)
		}
	}
	for i := range taps {
		taps[i].Weight = int32((1<<14*(i+1))/len(taps) - (1<<14*i)/len(taps))
	}
	g.filter(size/2, taps)
}

func (g *Augmenter) filter(radius int, taps []pixel.Tap) {
	g.change(func(src, dst []byte) { pixel.Filter(src, dst, g.h, g.w, g.c, radius, taps) })
}

func (g *Augmenter) medianBlur(radius int) {
	g.change(func(src, dst []byte) { pixel.Median(src, dst, g.h, g.w, g.c, radius) })
}

func (g *Augmenter) sharpen(alpha, lightness float64) {
	g.filter(1, ring(-alpha, (1-alpha)+alpha*(8+lightness)))
}

// ring are the weights of a pixel and of the eight around it.
func ring(around, centre float64) []pixel.Tap {
	var taps []pixel.Tap
	for dy := int32(-1); dy <= 1; dy++ {
		for dx := int32(-1); dx <= 1; dx++ {
			weight := around
			if dy == 0 && dx == 0 {
				weight = centre
			}
			taps = append(taps, pixel.Tap{DY: dy, DX: dx, Weight: int32(math.Round(weight * (1 << 14)))})
		}
	}
	return taps
}

func (g *Augmenter) compress(quality int) {
	g.change(func(src, dst []byte) { pixel.Compress(src, dst, g.h, g.w, g.c, quality) })
}
