package pixel

/*
#include "kernels.h"
*/
import "C"

// Quantisation tables of ITU-T T.81, annex K.
var (
	lumaSteps = [64]int{
		16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
		18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99}
	chromaSteps = [64]int{
		17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
		99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99}
)

// steps scales a table for a quality of 1 to 100, as the Independent JPEG Group does.
func steps(table *[64]int, quality int) []uint16 {
	scale := 200 - 2*quality
	if quality < 50 {
		scale = 5000 / quality
	}
	out := make([]uint16, 64)
	for i, v := range table {
		out[i] = uint16(min(max((v*scale+50)/100, 1), 255))
	}
	return out
}

// Compress does to an image what writing it as JPEG of a quality of 1 to 100, with halved chroma, and reading it again does.
func Compress(src, dst []byte, h, w, c, quality int) {
	need(src, h*w*c)
	need(dst, h*w*c)
	stride, rows := (w+15)/16*16, (h+15)/16*16
	luma := steps(&lumaSteps, quality)
	size := stride * rows
	memory := borrow[int16](&wordPool, 3*size+5*stride)
	defer wordPool.Put(memory)
	y, out, rest := (*memory)[:size], (*memory)[size:2*size], (*memory)[2*size:]
	if c == 1 {
		for r := range rows {
			for x := range stride {
				y[r*stride+x] = int16(src[min(r, h-1)*w+min(x, w-1)]) - 128
			}
		}
		quantise(y, out, rows, stride, luma)
		for r := range h {
			for x := range w {
				dst[r*w+x] = byte(out[r*stride+x] + 128)
			}
		}
		return
	}
	chroma, half := steps(&chromaSteps, quality), size/4
	cb, cr, outB, outR, scratch := rest[:half], rest[half:2*half], rest[2*half:3*half], rest[3*half:4*half], rest[4*half:]
	if class == nil {
		plainToYCC(src, y, cb, cr, h, w, stride)
	} else {
		C.dp_to_ycc(class, bytesOf(src), short(y), short(cb), short(cr), C.int(h), C.int(w), C.int(stride))
	}
	quantise(y, out, rows, stride, luma)
	quantise(cb, outB, rows/2, stride/2, chroma)
	quantise(cr, outR, rows/2, stride/2, chroma)
	if class == nil {
		plainFromYCC(out, outB, outR, dst, h, w, stride)
		return
	}
	C.dp_from_ycc(class, short(out), short(outB), short(outR), bytesOf(dst), C.int(h), C.int(w), C.int(stride), short(scratch))
}

func short(v []int16) *C.int16_t { return (*C.int16_t)(&v[0]) }

func quantise(plane, out []int16, h, w int, table []uint16) {
	if class == nil {
		plainQuantise(plane, out, h, w, table)
		return
	}
	C.dp_quantise(class, short(plane), short(out), C.int(h), C.int(w), (*C.uint16_t)(&table[0]))
}

// FromYCC turns planes of samples around 0, the luma's stride wide and the chroma's as many times narrower and lower as the factors (1 or 2) say,
// into (h, w) RGB pixels. Chroma is interpolated, three quarters of the nearer sample and one of the farther along each axis, as libjpeg does.
func FromYCC(y, cb, cr []int16, dst []byte, h, w, stride, across, down int) {
	need(dst, h*w*3)
	need(y, (h-1)*stride+w)
	if across == 2 && down == 2 {
		if class == nil {
			plainFromYCC(y, cb, cr, dst, h, w, stride)
			return
		}
		C.dp_from_ycc(class, short(y), short(cb), short(cr), bytesOf(dst), C.int(h), C.int(w), C.int(stride), short(make([]int16, 5*stride)))
		return
	}
	n, half := (w+across-1)/across, stride/across
	b, r := make([]int, w+1), make([]int, w+1)
	for row := range h {
		wider(cb[row*half:][:n], b, across)
		wider(cr[row*half:][:n], r, across)
		for x := range w {
			luma, to := int(y[row*stride+x])+128, dst[(row*w+x)*3:]
			to[0] = clip(luma + (91881*r[x]+32768)>>16)
			to[1] = clip(luma + (-22554*b[x]-46802*r[x]+32768)>>16)
			to[2] = clip(luma + (116130*b[x]+32768)>>16)
		}
	}
}

// wider copies a row of chroma, or doubles it.
func wider(from []int16, to []int, across int) {
	if across == 1 {
		for x, v := range from {
			to[x] = int(v)
		}
		return
	}
	n := len(from)
	for x, v := range from {
		left, right := int(v), int(v)
		if x > 0 {
			left = (3*int(v) + int(from[x-1]) + 1) >> 2
		}
		if x < n-1 {
			right = (3*int(v) + int(from[x+1]) + 2) >> 2
		}
		to[2*x] = left
		if 2*x+1 < len(to) {
			to[2*x+1] = right
		}
	}
}
