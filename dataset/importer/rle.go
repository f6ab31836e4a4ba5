package importer

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/darkroom-dev/darkroom/dataset/picture"
)

// Run lengths and outlines of masks. Outlines go along the edges of pixels, so nothing is lost when a mask becomes a polygon and the
// polygon a mask again.

var errRuns = errors.New("the run lengths do not fit the mask's size")

// cocoCounts reads the compressed run lengths of COCO's API (rleFrString in its maskApi.c): six bits a character, the sign in the last,
// from the third on differences to the one before the last.
func cocoCounts(s string) ([]int, error) {
	var counts []int
	for i := 0; i < len(s); {
		var x int64
		for k := 0; ; k++ {
			if i >= len(s) || k > 6 {
				return nil, errors.New("the compressed run lengths are cut off")
			}
			c := int64(s[i]) - 48
			i++
			if c < 0 || c > 63 {
				return nil, fmt.Errorf("the compressed run lengths hold the byte %q", s[i-1])
			}
			x |= (c & 0x1f) << (5 * k)
			if c&0x20 == 0 {
				if c&0x10 != 0 {
					x |= -1 << (5 * (k + 1))
				}
				break
			}
		}
		if n := len(counts); n > 2 {
			x += int64(counts[n-2])
		}
		if x < 0 || x > math.MaxInt32 {
			return nil, errRuns
		}
		counts = append(counts, int(x))
	}
	return counts, nil
}

// maxMask bounds the pixels of a mask that run lengths make.
const maxMask = picture.DefaultPixels

// runs expands counts of pixels outside and inside, in turn, into a mask (h, w) of 0 and 1; columns says that they go down columns first,
// as COCO's do.
func runs(counts []int, h, w int, columns bool) ([]byte, error) {
	if h < 1 || w < 1 || w > maxMask/h {
		return nil, fmt.Errorf("a mask of %d×%d", w, h)
	}
	mask := make([]byte, h*w)
	at := 0
	for i, n := range counts {
		if n < 0 || n > len(mask)-at {
			return nil, errRuns
		}
		if i%2 == 1 {
			for k := at; k < at+n; k++ {
				if columns {
					mask[k%h*w+k/h] = 1
				} else {
					mask[k] = 1
				}
			}
		}
		at += n
	}
	if at != len(mask) {
		return nil, errRuns
	}
	return mask, nil
}

// outline returns the rings around the pixels of the mask (h, w) that are not 0, moved by dx, dy; filled by the even-odd rule they give the
// mask again.
func outline(mask []byte, h, w int, dx, dy float64) [][]float64 {
	inside := func(x, y int) bool { return x >= 0 && y >= 0 && x < w && y < h && mask[y*w+x] != 0 }
	// next maps a corner to the corners that its edges lead to, with the mask at the right hand.
	type corner struct{ x, y int }
	next := map[corner][]corner{}
	var starts []corner
	add := func(a, b corner) {
		if next[a] == nil {
			starts = append(starts, a)
		}
		next[a] = append(next[a], b)
	}
	for y := range h {
		for x := range w {
			if !inside(x, y) {
				continue
			}
			if !inside(x, y-1) {
				add(corner{x, y}, corner{x + 1, y})
			}
			if !inside(x+1, y) {
				add(corner{x + 1, y}, corner{x + 1, y + 1})
			}
			if !inside(x, y+1) {
				add(corner{x + 1, y + 1}, corner{x, y + 1})
			}
			if !inside(x-1, y) {
				add(corner{x, y + 1}, corner{x, y})
			}
		}
	}
	var rings [][]float64
	for _, start := range starts {
		for len(next[start]) > 0 {
			var ring []corner
			for at := start; ; {
				to := next[at][0]
				next[at] = next[at][1:]
				// A corner within a straight line says nothing.
				if n := len(ring); n == 0 || (ring[n-1].x != at.x || at.x != to.x) && (ring[n-1].y != at.y || at.y != to.y) {
					ring = append(ring, at)
				}
				if at = to; at == start {
					break
				}
			}
			flat := make([]float64, 0, 2*len(ring))
			for _, c := range ring {
				flat = append(flat, float64(c.x)+dx, float64(c.y)+dy)
			}
			rings = append(rings, flat)
		}
	}
	return rings
}

// fill sets the pixels of the mask (h, w) whose centres lie inside of the rings, by the even-odd rule, to v.
func fill(mask []byte, h, w int, rings [][]float64, v byte) {
	var cross []float64
	for y := range h {
		centre := float64(y) + 0.5
		cross = cross[:0]
		for _, r := range rings {
			n := len(r) / 2
			for i := range n {
				x0, y0, x1, y1 := r[2*i], r[2*i+1], r[2*((i+1)%n)], r[2*((i+1)%n)+1]
				if (y0 <= centre) != (y1 <= centre) {
					cross = append(cross, x0+(centre-y0)/(y1-y0)*(x1-x0))
				}
			}
		}
		slices.Sort(cross)
		for i := 0; i+1 < len(cross); i += 2 {
			from, to := max(0, math.Ceil(cross[i]-0.5)), min(float64(w), math.Ceil(cross[i+1]-0.5))
			for x := int(from); x < int(to); x++ {
				mask[y*w+x] = v
			}
		}
	}
}
