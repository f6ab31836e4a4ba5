package importer

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"testing"

	"golang.org/x/image/bmp"

	"github.com/darkroom-dev/darkroom/dataset"
)

func FuzzDecode(f *testing.F) {
	img := image.NewPaletted(image.Rect(0, 0, 3, 2), []color.Color{color.Black, color.White})
	img.Pix[1] = 1
	for _, encode := range []func(*bytes.Buffer) error{
		func(b *bytes.Buffer) error { return png.Encode(b, img) },
		func(b *bytes.Buffer) error { return gif.Encode(b, img, nil) },
		func(b *bytes.Buffer) error { return jpeg.Encode(b, img, nil) },
		func(b *bytes.Buffer) error { return bmp.Encode(b, img) },
	} {
		var b bytes.Buffer
		if err := encode(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		config, _, err := image.DecodeConfig(bytes.NewReader(b))
		if err == nil && config.Width*config.Height > 1<<20 {
			t.Skip("large")
		}
		for _, channels := range []int{1, 3} {
			info := dataset.Info{Height: 2, Width: 4, Channels: channels}
			pixels, err := Decode(b, info)
			if err == nil && len(pixels) != info.ImageSize() {
				t.Fatalf("%d bytes for an image of %d", len(pixels), info.ImageSize())
			}
		}
	})
}

// pixelsOf is (h, w, 3) bytes as a picture.
func pixelsOf(pixels []byte, w, h int) image.Image {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		m.SetRGBA(i%w, i/w, color.RGBA{pixels[3*i], pixels[3*i+1], pixels[3*i+2], 255})
	}
	return m
}
