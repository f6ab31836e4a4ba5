package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/gomlx/compute"

	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
)

// TestBatchNorm compares a batch normalisation and its gradients with the definition in float64.
func TestBatchNorm(t *testing.T) {
	for _, d := range [][]int{{3, 5, 7, 2}, {2, 1, 1, 1}, {4, 33, 9, 16}, {1, 100, 100, 3}} {
		b := newBackend(t, 2)
		c := d[0]
		const epsilon = 1e-3
		dimensions := [][]int{d, {c}, {c}, d}
		e := compiled(t, b, dimensions, func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
			y, mean, variance, err := f.BatchNormForTraining(p[0], p[1], p[2], epsilon, 0)
			if err != nil {
				return nil, err
			}
			gx, gscale, gshift, err := f.BatchNormGradient(p[0], p[1], mean, variance, p[3], epsilon, 0)
			return []compute.Value{y, mean, variance, gx, gscale, gshift}, err
		})
		var buffers []compute.Buffer
		var in [][]float32
		for i, d := range dimensions {
			buffers = append(buffers, ramp(t, b, uint32(i+1), d...))
			in = append(in, read(t, buffers[i]))
		}
		out, err := e.Execute(buffers, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range batchNormReference(in[0], in[1], in[2], in[3], c, epsilon) {
			got := read(t, out[i])
			for k := range want {
				if math.Abs(float64(got[k])-want[k]) > 2e-5*max(1, math.Abs(want[k])) {
					t.Fatalf("%v: result %d, element %d = %g; want %g", d, i, k, got[k], want[k])
				}
			}
		}
	}
}

func batchNormReference(x, scale, shift, v []float32, c int, epsilon float64) [6][]float64 {
	n := len(x) / c
	var out [6][]float64
	for i, size := range []int{len(x), c, c, len(x), c, c} {
		out[i] = make([]float64, size)
	}
	for k := range c {
		row, g := x[k*n:(k+1)*n], v[k*n:(k+1)*n]
		mean, variance, sum, product := 0.0, 0.0, 0.0, 0.0
		for _, e := range row {
			mean += float64(e) / float64(n)
		}
		for _, e := range row {
			variance += (float64(e) - mean) * (float64(e) - mean) / float64(n)
		}
		deviation := 1 / math.Sqrt(variance+epsilon)
		for i, e := range row {
			sum += float64(g[i])
			product += float64(g[i]) * (float64(e) - mean) * deviation
		}
		out[1][k], out[2][k], out[4][k], out[5][k] = mean, variance, product, sum
		for i, e := range row {
			hat := (float64(e) - mean) * deviation
			out[0][k*n+i] = hat*float64(scale[k]) + float64(shift[k])
			out[3][k*n+i] = float64(scale[k]) * deviation * (float64(g[i]) - sum/float64(n) - hat*product/float64(n))
		}
	}
	return out
}

// TestKernelsDoNotDependOnThreads runs layers, all of them by package kernel, with several thread counts.
func TestKernelsDoNotDependOnThreads(t *testing.T) {
	type builder = func(f compute.Function, p []compute.Value) ([]compute.Value, error)
	same := func(t *testing.T, dimensions [][]int, build builder) {
		t.Helper()
		var first [][]float32
		for threads := 1; threads <= 3; threads++ {
			out := execute(t, newBackend(t, threads), dimensions, build)
			if threads == 1 {
				first = out
				continue
			}
			for i := range out {
				for k, x := range out[i] {
					if math.Float32bits(x) != math.Float32bits(first[i][k]) {
						t.Fatalf("%d threads give %g as element %d of result %d, one gives %g", threads, x, k, i, first[i][k])
					}
				}
			}
		}
	}
	for _, v := range []convolution{
		{c: 16, h: 12, w: 10, n: 70, o: 24, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}},
		{c: 48, h: 6, w: 6, n: 40, o: 64, k: 3, stride: 2, dilation: 1, pad: [2]int{1, 1}},
		{c: 48, h: 16, w: 12, n: 40, o: 64, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}}, // by Winograd's algorithm
	} {
		t.Run(fmt.Sprintf("%+v", v), func(t *testing.T) { same(t, v.shapes(), v.build) })
	}
	v := convolution{c: 9, h: 12, w: 11, n: 40, k: 5, stride: 2, dilation: 1, pad: [2]int{2, 2}}
	t.Run("channelwise", func(t *testing.T) {
		same(t, [][]int{{v.c, v.h, v.w, v.n}, {v.c, 1, v.k, v.k}, {v.c, v.out(v.h), v.out(v.w), v.n}}, v.channelwise(t))
		same(t, v.chainShapes(), normedChain(t, v, hardSwish, swish, false))
		same(t, v.weighedShapes(), normedChain(t, v, rectifier, hardSwish, false))
	})
	t.Run("products", func(t *testing.T) {
		same(t, [][]int{{192, 96}, {192, 320}, {40, 320}}, func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
			y, err := f.DotGeneral(p[0], []int{0}, nil, p[1], []int{0}, nil, compute.DotGeneralConfig{})
			if err != nil {
				return nil, err
			}
			z, err := f.DotGeneral(p[2], []int{1}, nil, p[1], []int{1}, nil, compute.DotGeneralConfig{})
			return []compute.Value{y, z}, err
		})
	})
	t.Run("products in ranges", func(t *testing.T) {
		same(t, [][]int{{70, 2080}, {50, 2080}}, func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
			y, err := f.DotGeneral(p[0], []int{1}, nil, p[1], []int{1}, nil, compute.DotGeneralConfig{})
			return []compute.Value{y}, err
		})
	})
	t.Run("layer normalisation", func(t *testing.T) {
		same(t, [][]int{{40, 30, 41}, {40}, {40}, {40, 30, 41}}, layerNorm(true))
	})
	t.Run("attention", func(t *testing.T) {
		same(t, [][]int{{3 * 3 * 8, 13, 20}, {3 * 8, 13, 20}}, attentionOf(3, 8, 13, 20, 0))
	})
	shape := []int{40, 30, 40}
	t.Run("fused", func(t *testing.T) {
		same(t, [][]int{shape, shape, {40, 1, 1}, {1, 1, 40}}, func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
			return randomProgram(rand.New(rand.NewPCG(5, 5)), shape)(f, p)
		})
	})
}

// TestLowerClasses runs the numeric tests with the instruction classes below that of the machine.
func TestLowerClasses(t *testing.T) {
	if os.Getenv("DARKROOM_KERNELS") != "" {
		t.Skip("this is such a run")
	}
	for _, class := range []string{"avx2", "baseline"} {
		if class == kernel.ISA() {
			break
		}
		cmd := exec.Command(os.Args[0], "-test.run=^(TestConvolutionCHWN|TestBatchNorm|TestKernelsDoNotDependOnThreads|TestFusion|TestCurves|TestChannelwise|TestProducts|TestActivatedNorm|TestNormedChannels|TestPositionSums|TestColumnNorm|TestLayerNorm|TestAttention|TestRecomputation|TestGelu|TestDenseLayer)$")
		cmd.Env = append(os.Environ(), "DARKROOM_KERNELS="+class)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", class, err, out)
		}
	}
}

// TestNaNPropagates: a training that diverges must be seen.
func TestNaNPropagates(t *testing.T) {
	v := convolution{c: 2, h: 3, w: 3, n: 3, o: 2, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}}
	b := newBackend(t, 1)
	e := compiled(t, b, v.shapes(), v.build)
	var inputs []compute.Buffer
	for i, d := range v.shapes() {
		inputs = append(inputs, ramp(t, b, uint32(i+1), d...))
	}
	flat, err := inputs[0].Data()
	if err != nil {
		t.Fatal(err)
	}
	flat.([]float32)[0] = float32(math.NaN())
	out, err := e.Execute(inputs, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 2} { // the output and the kernel gradient
		seen := false
		for _, x := range read(t, out[i]) {
			seen = seen || x != x
		}
		if !seen {
			t.Errorf("result %d hides the NaN", i)
		}
	}
}
