package augment

import (
	"bufio"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"slices"

	"golang.org/x/image/draw"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
)

// preview is the block that says how the contact sheet looks.
type preview struct{ columns, rows, size int }

func (p *preview) Declare(s *stages.Schema) {
	s.Int(&p.columns, "columns", 4, "Pairs side by side.").In(1, 32)
	s.Int(&p.rows, "rows", 4, "Pairs below each other.").In(1, 64)
	s.Int(&p.size, "size", 96, "Side of one picture of a pair.").InUnit("pixels").In(8, 512)
}

// The spaces between the pictures of a pair and between pairs, and the colour behind them.
const (
	pairGap  = 2
	sheetGap = 10
)

var paper = color.RGBA{0xf4, 0xf4, 0xf2, 0xff}

// write draws images from all over the dataset, in its order, each as it is and as the first epoch of a training with this seed sees it.
func (p *preview) write(path string, d *dataset.Dataset, augmenter *dataset.Augmenter, seed uint64) error {
	before, after := d.Info(), augmenter.Info()
	wide, high := fitted(before, p.size)
	wide2, high2 := fitted(after, p.size)
	height, pairWidth := max(high, high2), wide+wide2+pairGap
	sheet := image.NewRGBA(image.Rect(0, 0, sheetGap+p.columns*(pairWidth+sheetGap), sheetGap+p.rows*(height+sheetGap)))
	draw.Draw(sheet, sheet.Bounds(), image.NewUniform(paper), image.Point{}, draw.Src)
	// Chosen at random: even steps may keep in step with the classes and show one of them alone.
	stream := dataset.NewStream(seed, "preview")
	chosen := stream.Permutation(d.Len())[:min(p.columns*p.rows, d.Len())]
	slices.Sort(chosen)
	buffer := make([]byte, before.ImageSize())
	for n, i := range chosen {
		pixels, err := d.Pixels(i, buffer)
		if err != nil {
			return err
		}
		changed, _, err := augmenter.Apply(pixels, seed, 0, uint64(i))
		if err != nil {
			return err
		}
		x, y := sheetGap+n%p.columns*(pairWidth+sheetGap), sheetGap+n/p.columns*(height+sheetGap)
		show(sheet, image.Rect(x, y, x+wide, y+high), pixels, before)
		show(sheet, image.Rect(x+wide+pairGap, y, x+wide+pairGap+wide2, y+high2), changed, after)
	}
	return writePNG(path, sheet)
}

// fitted is the size of a picture whose longer side is size.
func fitted(info dataset.Info, size int) (width, height int) {
	longer := max(info.Width, info.Height)
	return max(1, info.Width*size/longer), max(1, info.Height*size/longer)
}

// show scales (H, W, C) bytes into a rectangle of the sheet: pixels stay sharp when they grow, and are smoothed when they shrink.
func show(sheet draw.Image, at image.Rectangle, pixels []byte, info dataset.Info) {
	m := image.NewRGBA(image.Rect(0, 0, info.Width, info.Height))
	for i := range info.Width * info.Height {
		for c := range 3 {
			m.Pix[4*i+c] = pixels[i*info.Channels+min(c, info.Channels-1)]
		}
		m.Pix[4*i+3] = 0xff
	}
	var scaler draw.Scaler = draw.NearestNeighbor
	if at.Dx() < info.Width {
		scaler = draw.BiLinear
	}
	scaler.Scale(sheet, at, m, m.Bounds(), draw.Src, nil)
}

func writePNG(path string, m image.Image) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing the preview: %w", err)
	}
	defer func() {
		if e := f.Close(); err == nil && e != nil {
			err = fmt.Errorf("writing the preview: %w", e)
		}
	}()
	b := bufio.NewWriter(f)
	if err := png.Encode(b, m); err != nil {
		return fmt.Errorf("writing the preview: %w", err)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("writing the preview: %w", err)
	}
	return nil
}
