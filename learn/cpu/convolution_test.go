package cpu

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/compute"
)

// tensor4 is a tensor of four axes in Go memory, for the reference.
type tensor4 struct {
	d    [4]int
	flat []float32
}

func (t tensor4) at(i, j, k, l int) float64 {
	return float64(t.flat[((i*t.d[1]+j)*t.d[2]+k)*t.d[3]+l])
}

func (t tensor4) absolute() tensor4 {
	flat := make([]float32, len(t.flat))
	for i, x := range t.flat {
		flat[i] = float32(math.Abs(float64(x)))
	}
	return tensor4{t.d, flat}
}

// convolution is one case: sizes, and how the kernel moves.
type convolution struct {
	c, h, w, n, o, k int
	stride, dilation int
	pad              [2]int
}

func (v convolution) out(size int) int {
	return (size+v.pad[0]+v.pad[1]-(v.k-1)*v.dilation-1)/v.stride + 1
}

// reference walks over every product of the convolution of x (C, H, W, N) with w (k, k, C, O) and the cotangent g (O, Ho,
// Wo, N), straight from the definition, in float64. It returns the output and the gradients of x and w.
func (v convolution) reference(x, w, g tensor4) (y, gx, gw []float64) {
	ho, wo := v.out(v.h), v.out(v.w)
	y, gx, gw = make([]float64, v.o*ho*wo*v.n), make([]float64, len(x.flat)), make([]float64, len(w.flat))
	for o := range v.o {
		for a := range ho {
			for b := range wo {
				for n := range v.n {
					to := ((o*ho+a)*wo+b)*v.n + n
					for i := range v.k {
						for j := range v.k {
							p, q := a*v.stride+i*v.dilation-v.pad[0], b*v.stride+j*v.dilation-v.pad[0]
							if p < 0 || p >= v.h || q < 0 || q >= v.w {
								continue
							}
							for c := range v.c {
								y[to] += x.at(c, p, q, n) * w.at(i, j, c, o)
								gx[((c*v.h+p)*v.w+q)*v.n+n] += g.at(o, a, b, n) * w.at(i, j, c, o)
								gw[((i*v.k+j)*v.c+c)*v.o+o] += g.at(o, a, b, n) * x.at(c, p, q, n)
							}
						}
					}
				}
			}
		}
	}
	return y, gx, gw
}

// axesCHWN is the layout of images (C, H, W, N) and kernels (k, k, C, O).
var axesCHWN = compute.ConvolveAxesConfig{InputBatch: 3, InputChannels: 0, InputSpatial: []int{1, 2},
	KernelInputChannels: 2, KernelOutputChannels: 3, KernelSpatial: []int{0, 1},
	OutputBatch: 3, OutputChannels: 0, OutputSpatial: []int{1, 2}}

// imageGradientAxes and kernelGradientAxes are axesCHWN with the changes of roles that make the gradients.
func imageGradientAxes() compute.ConvolveAxesConfig {
	a := axesCHWN.Clone()
	a.KernelInputChannels, a.KernelOutputChannels = a.KernelOutputChannels, a.KernelInputChannels
	return a
}

func kernelGradientAxes() compute.ConvolveAxesConfig {
	a := axesCHWN
	return compute.ConvolveAxesConfig{InputBatch: a.InputChannels, InputChannels: a.InputBatch, InputSpatial: a.InputSpatial,
		KernelInputChannels: a.OutputBatch, KernelOutputChannels: a.OutputChannels, KernelSpatial: a.OutputSpatial,
		OutputBatch: a.KernelInputChannels, OutputChannels: a.KernelOutputChannels, OutputSpatial: a.KernelSpatial}
}

// build writes the convolution and its gradients of p = (x, w, g) as GoMLX's gradient rule does.
func (v convolution) build(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	strides, dilations := []int{v.stride, v.stride}, []int{v.dilation, v.dilation}
	y, err := f.ConvGeneral(p[0], p[1], axesCHWN, strides, [][2]int{v.pad, v.pad}, nil, dilations, 1, 1)
	if err != nil {
		return nil, err
	}
	mirrored, err := f.Reverse(p[1], 0, 1) // is read the other way round by the kernels
	if err != nil {
		return nil, err
	}
	span := (v.k - 1) * v.dilation
	back := func(size int) [2]int {
		before := span - v.pad[0]
		return [2]int{before, size + span - ((v.out(size)-1)*v.stride + 1) - before}
	}
	gx, err := f.ConvGeneral(p[2], mirrored, imageGradientAxes(), nil, [][2]int{back(v.h), back(v.w)}, strides, dilations, 1, 1)
	if err != nil {
		return nil, err
	}
	pads := func(size int) [2]int { // so that the result has exactly k positions
		return [2]int{v.pad[0], (v.k-1)*v.dilation + (v.out(size)-1)*v.stride + 1 - size - v.pad[0]}
	}
	gw, err := f.ConvGeneral(p[0], p[2], kernelGradientAxes(), dilations, [][2]int{pads(v.h), pads(v.w)}, nil, strides, 1, 1)
	return []compute.Value{y, gx, gw}, err
}

func (v convolution) shapes() [][]int {
	return [][]int{{v.c, v.h, v.w, v.n}, {v.k, v.k, v.c, v.o}, {v.o, v.out(v.h), v.out(v.w), v.n}}
}

func TestConvolutionCHWN(t *testing.T) {
	plain := newBackend(t, 2)
	plain.(*Backend).options.plain = true
	t.Run("kernels", func(t *testing.T) { testConvolutions(t, newBackend(t, 2)) })
	t.Run("plain", func(t *testing.T) { testConvolutions(t, plain) })
}

func testConvolutions(t *testing.T, b compute.Backend) {
	for _, v := range []convolution{
		// Images in more than one chunk, with a rest; channels beyond whole tiles; vectors over images and over channels.
		{c: 5, h: 6, w: 7, n: 35, o: 11, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}},
		{c: 33, h: 5, w: 4, n: 34, o: 37, k: 3, stride: 2, dilation: 1, pad: [2]int{1, 1}},
		{c: 40, h: 6, w: 5, n: 7, o: 32, k: 3, stride: 1, dilation: 2, pad: [2]int{2, 2}},
		{c: 64, h: 2, w: 2, n: 32, o: 72, k: 1, stride: 1, dilation: 1},
		{c: 3, h: 12, w: 12, n: 2, o: 16, k: 4, stride: 4, dilation: 1},
		{c: 3, h: 6, w: 8, n: 5, o: 4, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}},
		// By Winograd's algorithm: tiles cut off at the border, channels and images with a rest, every padding.
		{c: 33, h: 8, w: 8, n: 33, o: 32, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}},
		{c: 50, h: 7, w: 11, n: 5, o: 41, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}},
		{c: 16, h: 12, w: 16, n: 33, o: 18, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}},
		{c: 40, h: 10, w: 6, n: 3, o: 33, k: 3, stride: 1, dilation: 1},
		{c: 24, h: 10, w: 10, n: 2, o: 30, k: 3, stride: 1, dilation: 1, pad: [2]int{2, 2}},
		// Channels in whole vector registers, for which ONNX Runtime has kernels of their own.
		{c: 16, h: 6, w: 8, n: 5, o: 16, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}},
		{c: 32, h: 4, w: 5, n: 8, o: 32, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}},
		{c: 1, h: 7, w: 7, n: 4, o: 16, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}},
		{c: 16, h: 8, w: 8, n: 4, o: 32, k: 3, stride: 2, dilation: 1, pad: [2]int{1, 1}},
		{c: 2, h: 5, w: 6, n: 3, o: 2, k: 2, stride: 1, dilation: 1, pad: [2]int{2, 2}},
		{c: 2, h: 7, w: 5, n: 3, o: 3, k: 5, stride: 1, dilation: 1, pad: [2]int{2, 2}},
		{c: 4, h: 5, w: 6, n: 2, o: 3, k: 1, stride: 1, dilation: 1},
		{c: 1, h: 1, w: 1, n: 1, o: 1, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}},
		{c: 3, h: 8, w: 6, n: 4, o: 2, k: 3, stride: 2, dilation: 1, pad: [2]int{1, 1}},
		{c: 3, h: 7, w: 9, n: 4, o: 2, k: 3, stride: 2, dilation: 1, pad: [2]int{1, 1}},
		{c: 3, h: 8, w: 8, n: 4, o: 5, k: 1, stride: 2, dilation: 1},
		{c: 3, h: 8, w: 8, n: 2, o: 2, k: 7, stride: 2, dilation: 1, pad: [2]int{3, 3}},
		{c: 2, h: 9, w: 9, n: 2, o: 2, k: 3, stride: 3, dilation: 1, pad: [2]int{0, 0}},
		{c: 2, h: 6, w: 6, n: 3, o: 2, k: 2, stride: 2, dilation: 1},
		{c: 2, h: 6, w: 7, n: 3, o: 2, k: 3, stride: 1, dilation: 1},
		{c: 2, h: 6, w: 6, n: 3, o: 2, k: 3, stride: 1, dilation: 1, pad: [2]int{0, 2}},
		{c: 2, h: 8, w: 8, n: 3, o: 2, k: 3, stride: 1, dilation: 2, pad: [2]int{2, 2}},
	} {
		t.Run(fmt.Sprintf("%+v", v), func(t *testing.T) {
			dimensions := v.shapes()
			e := compiled(t, b, dimensions, v.build)
			var buffers []compute.Buffer
			var inputs []tensor4
			for i, d := range dimensions {
				buffer := ramp(t, b, uint32(i+1), d...)
				buffers = append(buffers, buffer)
				inputs = append(inputs, tensor4{[4]int(d), read(t, buffer)})
			}
			out, err := e.Execute(buffers, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			y, gx, gw := v.reference(inputs[0], inputs[1], inputs[2])
			// What rounding may do is in proportion to the magnitudes that are added, not to their sum; with Winograd's algorithm to those of
			// a tile.
			sizes := [3][]float64{}
			sizes[0], sizes[1], sizes[2] = v.reference(inputs[0].absolute(), inputs[1].absolute(), inputs[2].absolute())
			for i, want := range [][]float64{y, gx, gw} {
				got := read(t, out[i])
				if len(got) != len(want) {
					t.Fatalf("%s has %d elements; want %d", []string{"output", "image gradient", "kernel gradient"}[i], len(got), len(want))
				}
				allowed := 1e-6 * max(1, slices.Max(sizes[i]))
				for j := range want {
					if math.Abs(float64(got[j])-want[j]) > allowed {
						t.Fatalf("%s, element %d = %g; want %g", []string{"output", "image gradient", "kernel gradient"}[i], j, got[j], want[j])
					}
				}
			}
		})
	}
}

// BenchmarkConvolution times a 3×3 convolution with both gradients at the three sizes of ResNet-20 with batch 128.
func BenchmarkConvolution(b *testing.B) {
	for _, size := range [][2]int{{16, 32}, {32, 16}, {64, 8}} {
		v := convolution{c: size[0], o: size[0], h: size[1], w: size[1], n: 128, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}}
		b.Run(fmt.Sprintf("channels=%d/size=%d", size[0], size[1]), func(b *testing.B) {
			device := newBackend(b, 2)
			e := compiled(b, device, v.shapes(), v.build)
			var inputs []compute.Buffer
			for i, d := range v.shapes() {
				inputs = append(inputs, ramp(b, device, uint32(i), d...))
			}
			operations := 3 * 2 * float64(v.c*v.o*v.k*v.k*v.h*v.w*v.n)
			for b.Loop() {
				out, err := e.Execute(inputs, nil, 0)
				if err != nil {
					b.Fatal(err)
				}
				for _, buffer := range out {
					if err := buffer.Finalize(); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(operations*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gflop/s")
		})
	}
}
