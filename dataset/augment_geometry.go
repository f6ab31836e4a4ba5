package dataset

import (
	"errors"
	"fmt"
	"math"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// Operations that move pixels by a map of the plane.

func geometryKinds() []*OperationKind {
	half := []Parameter{probability(0.5)}
	return []*OperationKind{
		{Name: "horizontal_flip", Doc: "Mirrors left and right.", Parameters: half, apply: func(g *Augmenter, _ *bound, _ *Stream) { g.flip(true) }},
		{Name: "vertical_flip", Doc: "Mirrors up and down.", Parameters: half, apply: func(g *Augmenter, _ *bound, _ *Stream) { g.flip(false) }},
		{Name: "rotate", Doc: "Turns about the centre by a random angle.",
			Parameters: with([]Parameter{float("limit", 30, 0, 180, "degrees", "Largest angle to either side.")}, edges(), half),
			apply:      func(g *Augmenter, b *bound, s *Stream) { g.rotate(b.around("limit", s), b.border(), b.fill()) }},
		{Name: "scale", Doc: "Enlarges or shrinks about the centre by a random factor; the image keeps its size.",
			Parameters: with([]Parameter{float("limit", 0.2, 0, 0.9, "", "Largest change: a factor within 1 ± limit.")}, edges(), half),
			apply:      func(g *Augmenter, b *bound, s *Stream) { g.enlarge(1+b.around("limit", s), b.border(), b.fill()) }},
		{Name: "shift", Doc: "Moves along each axis by a random distance.",
			Parameters: with([]Parameter{float("limit", 0.0625, 0, 1, "", "Largest distance, as a share of the side.")}, edges(), half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				h, w := g.size()
				g.translate(b.around("limit", s)*float64(w), b.around("limit", s)*float64(h), b.border(), b.fill())
			}},
		{Name: "shear", Doc: "Slants along each axis by a random angle, about the centre.",
			Parameters: with([]Parameter{float("limit", 10, 0, 80, "degrees", "Largest angle to either side.")}, edges(), half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				g.shear(b.around("limit", s), b.around("limit", s), b.border(), b.fill())
			}},
		{Name: "perspective", Doc: "Shows the image as if it were looked at aslant: each corner moves inwards by a random distance, and what lies between them fills the image.",
			Parameters: with([]Parameter{span("scale", 0.05, 0.1, 0, 0.3, "", "Range of the standard deviation of a corner's distance, as a share of the side.")}, edges(), half),
			apply: func(g *Augmenter, b *bound, s *Stream) {
				scale, corners := b.between("scale", s), [8]float64{}
				for i := range corners {
					corners[i] = math.Min(math.Abs(s.Normal()*scale), 0.32)
				}
				g.perspective(corners, b.border(), b.fill())
			}},
	}
}

// rotate turns counterclockwise by an angle in degrees.
func (g *Augmenter) rotate(angle float64, border pixel.Border, fill [3]byte) {
	sin, cos := math.Sincos(angle * math.Pi / 180)
	h, w := g.size()
	g.move(about(h, w, cos, -sin, sin, cos), border, fill)
}

func (g *Augmenter) enlarge(factor float64, border pixel.Border, fill [3]byte) {
	h, w := g.size()
	g.move(about(h, w, 1/factor, 0, 0, 1/factor), border, fill)
}

// translate moves the image to the right and down, in pixels.
func (g *Augmenter) translate(x, y float64, border pixel.Border, fill [3]byte) {
	g.move(matrix{1, 0, -x, 0, 1, -y, 0, 0, 1}, border, fill)
}

// shear slants the image along x and y by angles in degrees, about the centre: a pixel is taken from (x + y·tan(ax), y + x·tan(ay)).
func (g *Augmenter) shear(ax, ay float64, border pixel.Border, fill [3]byte) {
	tx, ty := math.Tan(ax*math.Pi/180), math.Tan(ay*math.Pi/180)
	h, w := g.size()
	g.move(about(h, w, 1, tx, ty, 1), border, fill)
}

// perspective makes the quadrilateral whose corners lie inwards of the image's by shares of its sides fill the image: x and y of the upper
// left, upper right, lower right and lower left one (Heckbert 1989, section 2.2.3).
func (g *Augmenter) perspective(in [8]float64, border pixel.Border, fill [3]byte) {
	h, w := g.size()
	fh, fw := float64(h), float64(w)
	x := [4]float64{in[0] * fw, fw - in[2]*fw, fw - in[4]*fw, in[6] * fw}
	y := [4]float64{in[1] * fh, in[3] * fh, fh - in[5]*fh, fh - in[7]*fh}
	dx1, dx2, sx := x[1]-x[2], x[3]-x[2], x[0]-x[1]+x[2]-x[3]
	dy1, dy2, sy := y[1]-y[2], y[3]-y[2], y[0]-y[1]+y[2]-y[3]
	det := dx1*dy2 - dx2*dy1
	gx, gy := (sx*dy2-dx2*sy)/det, (dx1*sy-sx*dy1)/det
	square := matrix{x[1] - x[0] + gx*x[1], x[3] - x[0] + gy*x[3], x[0], y[1] - y[0] + gx*y[1], y[3] - y[0] + gy*y[3], y[0], gx, gy, 1}
	// From pixels to the square of side 1 and back, half a pixel apart from the corners.
	g.move(matrix{1, 0, -0.5, 0, 1, -0.5, 0, 0, 1}.times(square).times(matrix{1 / fw, 0, 0.5 / fw, 0, 1 / fh, 0.5 / fh, 0, 0, 1}), border, fill)
}

// Operations that choose a part of the image, or change its size.

func cropKinds() []*OperationKind {
	size := func(least float64, doc string) []Parameter {
		return []Parameter{integer("height", 0, least, MaxSide, "pixels", "Height of the result"+doc), integer("width", 0, least, MaxSide, "pixels", "Width of the result"+doc)}
	}
	own := "; 0: that of the image."
	return []*OperationKind{
		{Name: "random_crop", Doc: "Cuts out a window at a random place. With padding, which every side gets before, the window may reach beyond the image (He et al. 2015).",
			Parameters: with(size(0, own), []Parameter{integer("padding", 0, 0, 4096, "pixels", "Padding of each side.")}, edges()),
			size:       cropSize,
			apply: func(g *Augmenter, b *bound, s *Stream) {
				h, w := g.size()
				th, tw, _ := cropSize(b.arguments, h, w) // checked when the augmenter was made
				pad := b.whole("padding")
				x, y := s.Intn(w+2*pad-tw+1)-pad, s.Intn(h+2*pad-th+1)-pad
				g.crop(x, y, th, tw, b.border(), b.fill())
			}},
		{Name: "center_crop", Doc: "Cuts out the middle.", Parameters: size(0, own), size: cropSize,
			apply: func(g *Augmenter, b *bound, _ *Stream) {
				h, w := g.size()
				th, tw, _ := cropSize(b.arguments, h, w)
				g.crop((w-tw)/2, (h-th)/2, th, tw, pixel.Constant, [3]byte{})
			}},
		{Name: "random_resized_crop", Doc: "Cuts out a window of random size, shape and place, and makes it fill the result (Szegedy et al. 2014).",
			Parameters: with(size(0, own), []Parameter{
				span("scale", 0.08, 1, 0.001, 1, "", "Range of the window's share of the image's area."),
				span("ratio", 3.0/4, 4.0/3, 0.05, 20, "", "Range of the window's width by its height."),
			}), size: targetSize,
			apply: func(g *Augmenter, b *bound, s *Stream) {
				h, w := g.size()
				th, tw, _ := targetSize(b.arguments, h, w)
				g.resize(window(h, w, b.list("scale"), b.list("ratio"), s), th, tw)
			}},
		{Name: "resize", Doc: "Scales the whole image, bilinearly.", Parameters: size(0, own), size: targetSize,
			apply: func(g *Augmenter, b *bound, _ *Stream) {
				h, w := g.size()
				th, tw, _ := targetSize(b.arguments, h, w)
				if th != h || tw != w {
					g.resize(pixel.Window{Width: float64(w), Height: float64(h)}, th, tw)
				}
			}},
		{Name: "pad", Doc: "Adds pixels around the image.",
			Parameters: with([]Parameter{{Name: "padding", Doc: "Pixels on all sides; or left and right, top and bottom; or left, top, right, bottom.", Unit: "pixels", Form: List, Whole: true,
				Low: 0, High: 4096, MinLen: 1, MaxLen: 4, Default: []float64{4}}}, edges()),
			size: func(a arguments, h, w int) (int, int, error) {
				side, err := sides(a.list("padding"))
				return h + side[1] + side[3], w + side[0] + side[2], err
			},
			apply: func(g *Augmenter, b *bound, _ *Stream) {
				side, _ := sides(b.list("padding"))
				h, w := g.size()
				g.crop(-side[0], -side[1], h+side[1]+side[3], w+side[0]+side[2], b.border(), b.fill())
			}},
	}
}

// targetSize is the size that is asked for; 0 stands for that of the image.
func targetSize(a arguments, h, w int) (int, int, error) {
	if n := a.whole("height"); n > 0 {
		h = n
	}
	if n := a.whole("width"); n > 0 {
		w = n
	}
	return h, w, nil
}

func cropSize(a arguments, h, w int) (int, int, error) {
	th, tw, err := targetSize(a, h, w)
	pad := 0
	if p, ok := a["padding"]; ok {
		pad = int(p.(float64))
	}
	if th > h+2*pad || tw > w+2*pad {
		return 0, 0, fmt.Errorf("a window of %d×%d does not fit into the image with a padding of %d", tw, th, pad)
	}
	if pad > 0 && (pad >= th || pad >= tw) {
		return 0, 0, fmt.Errorf("a padding of %d pixels can push the image out of sight of a window of %d×%d; it must be below %d", pad, tw, th, min(tw, th))
	}
	return th, tw, err
}

// sides returns left, top, right and bottom.
func sides(list []float64) ([4]int, error) {
	v := func(i int) int { return int(list[i]) }
	switch len(list) {
	case 1:
		return [4]int{v(0), v(0), v(0), v(0)}, nil
	case 2:
		return [4]int{v(0), v(1), v(0), v(1)}, nil
	case 4:
		return [4]int{v(0), v(1), v(2), v(3)}, nil
	}
	return [4]int{}, errors.New("the padding is one number, two (left and right, top and bottom) or four (left, top, right, bottom)")
}

// window draws a part of the image: ten times one of the ranges, else the largest in the middle that has an allowed shape.
func window(h, w int, scale, ratio []float64, s *Stream) pixel.Window {
	area := float64(h * w)
	for range 10 {
		share := s.In(scale[0], scale[1]) * area
		shape := math.Exp(s.In(math.Log(ratio[0]), math.Log(ratio[1])))
		cw, ch := int(math.Round(math.Sqrt(share*shape))), int(math.Round(math.Sqrt(share/shape)))
		if cw > 0 && ch > 0 && cw <= w && ch <= h {
			return pixel.Window{Left: float64(s.Intn(w - cw + 1)), Top: float64(s.Intn(h - ch + 1)), Width: float64(cw), Height: float64(ch)}
		}
	}
	cw, ch := w, h
	if shape := float64(w) / float64(h); shape < ratio[0] {
		ch = max(1, int(math.Round(float64(w)/ratio[0])))
	} else if shape > ratio[1] {
		cw = max(1, int(math.Round(float64(h)*ratio[1])))
	}
	return pixel.Window{Left: float64((w - cw) / 2), Top: float64((h - ch) / 2), Width: float64(cw), Height: float64(ch)}
}
