package cpu

import (
	"math"
	"testing"

	"github.com/gomlx/compute"
)

// testFunction is what tests build computations of: operations whose errors are noted once.
type testFunction struct {
	compute.Function
	err error
}

func (f *testFunction) must(v compute.Value, err error) compute.Value {
	if err != nil && f.err == nil {
		f.err = err
	}
	if v == nil {
		return (*value)(nil)
	}
	return v
}

// wide repeats one number for each row of (D, T, N).
func (f *testFunction) wide(v compute.Value, d []int) compute.Value {
	return f.must(f.BroadcastInDim(f.must(f.Reshape(v, d[0], 1, 1)), float32Shape(d), []int{0, 1, 2}))
}

// layerNorm builds a layer normalisation of (D, T, N) as learn does, with all its gradients and an addition after that of x. Where it is not to be joined, what lies
// between is seen from outside.
func layerNorm(joined bool) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	return func(plain compute.Function, p []compute.Value) ([]compute.Value, error) {
		f := &testFunction{Function: plain}
		shape, err := plain.Builder().OpShape(p[0])
		if err != nil {
			return nil, err
		}
		d := shape.Dimensions
		columns := shape.Size() / d[0]
		number := func(x float32) compute.Value {
			return f.must(f.BroadcastInDim(f.must(f.Constant([]float32{x})), float32Shape([]int{columns}), nil))
		}
		one, zero := number(1), number(0)
		x, scale := f.must(f.Reshape(p[0], d[0], columns)), f.wide(p[1], d)
		hat, mean, variance, err := f.BatchNormForTraining(x, one, zero, 1e-4, 1)
		if err != nil {
			return nil, err
		}
		normal := f.must(f.Reshape(hat, d...))
		y := f.must(f.Add(f.must(f.Mul(normal, scale)), f.wide(p[2], d)))
		v := f.must(f.Mul(p[3], y)) // what flows back
		gshift := f.must(f.ReduceSum(v, 1, 2))
		gscale := f.must(f.ReduceSum(f.must(f.Mul(v, normal)), 1, 2))
		u := f.must(f.Mul(v, scale))
		gx, _, _, err := f.BatchNormGradient(x, one, mean, variance, f.must(f.Reshape(u, d[0], columns)), 1e-4, 1)
		if err != nil {
			return nil, err
		}
		sum := f.must(f.Add(f.must(f.Reshape(gx, d...)), p[3]))
		results := []compute.Value{y, sum, gscale, gshift}
		if !joined {
			results = append(results, hat, u, gx)
		}
		return results, f.err
	}
}

var layerNormShapes = [][]int{{5, 3, 7}, {192, 5, 13}, {33, 8, 16}, {2, 1, 1}, {130, 1, 64}}

// TestLayerNorm compares a layer normalisation in one pass, and its gradients in another, with their parts, and looks that it is so.
func TestLayerNorm(t *testing.T) {
	b := newBackend(t, 2)
	for _, d := range layerNormShapes {
		dimensions := [][]int{d, {d[0]}, {d[0]}, d}
		compare(t, execute(t, b, dimensions, layerNorm(true)), execute(t, b, dimensions, layerNorm(false))[:4], 2e-5)
		counts := operatorsOf(t, b, dimensions, layerNorm(true))
		if counts["LayerNorm"] != 1 || counts["AddedLayerNormGradient"] != 1 || counts["ReduceSum"]+counts["ColumnNorm"]+counts["ColumnNormGradient"]+counts["Add"] > 0 {
			t.Errorf("%v: a layer normalisation is %v", d, counts)
		}
	}
}

// TestColumnNorm compares a normalisation of columns and its gradients with the definition in float64.
func TestColumnNorm(t *testing.T) {
	b := newBackend(t, 2)
	for _, d := range layerNormShapes {
		d = []int{d[0], d[1] * d[2]}
		const epsilon = 1e-3
		build := func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
			y, mean, variance, err := f.BatchNormForTraining(p[0], p[1], p[2], epsilon, 1)
			if err != nil {
				return nil, err
			}
			gx, gscale, gshift, err := f.BatchNormGradient(p[0], p[1], mean, variance, p[3], epsilon, 1)
			return []compute.Value{y, mean, variance, gx, gscale, gshift}, err
		}
		got := execute(t, b, [][]int{d, {d[1]}, {d[1]}, d}, build)
		turned := func(seed uint32) []float32 { return transposed(read(t, ramp(t, b, seed, d...)), d[0], d[1]) }
		want := batchNormReference(turned(1), read(t, ramp(t, b, 2, d[1])), read(t, ramp(t, b, 3, d[1])), turned(4), d[1], epsilon)
		for i, list := range want {
			own := got[i]
			if i == 0 || i == 3 {
				own = transposed(own, d[0], d[1])
			}
			for k, w := range list {
				if math.Abs(float64(own[k])-w) > 3e-5*max(1, math.Abs(w)) {
					t.Fatalf("%v: result %d, element %d = %g; want %g", d, i, k, own[k], w)
				}
			}
		}
	}
}

func transposed(list []float32, rows, columns int) []float32 {
	out := make([]float32, len(list))
	for r := range rows {
		for c := range columns {
			out[c*rows+r] = list[r*columns+c]
		}
	}
	return out
}
