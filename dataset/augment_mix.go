package dataset

import (
	"math"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// Operations that need other samples. Each of those is drawn from the whole dataset, and has been through the operations before.

func mixingKinds() []*OperationKind {
	return []*OperationKind{
		{Name: "mixup", Doc: "Blends the image with another, and their labels likewise, by a share from the distribution Beta(alpha, alpha) (Zhang et al. 2018).",
			Mixes: true, Parameters: []Parameter{float("alpha", 0.2, 0.001, 100, "", "The distribution's parameter: near 0 one image prevails, at 1 all shares are alike."), probability(1)},
			apply: func(g *Augmenter, b *bound, s *Stream) {
				share := beta(b.number("alpha"), s)
				g.flush()
				other, shares := g.other(b, s)
				if g.err != nil {
					return
				}
				g.change(func(src, dst []byte) { pixel.Blend(src, other, dst, int(math.Round(share*65536))) })
				g.share(float32(share), shares)
				if g.regions != nil {
					g.regions.join(g.partner.regions, 0, 0, 1, 1)
				}
			}},
		{Name: "cutmix", Doc: "Puts a rectangle of another image in the place of the image's own, and mixes the labels by area; the share is from Beta(alpha, alpha) (Yun et al. 2019).",
			Mixes: true, Parameters: []Parameter{float("alpha", 1, 0.001, 100, "", "The distribution's parameter."), probability(1)},
			apply: func(g *Augmenter, b *bound, s *Stream) {
				side := math.Sqrt(1 - beta(b.number("alpha"), s))
				g.own()
				cy, cx := s.Intn(g.h), s.Intn(g.w)
				y0, y1 := stretch(cy, side, g.h)
				x0, x1 := stretch(cx, side, g.w)
				other, shares := g.other(b, s)
				if g.err != nil {
					return
				}
				for y := y0; y < y1; y++ {
					at, n := (y*g.w+x0)*g.c, (x1-x0)*g.c
					copy(g.pix[at:at+n], other[at:at+n])
				}
				area := float32((y1-y0)*(x1-x0)) / float32(g.h*g.w)
				g.share(1-area, shares)
				if g.regions != nil {
					g.regions.cover(x0, y0, x1, y1)
					g.regions.join(g.partner.regions.keep(x0, y0, x1, y1), 0, 0, 1, 1)
					g.regions.copyMask(g.partner.regions, x0, y0, x1, y1, g.w)
				}
			}},
		{Name: "mosaic", Doc: "Puts the image and three others, scaled to fit, around a random centre (Bochkovskiy et al. 2020); labels are mixed by area.",
			Mixes: true, Parameters: []Parameter{span("center_range", 0.3, 0.7, 0.05, 0.95, "", "Range of the centre's place along each axis, as a share of the side."), probability(0.5)},
			apply: func(g *Augmenter, b *bound, s *Stream) {
				r := b.list("center_range")
				h, w := g.size()
				g.mosaic(max(1, min(w-1, int(s.In(r[0], r[1])*float64(w)))), max(1, min(h-1, int(s.In(r[0], r[1])*float64(h)))), b, s)
			}},
	}
}

// stretch is a part of a share of n around the middle.
func stretch(middle int, share float64, n int) (from, to int) {
	half := int(share * float64(n) / 2)
	return max(middle-half, 0), min(middle+half, n)
}

// other returns another sample after the operations before b, in a buffer that the next call overwrites.
func (g *Augmenter) other(b *bound, s *Stream) ([]byte, []Share) {
	if g.partner == nil {
		g.partner = &Augmenter{policy: g.policy, info: g.info, others: g.others, c: g.c, steps: g.steps, source: make([]byte, g.info.ImageSize())}
	}
	p := g.partner
	row := s.Intn(g.others.Len())
	image, err := g.others.Pixels(row, p.source)
	if err != nil {
		g.err = err
		return nil, nil
	}
	p.regions = nil
	if g.regions != nil {
		p.regions = g.regions.of(g.others, row)
	}
	// Its draws are a function of this sample's and this operation's.
	out, shares, err := p.run(image, drawKey{s.Uint64(), g.key.epoch, uint64(row)}, b.top)
	if err != nil {
		g.err = err
	}
	return out, shares
}

// share leaves weight to what the image was made of, and gives the rest to others.
func (g *Augmenter) share(weight float32, others []Share) {
	for i := range g.shares {
		g.shares[i].Weight *= weight
	}
	for _, o := range others {
		g.shares = append(g.shares, Share{o.Row, o.Weight * (1 - weight)})
	}
}

// mosaic puts four images around (cx, cy).
func (g *Augmenter) mosaic(cx, cy int, b *bound, s *Stream) {
	g.flush()
	canvas := make([]byte, g.h*g.w*g.c)
	total := float32(g.h * g.w)
	var shares []Share
	var joined *regions
	for i := range 4 {
		x0, y0, x1, y1 := 0, 0, cx, cy
		if i%2 == 1 {
			x0, x1 = cx, g.w
		}
		if i/2 == 1 {
			y0, y1 = cy, g.h
		}
		image, from := g.pix, g.shares
		here := g.regions
		if i > 0 {
			if image, from = g.other(b, s); g.err != nil {
				return
			}
			here = g.partner.regions
		}
		tile := make([]byte, (y1-y0)*(x1-x0)*g.c)
		pixel.Resize(image, g.h, g.w, g.c, pixel.Window{Width: float64(g.w), Height: float64(g.h)}, tile, y1-y0, x1-x0)
		for y := y0; y < y1; y++ {
			copy(canvas[(y*g.w+x0)*g.c:], tile[(y-y0)*(x1-x0)*g.c:][:(x1-x0)*g.c])
		}
		for _, f := range from {
			shares = append(shares, Share{f.Row, f.Weight * float32((y1-y0)*(x1-x0)) / total})
		}
		if here != nil {
			if joined == nil {
				joined = &regions{visibility: here.visibility}
				if here.mask != nil {
					joined.mask = make([]byte, g.h*g.w)
				}
			}
			joined.join(here, x0, y0, float64(x1-x0)/float64(g.w), float64(y1-y0)/float64(g.h))
			joined.paste(here, x0, y0, x1, y1, g.h, g.w)
		}
	}
	dst := g.room(len(canvas))
	copy(dst, canvas)
	g.pix, g.shares = dst, append(g.shares[:0], shares...)
	if joined != nil {
		*g.regions = *joined
	}
}

// beta draws from Beta(a, a), as the share of one of two gamma variates.
func beta(a float64, s *Stream) float64 {
	x, y := gammaVariate(a, s), gammaVariate(a, s)
	if x+y == 0 {
		return float64(s.Intn(2))
	}
	return x / (x + y)
}

// gammaVariate draws from the gamma distribution of shape a (Marsaglia and Tsang 2000).
func gammaVariate(a float64, s *Stream) float64 {
	if a < 1 {
		return gammaVariate(a+1, s) * math.Pow(1-s.Float(), 1/a)
	}
	d := a - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := s.Normal()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-s.Float()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}
