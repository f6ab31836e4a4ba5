package picture

import (
	"image"
	"image/color"

	"golang.org/x/image/draw"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// FromPixels wraps (H, W, C) bytes, C being 1 or 3.
func FromPixels(pixels []byte, t Target) image.Image {
	bounds := image.Rect(0, 0, t.Width, t.Height)
	if t.Channels == 1 {
		return &image.Gray{Pix: pixels, Stride: t.Width, Rect: bounds}
	}
	m := image.NewRGBA(bounds)
	for i := range t.Height * t.Width {
		copy(m.Pix[4*i:], pixels[3*i:3*i+3])
		m.Pix[4*i+3] = 255
	}
	return m
}

// Pixels scales a picture to t, with smoothing where it shrinks, and returns (H, W, C) bytes, in buffer when that is large enough.
// Transparent parts become black; grey is the luminance of ITU-R BT.601. A zero in t stands for what the picture has.
func Pixels(m image.Image, t Target, buffer []byte) []byte {
	t = t.of(m)
	bounds := image.Rect(0, 0, t.Width, t.Height)
	n := t.Height * t.Width * t.Channels
	if cap(buffer) < n {
		buffer = make([]byte, n)
	}
	buffer = buffer[:n]
	if size := m.Bounds().Size(); size != bounds.Size() {
		own := Pixels(m, Target{size.Y, size.X, t.Channels}, nil)
		pixel.Scale(own, size.Y, size.X, t.Channels, buffer, t.Height, t.Width)
		return buffer
	}
	var to draw.Image
	if t.Channels == 1 {
		clear(buffer)
		to = &image.Gray{Pix: buffer, Stride: t.Width, Rect: bounds}
	} else {
		to = image.NewRGBA(bounds)
		draw.Draw(to, bounds, image.NewUniform(color.Black), image.Point{}, draw.Src)
	}
	draw.Draw(to, bounds, m, m.Bounds().Min, draw.Over)
	if rgba, ok := to.(*image.RGBA); ok {
		for i := range t.Height * t.Width {
			copy(buffer[3*i:3*i+3], rgba.Pix[4*i:])
		}
	}
	return buffer
}

// of fills in what the picture has.
func (t Target) of(m image.Image) Target {
	if t.Height == 0 || t.Width == 0 {
		t.Height, t.Width = m.Bounds().Dy(), m.Bounds().Dx()
	}
	if t.Channels == 0 {
		t.Channels = 3
		if m.ColorModel() == color.GrayModel || m.ColorModel() == color.Gray16Model {
			t.Channels = 1
		}
	}
	return t
}
