package dataset

import (
	"math"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// Operations that move each pixel by a distance of its own.

func distortionKinds() []*OperationKind {
	half := []Parameter{probability(0.5)}
	return []*OperationKind{
		{Name: "elastic_transform", Doc: "Moves each pixel by a random field, smoothed by a Gaussian (Simard et al. 2003). (The defaults of Albumentations, alpha 1 and sigma 50, move nothing that can be seen.)",
			Parameters: with([]Parameter{
				float("alpha", 120, 0, 10000, "", "Strength: uniform random numbers within ±alpha are smoothed; the distance falls with sigma."),
				float("sigma", 6, 0.5, 200, "pixels", "Standard deviation of the smoothing."),
			}, edges(), half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				h, w := g.size()
				for i := range g.fields {
					g.fields[i] = field(g.fields[i], h, w, b.number("alpha"), b.number("sigma"), s)
				}
				g.remap(g.fields[0], g.fields[1], b.border(), b.fill())
			}},
		{Name: "grid_distortion", Doc: "Divides the image into a grid and stretches each of its columns and rows by a random factor; the image keeps its size.",
			Parameters: with([]Parameter{
				integer("num_steps", 5, 1, 64, "", "Columns and rows of the grid."),
				float("distort_limit", 0.3, 0, 0.9, "", "Largest change of a column or row: a factor within 1 ± distort_limit."),
			}, edges(), half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				n, limit := b.whole("num_steps"), b.number("distort_limit")
				draw := func() []float64 {
					f := make([]float64, n)
					for i := range f {
						f[i] = 1 + s.In(-1, 1)*limit
					}
					return f
				}
				columns := draw()
				g.grid(columns, draw(), b.border(), b.fill())
			}},
	}
}

func (g *Augmenter) remap(dx, dy []float32, border pixel.Border, fill [3]byte) {
	g.change(func(src, dst []byte) { pixel.Remap(src, g.h, g.w, g.c, dst, dx, dy, border, fill) })
	if g.regions != nil {
		g.regions.displace(dx, dy, g.h, g.w, border)
	}
}

// field fills out, or new memory, with random numbers within ±alpha, smoothed. A wide Gaussian is applied on a coarser grid, whose values lie so far apart that it is
// a quarter of the standard deviation, with numbers larger by as much as fewer of them are averaged.
func field(out []float32, h, w int, alpha, sigma float64, s *Stream) []float32 {
	step := max(1, int(sigma/4))
	if step < 3 {
		step = 1
	}
	gh, gw := h/step+2, w/step+2
	if step == 1 {
		gh, gw = h, w
	}
	out = resized(out, h*w)
	coarse := out
	if step > 1 {
		coarse = make([]float32, gh*gw)
	}
	unit := float32(alpha / float64(step) / (1 << 31))
	for i := 0; i < len(coarse); i += 2 {
		r := s.Uint64()
		coarse[i] = float32(int32(uint32(r))) * unit
		if i+1 < len(coarse) {
			coarse[i+1] = float32(int32(uint32(r>>32))) * unit
		}
	}
	pixel.Smooth(coarse, coarse, gh, gw, gaussian(sigma/float64(step)))
	if step == 1 {
		return out
	}
	for y := range h {
		gy, fy := y/step, float32(y%step)/float32(step)
		up, down := coarse[gy*gw:], coarse[(gy+1)*gw:]
		for x := range w {
			gx, fx := x/step, float32(x%step)/float32(step)
			a := up[gx] + float32((up[gx+1]-up[gx])*fx)
			b := down[gx] + float32((down[gx+1]-down[gx])*fx)
			out[y*w+x] = a + float32((b-a)*fy)
		}
	}
	return out
}

// gaussian returns the symmetric kernel from the middle on, which sums up to 1, as far as three standard deviations.
func gaussian(sigma float64) []float32 {
	k, sum := make([]float64, int(math.Ceil(3*sigma))+1), 0.0
	for i := range k {
		k[i] = math.Exp(-0.5 * float64(i*i) / (sigma * sigma))
		sum += 2 * k[i]
	}
	sum -= k[0]
	out := make([]float32, len(k))
	for i := range k {
		out[i] = float32(k[i] / sum)
	}
	return out
}

// grid stretches the columns and rows of a grid by these factors, in relation to each other.
func (g *Augmenter) grid(columns, rows []float64, border pixel.Border, fill [3]byte) {
	h, w := g.size()
	for i := range g.fields {
		g.fields[i] = resized(g.fields[i], h*w)
	}
	dx, dy := g.fields[0], g.fields[1]
	x, y := stretched(columns, w), stretched(rows, h)
	for r := range h {
		copy(dx[r*w:], x)
		line := dy[r*w:][:w]
		for i := range line {
			line[i] = y[r]
		}
	}
	g.remap(dx, dy, border, fill)
}

// stretched returns how far along an axis of n pixels each is taken from.
func stretched(factors []float64, n int) []float32 {
	sum := 0.0
	for _, f := range factors {
		sum += f
	}
	out, cell := make([]float32, n), float64(n)/float64(len(factors))
	for i := range out {
		at := float64(i) + 0.5
		k := min(int(at/cell), len(factors)-1)
		before := 0.0
		for _, f := range factors[:k] {
			before += f
		}
		from := (before + (at/cell-float64(k))*factors[k]) / sum * float64(n)
		out[i] = float32(from - at)
	}
	return out
}
