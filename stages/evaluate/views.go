package evaluate

import (
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/pixel"
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
	out := make([]byte, len(pixels))
	pixel.Mirror(pixels, out, h, w, c)
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
	out := make([]byte, len(pixels))
	window := pixel.Window{Left: float64(left), Top: float64(top), Width: float64(cw), Height: float64(ch)}
	pixel.Resize(pixels, h, w, c, window, out, h, w)
	return out
}
