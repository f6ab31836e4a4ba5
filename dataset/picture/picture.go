// Package picture reads picture files: JPEG, PNG, BMP, GIF (its first frame), TIFF and WebP, of 8 or 16 bits, grey, colour, with a palette,
// in CMYK or with transparency, and turns them into fixed-size bytes.
//
// Rules of the room: a file is not trusted. What its header claims is checked against a limit before anything is decoded, and no input
// panics. It knows nothing of datasets or sources.
package picture

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	_ "image/jpeg" // decoder
	_ "image/png"  // decoder
	"io"
	"sync"

	_ "golang.org/x/image/bmp"  // decoder
	_ "golang.org/x/image/tiff" // decoder
	_ "golang.org/x/image/webp" // decoder

	"github.com/darkroom-dev/darkroom/dataset/jpeg"
	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// Extensions are the suffixes of the names of picture files, in lower case.
var Extensions = []string{".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"}

// DefaultPixels is how many pixels a picture may have when nobody says otherwise: 8192 × 8192.
const DefaultPixels = 1 << 26

// Target is what a picture is turned into. A zero stands for what the picture has.
type Target struct{ Height, Width, Channels int } // pixels; 1 grey or 3 RGB

// Header is what a picture's file says of itself, before it is decoded.
type Header struct {
	Format        string // "jpeg", "png", "gif", "bmp", "tiff", "webp"
	Height, Width int    // pixels, as the picture is meant to be seen
	Orientation   int    // of EXIF: 1 to 8; 1: as it is stored
	Model         string // "grey", "grey 16 bit", "rgb", "rgb 16 bit", "rgba", "palette", "cmyk"
}

// Grey reports whether the picture has no colours.
func (h Header) Grey() bool { return h.Model == "grey" || h.Model == "grey 16 bit" }

// ErrTooLarge is a picture that claims more pixels than are allowed.
var ErrTooLarge = errors.New("it claims more pixels than are allowed")

// ReadHeader reads the header of a picture file, or of its beginning where that holds the whole header.
func ReadHeader(b []byte) (Header, error) {
	if len(b) == 0 {
		return Header{}, errors.New("the file is empty")
	}
	c, format, err := image.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return Header{}, fmt.Errorf("it is damaged or no picture: %w", noEOF(err))
	}
	if c.Width < 1 || c.Height < 1 {
		return Header{}, fmt.Errorf("it claims %d×%d pixels", c.Width, c.Height)
	}
	h := Header{Format: format, Height: c.Height, Width: c.Width, Orientation: orientation(b, format), Model: model(c.ColorModel)}
	if h.Orientation >= 5 {
		h.Height, h.Width = h.Width, h.Height
	}
	return h, nil
}

func model(m color.Model) string {
	switch m {
	case color.GrayModel:
		return "grey"
	case color.Gray16Model:
		return "grey 16 bit"
	case color.RGBA64Model, color.NRGBA64Model:
		return "rgb 16 bit"
	case color.CMYKModel:
		return "cmyk"
	case color.NRGBAModel, color.NYCbCrAModel:
		return "rgba"
	}
	if _, ok := m.(color.Palette); ok {
		return "palette"
	}
	return "rgb"
}

// Decode turns a picture file of at most DefaultPixels into (H, W, C) bytes: turned as EXIF says, composited over black where it is
// transparent, scaled and recoloured to t. The result lies in buffer when that is large enough.
func Decode(b []byte, t Target, buffer []byte) ([]byte, error) {
	if out, ok := quick(b, t, buffer); ok {
		return out, nil
	}
	m, _, err := Read(b, DefaultPixels)
	if err != nil {
		return nil, err
	}
	return Pixels(m, t, buffer), nil
}

// full are the pixels of files before they are scaled.
var full = sync.Pool{New: func() any { return new([]byte) }}

// quick decodes a JPEG file that needs no turning and no other colours, without the images in between. Where the result is at most half as high
// and wide, the file is decoded to half its size, which smooths a little more than scaling alone; otherwise the bytes are those of the long way.
func quick(b []byte, t Target, buffer []byte) ([]byte, bool) {
	if len(b) < 2 || b[0] != 0xff || b[1] != 0xd8 || orientation(b, "jpeg") != 1 {
		return nil, false
	}
	file := full.Get().(*[]byte)
	defer full.Put(file)
	height, width, ok := jpeg.Size(b)
	if !ok {
		return nil, false
	}
	p, ok := jpeg.Decode(b, DefaultPixels, 2*t.Height <= height && 2*t.Width <= width, *file)
	if !ok || t.Channels != p.Channels || t.Height == 0 || t.Width == 0 {
		return nil, false
	}
	*file = p.Pixels
	n := t.Height * t.Width * t.Channels
	if cap(buffer) < n {
		buffer = make([]byte, n)
	}
	buffer = buffer[:n]
	if p.Height == t.Height && p.Width == t.Width {
		copy(buffer, p.Pixels)
	} else {
		pixel.Scale(p.Pixels, p.Height, p.Width, p.Channels, buffer, t.Height, t.Width)
	}
	return buffer, true
}

// Read decodes a picture file that claims at most limit pixels, as it is meant to be seen.
func Read(b []byte, limit int64) (m image.Image, h Header, err error) {
	// Decoders of three projects read bytes that nobody checked before.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it is a damaged file: %v", r)
		}
	}()
	if h, err = ReadHeader(b); err != nil {
		return nil, h, err
	}
	if int64(h.Width) > limit/int64(h.Height) {
		return nil, h, fmt.Errorf("%w: %d×%d, more than %d", ErrTooLarge, h.Width, h.Height, limit)
	}
	switch h.Format {
	case "gif":
		m, err = firstFrame(b)
	case "jpeg":
		if p, ok := jpeg.Decode(b, limit, false, nil); ok {
			m = FromPixels(p.Pixels, Target{p.Height, p.Width, p.Channels})
			break
		}
		fallthrough // of another kind, or damaged: the library's decoder says in what way
	default:
		m, _, err = image.Decode(bytes.NewReader(b))
	}
	if err != nil {
		return nil, h, fmt.Errorf("it is a damaged %s file: %w", h.Format, noEOF(err))
	}
	return turn(m, h.Orientation), h, nil
}

// firstFrame decodes the first frame of a GIF onto its screen.
func firstFrame(b []byte) (image.Image, error) {
	c, err := gif.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	m, err := gif.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	screen := image.Rect(0, 0, c.Width, c.Height)
	if m.Bounds() == screen {
		return m, nil
	}
	return placed{m, screen}, nil
}

// placed is a picture on a larger, transparent screen.
type placed struct {
	image.Image
	screen image.Rectangle
}

func (p placed) Bounds() image.Rectangle { return p.screen }
func (p placed) ColorModel() color.Model { return color.NRGBAModel }
func (p placed) At(x, y int) color.Color {
	if (image.Point{X: x, Y: y}).In(p.Image.Bounds()) {
		return p.Image.At(x, y)
	}
	return color.NRGBA{}
}

// Opaque reports whether nothing of the picture is transparent.
func Opaque(m image.Image) bool {
	o, ok := m.(interface{ Opaque() bool })
	return !ok || o.Opaque()
}

func (p placed) Opaque() bool { return false }

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
