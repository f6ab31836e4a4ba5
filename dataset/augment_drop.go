package dataset

import "math"

// Operations that hide a part of the image.

func dropKinds() []*OperationKind {
	half := []Parameter{probability(0.5)}
	fill := []Parameter{
		choice("fill_mode", "constant", "What the parts are filled with: one colour, or independent random values.", "constant", "noise"),
		integer("fill", 0, 0, 255, "", "The colour, black to white."),
	}
	return []*OperationKind{
		{Name: "coarse_dropout", Doc: "Hides some rectangles (DeVries and Taylor 2017).",
			Parameters: with([]Parameter{
				wholeSpan("num_holes_range", 1, 2, 1, 64, "", "Range of their number."),
				span("hole_height_range", 0.1, 0.2, 0.001, 1, "", "Range of the height, as a share of the image's."),
				span("hole_width_range", 0.1, 0.2, 0.001, 1, "", "Range of the width, as a share of the image's."),
			}, fill, half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				h, w := g.size()
				for range b.wholeBetween("num_holes_range", s) {
					hh := max(1, int(b.between("hole_height_range", s)*float64(h)))
					hw := max(1, int(b.between("hole_width_range", s)*float64(w)))
					g.hide(s.Intn(h-hh+1), s.Intn(w-hw+1), hh, hw, b, s)
				}
			}},
		{Name: "random_erasing", Doc: "Hides a rectangle of random size and shape (Zhong et al. 2017; Erasing in Albumentations).",
			Parameters: with([]Parameter{
				span("scale", 0.02, 0.33, 0.0001, 1, "", "Range of its share of the image's area."),
				span("ratio", 0.3, 3.3, 0.05, 20, "", "Range of its width by its height."),
			}, fill, half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				h, w := g.size()
				scale, ratio := b.list("scale"), b.list("ratio")
				for range 10 {
					area := s.In(scale[0], scale[1]) * float64(h*w)
					shape := math.Exp(s.In(math.Log(ratio[0]), math.Log(ratio[1])))
					hh, hw := int(math.Round(math.Sqrt(area/shape))), int(math.Round(math.Sqrt(area*shape)))
					if hh > 0 && hw > 0 && hh <= h && hw <= w {
						g.hide(s.Intn(h-hh+1), s.Intn(w-hw+1), hh, hw, b, s)
						return
					}
				}
			}},
	}
}

// hide fills the rectangle from (y, x) on.
func (g *Augmenter) hide(y, x, h, w int, b *bound, s *Stream) {
	g.own()
	random, fill := b.text("fill_mode") == "noise", b.fill()
	for r := y; r < y+h; r++ {
		row := g.pix[(r*g.w+x)*g.c:][:w*g.c]
		if !random {
			paint(row, fill, g.c)
			continue
		}
		for i := 0; i < len(row); i += 8 {
			bits := s.Uint64()
			for k := i; k < min(i+8, len(row)); k++ {
				row[k] = byte(bits)
				bits >>= 8
			}
		}
	}
}
