// Package pixel holds the loops over pixels that augmentation and loading spend their time in: written in C for each instruction
// class, with the same thing in plain Go beside it (the files plain_*.go), which the tests compare with.
//
// Rules of the room: it knows images (H, W, C) of bytes, C 1 or 3, and arguments that are drawn already; what an operation is called
// and how it draws is package dataset's. Every class gives the same bytes: sums are of whole numbers or run in one order, and no
// product is fused with a sum. A change of any byte raises the version of the kinds that write or train on images. A buffer of the
// result never overlaps the source.
package pixel

/*
#cgo CFLAGS: -std=c11 -O3 -Wall
#cgo LDFLAGS: -lm
#include <stdlib.h>
#include "kernels.h"
*/
import "C"

import (
	"os"
	"unsafe"
)

// class holds the kernels in use; nil is plain Go.
var class = choose(os.Getenv("DARKROOM_KERNELS"))

// classes are the instruction classes from the best on.
var classes = []string{"avx512", "avx2", "baseline"}

// choose returns the best class that the processor has, but none better than the one that is named.
func choose(most string) *C.dp_kernels {
	if most == "plain" {
		return nil
	}
	allowed := most != "avx2" && most != "baseline"
	for _, name := range classes {
		if allowed = allowed || name == most; !allowed {
			continue
		}
		if k := find(name); k != nil {
			return k
		}
	}
	return nil
}

func find(name string) *C.dp_kernels {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return C.dp_find(text)
}

// Class names the kernels in use: "avx512", "avx2", "baseline" or "plain". DARKROOM_KERNELS names a lower one than the processor has.
func Class() string {
	if class == nil {
		return "plain"
	}
	return C.GoString(class.isa)
}

func bytesOf(b []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.SliceData(b)) }

func floatsOf(b []float32) *C.float { return (*C.float)(unsafe.SliceData(b)) }

// need panics unless b holds n elements: a kernel writes without asking.
func need[T any](b []T, n int) { _ = b[:n:n] }

// Border says what lies outside of an image.
type Border int

// The borders, as Albumentations and OpenCV name them.
const (
	Constant   Border = iota // one colour
	Replicate                // aaa|abcd|ddd
	Reflect                  // cba|abcd|dcb
	Reflect101               // dcb|abcd|cba
)

// Mirror swaps left and right.
func Mirror(src, dst []byte, h, w, c int) {
	need(src, h*w*c)
	need(dst, h*w*c)
	if class == nil {
		plainMirror(src, dst, h, w, c)
		return
	}
	C.dp_mirror(class, bytesOf(src), bytesOf(dst), C.int(h), C.int(w), C.int(c))
}

// Warp fills dst (dh, dw) from src (h, w), bilinearly: the pixel (x, y) is what lies at M·(x, y, 1) in the source, whose first pixel has
// its centre at (0, 0), to 1/128 of a pixel. m is row by row; its last row is 0 0 1 for an affine map.
func Warp(src []byte, h, w, c int, dst []byte, dh, dw int, m *[9]float64, border Border, fill [3]byte) {
	need(src, h*w*c)
	need(dst, dh*dw*c)
	if class == nil {
		plainWarp(src, h, w, c, dst, dh, dw, m, border, fill)
		return
	}
	scratch := make([]int32, 5*dw)
	C.dp_warp(class, bytesOf(src), C.int(h), C.int(w), C.int(c), bytesOf(dst), C.int(dh), C.int(dw), (*C.double)(&m[0]), C.int(border), bytesOf(fill[:]), (*C.int32_t)(&scratch[0]))
}

// Remap fills dst from src, both (h, w), bilinearly: the pixel (x, y) is what lies at (x + dx, y + dy).
func Remap(src []byte, h, w, c int, dst []byte, dx, dy []float32, border Border, fill [3]byte) {
	need(src, h*w*c)
	need(dst, h*w*c)
	need(dx, h*w)
	need(dy, h*w)
	if class == nil {
		plainRemap(src, h, w, c, dst, dx, dy, border, fill)
		return
	}
	scratch := make([]int32, 5*w)
	C.dp_remap(class, bytesOf(src), C.int(h), C.int(w), C.int(c), bytesOf(dst), floatsOf(dx), floatsOf(dy), C.int(border), bytesOf(fill[:]), (*C.int32_t)(&scratch[0]))
}

// Smooth convolves the (h, w) values of src along both axes with the symmetric kernel k[0], the middle, to k[radius]; the edge is
// repeated.
func Smooth(src, dst []float32, h, w int, k []float32) {
	need(src, h*w)
	need(dst, h*w)
	if class == nil {
		plainSmooth(src, dst, h, w, k)
		return
	}
	radius := len(k) - 1
	scratch := make([]float32, h*w+w+2*radius)
	C.dp_smooth(class, floatsOf(src), floatsOf(dst), C.int(h), C.int(w), floatsOf(k), C.int(radius), floatsOf(scratch))
}

// Lookup replaces each value by its entry in the table of 256, or of 256 for each channel.
func Lookup(src, dst []byte, pixels, c int, table []byte) {
	need(src, pixels*c)
	need(dst, pixels*c)
	per := 0
	if len(table) > 256 {
		need(table, 256*c)
		per = 1
	}
	need(table, 256)
	if class == nil {
		plainLookup(src, dst, pixels, c, table)
		return
	}
	C.dp_lookup(class, bytesOf(src), bytesOf(dst), C.size_t(pixels), C.int(c), bytesOf(table), C.int(per))
}

// Histogram counts the values of each channel.
func Histogram(src []byte, pixels, c int) []uint32 {
	need(src, pixels*c)
	counts := make([]uint32, 256*c)
	if class == nil {
		plainHistogram(src, pixels, c, counts)
		return counts
	}
	C.dp_histogram(class, bytesOf(src), C.size_t(pixels), C.int(c), (*C.uint32_t)(&counts[0]))
	return counts
}

// Grey puts the luma of each RGB pixel (Rec. 601) into all three channels, or into one.
func Grey(src, dst []byte, pixels, channels int) {
	need(src, 3*pixels)
	need(dst, channels*pixels)
	if class == nil {
		plainGrey(src, dst, pixels, channels)
		return
	}
	C.dp_grey(class, bytesOf(src), bytesOf(dst), C.size_t(pixels), C.int(channels))
}

// Saturate moves each RGB pixel away from its luma, by a factor in 1/256.
func Saturate(src, dst []byte, pixels, factor int) {
	need(src, 3*pixels)
	need(dst, 3*pixels)
	if class == nil {
		plainSaturate(src, dst, pixels, factor)
		return
	}
	C.dp_saturate(class, bytesOf(src), bytesOf(dst), C.size_t(pixels), C.int(factor))
}

// Shuffle makes the channels of RGB pixels those of the given places.
func Shuffle(src, dst []byte, pixels int, order [3]int) {
	need(src, 3*pixels)
	need(dst, 3*pixels)
	if class == nil {
		plainShuffle(src, dst, pixels, order)
		return
	}
	C.dp_shuffle(class, bytesOf(src), bytesOf(dst), C.size_t(pixels), C.int(order[0]), C.int(order[1]), C.int(order[2]))
}

// ShiftHSV adds to the hue (180 steps to the circle), saturation and value (0 to 255) of RGB pixels. Grey ones stay grey. The hue's shift is
// within ±180.
func ShiftHSV(src, dst []byte, pixels, hue, saturation, value int) {
	need(src, 3*pixels)
	need(dst, 3*pixels)
	if class == nil {
		plainHSV(src, dst, pixels, hue, saturation, value)
		return
	}
	C.dp_hsv(class, bytesOf(src), bytesOf(dst), C.size_t(pixels), C.int(hue), C.int(saturation), C.int(value))
}

// ToLab turns sRGB into the planes L, a, b of CIE Lab (D65), as bytes: L·2.55, a + 128, b + 128.
func ToLab(src, lab []byte, pixels int) {
	need(src, 3*pixels)
	need(lab, 3*pixels)
	if class == nil {
		plainToLab(src, lab, pixels)
		return
	}
	C.dp_to_lab(class, bytesOf(src), bytesOf(lab), C.size_t(pixels), (*C.uint16_t)(&linear[0]), (*C.uint16_t)(&root[0]))
}

// FromLab is the way back.
func FromLab(lab, dst []byte, pixels int) {
	need(lab, 3*pixels)
	need(dst, 3*pixels)
	if class == nil {
		plainFromLab(lab, dst, pixels)
		return
	}
	C.dp_from_lab(class, bytesOf(lab), bytesOf(dst), C.size_t(pixels), bytesOf(gamma[:]))
}

// Tiles looks each value of a plane up in the tables, 256 bytes each, of the four of rows·columns tiles (th, tw pixels) around it, and mixes
// what it finds by the distance from the tiles' centres.
func Tiles(src, dst []byte, h, w, rows, columns, th, tw int, tables []byte) {
	need(src, h*w)
	need(dst, h*w)
	need(tables, 256*rows*columns)
	if class == nil {
		plainTiles(src, dst, h, w, rows, columns, th, tw, tables)
		return
	}
	C.dp_tiles(class, bytesOf(src), bytesOf(dst), C.int(h), C.int(w), C.int(rows), C.int(columns), C.int(th), C.int(tw), bytesOf(tables))
}

// Blend is weight/65536 of a and the rest of b.
func Blend(a, b, dst []byte, weight int) {
	n := len(dst)
	need(a, n)
	need(b, n)
	if class == nil {
		plainBlend(a, b, dst, weight)
		return
	}
	C.dp_blend(class, bytesOf(a), bytesOf(b), bytesOf(dst), C.size_t(n), C.uint32_t(weight))
}

// AddNoise adds to each value an entry of a table of 8192, chosen by the key and the value's place.
func AddNoise(src, dst []byte, key uint64, table []int16) {
	n := len(dst)
	need(src, n)
	need(table, 8192)
	if class == nil {
		plainAddNoise(src, dst, key, table)
		return
	}
	C.dp_add_noise(class, bytesOf(src), bytesOf(dst), C.size_t(n), C.uint64_t(key), (*C.int16_t)(&table[0]))
}

// Salt makes pixels black with probability pepper/2³², and white with probability (both - pepper)/2³².
func Salt(src, dst []byte, pixels, c int, key uint64, pepper, both uint32) {
	need(src, pixels*c)
	need(dst, pixels*c)
	if class == nil {
		plainSalt(src, dst, pixels, c, key, pepper, both)
		return
	}
	C.dp_salt(class, bytesOf(src), bytesOf(dst), C.size_t(pixels), C.int(c), C.uint64_t(key), C.uint32_t(pepper), C.uint32_t(both))
}

// ISO adds to the hue of RGB pixels, in twelfths of the circle, an entry of hue, and moves the lightness towards white by the share that
// light says; both have 8192 entries, chosen by the key and the pixel's place.
func ISO(src, dst []byte, pixels int, key uint64, hue, light []float32) {
	need(src, 3*pixels)
	need(dst, 3*pixels)
	need(hue, 8192)
	need(light, 8192)
	if class == nil {
		plainISO(src, dst, pixels, key, hue, light)
		return
	}
	C.dp_iso(class, bytesOf(src), bytesOf(dst), C.size_t(pixels), C.uint64_t(key), floatsOf(hue), floatsOf(light))
}

// Planes writes (C, H, W) floats: scale·value + shift, by channel.
func Planes(src []byte, dst []float32, pixels, c int, scale, shift []float32) {
	need(src, pixels*c)
	need(dst, pixels*c)
	need(scale, c)
	need(shift, c)
	if class == nil {
		plainPlanes(src, dst, pixels, c, scale, shift)
		return
	}
	C.dp_planes(class, bytesOf(src), floatsOf(dst), C.size_t(pixels), C.int(c), floatsOf(scale), floatsOf(shift))
}

// Side is how many images Batch takes at most.
const Side = 16

// Batch writes images side by side into a (C, H, W, N) batch from the image number first on: scale·value + shift, by channel. The images lie
// one behind the other in src.
func Batch(src []byte, count int, dst []float32, n, first, pixels, c int, scale, shift []float32) {
	size := pixels * c
	need(src, count*size)
	need(dst, size*n)
	need(scale, c)
	need(shift, c)
	if first+count > n || count > Side {
		panic("pixel: more images than the batch has room for")
	}
	if class == nil {
		plainBatch(src, count, dst, n, first, pixels, c, scale, shift)
		return
	}
	C.dp_batch(class, bytesOf(src), C.int(count), floatsOf(dst[first:]), C.size_t(n), C.size_t(pixels), C.int(c), floatsOf(scale), floatsOf(shift))
}
