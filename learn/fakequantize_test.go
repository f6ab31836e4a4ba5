package learn

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/learn/cpu"
	"github.com/darkroom-dev/darkroom/onnx"
)

// fakeCase is a case of testdata/fakequantize.json.
type fakeCase struct {
	Shape         []int     `json:"shape"`
	Scales        []float32 `json:"scales"`
	Axis          int       `json:"axis"`
	Low           int       `json:"low"`
	High          int       `json:"high"`
	X             []float32 `json:"x"`
	V             []float32 `json:"v"`
	Y             []float32 `json:"y"`
	XGradient     []float32 `json:"x_gradient"`
	ScaleGradient []float32 `json:"scale_gradient"`
}

// fake computes y and the gradients of x and of the factor for a gradient v of y, with factors of f.
func fake(t *testing.T, f onnx.FakeQuantize, dims []int, x, v, factors []float32) (y, gx, gf []float32) {
	t.Helper()
	needLibrary(t)
	backend, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	g := graph.NewGraph(backend, "fake")
	var factorDims []int
	if len(factors) > 1 {
		factorDims = []int{len(factors)}
	}
	err = build(func() error {
		nodes := []*graph.Node{graph.Parameter(g, "x", shapes.Make(dtypes.Float32, dims...)), graph.Parameter(g, "f", shapes.Make(dtypes.Float32, factorDims...)),
			graph.Parameter(g, "v", shapes.Make(dtypes.Float32, dims...))}
		l := &lowering{g: g, training: true, dtype: dtypes.Float32, values: map[string]value{}, canonical: map[int]canonical{}, used: map[string]value{}}
		l.values["x"] = value{node: nodes[0], axes: plain(len(dims)), trained: true, last: -1, id: l.next()}
		l.values["f"] = value{node: nodes[1], axes: plain(len(factorDims)), trained: true, last: -1, id: l.next()}
		if err := fakeQuantize(l, f.Node("y", "x", "f")); err != nil {
			return err
		}
		back := l.tape[len(l.tape)-1].backward(nodes[2])
		return g.Compile(l.values["y"].node, back[0], back[1])
	})
	if err != nil {
		t.Fatal(err)
	}
	var inputs []compute.Buffer
	for i, list := range [][]float32{x, factors, v} {
		b, err := backend.BufferFromFlatData(0, list, shapes.Make(dtypes.Float32, [][]int{dims, factorDims, dims}[i]...))
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, b)
	}
	out, err := g.Executable().Execute(inputs, make([]bool, 3), 0)
	if err != nil {
		t.Fatal(err)
	}
	var lists [3][]float32
	for i, b := range out {
		if lists[i], err = floats(b); err != nil {
			t.Fatal(err)
		}
	}
	return lists[0], lists[1], lists[2]
}

// The values and the gradients are those of PyTorch's operators; that of the factor is the scale's times where the scale started.
func TestFakeQuantizationIsPyTorchs(t *testing.T) {
	text, err := os.ReadFile("testdata/fakequantize.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []fakeCase
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		factors := slices.Repeat([]float32{1}, len(c.Scales))
		y, gx, gf := fake(t, onnx.FakeQuantize{Scales: c.Scales, Axis: c.Axis, Low: c.Low, High: c.High}, c.Shape, c.X, c.V, factors)
		clipped := 0
		for k := range c.X {
			if math.Abs(float64(y[k]-c.Y[k])) > 1e-6*math.Abs(float64(c.Y[k])) || gx[k] != c.XGradient[k] {
				t.Errorf("case %d, element %d: %g with the gradient %g, in PyTorch %g and %g", i, k, y[k], gx[k], c.Y[k], c.XGradient[k])
			}
			if gx[k] == 0 {
				clipped++
			}
		}
		for k, s := range c.Scales {
			if got, want := float64(gf[k]/s), float64(c.ScaleGradient[k]); math.Abs(got-want) > 1e-4*math.Abs(want)+1e-6 {
				t.Errorf("case %d, scale %d: gradient %g, in PyTorch %g", i, k, got, want)
			}
		}
		if i == 1 && clipped == 0 || clipped == len(c.X) {
			t.Errorf("case %d: %d of %d elements are clipped", i, clipped, len(c.X))
		}
	}
}

// Halves are rounded to the even code, a factor scales, and outside the range, where the function is smooth in the scale, its gradient is the finite difference.
func TestFakeQuantizationRoundsHalfToEven(t *testing.T) {
	f := onnx.FakeQuantize{Scales: []float32{0.25}, Low: -3, High: 100}
	x := []float32{0.25, 0.75, 1.25, -0.25, -0.75, 1000, -1000}
	v := []float32{0, 0, 0, 0, 0, 1, 0.5}
	y, gx, gf := fake(t, f, []int{7}, x, v, []float32{2}) // the scale is 0.5
	if want := []float32{0, 1, 1, 0, -1, 50, -1.5}; !slices.Equal(y, want) {
		t.Errorf("%v, not %v", y, want)
	}
	if gx[5] != 0 || gx[6] != 0 {
		t.Errorf("a gradient passes outside the range: %v", gx)
	}
	more, _, _ := fake(t, f, []int{7}, x, v, []float32{2.5})
	change := 0.0 // of Σ v·y by the factor
	for i := range v {
		change += float64(v[i]*(more[i]-y[i])) / 0.5
	}
	if got := float64(gf[0]); math.Abs(got-change) > 1e-5*math.Abs(change) {
		t.Errorf("the gradient of the factor is %g, by finite differences %g", got, change)
	}
	if y, _, _ := fake(t, f, []int{1}, []float32{10}, []float32{0}, []float32{-5}); y[0] != 100*0.25/16 {
		t.Errorf("with a factor below the least: %g", y[0])
	}
}

// What settles stays as it is from that step on, and not before.
func TestSettledParametersStay(t *testing.T) {
	c := config(t)
	c.Validation, c.Epochs, c.Schedule = nil, 1, Schedule{}
	once, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.Epochs = 2
	p, err := makePlan(c.Model)
	if err != nil {
		t.Fatal(err)
	}
	settled, free := p.parameters[0].name, p.parameters[len(p.parameters)-1].name
	c.Settle = Settle{Share: 0.5, Patterns: []string{settled}}
	twice, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	of := func(r *Result, name string) []float32 { t, _ := r.Last.Tensor(name); return t.Data }
	start, _ := c.Model.Tensor(settled)
	if !slices.Equal(of(once, settled), of(twice, settled)) || slices.Equal(start.Data, of(twice, settled)) {
		t.Errorf("%s moved after it had settled, or not before", settled)
	}
	if slices.Equal(of(once, free), of(twice, free)) {
		t.Errorf("%s stopped moving too", free)
	}
}
