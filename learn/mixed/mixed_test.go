package mixed

import (
	"math"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// product computes [a, 1] · [b, 1]ᵀ on the device.
func product(t *testing.T, device compute.Backend, a, b float32) float32 {
	t.Helper()
	g := graph.NewGraph(device, "product")
	x := graph.Parameter(g, "x", shapes.Make(dtypes.Float32, 1, 2))
	y := graph.Parameter(g, "y", shapes.Make(dtypes.Float32, 2, 1))
	z := graph.Dot(x, y).General([]int{1}, nil, []int{0}, nil)
	if z.DType() != dtypes.Float32 {
		t.Errorf("the trainer sees %s", z.DType())
	}
	return run(t, g, device, z, []float32{a, 1}, []float32{b, 1})
}

// convolution computes a·b as a convolution of one pixel.
func convolution(t *testing.T, device compute.Backend, a, b float32) float32 {
	t.Helper()
	g := graph.NewGraph(device, "convolution")
	x := graph.Parameter(g, "x", shapes.Make(dtypes.Float32, 1, 1, 1, 1))
	y := graph.Parameter(g, "y", shapes.Make(dtypes.Float32, 1, 1, 1, 1))
	axes := graph.ConvolveAxesConfig{InputBatch: 0, InputChannels: 1, InputSpatial: []int{2, 3}, KernelOutputChannels: 0, KernelInputChannels: 1, KernelSpatial: []int{2, 3},
		OutputBatch: 0, OutputChannels: 1, OutputSpatial: []int{2, 3}}
	z := graph.ConvGeneral(x, y, axes, []int{1, 1}, nil, nil, nil, 1, 1)
	return run(t, g, device, z, []float32{a}, []float32{b})
}

func run(t *testing.T, g *graph.Graph, device compute.Backend, z *graph.Node, inputs ...[]float32) float32 {
	t.Helper()
	if err := g.Compile(z); err != nil {
		t.Fatal(err)
	}
	_, inputShapes := g.Executable().Inputs()
	var buffers []compute.Buffer
	for i, list := range inputs {
		b, err := device.BufferFromFlatData(0, list, inputShapes[i])
		if err != nil {
			t.Fatal(err)
		}
		buffers = append(buffers, b)
	}
	out, err := g.Executable().Execute(buffers, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	one := make([]float32, 1)
	if err := out[0].ToFlatData(one); err != nil {
		t.Fatal(err)
	}
	return one[0]
}

// Operands are rounded to the narrow type, sums are not.
func TestProductsAreNarrow(t *testing.T) {
	inner, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	const a = 1 + 1.0/512 + 1.0/8192 // bfloat16 keeps 8 bits of it, float16 11
	for _, c := range []struct {
		narrow  dtypes.DType
		rounded float32
	}{{dtypes.BFloat16, 1}, {dtypes.Float16, 1 + 1.0/512}} {
		t.Run(c.narrow.String(), func(t *testing.T) {
			device, err := New(inner, c.narrow)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := product(t, device, a, 3), c.rounded*3+1; got != want {
				t.Errorf("product %v, want %v", got, want)
			}
			if got := convolution(t, device, a, 1); got != c.rounded {
				t.Errorf("convolution %v, want %v", got, c.rounded)
			}
			if got := device.(interface{ NarrowRange() bool }).NarrowRange(); got != (c.narrow == dtypes.Float16) {
				t.Errorf("its range is narrow: %v", got)
			}
			if !strings.Contains(device.Description(), c.narrow.String()) {
				t.Errorf("description %q", device.Description())
			}
		})
	}
	if got := product(t, inner, a, 3); math.Abs(float64(got)-(a*3+1)) > 1e-6 {
		t.Errorf("the device inside gives %v", got)
	}
}

func TestRefusals(t *testing.T) {
	inner, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(inner, dtypes.Int8); err == nil {
		t.Error("int8 was taken for a mixed precision")
	}
	if _, err := New(without{inner}, dtypes.Float16); err == nil || !strings.Contains(err.Error(), "does not compute in") {
		t.Errorf("a device without the type: %v", err)
	}
}

// without is a device that has no narrow types.
type without struct{ compute.Backend }

func (w without) Capabilities() compute.Capabilities {
	c := w.Backend.Capabilities().Clone()
	delete(c.DTypes, dtypes.Float16)
	return c
}
