package pixel

/*
#include "kernels.h"
*/
import "C"

import "math"

// spread says how a pixel of a result is made of neighbours in the source: the first of them, and count weights, which sum up to 16384.
type spread struct {
	at     []int32
	weight []int16
	count  int
}

// triangles makes a spread of n pixels out of size, each by a triangle as wide as two pixels of the larger of the two grids, so that shrinking
// smooths; the count is a multiple of step.
func triangles(size, n, step int) spread {
	ratio := float64(size) / float64(n)
	reach := math.Max(ratio, 1)
	count := (int(math.Ceil(2*reach)) + 1 + step - 1) / step * step
	s := spread{make([]int32, n), make([]int16, n*count), count}
	exact := make([]float64, count)
	for i := range n {
		centre := (float64(i)+0.5)*ratio - 0.5
		first := int(math.Max(math.Ceil(centre-reach), 0))
		sum, largest := 0.0, 0
		for k := range exact {
			if exact[k] = 0; first+k < size {
				exact[k] = math.Max(1-math.Abs(float64(first+k)-centre)/reach, 0)
			}
			if sum += exact[k]; exact[k] > exact[largest] {
				largest = k
			}
		}
		left := 1 << 14
		for k, w := range exact {
			v := int(math.Round(w / sum * (1 << 14)))
			s.weight[i*count+k] = int16(v)
			left -= v
		}
		s.weight[i*count+largest] += int16(left) // what rounding leaves over
		s.at[i] = int32(first)
	}
	return s
}

// Scale fills dst (dh, dw) with src (h, w), bilinearly, and smooths where it shrinks: each pixel is the mean of those within two of the larger grid's
// pixels, weighted by a triangle.
func Scale(src []byte, h, w, c int, dst []byte, dh, dw int) {
	need(src, h*w*c)
	need(dst, dh*dw*c)
	x, y := triangles(w, dw, 2), triangles(h, dh, 1)
	// Rows beyond the last have no weight, but are read: each window is moved up to end with the image.
	for i, at := range y.at {
		over := int(at) + y.count - h
		if over <= 0 {
			continue
		}
		weights := y.weight[i*y.count:][:y.count]
		if over > int(at) { // the image is lower than the window
			over = int(at)
		}
		copy(weights[over:], weights[:y.count-over])
		clear(weights[:over])
		y.at[i] -= int32(over)
	}
	rows := src
	if h < y.count {
		rows = append(src[:h*w*c:h*w*c], make([]byte, (y.count-h)*w*c)...)
	}
	row := make([]int16, (w+x.count)*c+16)
	if class == nil {
		plainScale(rows, w, c, dst, dh, dw, x, y, row)
		return
	}
	C.dp_scale(class, bytesOf(rows), C.int(w), C.int(c), bytesOf(dst), C.int(dh), C.int(dw), (*C.int32_t)(&x.at[0]), (*C.int16_t)(&x.weight[0]), C.int(x.count),
		(*C.int32_t)(&y.at[0]), (*C.int16_t)(&y.weight[0]), C.int(y.count), (*C.int16_t)(&row[0]))
}
