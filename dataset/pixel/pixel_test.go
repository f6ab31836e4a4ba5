package pixel

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// noise are n bytes of any values, with runs of equal ones.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(256))
		if i > 2 && r.IntN(4) == 0 {
			b[i] = b[i-1]
		}
	}
	return b
}

func floats(seed uint64, n int, scale float32) []float32 {
	r := rand.New(rand.NewPCG(seed, 2))
	out := make([]float32, n)
	for i := range out {
		out[i] = scale * (2*r.Float32() - 1)
	}
	return out
}

// call is a kernel on an image of (h, w, c); it returns bytes that must be the same for every class.
type call struct {
	name string
	only int // channels that it takes; 0: both
	run  func(src []byte, h, w, c int) []byte
}

func sameSize(f func(src, dst []byte, h, w, c int)) func([]byte, int, int, int) []byte {
	return func(src []byte, h, w, c int) []byte {
		dst := make([]byte, h*w*c)
		f(src, dst, h, w, c)
		return dst
	}
}

func floatBytes(f []float32) []byte {
	var out []byte
	for _, v := range f {
		u := math.Float32bits(v)
		out = append(out, byte(u), byte(u>>8), byte(u>>16), byte(u>>24))
	}
	return out
}

func calls() []call {
	fill := [3]byte{10, 200, 30}
	noiseTable, hue, light := make([]int16, 8192), floats(5, 8192, 2), floats(6, 8192, 0.4)
	for i := range noiseTable {
		noiseTable[i] = int16(i/100 - 40)
	}
	list := []call{
		{"mirror", 0, sameSize(Mirror)},
		{"lookup", 0, sameSize(func(src, dst []byte, h, w, c int) { Lookup(src, dst, h*w, c, noise(9, 256)) })},
		{"lookup per channel", 0, sameSize(func(src, dst []byte, h, w, c int) { Lookup(src, dst, h*w, c, noise(9, 256*c)) })},
		{"grey", 3, sameSize(func(src, dst []byte, h, w, _ int) { Grey(src, dst, h*w, 3) })},
		{"grey to one", 3, func(src []byte, h, w, _ int) []byte { dst := make([]byte, h*w); Grey(src, dst, h*w, 1); return dst }},
		{"shuffle", 3, sameSize(func(src, dst []byte, h, w, _ int) { Shuffle(src, dst, h*w, [3]int{2, 0, 1}) })},
		{"to lab", 3, sameSize(func(src, dst []byte, h, w, _ int) { ToLab(src, dst, h*w) })},
		{"from lab", 3, sameSize(func(src, dst []byte, h, w, _ int) { FromLab(src, dst, h*w) })},
		{"tiles", 1, sameSize(func(src, dst []byte, h, w, _ int) { Tiles(src, dst, h, w, 2, 3, (h+1)/2, (w+2)/3, noise(3, 6*256)) })},
		{"blend", 0, sameSize(func(src, dst []byte, h, w, c int) { Blend(src, noise(4, h*w*c), dst, 23456) })},
		{"noise", 0, sameSize(func(src, dst []byte, _, _, _ int) { AddNoise(src, dst, 0x123456789abcdef, noiseTable) })},
		{"salt", 0, sameSize(func(src, dst []byte, h, w, c int) { Salt(src, dst, h*w, c, 0xfedcba987654321, 1<<29, 1<<30) })},
		{"iso", 3, sameSize(func(src, dst []byte, h, w, _ int) { ISO(src, dst, h*w, 77, hue, light) })},
		{"histogram", 0, func(src []byte, h, w, c int) []byte { return fmt.Append(nil, Histogram(src, h*w, c)) }},
		{"smooth", 1, func(_ []byte, h, w, _ int) []byte {
			dst := make([]float32, h*w)
			Smooth(floats(1, h*w, 3), dst, h, w, []float32{0.4, 0.2, 0.1})
			return floatBytes(dst)
		}},
		{"planes", 0, func(src []byte, h, w, c int) []byte {
			dst := make([]float32, h*w*c)
			Planes(src, dst, h*w, c, []float32{1.0 / 255, 0.017, 0.3}, []float32{0, -2.1, 0.7})
			return floatBytes(dst)
		}},
	}
	for _, shift := range [][3]int{{0, 0, 0}, {20, -30, 20}, {-180, 255, -255}, {180, 3, -1}} {
		list = append(list, call{fmt.Sprint("hsv ", shift), 3, sameSize(func(src, dst []byte, h, w, _ int) { ShiftHSV(src, dst, h*w, shift[0], shift[1], shift[2]) })})
	}
	for _, n := range []int{0, 128, 256, 500} {
		list = append(list, call{fmt.Sprint("saturate ", n), 3, sameSize(func(src, dst []byte, h, w, _ int) { Saturate(src, dst, h*w, n) })})
	}
	for border := Constant; border <= Reflect101; border++ {
		for i, m := range [][9]float64{{0.9, -0.3, 2.5, 0.31, 1.2, -4, 0, 0, 1}, {1, 0.1, -3, -0.05, 1, 2, 0.002, -0.003, 1}} {
			list = append(list, call{fmt.Sprint("warp ", border, i), 0, func(src []byte, h, w, c int) []byte {
				dst := make([]byte, (h+3)*(w+2)*c)
				Warp(src, h, w, c, dst, h+3, w+2, &m, border, fill)
				return dst
			}})
		}
		list = append(list, call{fmt.Sprint("remap ", border), 0, sameSize(func(src, dst []byte, h, w, c int) {
			Remap(src, h, w, c, dst, floats(1, h*w, 5), floats(2, h*w, 5), border, fill)
		})})
	}
	for _, sigma := range []float64{0.5, 1.3, 3} {
		list = append(list, call{fmt.Sprint("blur ", sigma), 0, sameSize(func(src, dst []byte, h, w, c int) { Blur(src, dst, h, w, c, Gaussian(sigma, int(3*sigma))) })})
	}
	for r := 1; r <= 3; r++ {
		list = append(list, call{fmt.Sprint("median ", r), 0, sameSize(func(src, dst []byte, h, w, c int) { Median(src, dst, h, w, c, r) })})
		list = append(list, call{fmt.Sprint("filter ", r), 0, sameSize(func(src, dst []byte, h, w, c int) {
			Filter(src, dst, h, w, c, r, []Tap{{0, 0, 30000}, {int32(-r), int32(r), -9000}, {int32(r), 1, -4616}})
		})})
	}
	for _, q := range []int{5, 50, 90, 100} {
		list = append(list, call{fmt.Sprint("compress ", q), 0, sameSize(func(src, dst []byte, h, w, c int) { Compress(src, dst, h, w, c, q) })})
	}
	for _, size := range [][2]int{{7, 9}, {40, 64}, {3, 1}} {
		for _, flip := range []bool{false, true} {
			list = append(list, call{fmt.Sprint("resize ", size, flip), 0, func(src []byte, h, w, c int) []byte {
				dst := make([]byte, size[0]*size[1]*c)
				fh, fw := float64(h), float64(w)
				Resize(src, h, w, c, Window{Left: fw / 4, Top: fh / 5, Width: fw * 0.6, Height: fh * 0.7, Flip: flip}, dst, size[0], size[1])
				return dst
			}})
		}
	}
	for _, size := range [][2]int{{7, 9}, {90, 130}, {3, 1}, {1, 200}} {
		list = append(list, call{fmt.Sprint("scale ", size), 0, func(src []byte, h, w, c int) []byte {
			dst := make([]byte, size[0]*size[1]*c)
			Scale(src, h, w, c, dst, size[0], size[1])
			return dst
		}})
	}
	for _, count := range []int{5, 16} {
		list = append(list, call{fmt.Sprint("batch ", count), 0, func(_ []byte, h, w, c int) []byte {
			dst := make([]float32, 19*h*w*c)
			Batch(noise(1, count*h*w*c), count, dst, 19, 3, h*w, c, []float32{1.0 / 255, 0.017, 0.3}, []float32{0, -2.1, 0.7})
			return floatBytes(dst)
		}})
	}
	return list
}

// Every instruction class gives the bytes of plain Go, for sizes around those of vectors and blocks.
func TestClassesAgree(t *testing.T) {
	before := class
	defer func() { class = before }()
	for _, size := range [][2]int{{1, 1}, {2, 3}, {5, 4}, {9, 16}, {17, 33}, {12, 70}, {40, 65}} {
		h, w := size[0], size[1]
		for _, c := range []int{1, 3} {
			src := noise(uint64(h*w*c), h*w*c)
			for _, k := range calls() {
				if k.only != 0 && k.only != c {
					continue
				}
				class = nil
				want := k.run(src, h, w, c)
				for _, name := range classes {
					if class = find(name); class == nil {
						continue
					}
					if got := k.run(src, h, w, c); !bytes.Equal(got, want) {
						t.Errorf("%s of %d×%d×%d: %s differs from plain Go first at %d", k.name, h, w, c, name, firstDifference(got, want))
					}
				}
			}
		}
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// The class that is chosen is one that exists, and the lower ones can be asked for.
func TestChoose(t *testing.T) {
	for _, name := range append([]string{"", "plain"}, classes...) {
		before := class
		class = choose(name)
		got := Class()
		class = before
		if name == "plain" && got != "plain" || name == "baseline" && got != "baseline" || got == "avx512" && name == "avx2" {
			t.Errorf("asked for %q, got %q", name, got)
		}
	}
}

// BenchmarkKernels is the cost of each kernel on an image of 224×224.
func BenchmarkKernels(b *testing.B) {
	for _, k := range calls() {
		c := max(k.only, 1)
		if k.only == 0 {
			c = 3
		}
		src := noise(1, 224*224*c)
		b.Run(k.name, func(b *testing.B) {
			for b.Loop() {
				k.run(src, 224, 224, c)
			}
		})
	}
}

// Scaling keeps an even picture even, does not move a ramp, and takes the mean where it shrinks.
func TestScale(t *testing.T) {
	even := bytes.Repeat([]byte{200}, 40*30)
	for _, size := range [][2]int{{13, 17}, {80, 90}, {1, 1}} {
		dst := make([]byte, size[0]*size[1])
		Scale(even, 40, 30, 1, dst, size[0], size[1])
		for i, v := range dst {
			if v != 200 {
				t.Fatalf("%v: pixel %d of an even picture is %d", size, i, v)
			}
		}
	}
	ramp := make([]byte, 64)
	for i := range ramp {
		ramp[i] = byte(4*i + 2)
	}
	dst := make([]byte, 16)
	Scale(ramp, 1, 64, 1, dst, 1, 16)
	for i := 1; i < 15; i++ { // a pixel of the result covers four
		if want := 16*i + 8; int(dst[i]) < want-1 || int(dst[i]) > want+1 {
			t.Errorf("pixel %d of the ramp is %d, not %d", i, dst[i], want)
		}
	}
	stripes := make([]byte, 256)
	for i := range stripes {
		stripes[i] = byte(i % 2 * 255)
	}
	Scale(stripes, 1, 256, 1, dst, 1, 16)
	for _, v := range dst {
		if v < 120 || v > 135 {
			t.Fatalf("stripes become %v", dst)
		}
	}
}
