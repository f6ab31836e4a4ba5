package cpu

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/compute/support/testutil"
)

// compiled builds, returns and compiles a computation of float32 parameters with those dimensions.
func compiled(t testing.TB, b compute.Backend, parameters [][]int, build func(f compute.Function, p []compute.Value) ([]compute.Value, error)) compute.Executable {
	t.Helper()
	builder := b.Builder(t.Name())
	f := builder.Main()
	var list []compute.Value
	for i, dimensions := range parameters {
		p, err := f.Parameter(fmt.Sprint("p", i), shapes.Make(dtypes.Float32, dimensions...), nil)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	results, err := build(f, list)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Return(results, nil); err != nil {
		t.Fatal(err)
	}
	e, err := builder.Compile()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Finalize)
	return e
}

// ramp returns a buffer of n values that look random and are the same everywhere.
func ramp(t testing.TB, b compute.Backend, seed uint32, dimensions ...int) compute.Buffer {
	t.Helper()
	shape := shapes.Make(dtypes.Float32, dimensions...)
	flat := make([]float32, shape.Size())
	for i := range flat {
		x := (uint32(i) + seed) * 2654435761
		x ^= x >> 15
		x *= 2246822519
		flat[i] = float32(x>>8)/(1<<24) - 0.5
	}
	buffer, err := b.BufferFromFlatData(0, flat, shape)
	if err != nil {
		t.Fatal(err)
	}
	return buffer
}

func read(t testing.TB, buffer compute.Buffer) []float32 {
	t.Helper()
	shape, err := buffer.Shape()
	if err != nil {
		t.Fatal(err)
	}
	flat := make([]float32, shape.Size())
	if err := buffer.ToFlatData(flat); err != nil {
		t.Fatal(err)
	}
	return flat
}

// TestElementwiseValues compares with Go's math package, where the compliance suite is loose: near 0 and at the ends.
func TestElementwiseValues(t *testing.T) {
	b := newBackend(t, 1)
	xs := []float32{0, 1e-7, -1e-7, 1e-4, -1e-4, 0.5, -0.5, 3, 80, 1e20, float32(math.Inf(1))}
	for _, c := range []struct {
		name  string
		apply func(f compute.Function, x compute.Value) (compute.Value, error)
		want  func(x float64) float64
	}{
		{"Log1p", compute.Function.Log1p, math.Log1p},
		{"Expm1", compute.Function.Expm1, math.Expm1},
		{"Rsqrt", compute.Function.Rsqrt, func(x float64) float64 { return 1 / math.Sqrt(x) }},
		{"Logistic", compute.Function.Logistic, func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }},
		{"Tanh", compute.Function.Tanh, math.Tanh},
		{"Erf", compute.Function.Erf, math.Erf},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := testutil.Exec1(b, []any{xs}, func(f compute.Function, p []compute.Value) (compute.Value, error) { return c.apply(f, p[0]) })
			if err != nil {
				t.Fatal(err)
			}
			for i, y := range got.([]float32) {
				want := float32(c.want(float64(xs[i])))
				if y == want || (y != y && want != want) {
					continue
				}
				if bound := 2e-6*math.Abs(float64(want)) + 1e-12; !(math.Abs(float64(y-want)) <= bound) {
					t.Errorf("%s(%g) = %g; want %g", c.name, xs[i], y, want)
				}
			}
		})
	}
}

// TestBroadcastIsNotMaterialised computes with repeated operands, whose repeated copies the graph leaves out, and with
// one whose copy is needed because it is a result too.
func TestBroadcastIsNotMaterialised(t *testing.T) {
	b := newBackend(t, 1)
	wide := shapes.Make(dtypes.Float32, 2, 3)
	got, err := testutil.Exec(b, []any{[]float32{1, 2}, []float32{10, 20, 30}}, func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
		column, err := f.BroadcastInDim(p[0], wide, []int{0})
		if err != nil {
			return nil, err
		}
		row, err := f.BroadcastInDim(p[1], wide, []int{1})
		if err != nil {
			return nil, err
		}
		both, err := f.Add(column, row)
		if err != nil {
			return nil, err
		}
		same, err := f.Mul(column, column)
		if err != nil {
			return nil, err
		}
		return []compute.Value{both, same, row}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []any{[][]float32{{11, 21, 31}, {12, 22, 32}}, [][]float32{{1, 1, 1}, {4, 4, 4}}, [][]float32{{10, 20, 30}, {10, 20, 30}}}
	for i := range want {
		if fmt.Sprint(got[i]) != fmt.Sprint(want[i]) {
			t.Errorf("result %d = %v; want %v", i, got[i], want[i])
		}
	}
}

// TestResults returns everything that is not simply an operator's output.
func TestResults(t *testing.T) {
	b := newBackend(t, 1)
	got, err := testutil.Exec(b, []any{[]float32{1, 2}, float32(5)}, func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
		constant, err := f.Constant([]int32{7, 8, 9}, 3)
		if err != nil {
			return nil, err
		}
		sum, err := f.Add(p[0], p[1])
		if err != nil {
			return nil, err
		}
		scalar, err := f.ReduceSum(p[0])
		if err != nil {
			return nil, err
		}
		negative, err := f.Neg(sum)
		if err != nil {
			return nil, err
		}
		return []compute.Value{p[0], p[1], constant, sum, sum, scalar, p[0], negative}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "[[1 2] 5 [7 8 9] [6 7] [6 7] 3 [1 2] [-6 -7]]"; fmt.Sprint(got) != want {
		t.Fatalf("results %v; want %v", got, want)
	}
}

// TestComputationWithoutParameters needs an input that nobody sees.
func TestComputationWithoutParameters(t *testing.T) {
	b := newBackend(t, 1)
	got, err := testutil.Exec1(b, nil, func(f compute.Function, _ []compute.Value) (compute.Value, error) {
		return f.Iota(shapes.Make(dtypes.Int32, 2, 3), 1)
	})
	if err != nil || fmt.Sprint(got) != "[[0 1 2] [0 1 2]]" {
		t.Fatalf("Iota = %v, %v", got, err)
	}
}

func TestErrorsNameTheirCause(t *testing.T) {
	b, other := newBackend(t, 1), newBackend(t, 1)
	builder := b.Builder("errors")
	f := builder.Main()
	x, err := f.Parameter("x", shapes.Make(dtypes.Float32, 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Builder("other").Main().Parameter("y", shapes.Make(dtypes.Float32, 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v; want one that contains %q", what, err, want)
		}
	}
	_, err = f.Clz(x)
	check("an operation that is not here", err, "Clz")
	if !errors.Is(err, compute.ErrNotImplemented) {
		t.Errorf("Clz: %v is not compute.ErrNotImplemented", err)
	}
	_, err = f.Add(x, foreign)
	check("a value of another computation", err, "another computation")
	_, err = f.Add(x, 3)
	check("no value at all", err, "int")
	_, err = f.Parameter("z", shapes.Make(dtypes.Complex64, 2), nil)
	check("an element type that is not here", err, "Complex64")
	_, err = f.Constant(5)
	check("a constant that is not a slice", err, "slice")
	_, err = builder.Compile()
	check("compiling too early", err, "not returned")
	_, err = New(Options{})
	check("no threads", err, "threads")

	e := compiled(t, b, [][]int{{2}}, func(f compute.Function, p []compute.Value) ([]compute.Value, error) { return p, nil })
	_, err = e.Execute(nil, nil, 0)
	check("too few inputs", err, "want 1")
	_, err = e.Execute([]compute.Buffer{ramp(t, other, 1, 2)}, nil, 0)
	check("a buffer of another device", err, "another device")
	_, err = e.Execute([]compute.Buffer{ramp(t, b, 1, 3)}, nil, 0)
	check("a buffer of another shape", err, "shape")
	spent := ramp(t, b, 1, 2)
	if err := spent.Finalize(); err != nil {
		t.Fatal(err)
	}
	_, err = e.Execute([]compute.Buffer{spent}, nil, 0)
	check("a finalized buffer", err, "finalized")
	e.Finalize()
	_, err = e.Execute([]compute.Buffer{ramp(t, b, 1, 2)}, nil, 0)
	check("a finalized computation", err, "finalized")
}

// TestDonatedMemoryIsReused runs w ← w - g and looks where the results lie: after two steps in the memory of the
// donated weights of before, and never in that of an input that was not donated.
func TestDonatedMemoryIsReused(t *testing.T) {
	b := newBackend(t, 1)
	step := compiled(t, b, [][]int{{1000}, {1000}}, func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
		next, err := f.Sub(p[0], p[1])
		return []compute.Value{next}, err
	})
	weights, gradient := ramp(t, b, 1, 1000), ramp(t, b, 2, 1000)
	want := read(t, weights)
	address := func(buffer compute.Buffer) *float32 {
		flat, err := buffer.Data()
		if err != nil {
			t.Fatal(err)
		}
		return &flat.([]float32)[0]
	}
	seen := map[*float32]bool{}
	g, kept := read(t, gradient), address(gradient)
	for range 20 {
		out, err := step.Execute([]compute.Buffer{weights, gradient}, []bool{true, false}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := weights.Data(); err == nil {
			t.Fatal("a donated buffer can still be read")
		}
		weights = out[0]
		seen[address(weights)] = true
		for i := range want {
			want[i] -= g[i]
		}
	}
	if len(seen) > 2 || seen[kept] {
		t.Errorf("20 steps used %d memories for the weights (the gradient's: %v); want 2", len(seen), seen[kept])
	}
	if got := read(t, weights); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Error("the weights are not what 20 subtractions give")
	}
}

func TestMemoryIsAligned(t *testing.T) {
	for size := 1; size < 300; size++ {
		if got := alignedBytes(size); len(got) != size || uintptrOf(got)%alignment != 0 {
			t.Fatalf("alignedBytes(%d): %d bytes at %x", size, len(got), uintptrOf(got))
		}
	}
}

// TestConcurrentExecutions runs one computation from several goroutines, for the race detector and for equal results.
func TestConcurrentExecutions(t *testing.T) {
	b := newBackend(t, 2)
	e := compiled(t, b, [][]int{{64, 96}, {96, 32}}, product)
	x, y := ramp(t, b, 1, 64, 96), ramp(t, b, 2, 96, 32)
	reference := execute1(t, e, x, y)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 10 {
				out, err := e.Execute([]compute.Buffer{x, y}, nil, 0)
				if err != nil {
					t.Error(err)
					return
				}
				if fmt.Sprint(read(t, out[0])) != reference {
					t.Error("another result")
				}
				if err := out[0].Finalize(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}

func product(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	y, err := f.DotGeneral(p[0], []int{1}, nil, p[1], []int{0}, nil, compute.DotGeneralConfig{})
	return []compute.Value{y}, err
}

func execute1(t testing.TB, e compute.Executable, inputs ...compute.Buffer) string {
	t.Helper()
	out, err := e.Execute(inputs, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(read(t, out[0]))
}

// TestMemoryDoesNotGrow runs many steps without finalizing any result: the garbage collector must free memory and
// ONNX Runtime's values alike.
func TestMemoryDoesNotGrow(t *testing.T) {
	b := newBackend(t, 1)
	e := compiled(t, b, [][]int{{1 << 20}}, func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
		y, err := f.Neg(p[0])
		return []compute.Value{y}, err
	})
	x := ramp(t, b, 1, 1<<20)
	var after runtime.MemStats
	for range 200 { // 800 MiB in all
		if _, err := e.Execute([]compute.Buffer{x}, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if after.HeapAlloc > 200<<20 {
		t.Errorf("%d MiB are held after 200 results of 4 MiB that nobody needs", after.HeapAlloc>>20)
	}
}

func uintptrOf(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
