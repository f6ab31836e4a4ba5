package picture

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

//go:embed testdata/cmyk.jpg
var cmyk []byte

// corner is a picture of w×h that is white but for its top left pixel.
func corner(w, h int) *image.Gray {
	m := image.NewGray(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = 255
	}
	m.Pix[0] = 0
	return m
}

func encode(t testing.TB, f func(*bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := f(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// exif is a TIFF block with one entry, the orientation.
func exif(order binary.AppendByteOrder, orientation uint16) []byte {
	b := []byte("II*\x00")
	if order == binary.AppendByteOrder(binary.BigEndian) {
		b = []byte("MM\x00*")
	}
	b = order.AppendUint32(b, 8)
	b = order.AppendUint16(b, 1)
	b = order.AppendUint16(b, 0x0112)
	b = order.AppendUint16(b, 3)
	b = order.AppendUint32(b, 1)
	b = order.AppendUint16(b, orientation)
	return append(b, 0, 0, 0, 0, 0, 0)
}

func pngWith(t testing.TB, m image.Image, block []byte) []byte {
	b := encode(t, func(w *bytes.Buffer) error { return png.Encode(w, m) })
	const ihdr = 8 + 25
	out := append([]byte{}, b[:ihdr]...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(block)))
	out = append(append(append(out, "eXIf"...), block...), 0, 0, 0, 0)
	// The check sum is wrong on purpose: the reader of orientations does not look at it, and the decoder skips the chunk.
	return append(out, b[ihdr:]...)
}

func jpegWith(t testing.TB, m image.Image, block []byte) []byte {
	b := encode(t, func(w *bytes.Buffer) error { return jpeg.Encode(w, m, &jpeg.Options{Quality: 100}) })
	segment := append([]byte("Exif\x00\x00"), block...)
	out := append([]byte{0xff, 0xd8, 0xff, 0xe1}, binary.BigEndian.AppendUint16(nil, uint16(len(segment)+2))...)
	return append(append(out, segment...), b[2:]...)
}

// Where the dark corner of a 16×8 picture is seen, by EXIF 2.3: "the 0th row is at the visual top of the image, and the 0th column is
// the visual left-hand side" is 1, and so on.
func TestOrientation(t *testing.T) {
	const w, h = 16, 8
	block := image.NewGray(image.Rect(0, 0, w, h))
	for i := range block.Pix {
		block.Pix[i] = 255
		if i%w < 4 && i/w < 4 {
			block.Pix[i] = 0
		}
	}
	for orientation, want := range map[uint16][4]int{ // width, height, and the corner that is dark
		1: {w, h, 0, 0}, 2: {w, h, w - 1, 0}, 3: {w, h, w - 1, h - 1}, 4: {w, h, 0, h - 1},
		5: {h, w, 0, 0}, 6: {h, w, h - 1, 0}, 7: {h, w, h - 1, w - 1}, 8: {h, w, 0, w - 1},
		0: {w, h, 0, 0}, 9: {w, h, 0, 0},
	} {
		for name, b := range map[string][]byte{
			"jpeg little": jpegWith(t, block, exif(binary.LittleEndian, orientation)),
			"jpeg big":    jpegWith(t, block, exif(binary.BigEndian, orientation)),
			"colour":      jpegWith(t, rgba(block), exif(binary.BigEndian, orientation)),
		} {
			m, head, err := Read(b, DefaultPixels)
			if err != nil || head.Width != want[0] || head.Height != want[1] || m.Bounds().Dx() != want[0] || m.Bounds().Dy() != want[1] {
				t.Fatalf("%s %d: %v, header %+v, bounds %v", name, orientation, err, head, m.Bounds())
			}
			pixels := Pixels(m, Target{Channels: 1}, nil)
			for _, c := range [][2]int{{0, 0}, {want[0] - 1, 0}, {0, want[1] - 1}, {want[0] - 1, want[1] - 1}} {
				dark := pixels[c[1]*want[0]+c[0]] < 128
				if dark != (c == [2]int{want[2], want[3]}) {
					t.Errorf("%s %d: the corner %v is dark: %v", name, orientation, c, dark)
				}
			}
		}
	}
	if h, err := ReadHeader(pngWith(t, block, exif(binary.LittleEndian, 6))); err != nil || h.Orientation != 6 || h.Width != 8 {
		t.Errorf("png: %+v, %v", h, err)
	}
}

func rgba(m image.Image) image.Image {
	to := image.NewRGBA(m.Bounds())
	for y := range m.Bounds().Dy() {
		for x := range m.Bounds().Dx() {
			to.Set(x, y, m.At(x, y))
		}
	}
	return to
}

// Every format and kind of pixel gives the pixels that it was made of.
func TestFormats(t *testing.T) {
	grey, deep, colour := corner(3, 2), image.NewGray16(image.Rect(0, 0, 3, 2)), image.NewNRGBA64(image.Rect(0, 0, 3, 2))
	palette := image.NewPaletted(image.Rect(0, 0, 3, 2), color.Palette{color.White, color.Black})
	palette.Pix[0] = 1
	for y := range 2 {
		for x := range 3 {
			v := uint16(grey.GrayAt(x, y).Y) * 257
			deep.SetGray16(x, y, color.Gray16{Y: v})
			colour.SetNRGBA64(x, y, color.NRGBA64{R: v, G: v, B: v, A: 0xffff})
		}
	}
	clearCorner := image.NewNRGBA(image.Rect(0, 0, 3, 2))
	for i := range clearCorner.Pix {
		clearCorner.Pix[i] = 255
	}
	clearCorner.Pix[3] = 0 // white, and seen through
	half := image.NewPaletted(image.Rect(1, 0, 3, 2), color.Palette{color.White})
	for name, c := range map[string]struct {
		file   []byte
		header Header
	}{
		"png grey":    {encode(t, func(b *bytes.Buffer) error { return png.Encode(b, grey) }), Header{"png", 2, 3, 1, "grey"}},
		"png 16 bit":  {encode(t, func(b *bytes.Buffer) error { return png.Encode(b, deep) }), Header{"png", 2, 3, 1, "grey 16 bit"}},
		"png colour":  {encode(t, func(b *bytes.Buffer) error { return png.Encode(b, colour) }), Header{"png", 2, 3, 1, "rgb 16 bit"}},
		"png palette": {encode(t, func(b *bytes.Buffer) error { return png.Encode(b, palette) }), Header{"png", 2, 3, 1, "palette"}},
		"png alpha":   {encode(t, func(b *bytes.Buffer) error { return png.Encode(b, clearCorner) }), Header{"png", 2, 3, 1, "rgba"}},
		"gif":         {encode(t, func(b *bytes.Buffer) error { return gif.Encode(b, palette, nil) }), Header{"gif", 2, 3, 1, "palette"}},
		"bmp":         {encode(t, func(b *bytes.Buffer) error { return bmp.Encode(b, rgba(grey)) }), Header{"bmp", 2, 3, 1, "rgb"}},
		"tiff":        {encode(t, func(b *bytes.Buffer) error { return tiff.Encode(b, grey, nil) }), Header{"tiff", 2, 3, 1, "grey"}},
		"tiff 16 bit": {encode(t, func(b *bytes.Buffer) error { return tiff.Encode(b, deep, &tiff.Options{Compression: tiff.Deflate}) }), Header{"tiff", 2, 3, 1, "grey 16 bit"}},
	} {
		m, h, err := Read(c.file, 6)
		if err != nil || h != c.header {
			t.Errorf("%s: %+v, %v", name, h, err)
			continue
		}
		if got := Pixels(m, Target{Channels: 1}, nil); !bytes.Equal(got, grey.Pix) {
			t.Errorf("%s: %v", name, got)
		}
		if got := Pixels(m, Target{Channels: 3}, nil); len(got) != 18 || got[0] != 0 || got[3] != 255 || got[17] != 255 {
			t.Errorf("%s in colour: %v", name, got)
		}
		if Opaque(m) != (name != "png alpha") {
			t.Errorf("%s: opaque is %v", name, Opaque(m))
		}
		if _, _, err := Read(c.file, 5); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s with a limit of 5 pixels: %v", name, err)
		}
		for n := range len(c.file) - 1 { // some formats end in bytes that do not matter
			if m, _, err := Read(c.file[:n], 6); err == nil && m.Bounds().Dx() != 3 {
				t.Errorf("%s: cut after %d bytes it has %v", name, n, m.Bounds())
			}
		}
	}
	// A first frame smaller than the screen lies on it.
	frame := &gif.GIF{Image: []*image.Paletted{half}, Delay: []int{0}, Config: image.Config{Width: 3, Height: 2, ColorModel: half.Palette}}
	m, _, err := Read(encode(t, func(b *bytes.Buffer) error { return gif.EncodeAll(b, frame) }), 6)
	if err != nil {
		t.Fatal(err)
	}
	if got := Pixels(m, Target{Channels: 1}, nil); !bytes.Equal(got, []byte{0, 255, 255, 0, 255, 255}) {
		t.Errorf("frame: %v", got)
	}
}

// A JPEG of four inks as Adobe's programs write it is not read inverted; made with Pillow, CMYK (0, 255, 255, 0), which is red.
func TestCMYK(t *testing.T) {
	m, h, err := Read(cmyk, 100)
	if err != nil || h.Model != "cmyk" {
		t.Fatalf("%+v, %v", h, err)
	}
	if got := Pixels(m, Target{}, nil); got[0] < 240 || got[1] > 15 || got[2] > 15 {
		t.Errorf("red is %v", got[:3])
	}
}

func TestNoPictures(t *testing.T) {
	for _, b := range [][]byte{nil, {}, []byte("hello"), []byte("\xff\xd8\xff"), []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\x00\x00\x00")} {
		if _, err := Decode(b, Target{1, 1, 1}, nil); err == nil {
			t.Errorf("%q is a picture", b)
		}
	}
}

func FuzzRead(f *testing.F) {
	m := corner(5, 3)
	f.Add(jpegWith(f, m, exif(binary.LittleEndian, 6)))
	f.Add(pngWith(f, m, exif(binary.BigEndian, 3)))
	f.Add(encode(f, func(b *bytes.Buffer) error { return tiff.Encode(b, m, &tiff.Options{Compression: tiff.Deflate}) }))
	f.Add(encode(f, func(b *bytes.Buffer) error { return bmp.Encode(b, m) }))
	f.Add(encode(f, func(b *bytes.Buffer) error { return gif.Encode(b, m, nil) }))
	f.Add(cmyk)
	f.Add([]byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, h, err := Read(b, 1<<16)
		if err != nil {
			return
		}
		if m.Bounds().Dx() != h.Width || m.Bounds().Dy() != h.Height {
			t.Fatalf("%v of a header %+v", m.Bounds(), h)
		}
		for _, target := range []Target{{}, {2, 4, 1}, {Channels: 3}} {
			if got := Pixels(m, target, nil); len(got) == 0 {
				t.Fatal("no pixels")
			}
		}
	})
}

// The quick way of a JPEG file gives the bytes of the long one.
func TestQuickIsTheSame(t *testing.T) {
	m := image.NewRGBA(image.Rect(0, 0, 90, 70))
	for i := range m.Pix {
		m.Pix[i] = byte(i/4%90*2 + i/3600*20) // stripes of rows over a ramp
		if i%4 == 3 {
			m.Pix[i] = 255
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	for _, target := range []Target{{70, 90, 3}, {36, 40, 3}, {140, 90, 3}} {
		got, ok := quick(b.Bytes(), target, nil)
		long, _, err := Read(b.Bytes(), DefaultPixels)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if want := Pixels(long, target, nil); !bytes.Equal(got, want) {
			t.Errorf("%v: the two ways differ", target)
		}
	}
	// At half the size and below they differ by how much they smooth.
	target := Target{30, 40, 3}
	got, _ := quick(b.Bytes(), target, nil)
	long, _, err := Read(b.Bytes(), DefaultPixels)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for i, v := range Pixels(long, target, nil) {
		sum += max(int(v)-int(got[i]), int(got[i])-int(v))
	}
	if mean := float64(sum) / float64(len(got)); mean > 2 {
		t.Errorf("at less than half the size the ways differ by %.2f on the average", mean)
	}
}
