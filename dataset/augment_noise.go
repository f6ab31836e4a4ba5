package dataset

import (
	"math"
	"sync"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// Operations that add noise, drawn anew for each pixel.

func noiseKinds() []*OperationKind {
	half := []Parameter{probability(0.5)}
	return []*OperationKind{
		{Name: "gaussian_noise", Doc: "Adds to every value an independent normal random number (GaussNoise in Albumentations).",
			Parameters: with([]Parameter{float("sigma", 0.01, 0, 1, "", "Standard deviation, as a share of the range from black to white.")}, half),
			apply:      func(g *Augmenter, b *bound, s *Stream) { g.gaussianNoise(b.number("sigma"), s.Uint64()) }},
		{Name: "iso_noise", Doc: "Noise as of a camera's sensor: Poisson in the lightness, normal in the hue. Leaves grey images as they are.",
			Parameters: with([]Parameter{
				span("color_shift", 0.01, 0.05, 0, 1, "", "Range of the standard deviation of the hue, as a share of the circle."),
				span("intensity", 0.1, 0.5, 0, 2, "", "Range of the factor of all noise."),
			}, half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				g.isoNoise(b.between("color_shift", s), b.between("intensity", s), s.Uint64())
			}},
		{Name: "salt_and_pepper", Doc: "Makes random pixels white or black.",
			Parameters: with([]Parameter{
				span("amount", 0.01, 0.06, 0, 1, "", "Range of the share of pixels."),
				span("salt_vs_pepper", 0.4, 0.6, 0, 1, "", "Range of the share of white ones among them."),
			}, half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				g.saltAndPepper(b.between("amount", s), b.between("salt_vs_pepper", s), s.Uint64())
			}},
	}
}

// normals are the means of the standard normal distribution within 8192 intervals of equal probability.
var normals = sync.OnceValue(func() []float64 {
	const n = 8192
	density := func(i int) float64 {
		if i == 0 || i == n {
			return 0
		}
		z := math.Sqrt2 * math.Erfinv(2*float64(i)/n-1)
		return math.Exp(-z*z/2) / math.Sqrt(2*math.Pi)
	}
	out, sum := make([]float64, n), 0.0
	for i := range out {
		out[i] = (density(i) - density(i+1)) * n
		sum += out[i] * out[i]
	}
	scale := 1 / math.Sqrt(sum/n) // the deviation within the intervals is put back
	for i := range out {
		out[i] *= scale
	}
	return out
})

// gaussianNoise adds normal numbers, rounded: what a byte can hold.
func (g *Augmenter) gaussianNoise(sigma float64, key uint64) {
	table := make([]int16, 8192)
	for i, z := range normals() {
		table[i] = int16(math.Round(z * sigma * 255))
	}
	g.change(func(src, dst []byte) { pixel.AddNoise(src, dst, key, table) })
}

func (g *Augmenter) saltAndPepper(amount, salt float64, key uint64) {
	const all = 1<<32 - 1
	both := uint32(amount * all)
	g.change(func(src, dst []byte) { pixel.Salt(src, dst, g.h*g.w, g.c, key, uint32(amount*(1-salt)*all), both) })
}

func (g *Augmenter) isoNoise(shift, intensity float64, key uint64) {
	if g.c == 1 {
		return
	}
	g.flush()
	hue, light := make([]float32, 8192), make([]float32, 8192)
	for i, z := range normals() {
		hue[i] = float32(min(max(z*shift*intensity*12, -12), 12))
	}
	// The quantiles of the Poisson distribution, whose rate is the deviation of the lightness times the intensity.
	rate := g.lightnessDeviation() * intensity
	p := math.Exp(-rate)
	sum, k := p, 0
	for i := range light {
		for (float64(i)+0.5)/8192 > sum && k < 64 {
			k++
			p *= rate / float64(k)
			sum += p
		}
		light[i] = float32(min(float64(k)*intensity, 1))
	}
	g.change(func(src, dst []byte) { pixel.ISO(src, dst, g.h*g.w, key, hue, light) })
}

// lightnessDeviation is the standard deviation of (largest + smallest channel)/2, 0 to 1, over every fourth pixel.
func (g *Augmenter) lightnessDeviation() float64 {
	n, sum, squares := 0, 0, 0
	for i := 0; i+3 <= len(g.pix); i += 12 {
		r, gr, b := g.pix[i], g.pix[i+1], g.pix[i+2]
		l := int(max(r, gr, b)) + int(min(r, gr, b))
		n, sum, squares = n+1, sum+l, squares+l*l
	}
	mean := float64(sum) / float64(n)
	return math.Sqrt(max(float64(squares)/float64(n)-mean*mean, 0)) / 510
}
