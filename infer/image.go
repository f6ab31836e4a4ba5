package infer

import (
	"fmt"
	"image"
	"io"
	"os"

	"golang.org/x/image/draw"

	// The formats that LoadImage reads.
	_ "image/gif"
	_ "image/jpeg"
	_ "image/png"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/webp"
)

// maxPixels bounds the images that LoadImage decodes: a few bytes can claim any size.
const maxPixels = 100 << 20

// LoadImage reads a PNG, JPEG, GIF, BMP or WebP file as one image for the model that info describes: scaled to its
// height and width, grey or RGB as it takes them, pixels from 0 to 1, (C, H, W). Transparent parts become black.
func LoadImage(path string, info Info) ([]float32, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the image: %w", err)
	}
	defer f.Close()
	img, err := decodeImage(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return tensorOf(img, info.Channels, info.Height, info.Width), nil
}

// decodeImage looks at the size that the image claims before it decodes the whole.
func decodeImage(f io.ReadSeeker) (image.Image, error) {
	config, format, err := image.DecodeConfig(f)
	if err != nil {
		return nil, fmt.Errorf("not a PNG, JPEG, GIF, BMP or WebP image: %w", err)
	}
	if config.Width < 1 || config.Height < 1 || config.Width > maxPixels/config.Height {
		return nil, fmt.Errorf("an image of %d×%d pixels is refused: at most %d are decoded", config.Width, config.Height, maxPixels)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	img, _, err := image.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("a damaged %s image: %w", format, err)
	}
	return img, nil
}

// tensorOf scales img to (channels, height, width) and to 0–1. Grey is the luma of ITU-R BT.601, as image/color has it.
func tensorOf(img image.Image, channels, height, width int) []float32 {
	rgba := image.NewRGBA(image.Rect(0, 0, width, height))
	if img.Bounds().Dx() == width && img.Bounds().Dy() == height {
		draw.Draw(rgba, rgba.Rect, img, img.Bounds().Min, draw.Src)
	} else {
		draw.BiLinear.Scale(rgba, rgba.Rect, img, img.Bounds(), draw.Src, nil)
	}
	const unit = 1.0 / 255 // a product, as the dataset's loader has it, so that both give the same bits
	plane := height * width
	out := make([]float32, channels*plane)
	for i := range plane {
		r, g, b := rgba.Pix[4*i], rgba.Pix[4*i+1], rgba.Pix[4*i+2]
		if channels == 1 {
			luma := (19595*uint32(r) + 38470*uint32(g) + 7471*uint32(b) + 1<<15) >> 16
			out[i] = float32(luma) * unit
			continue
		}
		out[i], out[plane+i], out[2*plane+i] = float32(r)*unit, float32(g)*unit, float32(b)*unit
	}
	return out
}
