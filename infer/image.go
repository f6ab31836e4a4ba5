package infer

import (
	"fmt"
	"io"
	"os"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/importer"
)

// maxImageFile is the largest image file that LoadImage reads, in bytes.
const maxImageFile = 1 << 28

// LoadImage reads a PNG, JPEG, GIF, BMP or WebP file as one image for the model that info describes: scaled to its
// height and width, grey or RGB as it takes them, pixels from 0 to 1, (C, H, W). It does so exactly as the importer of
// datasets does.
func LoadImage(path string, info Info) ([]float32, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the image: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxImageFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the image %s: %w", path, err)
	}
	if len(b) > maxImageFile {
		return nil, fmt.Errorf("the image %s is larger than %d bytes", path, maxImageFile)
	}
	pixels, err := importer.Decode(b, dataset.Info{Height: info.Height, Width: info.Width, Channels: info.Channels})
	if err != nil {
		return nil, fmt.Errorf("the image %s cannot be used: %w", path, err)
	}
	return planes(pixels, info.Channels), nil
}

// planes turns (H, W, C) bytes into (C, H, W) numbers from 0 to 1.
func planes(pixels []byte, channels int) []float32 {
	const unit = 1.0 / 255 // a product, as the dataset's loader has it, so that both give the same bits
	plane := len(pixels) / channels
	out := make([]float32, len(pixels))
	for i, v := range pixels {
		out[i%channels*plane+i/channels] = float32(v) * unit
	}
	return out
}
