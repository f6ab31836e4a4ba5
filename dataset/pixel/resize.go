package pixel

/*
#include "kernels.h"
*/
import "C"

import "math"

// Window is the part of an image that is resized, in pixels: its edges need not be whole. Flipped ones run backwards.
type Window struct {
	Left, Top, Width, Height float64
	Flip                     bool // left and right swapped
}

// axis is how the pixels of a result are made of pairs of the source's: the first of the pair and both weights, which sum up to one.
type axis struct {
	at     []int32
	weight []int16
}

// pairs makes an axis of n pixels out of length pixels from start on, of a source of size pixels. Places outside of the window are moved to its edge.
func pairs(start, length float64, size, n int, one float64, flip bool) axis {
	a := axis{make([]int32, n), make([]int16, 2*n)}
	low, high := math.Max(0, math.Floor(start)), math.Min(float64(size), math.Ceil(start+length))-1
	for i := range n {
		k := i
		if flip {
			k = n - 1 - i
		}
		at := math.Min(math.Max(start+(float64(k)+0.5)*length/float64(n)-0.5, low), high)
		first := math.Min(math.Floor(at), math.Max(low, high-1))
		second := int16(math.Round((at - first) * one))
		a.at[i], a.weight[2*i], a.weight[2*i+1] = int32(first), int16(one)-second, second
	}
	return a
}

// Resize fills dst (dh, dw) with the window of src (h, w), bilinearly, each pixel from the nearest four, as OpenCV does.
func Resize(src []byte, h, w, c int, window Window, dst []byte, dh, dw int) {
	need(src, h*w*c)
	need(dst, dh*dw*c)
	x := pairs(window.Left, window.Width, w, dw, 1<<14, window.Flip)
	y := pairs(window.Top, window.Height, h, dh, 1<<7, false)
	first, last := x.at[0], x.at[0]
	for _, at := range x.at {
		first, last = min(first, at), max(last, at)
	}
	last = min(last+2, int32(w))
	for i := range x.at {
		x.at[i] = (x.at[i] - first) * int32(c)
	}
	rows := make([]int32, 2*dh)
	for i, at := range y.at {
		rows[2*i], rows[2*i+1] = at, min(at+1, int32(h)-1)
	}
	row := make([]int16, int(last-first+1)*c+16)
	if class == nil {
		plainResize(src, w, c, dst, dh, dw, int(first), int(last), x, rows, y.weight, row)
		return
	}
	C.dp_resize(class, bytesOf(src), C.int(w), C.int(c), bytesOf(dst), C.int(dh), C.int(dw), C.int(first), C.int(last), (*C.int32_t)(&x.at[0]), (*C.int16_t)(&x.weight[0]),
		(*C.int32_t)(&rows[0]), (*C.int16_t)(&y.weight[0]), (*C.int16_t)(&row[0]))
}
