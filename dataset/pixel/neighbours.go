package pixel

/*
#include "kernels.h"
*/
import "C"

import (
	"math"
	"sync"
)

// bytePool and wordPool hold memory for kernels: with new memory for every image the collector would take longer than the kernels do.
var bytePool, wordPool = sync.Pool{New: func() any { return new([]byte) }}, sync.Pool{New: func() any { return new([]int16) }}

// borrow takes n elements from a pool, of any content; give puts them back.
func borrow[T any](pool *sync.Pool, n int) *[]T {
	b := pool.Get().(*[]T)
	if cap(*b) < n {
		*b = make([]T, n)
	}
	*b = (*b)[:n]
	return b
}

// pad copies an image (h, w) into one with a margin on each side, borrowed from bytePool; what lies there is reflected at the outer pixels' centres.
func pad(src []byte, h, w, c, margin int) *[]byte {
	line, wide := w*c, (w+2*margin)*c
	padded := borrow[byte](&bytePool, (h+2*margin)*wide+64)
	out := *padded
	for y := range h {
		row := out[(y+margin)*wide:][:wide]
		copy(row[margin*c:], src[y*line:][:line])
		for x := 1; x <= margin; x++ {
			copy(row[(margin-x)*c:][:c], src[y*line+Outside(-x, w, Reflect101)*c:][:c])
			copy(row[(margin+w-1+x)*c:][:c], src[y*line+Outside(w-1+x, w, Reflect101)*c:][:c])
		}
	}
	for y := 1; y <= margin; y++ {
		copy(out[(margin-y)*wide:][:wide], out[(margin+Outside(-y, h, Reflect101))*wide:][:wide])
		copy(out[(margin+h-1+y)*wide:][:wide], out[(margin+Outside(h-1+y, h, Reflect101))*wide:][:wide])
	}
	return padded
}

// Outside brings an index into 0 to n-1 as the border says; -1 is the constant.
func Outside(i, n int, border Border) int {
	switch {
	case i >= 0 && i < n:
		return i
	case border == Constant:
		return -1
	case border == Replicate || n == 1:
		return min(max(i, 0), n-1)
	}
	period, edge := 2*n-2, 0
	if border == Reflect {
		period, edge = 2*n, 1
	}
	i = (i%period + period) % period
	if i < n {
		return i
	}
	return period - i - edge
}

// Gaussian returns the symmetric kernel of that standard deviation and radius in 1/256, the middle first; the whole sums up to 256. What
// rounding leaves over from outer weights goes to the inner ones.
func Gaussian(sigma float64, radius int) []uint16 {
	exact, sum := make([]float64, radius+1), 0.0
	for i := range exact {
		exact[i] = math.Exp(-0.5 * float64(i*i) / (sigma * sigma))
		sum += exact[i]
		if i > 0 {
			sum += exact[i]
		}
	}
	k, rest, left := make([]uint16, radius+1), 0.0, 256
	for i := radius; i > 0; i-- {
		want := exact[i]/sum*256 + rest
		k[i] = uint16(math.Max(0, math.Round(want)))
		rest = want - float64(k[i])
		left -= 2 * int(k[i])
	}
	k[0] = uint16(left)
	return k
}

// Blur convolves along both axes with the symmetric kernel k, in 1/256, the middle first. The whole kernel sums up to 256.
func Blur(src, dst []byte, h, w, c int, k []uint16) {
	need(src, h*w*c)
	need(dst, h*w*c)
	radius := len(k) - 1
	memory := pad(src, h, w, c, radius)
	defer bytePool.Put(memory)
	padded := *memory
	if class == nil {
		plainBlur(padded, dst, h, w, c, k)
		return
	}
	row := make([]uint16, (w+2*radius)*c)
	C.dp_blur(class, bytesOf(padded), bytesOf(dst), C.int(h), C.int(w), C.int(c), (*C.uint16_t)(&k[0]), C.int(radius), (*C.uint16_t)(&row[0]))
}

// Tap is a weight, in 1/16384, of the pixel DY below and DX right.
type Tap struct{ DY, DX, Weight int32 }

// Filter correlates with the taps, none of them farther than radius.
func Filter(src, dst []byte, h, w, c, radius int, taps []Tap) {
	need(src, h*w*c)
	need(dst, h*w*c)
	memory := pad(src, h, w, c, radius)
	defer bytePool.Put(memory)
	padded := *memory
	for _, t := range taps {
		if max(t.DY, -t.DY, t.DX, -t.DX) > int32(radius) {
			panic("pixel: a tap lies outside of the radius")
		}
	}
	if class == nil {
		plainFilter(padded, dst, h, w, c, radius, taps)
		return
	}
	C.dp_filter(class, bytesOf(padded), bytesOf(dst), C.int(h), C.int(w), C.int(c), C.int(radius), (*C.int32_t)(&taps[0].DY), C.int(len(taps)))
}

// Median is the median of the (2·radius + 1)² values around each; radius is 1 to 3.
func Median(src, dst []byte, h, w, c, radius int) {
	need(src, h*w*c)
	need(dst, h*w*c)
	if radius < 1 || radius > 3 {
		panic("pixel: the radius of a median is 1 to 3")
	}
	memory := pad(src, h, w, c, radius)
	defer bytePool.Put(memory)
	padded := *memory
	if class == nil {
		plainMedian(padded, dst, h, w, c, radius)
		return
	}
	C.dp_median(class, bytesOf(padded), bytesOf(dst), C.int(h), C.int(w), C.int(c), C.int(radius))
}
