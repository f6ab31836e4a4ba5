package picture

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
)

// orientation returns how EXIF says that a picture is to be turned, 1 when it says nothing that makes sense.
func orientation(b []byte, format string) int {
	switch format {
	case "jpeg":
		return tiffOrientation(jpegExif(b))
	case "png":
		return tiffOrientation(chunk(b, 8, "eXIf", binary.BigEndian, false))
	case "webp":
		return tiffOrientation(bytes.TrimPrefix(chunk(b, 12, "EXIF", binary.LittleEndian, true), []byte("Exif\x00\x00")))
	case "tiff":
		return tiffOrientation(b)
	}
	return 1
}

// jpegExif returns the content of the first EXIF segment, by ISO/IEC 10918-1 and Exif 2.3, section 4.7.
func jpegExif(b []byte) []byte {
	for at := 2; at+4 <= len(b) && b[at] == 0xff; {
		marker, size := b[at+1], int(binary.BigEndian.Uint16(b[at+2:]))
		if marker == 0xff { // fill
			at++
			continue
		}
		if marker == 0xda || size < 2 || at+2+size > len(b) {
			return nil
		}
		if body, ok := bytes.CutPrefix(b[at+4:at+2+size], []byte("Exif\x00\x00")); ok && marker == 0xe1 {
			return body
		}
		at += 2 + size
	}
	return nil
}

// chunk returns the content of the first chunk of that type: of a PNG (length, type, content, check sum), or of a RIFF file (type,
// length, content, padded to even).
func chunk(b []byte, at int, kind string, order binary.ByteOrder, riff bool) []byte {
	for at >= 0 && at+8 <= len(b) {
		head, length := string(b[at+4:at+8]), order.Uint32(b[at:])
		if riff {
			head, length = string(b[at:at+4]), order.Uint32(b[at+4:])
		}
		n := int(length)
		if n < 0 || n > len(b)-at-8 {
			return nil
		}
		if head == kind {
			return b[at+8 : at+8+n]
		}
		if at += 8 + n; riff {
			at += n % 2
		} else {
			at += 4
		}
	}
	return nil
}

// tiffOrientation reads the tag 0x0112 of the first directory, by TIFF 6.0, section 2.
func tiffOrientation(b []byte) int {
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case bytes.HasPrefix(b, []byte("II*\x00")):
	case bytes.HasPrefix(b, []byte("MM\x00*")):
		order = binary.BigEndian
	default:
		return 1
	}
	if len(b) < 8 {
		return 1
	}
	at := int64(order.Uint32(b[4:]))
	if at+2 > int64(len(b)) {
		return 1
	}
	n := int64(order.Uint16(b[at:]))
	for i := range n {
		entry := at + 2 + 12*i
		if entry+12 > int64(len(b)) {
			return 1
		}
		if order.Uint16(b[entry:]) == 0x0112 {
			if v := int(order.Uint16(b[entry+8:])); v >= 1 && v <= 8 {
				return v
			}
			return 1
		}
	}
	return 1
}

// turn returns the picture as the orientation says that it is meant to be seen.
func turn(m image.Image, orientation int) image.Image {
	if orientation <= 1 || orientation > 8 {
		return m
	}
	from := m.Bounds()
	w, h := from.Dx(), from.Dy()
	// place maps a pixel of the result to one of the stored picture.
	place := []func(x, y int) (int, int){
		2: func(x, y int) (int, int) { return w - 1 - x, y },
		3: func(x, y int) (int, int) { return w - 1 - x, h - 1 - y },
		4: func(x, y int) (int, int) { return x, h - 1 - y },
		5: func(x, y int) (int, int) { return y, x },
		6: func(x, y int) (int, int) { return y, h - 1 - x },
		7: func(x, y int) (int, int) { return w - 1 - y, h - 1 - x },
		8: func(x, y int) (int, int) { return w - 1 - y, x },
	}[orientation]
	bounds := image.Rect(0, 0, w, h)
	if orientation >= 5 {
		bounds = image.Rect(0, 0, h, w)
	}
	if grey, ok := m.(*image.Gray); ok {
		to := image.NewGray(bounds)
		for y := range bounds.Dy() {
			for x := range bounds.Dx() {
				sx, sy := place(x, y)
				to.Pix[y*to.Stride+x] = grey.Pix[sy*grey.Stride+sx]
			}
		}
		return to
	}
	to := image.NewNRGBA(bounds)
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			sx, sy := place(x, y)
			to.SetNRGBA(x, y, color.NRGBAModel.Convert(m.At(from.Min.X+sx, from.Min.Y+sy)).(color.NRGBA))
		}
	}
	return to
}
