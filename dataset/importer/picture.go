package importer

import (
	"image"
	"image/color"

	"golang.org/x/image/draw"

	"github.com/darkroom-dev/darkroom/dataset"
)

// pictureOf wraps (H, W, C) bytes.
func pictureOf(pixels []byte, info dataset.Info) image.Image {
	bounds := image.Rect(0, 0, info.Width, info.Height)
	if info.Channels == 1 {
		return &image.Gray{Pix: pixels, Stride: info.Width, Rect: bounds}
	}
	m := image.NewRGBA(bounds)
	for i := range info.Height * info.Width {
		copy(m.Pix[4*i:], pixels[3*i:3*i+3])
		m.Pix[4*i+3] = 255
	}
	return m
}

// pixelsOf scales a picture to info's size, with smoothing where it shrinks, and returns (H, W, C) bytes. Transparent
// parts become black; grey is the luminance of ITU-R BT.601.
func pixelsOf(m image.Image, info dataset.Info) []byte {
	bounds := image.Rect(0, 0, info.Width, info.Height)
	var to draw.Image = image.NewRGBA(bounds)
	if info.Channels == 1 {
		to = image.NewGray(bounds)
	}
	draw.Draw(to, bounds, image.NewUniform(color.Black), image.Point{}, draw.Src)
	if m.Bounds().Size() == bounds.Size() {
		draw.Draw(to, bounds, m, m.Bounds().Min, draw.Over)
	} else {
		draw.BiLinear.Scale(to, bounds, m, m.Bounds(), draw.Over, nil)
	}
	if grey, ok := to.(*image.Gray); ok {
		return grey.Pix
	}
	out := make([]byte, info.ImageSize())
	for i := range info.Height * info.Width {
		copy(out[3*i:3*i+3], to.(*image.RGBA).Pix[4*i:])
	}
	return out
}

// Decode decodes the bytes of one picture file as the records of a folder are decoded, scaled to info's size and channels,
// so that a model predicts on what it would have been trained on. (H, W, C)
func Decode(b []byte, info dataset.Info) ([]byte, error) { return decode(b, info, false) }
