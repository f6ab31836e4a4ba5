package dataset

import (
	"math"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// matrix maps a place of the target to the place in the source that it shows, in pixels, the first pixel's centre being (0, 0): row by row,
// for (x, y, 1).
type matrix [9]float64

func identity() matrix { return matrix{1, 0, 0, 0, 1, 0, 0, 0, 1} }

// times returns m·n: n applies to the target first.
func (m matrix) times(n matrix) matrix {
	var out matrix
	for r := range 3 {
		for c := range 3 {
			for k := range 3 {
				out[3*r+c] += m[3*r+k] * n[3*k+c]
			}
		}
	}
	return out
}

// inverse is up to a factor, which a projective map does not see; ok is false when there is none.
func (m matrix) inverse() (out matrix, ok bool) {
	out = matrix{
		m[4]*m[8] - m[5]*m[7], m[2]*m[7] - m[1]*m[8], m[1]*m[5] - m[2]*m[4],
		m[5]*m[6] - m[3]*m[8], m[0]*m[8] - m[2]*m[6], m[2]*m[3] - m[0]*m[5],
		m[3]*m[7] - m[4]*m[6], m[1]*m[6] - m[0]*m[7], m[0]*m[4] - m[1]*m[3],
	}
	det := m[0]*out[0] + m[1]*out[3] + m[2]*out[6]
	if math.Abs(det) < 1e-12 {
		return out, false
	}
	for i := range out {
		out[i] /= det
	}
	return out, true
}

func (m matrix) point(x, y float64) (float64, float64) {
	z := m[6]*x + m[7]*y + m[8]
	return (m[0]*x + m[1]*y + m[2]) / z, (m[3]*x + m[4]*y + m[5]) / z
}

// about makes a linear map turn around the centre of an image of (h, w).
func about(h, w int, xx, xy, yx, yy float64) matrix {
	cx, cy := float64(w-1)/2, float64(h-1)/2
	return matrix{xx, xy, cx - xx*cx - xy*cy, yx, yy, cy - yx*cx - yy*cy, 0, 0, 1}
}

// pending is what was asked of the image's geometry and not done yet: neighbours are carried out in one resampling.
type pending struct {
	set    bool
	m      matrix
	h, w   int // of the target
	border pixel.Border
	fill   [3]byte
	edged  bool // whether the border can come into sight
	// closed is set once a part of the image was chosen: nothing but a flip is joined to that, or what was cut off would come back.
	closed bool
	scaled bool // the window is resized; otherwise m holds
	window pixel.Window
}

func (g *Augmenter) begin() {
	if !g.pending.set {
		g.pending = pending{set: true, m: identity(), h: g.h, w: g.w}
	}
}

// move adds a map within the image's own size.
func (g *Augmenter) move(m matrix, border pixel.Border, fill [3]byte) {
	p := &g.pending
	if p.set && (p.closed || p.edged && (p.border != border || p.fill != fill)) {
		g.flush()
	}
	g.begin()
	p.m, p.border, p.fill, p.edged = p.m.times(m), border, fill, true
}

// flip mirrors left and right, or up and down.
func (g *Augmenter) flip(horizontal bool) {
	p := &g.pending
	if p.scaled {
		if horizontal {
			p.window.Flip = !p.window.Flip
			return
		}
		g.flush()
	}
	g.begin()
	m := matrix{1, 0, 0, 0, -1, float64(p.h - 1), 0, 0, 1}
	if horizontal {
		m = matrix{-1, 0, float64(p.w - 1), 0, 1, 0, 0, 0, 1}
	}
	p.m = p.m.times(m)
}

// crop cuts out (h, w) pixels from (x, y) on; the window may reach outside.
func (g *Augmenter) crop(x, y, h, w int, border pixel.Border, fill [3]byte) {
	p := &g.pending
	hNow, wNow := g.size()
	outside := x < 0 || y < 0 || x+w > wNow || y+h > hNow
	if p.set && (p.closed || p.scaled || outside && p.edged) {
		g.flush()
	}
	g.begin()
	p.m = p.m.times(matrix{1, 0, float64(x), 0, 1, float64(y), 0, 0, 1})
	p.h, p.w, p.closed = h, w, true
	if outside {
		p.border, p.fill, p.edged = border, fill, true
	}
}

// resize makes the window fill (h, w).
func (g *Augmenter) resize(window pixel.Window, h, w int) {
	g.flush()
	g.begin()
	g.pending.h, g.pending.w, g.pending.closed, g.pending.scaled, g.pending.window = h, w, true, true, window
}

// size is the image's, with what is pending.
func (g *Augmenter) size() (h, w int) {
	if g.pending.set {
		return g.pending.h, g.pending.w
	}
	return g.h, g.w
}

// flush carries out what is pending.
func (g *Augmenter) flush() {
	p := &g.pending
	if !p.set {
		return
	}
	p.set = false
	if p.scaled {
		win := p.window
		sx, sy := win.Width/float64(p.w), win.Height/float64(p.h)
		p.m = matrix{sx, 0, win.Left + sx/2 - 0.5, 0, sy, win.Top + sy/2 - 0.5, 0, 0, 1}
		if win.Flip {
			p.m = p.m.times(matrix{-1, 0, float64(p.w - 1), 0, 1, 0, 0, 0, 1})
		}
		p.border = pixel.Replicate
	}
	if g.regions != nil {
		g.regions.transform(p.m, g.h, g.w, p.h, p.w, p.border)
	}
	switch {
	case p.scaled:
		dst := g.room(p.h * p.w * g.c)
		pixel.Resize(g.pix, g.h, g.w, g.c, p.window, dst, p.h, p.w)
		g.pix = dst
	case p.whole():
		g.copyWhole()
	default:
		dst := g.room(p.h * p.w * g.c)
		m := [9]float64(p.m)
		pixel.Warp(g.pix, g.h, g.w, g.c, dst, p.h, p.w, &m, p.border, p.fill)
		g.pix = dst
	}
	g.h, g.w = p.h, p.w
}

// whole reports whether every pixel is one of the source's: flips and moves by whole pixels.
func (p *pending) whole() bool {
	m := &p.m
	return m[1] == 0 && m[3] == 0 && m[6] == 0 && m[7] == 0 && m[8] == 1 && math.Abs(m[0]) == 1 && math.Abs(m[4]) == 1 && m[2] == math.Trunc(m[2]) && m[5] == math.Trunc(m[5])
}

func (g *Augmenter) copyWhole() {
	p, c := &g.pending, g.c
	mirrored, x0 := p.m[0] < 0, int(p.m[2])
	if mirrored { // moved first, mirrored then
		x0 -= p.w - 1
	}
	if down := p.m[4] > 0 && p.m[5] == 0; x0 != 0 || !down || p.h != g.h || p.w != g.w {
		dst := g.room(p.h * p.w * c)
		left, right := min(max(-x0, 0), p.w), min(max(g.w-x0, 0), p.w) // the part of a row that lies inside
		for y := range p.h {
			row := dst[y*p.w*c:][:p.w*c]
			sy := pixel.Outside(int(p.m[4])*y+int(p.m[5]), g.h, p.border)
			if sy < 0 {
				paint(row, p.fill, c)
				continue
			}
			from := g.pix[sy*g.w*c:][:g.w*c]
			if left < right {
				copy(row[left*c:right*c], from[(left+x0)*c:])
			}
			if p.border == pixel.Constant {
				paint(row[:left*c], p.fill, c)
				paint(row[max(left, right)*c:], p.fill, c)
				continue
			}
			for x := 0; x < p.w; x++ {
				if x == left && left < right {
					x = right - 1
					continue
				}
				copy(row[x*c:][:c], from[pixel.Outside(x+x0, g.w, p.border)*c:][:c])
			}
		}
		g.pix = dst
	}
	if mirrored {
		dst := g.room(p.h * p.w * c)
		pixel.Mirror(g.pix, dst, p.h, p.w, c)
		g.pix = dst
	}
}

// paint fills pixels with a colour.
func paint(row []byte, fill [3]byte, c int) {
	if fill == [3]byte{} {
		clear(row)
		return
	}
	for i := range row {
		row[i] = fill[i%c]
	}
}
