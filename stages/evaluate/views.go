package evaluate

import (
	"slices"

	"github.com/darkroom-dev/darkroom/dataset"
)

var viewNames = []string{"mirrored", "upside_down", "crops"}

// looksFor returns the ways in which the model looks at each image, as it is among them.
func (e *evaluate) looksFor(info dataset.Info) []func([]byte) []byte {
	out := []func([]byte) []byte{nil}
	h, w, c := info.Height, info.Width, info.Channels
	for _, name := range e.views {
		switch name {
		case "mirrored":
			out = append(out, func(p []byte) []byte { return mirror(p, h, w, c) })
		case "upside_down":
			out = append(out, func(p []byte) []byte { return upsideDown(p, h, w*c) })
		case "crops":
			ch, cw := max(1, h*7/8), max(1, w*7/8)
			for _, at := range [][2]int{{0, 0}, {0, w - cw}, {h - ch, 0}, {h - ch, w - cw}, {(h - ch) / 2, (w - cw) / 2}} {
				out = append(out, func(p []byte) []byte { return crop(p, h, w, c, at[0], at[1], ch, cw) })
			}
		}
	}
	return out
}

func (a *asking) looks() []func([]byte) []byte { return a.looksFor(a.data.Info()) }

func mirror(pixels []byte, h, w, c int) []byte {
	out := make([]byte, 0, len(pixels))
	for y := range h {
		for x := w - 1; x >= 0; x-- {
			out = append(out, pixels[(y*w+x)*c:(y*w+x+1)*c]...)
		}
	}
	return out
}

func upsideDown(pixels []byte, h, row int) []byte {
	out := make([]byte, 0, len(pixels))
	for y := h - 1; y >= 0; y-- {
		out = append(out, pixels[y*row:(y+1)*row]...)
	}
	return out
}

// crop enlarges a part of an image to the whole's size.
func crop(pixels []byte, h, w, c, top, left, ch, cw int) []byte {
	part := make([]byte, 0, ch*cw*c)
	for y := top; y < top+ch; y++ {
		part = append(part, pixels[(y*w+left)*c:(y*w+left+cw)*c]...)
	}
	return resize(part, ch, cw, c, h, w)
}

// resize scales bilinearly, with the centres of the corner pixels' areas in line, and rounds half up.
func resize(src []byte, h, w, c, toH, toW int) []byte {
	if h == toH && w == toW {
		return slices.Clone(src)
	}
	out := make([]byte, toH*toW*c)
	xs := axisOf(w, toW)
	for y, yp := range axisOf(h, toH) {
		for x, xp := range xs {
			for k := range c {
				at := func(y, x int) float64 { return float64(src[(y*w+x)*c+k]) }
				top := at(yp.a, xp.a)*(1-xp.part) + at(yp.a, xp.b)*xp.part
				bottom := at(yp.b, xp.a)*(1-xp.part) + at(yp.b, xp.b)*xp.part
				out[(y*toW+x)*c+k] = byte(top*(1-yp.part) + bottom*yp.part + 0.5)
			}
		}
	}
	return out
}

// place is where a pixel of a scaled row comes from: between two of the source's, this part of the way to the second.
type place struct {
	a, b int
	part float64
}

func axisOf(from, to int) []place {
	out := make([]place, to)
	for i := range out {
		at := min(max((float64(i)+0.5)*float64(from)/float64(to)-0.5, 0), float64(from-1))
		a := int(at)
		out[i] = place{a, min(a+1, from-1), at - float64(a)}
	}
	return out
}
