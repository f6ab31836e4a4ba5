// Package jpeg decodes the JPEG files that cameras and image tools write: baseline, 8 bits, grey or YCbCr, chroma whole, halved along rows, or along
// both. It does so with libjpeg-turbo where that is installed and the program was built with its header, else in Go, and both give the same bytes,
// so it does not matter which: the accurate integer transform and the interpolated chroma of libjpeg (ITU-T T.81; T.871 for the colours).
//
// Rules of the room: files are not trusted. What is not of this kind, or is damaged in any way, is refused without a reason: the caller has a
// decoder that says more. No input panics.
package jpeg

import (
	"bytes"
	"encoding/binary"
)

// Picture is a decoded file: (Height, Width, Channels) bytes.
type Picture struct {
	Pixels                  []byte
	Height, Width, Channels int // Channels: 1 grey, 3 RGB
}

// Size returns what the header of a file of the kind says.
func Size(b []byte) (height, width int, ok bool) {
	h, ok := parse(b)
	if !ok {
		return 0, 0, false
	}
	return h.height, h.width, true
}

// Decode decodes a file of at most limit pixels, or, with half, to half its height and width, rounded up, which takes a fraction of the time: the
// transform makes 4×4 pixels of a block. ok is false when the file is not of the kind, too large or damaged. The pixels lie in buffer when that is
// large enough.
func Decode(b []byte, limit int64, half bool, buffer []byte) (p Picture, ok bool) {
	h, ok := parse(b)
	if !ok || int64(h.width)*int64(h.height) > limit {
		return p, false
	}
	p = Picture{Height: h.height, Width: h.width, Channels: len(h.parts)}
	if half {
		// Of a picture so narrow libjpeg repeats the chroma instead of interpolating it.
		if h.horizontal == 2 && h.vertical == 1 && (h.width+3)/4 <= 2 {
			return p, false
		}
		p.Height, p.Width = (h.height+1)/2, (h.width+1)/2
	}
	n := p.Height * p.Width * p.Channels
	if cap(buffer) < n {
		buffer = make([]byte, n)
	}
	p.Pixels = buffer[:n]
	if turbo {
		return p, decodeTurbo(b, p, half)
	}
	return p, h.decode(p, half)
}

// Library names what decodes: "libjpeg-turbo" or "Go".
func Library() string {
	if turbo {
		return "libjpeg-turbo"
	}
	return "Go"
}

// header is what stands before the data of the only scan.
type header struct {
	width, height int
	parts         []part // 1 or 3
	horizontal    int    // samples of the luma beside each other for one of the chroma, 1 or 2
	vertical      int    // likewise, above each other
	steps         [4]*[64]int32
	tables        [2][4]*table // DC, AC
	restart       int          // units between restarts; 0: none
	data          []byte       // of the scan
}

// part is a component.
type part struct{ id, quantiser, dc, ac byte }

// Markers (T.81, table B.1).
const (
	sof0, sof1, dht, soi, eoi, sos, dqt, dri, app0, app14 = 0xc0, 0xc1, 0xc4, 0xd8, 0xd9, 0xda, 0xdb, 0xdd, 0xe0, 0xee
)

func parse(b []byte) (*header, bool) {
	if len(b) < 4 || b[0] != 0xff || b[1] != soi {
		return nil, false
	}
	h := &header{}
	jfif, adobe := false, -1
	for at := 2; ; {
		for at+1 < len(b) && b[at] == 0xff && b[at+1] == 0xff { // fill
			at++
		}
		if at+4 > len(b) || b[at] != 0xff {
			return nil, false
		}
		marker, size := b[at+1], int(binary.BigEndian.Uint16(b[at+2:]))
		if size < 2 || at+2+size > len(b) {
			return nil, false
		}
		body := b[at+4 : at+2+size]
		at += 2 + size
		ok := true
		switch {
		case marker == sof0 || marker == sof1:
			ok = h.frame(body)
		case marker == dht:
			ok = h.huffman(body)
		case marker == dqt:
			ok = h.quantisers(body)
		case marker == dri:
			if ok = len(body) == 2; ok {
				h.restart = int(binary.BigEndian.Uint16(body))
			}
		case marker == app0 && len(body) >= 14 && string(body[:5]) == "JFIF\x00":
			jfif = true
		case marker == app14 && len(body) >= 12 && string(body[:5]) == "Adobe":
			adobe = int(body[11])
		case marker == sos:
			h.data = b[at:]
			// A file without an end is cut off, even where nothing of the picture is missing.
			return h, h.scan(body) && h.colours(jfif, adobe) && bytes.Contains(h.data, []byte{0xff, eoi})
		case marker < app0 && marker != 0xfe || marker > 0xfe: // other frames, arithmetic coding, and what cannot stand here; not a comment
			ok = false
		}
		if !ok {
			return nil, false
		}
	}
}

// colours reports whether three components are YCbCr, as libjpeg guesses.
func (h *header) colours(jfif bool, adobe int) bool {
	if len(h.parts) == 1 || jfif {
		return true
	}
	if adobe >= 0 {
		return adobe == 1
	}
	return h.parts[0].id == 1 && h.parts[1].id == 2 && h.parts[2].id == 3
}

func (h *header) frame(b []byte) bool {
	if len(b) < 6 || h.parts != nil || b[0] != 8 {
		return false
	}
	h.height, h.width = int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint16(b[3:]))
	n := int(b[5])
	if h.height == 0 || h.width == 0 || n != 1 && n != 3 || len(b) != 6+3*n {
		return false
	}
	for i := range n {
		c := b[6+3*i:]
		across, down := int(c[1]>>4), int(c[1]&15)
		if c[2] > 3 {
			return false
		}
		switch {
		case i > 0 && (across != 1 || down != 1), n == 1 && (across != 1 || down != 1):
			return false
		case i == 0:
			h.horizontal, h.vertical = across, down
		}
		h.parts = append(h.parts, part{id: c[0], quantiser: c[2]})
	}
	whole, rows, both := h.horizontal == 1 && h.vertical == 1, h.horizontal == 2 && h.vertical == 1, h.horizontal == 2 && h.vertical == 2
	// Of a picture so narrow libjpeg repeats the chroma instead of interpolating it.
	return whole || (rows || both) && (h.width+1)/2 > 2
}

func (h *header) quantisers(b []byte) bool {
	for len(b) > 0 {
		wide, id := b[0]>>4, b[0]&15
		n := 64 * (1 + int(wide))
		if wide > 1 || id > 3 || len(b) < 1+n {
			return false
		}
		var t [64]int32
		for i := range t {
			if wide == 1 {
				t[zigzag[i]] = int32(binary.BigEndian.Uint16(b[1+2*i:]))
			} else {
				t[zigzag[i]] = int32(b[1+i])
			}
			if t[zigzag[i]] > 255 {
				return false // 16-bit steps are for 12-bit samples
			}
		}
		h.steps[id] = &t
		b = b[1+n:]
	}
	return true
}

func (h *header) huffman(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 17 || b[0]>>4 > 1 || b[0]&15 > 3 {
			return false
		}
		n := 0
		for _, c := range b[1:17] {
			n += int(c)
		}
		if n > 256 || len(b) < 17+n {
			return false
		}
		t, ok := newTable(b[1:17], b[17:17+n], b[0]>>4 == 0)
		if !ok {
			return false
		}
		h.tables[b[0]>>4][b[0]&15] = t
		b = b[17+n:]
	}
	return true
}

// scan reads the header of a scan that must hold all components, whole.
func (h *header) scan(b []byte) bool {
	n := len(h.parts)
	if n == 0 || len(b) != 4+2*n || int(b[0]) != n {
		return false
	}
	for i := range h.parts {
		p, id, tables := &h.parts[i], b[1+2*i], b[2+2*i]
		if id != p.id || tables>>4 > 3 || tables&15 > 3 {
			return false
		}
		p.dc, p.ac = tables>>4, tables&15
		if h.tables[0][p.dc] == nil || h.tables[1][p.ac] == nil || h.steps[p.quantiser] == nil {
			return false
		}
	}
	return b[1+2*n] == 0 && b[2+2*n] == 63 && b[3+2*n] == 0
}

// zigzag are the places, row by row, of a block's coefficients in their order in the file.
var zigzag = [64]byte{
	0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63}
