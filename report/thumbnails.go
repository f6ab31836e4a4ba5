package report

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html/template"
	"image"
	"image/png"

	"golang.org/x/image/draw"
)

// Thumbnail is one small picture with a caption.
type Thumbnail struct {
	Pixels                  []byte // (H, W, C) uint8, C = 1 (grey) or 3 (RGB)
	Height, Width, Channels int
	Caption                 string // the first line, in bold
	Note                    string // lines below it
	Tone                    Tone
}

// thumbnailSide is the side in CSS pixels up to which small pictures are enlarged.
const thumbnailSide = 112

// Thumbnails adds a grid of pictures. Pictures smaller than the grid's cells are enlarged without smoothing.
func (p *Page) Thumbnails(pictures ...Thumbnail) {
	type shown struct {
		Source        template.URL
		Width, Height int // CSS pixels
		Pixelated     bool
		Thumbnail
	}
	var list []shown
	for i, t := range pictures {
		b, err := encodeThumbnail(t)
		if err != nil {
			p.fail(fmt.Errorf("thumbnail %d (%s): %w", i, t.Caption, err))
			return
		}
		s := shown{Source: pngURI(b), Thumbnail: t, Pixelated: max(t.Height, t.Width) < thumbnailSide}
		scale := float64(thumbnailSide) / float64(max(t.Height, t.Width))
		s.Width, s.Height = max(1, int(float64(t.Width)*scale+0.5)), max(1, int(float64(t.Height)*scale+0.5))
		list = append(list, s)
	}
	if len(list) > 0 {
		p.add("thumbnails", list)
	}
}

func pngURI(b []byte) template.URL {
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(b))
}

// encodeThumbnail encodes a picture as PNG, large ones at twice the size in which they are shown: enough for fine screens.
func encodeThumbnail(t Thumbnail) ([]byte, error) {
	img, err := picture(t.Pixels, t.Height, t.Width, t.Channels)
	if err != nil {
		return nil, err
	}
	if longest := max(t.Height, t.Width); longest > 2*thumbnailSide {
		bounds := image.Rect(0, 0, max(1, t.Width*2*thumbnailSide/longest), max(1, t.Height*2*thumbnailSide/longest))
		var small draw.Image = image.NewNRGBA(bounds)
		if t.Channels == 1 {
			small = image.NewGray(bounds)
		}
		draw.BiLinear.Scale(small, bounds, img, img.Bounds(), draw.Src, nil)
		img = small
	}
	return compressPNG(img)
}

// picture wraps (H, W, C) uint8 pixels, C = 1 or 3.
func picture(pixels []byte, height, width, channels int) (image.Image, error) {
	if height < 1 || width < 1 || channels != 1 && channels != 3 || len(pixels) != height*width*channels {
		return nil, fmt.Errorf("%d bytes are not an image of %d×%d with %d channels (1 or 3)", len(pixels), width, height, channels)
	}
	if channels == 1 {
		return &image.Gray{Pix: pixels, Stride: width, Rect: image.Rect(0, 0, width, height)}, nil
	}
	rgba := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range height * width {
		copy(rgba.Pix[4*i:], pixels[3*i:3*i+3])
		rgba.Pix[4*i+3] = 255
	}
	return rgba, nil
}

func compressPNG(img image.Image) ([]byte, error) {
	var b bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.BestCompression}
	if err := enc.Encode(&b, img); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
