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

// tensorOf scales img to (channels, height, width) and to 0–1, as the importer of datasets does: bilinear, smoothing where it
// shrinks, transparent parts black, grey by the luma of ITU-R BT.601.
func tensorOf(img image.Image, channels, height, width int) []float32 {
	bounds := image.Rect(0, 0, width, height)
	rgba, grey := image.NewRGBA(bounds), image.NewGray(bounds)
	var to draw.Image = rgba
	if channels == 1 {
		to = grey
	}
	draw.Draw(to, bounds, image.Black, image.Point{}, draw.Src)
	if img.Bounds().Size() == bounds.Size() {
		draw.Draw(to, bounds, img, img.Bounds().Min, draw.Over)
	} else {
		draw.BiLinear.Scale(to, bounds, img, img.Bounds(), draw.Over, nil)
	}
	const unit = 1.0 / 255 // a product, as the dataset's loader has it, so that both give the same bits
	plane := height * width
	out := make([]float32, channels*plane)
	for i := range plane {
		if channels == 1 {
			out[i] = float32(grey.Pix[i]) * unit
			continue
		}
		for c := range 3 {
			out[c*plane+i] = float32(rgba.Pix[4*i+c]) * unit
		}
	}
	return out
}
