package jpeg

import "github.com/darkroom-dev/darkroom/dataset/pixel"

// decode decodes in Go. To half the size, a block of the luma becomes 4×4 samples; so does one of the chroma, unless that is halved along both axes
// already.
func (h *header) decode(p Picture, half bool) bool {
	across, down := 8*h.horizontal, 8*h.vertical
	columns, rows := (h.width+across-1)/across, (h.height+down-1)/down
	type plane struct {
		samples            []int16 // around 0
		stride, wide, high int     // blocks of a unit: wide × high
		side               int     // samples of a block along each axis
		last               int32
		dc, ac             *table
		steps              *[64]int32
	}
	var planes []plane
	for i, c := range h.parts {
		pl := plane{wide: 1, high: 1, side: 8, dc: h.tables[0][c.dc], ac: h.tables[1][c.ac], steps: h.steps[c.quantiser]}
		if i == 0 {
			pl.wide, pl.high = h.horizontal, h.vertical
		}
		if half && (i == 0 || h.vertical == 1) {
			pl.side = 4
		}
		pl.stride = pl.side * columns * pl.wide
		pl.samples = make([]int16, pl.stride*pl.side*rows*pl.high)
		planes = append(planes, pl)
	}
	r := &reader{b: h.data}
	var block [64]int32
	for unit := range columns * rows {
		if h.restart > 0 && unit > 0 && unit%h.restart == 0 {
			if !r.again(unit/h.restart - 1) {
				return false
			}
			for i := range planes {
				planes[i].last = 0
			}
		}
		for i := range planes {
			pl := &planes[i]
			for k := range pl.wide * pl.high {
				if !r.block(&block, pl.dc, pl.ac, pl.steps, &pl.last) {
					return false
				}
				x, y := unit%columns*pl.wide+k%pl.wide, unit/columns*pl.high+k/pl.wide
				out := pl.samples[pl.side*y*pl.stride+pl.side*x:]
				if pl.side == 8 {
					inverse(&block, out, pl.stride)
				} else {
					inverse4(&block, out, pl.stride)
				}
			}
		}
	}
	if len(planes) == 1 {
		for y := range p.Height {
			for x := range p.Width {
				p.Pixels[y*p.Width+x] = byte(planes[0].samples[y*planes[0].stride+x] + 128)
			}
		}
		return true
	}
	across, down = h.horizontal, h.vertical
	if half && down == 2 {
		across, down = 1, 1
	}
	pixel.FromYCC(planes[0].samples, planes[1].samples, planes[2].samples, p.Pixels, p.Height, p.Width, planes[0].stride, across, down)
	return true
}

// The transform's constants, in 1/8192 (Loeffler, Ligtenberg and Moschytz 1989, as libjpeg scales them).
const (
	c0298, c0390, c0541, c0765, c0899, c1175 = 2446, 3196, 4433, 6270, 7373, 9633
	c1501, c1847, c1961, c2053, c2562, c3072 = 12299, 15137, 16069, 16819, 20995, 25172
)

// inverse turns coefficients into samples around 0, by the accurate integer method: columns first, with two bits more than whole numbers.
func inverse(in *[64]int32, out []int16, stride int) {
	var middle [64]int32
	for x := range 8 {
		if in[8+x]|in[16+x]|in[24+x]|in[32+x]|in[40+x]|in[48+x]|in[56+x] == 0 {
			v := in[x] << 2
			for y := range 8 {
				middle[8*y+x] = v
			}
			continue
		}
		v := eight(in[x], in[8+x], in[16+x], in[24+x], in[32+x], in[40+x], in[48+x], in[56+x])
		for y := range 8 {
			middle[8*y+x] = (v[y] + 1<<10) >> 11
		}
	}
	for y := range 8 {
		m := middle[8*y:]
		v := eight(m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7])
		row := out[y*stride:][:8]
		for x := range row {
			row[x] = int16(min(max((v[x]+1<<17)>>18, -128), 127))
		}
	}
}

// eight is the transform of eight values, times 8192.
func eight(i0, i1, i2, i3, i4, i5, i6, i7 int32) [8]int32 {
	z := (i2 + i6) * c0541
	e2, e3 := z-i6*c1847, z+i2*c0765
	e0, e1 := (i0+i4)<<13, (i0-i4)<<13
	t0, t3, t1, t2 := e0+e3, e0-e3, e1+e2, e1-e2
	z1, z2, z3, z4 := i7+i1, i5+i3, i7+i3, i5+i1
	z5 := (z3 + z4) * c1175
	z1, z2, z3, z4 = -z1*c0899, -z2*c2562, z5-z3*c1961, z5-z4*c0390
	o0, o1, o2, o3 := i7*c0298+z1+z3, i5*c2053+z2+z4, i3*c3072+z2+z3, i1*c1501+z1+z4
	return [8]int32{t0 + o3, t1 + o2, t2 + o1, t3 + o0, t3 - o0, t2 - o1, t1 - o2, t0 - o3}
}

// inverse4 makes 4×4 samples of the coefficients of a block, without those that half the size cannot hold, in the way of inverse.
func inverse4(in *[64]int32, out []int16, stride int) {
	var middle [32]int32
	for x := range 8 {
		if x == 4 { // enters nowhere
			continue
		}
		v := four(in[x], in[8+x], in[16+x], in[24+x], in[40+x], in[48+x], in[56+x])
		for y := range 4 {
			middle[8*y+x] = (v[y] + 1<<11) >> 12
		}
	}
	for y := range 4 {
		m := middle[8*y:]
		v := four(m[0], m[1], m[2], m[3], m[5], m[6], m[7])
		row := out[y*stride:][:4]
		for x := range row {
			row[x] = int16(min(max((v[x]+1<<18)>>19, -128), 127))
		}
	}
}

// four is the transform of eight values, the fifth of which does not matter, to four, times 16384.
func four(i0, i1, i2, i3, i5, i6, i7 int32) [4]int32 {
	e0, e1 := i0<<14, i2*15137-i6*6270
	o0 := -i7*1730 + i5*11893 - i3*17799 + i1*8697
	o1 := -i7*4176 - i5*4926 + i3*7373 + i1*20995
	return [4]int32{e0 + e1 + o1, e0 - e1 + o0, e0 - e1 - o0, e0 + e1 - o1}
}
