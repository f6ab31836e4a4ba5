package learn

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/learn/cpu"
)

// ntXentCase is an answer of testdata/ntxent.py.
type ntXentCase struct {
	N, D        int
	Temperature float64
	Z           []float64 // (N, D)
	Loss        float64
	Gradient    []float64
}

func ntXentCases(t *testing.T) []ntXentCase {
	t.Helper()
	b, err := os.ReadFile("testdata/ntxent.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []ntXentCase
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// near compares the lists relative to the largest number.
func near(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	size := 0.0
	for _, v := range want {
		size = max(size, math.Abs(v))
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= tolerance*size) {
			t.Errorf("%s: number %d is %g, want %g", what, i, got[i], want[i])
			return
		}
	}
}

func TestNTXentOnTheHost(t *testing.T) {
	for _, c := range ntXentCases(t) {
		z := make([]float32, len(c.Z))
		for i, v := range c.Z {
			z[i] = float32(v)
		}
		loss, gradient, _ := NTXentGradient(z, c.N, c.D, c.Temperature)
		near(t, "loss", []float64{loss}, []float64{c.Loss}, 1e-10)
		wide := make([]float64, len(gradient))
		for i, v := range gradient {
			wide[i] = float64(v)
		}
		near(t, "gradient", wide, c.Gradient, 1e-6)
	}
}

func TestNTXentOnDevices(t *testing.T) {
	goDevice, err := gobackend.New("")
	if err != nil {
		t.Fatal(err)
	}
	defer goDevice.Finalize()
	needLibrary(t)
	runtime, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.Finalize()
	for _, c := range ntXentCases(t) {
		loss, gradient := ntXentOn(t, goDevice, c, func(v float64) any { return v })
		near(t, "loss in float64", []float64{loss}, []float64{c.Loss}, 1e-10)
		near(t, "gradient in float64", gradient, c.Gradient, 1e-9)
		loss, gradient = ntXentOn(t, runtime, c, func(v float64) any { return float32(v) })
		near(t, "loss on the device", []float64{loss}, []float64{c.Loss}, 1e-5)
		near(t, "gradient on the device", gradient, c.Gradient, 1e-5)
	}
}

// ntXentOn computes the loss and its gradient (N, D) on a device in the type that convert gives.
func ntXentOn(t *testing.T, backend compute.Backend, c ntXentCase, convert func(float64) any) (float64, []float64) {
	t.Helper()
	flat := make([]any, len(c.Z)) // (D, N)
	for i := range c.N {
		for k := range c.D {
			flat[k*c.N+i] = convert(c.Z[i*c.D+k])
		}
	}
	var argument any
	if _, ok := flat[0].(float32); ok {
		argument = typed[float32](flat)
	} else {
		argument = typed[float64](flat)
	}
	out, err := graph.ExecOnceN(backend, func(x *graph.Node) []*graph.Node {
		z := graph.Reshape(x, c.D, c.N)
		loss, _ := ntXent(z, c.Temperature)
		return []*graph.Node{graph.Reshape(loss, 1), graph.Reshape(Differentiate(loss, z)[0], c.D*c.N)}
	}, argument)
	if err != nil {
		t.Fatal(err)
	}
	var lists [2][]float64
	for i, o := range out {
		switch v := o.Value().(type) {
		case []float32:
			for _, f := range v {
				lists[i] = append(lists[i], float64(f))
			}
		case []float64:
			lists[i] = v
		}
	}
	gradient := make([]float64, c.N*c.D)
	for i := range c.N {
		for k := range c.D {
			gradient[i*c.D+k] = lists[1][k*c.N+i]
		}
	}
	return lists[0][0], gradient
}

func typed[T any](list []any) []T {
	out := make([]T, len(list))
	for i, v := range list {
		out[i] = v.(T)
	}
	return out
}

func TestABatchWithoutNegativesIsRefused(t *testing.T) {
	for _, n := range []int{2, 5} {
		if _, err := (NTXent{"projection", 0.5}).Build(&Step{Batch: n}); err == nil {
			t.Errorf("a batch of %d views was accepted", n)
		}
	}
}
