package cpu

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// calculator writes operations of a function and keeps the first error.
type calculator struct {
	t testing.TB
	f compute.Function
}

func (c calculator) ok(v compute.Value, err error) compute.Value {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

func (c calculator) number(x float32) compute.Value {
	return c.ok(c.f.Reshape(c.ok(c.f.Constant([]float32{x}))))
}

func (c calculator) add(a, b compute.Value) compute.Value { return c.ok(c.f.Add(a, b)) }
func (c calculator) mul(a, b compute.Value) compute.Value { return c.ok(c.f.Mul(a, b)) }
func (c calculator) where(is, a, b compute.Value) compute.Value {
	return c.ok(c.f.Where(is, a, b))
}

// curves are activations with their gradients as package learn writes them.
var curves = map[activation]func(c calculator, y, v compute.Value) (z, g compute.Value){
	rectifier: func(c calculator, y, v compute.Value) (z, g compute.Value) {
		z = c.ok(c.f.Max(y, c.number(0)))
		return z, c.where(c.ok(c.f.GreaterThan(z, c.number(0))), v, c.number(0))
	},
	rectifier6: func(c calculator, y, v compute.Value) (z, g compute.Value) {
		z = c.ok(c.f.Min(c.ok(c.f.Max(y, c.number(0))), c.number(6)))
		g = c.where(c.ok(c.f.GreaterThan(z, c.number(0))), v, c.number(0))
		return z, c.where(c.ok(c.f.LessThan(z, c.number(6))), g, c.number(0))
	},
	hardSwish: func(c calculator, y, v compute.Value) (z, g compute.Value) {
		gate := c.ok(c.f.Max(c.ok(c.f.Min(c.add(c.mul(y, c.number(1.0/6)), c.number(0.5)), c.number(1))), c.number(0)))
		slope := c.where(c.ok(c.f.Equal(gate, c.number(1))), c.number(0), c.mul(c.mul(v, y), c.number(1.0/6)))
		slope = c.where(c.ok(c.f.Equal(gate, c.number(0))), c.number(0), slope)
		return c.mul(y, gate), c.add(c.mul(v, gate), slope)
	},
	swish: func(c calculator, y, v compute.Value) (z, g compute.Value) {
		s := c.ok(c.f.Logistic(y))
		slope := c.mul(c.mul(v, y), c.mul(s, c.ok(c.f.Sub(c.number(1), s))))
		return c.mul(y, s), c.add(c.mul(v, s), slope)
	},
}

// activatedNorm is a normalisation with an activation and the gradients through both. Apart, what lies in between is seen from outside, so that
// nothing can be joined.
func activatedNorm(t *testing.T, kind activation, apart bool) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	return func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
		y, mean, variance, err := f.BatchNormForTraining(p[0], p[1], p[2], 1e-3, 0)
		if err != nil {
			return nil, err
		}
		c := calculator{t, f}
		if apart {
			y = c.ok(f.Neg(c.ok(f.Neg(y))))
		}
		z, g := curves[kind](c, y, p[3])
		gx, gscale, gshift, err := f.BatchNormGradient(p[0], p[1], mean, variance, g, 1e-3, 0)
		return []compute.Value{z, mean, gx, gscale, gshift}, err
	}
}

// TestActivatedNorm compares a normalisation with an activation, and the gradient through both, with the operators one by one.
func TestActivatedNorm(t *testing.T) {
	for kind := range curves {
		for _, d := range [][]int{{3, 5, 7, 2}, {4, 33, 9, 16}, {2, 1, 1, 1}, {3, 70, 61, 3}} {
			t.Run(fmt.Sprint(kind, d), func(t *testing.T) {
				dimensions := [][]int{d, {d[0]}, {d[0]}, d}
				b := newBackend(t, 2)
				compare(t, execute(t, b, dimensions, spread(activatedNorm(t, kind, false))), execute(t, b, dimensions, spread(activatedNorm(t, kind, true))), 2e-5)
			})
		}
	}
}

// TestRepeatedGradientBehindANorm has the activation's gradient as a pooling gives it: one number for each channel and image, which the positions
// repeat. It has the values of a whole one.
func TestRepeatedGradientBehindANorm(t *testing.T) {
	for kind := range curves {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			d := []int{4, 33, 9, 16}
			repeated := func(apart bool) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
				build := spread(activatedNorm(t, kind, apart))
				return func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
					v, err := f.BroadcastInDim(p[3], shapes.Make(dtypes.Float32, d...), []int{0, 3})
					if err != nil {
						return nil, err
					}
					return build(f, []compute.Value{p[0], p[1], p[2], v})
				}
			}
			b := newBackend(t, 2)
			dimensions := [][]int{d, {d[0]}, {d[0]}, {d[0], d[3]}}
			compare(t, execute(t, b, dimensions, repeated(false)), execute(t, b, dimensions, repeated(true)), 2e-5)
			if got := joinedOperators(t, dimensions, repeated(false)); !slices.Contains(got, "ActivatedBatchNormGradient") || slices.Contains(got, "Elementwise") {
				t.Errorf("it is %v", got)
			}
		})
	}
}

// spread makes the scale so large that an activation meets all its kinks.
func spread(build func(f compute.Function, p []compute.Value) ([]compute.Value, error)) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	return func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
		seven, err := f.Constant([]float32{7})
		if err != nil {
			return nil, err
		}
		if seven, err = f.Reshape(seven); err != nil {
			return nil, err
		}
		scale, err := f.Add(p[1], seven)
		if err != nil {
			return nil, err
		}
		return build(f, []compute.Value{p[0], scale, p[2], p[3]})
	}
}

// TestActivationIsPartOfTheNorm looks at the nodes of such a computation, and at those of one whose normalisation is seen from outside too.
func TestActivationIsPartOfTheNorm(t *testing.T) {
	for kind := range curves {
		for _, seen := range []bool{false, true} {
			d := []int{4, 6, 6, 16}
			build, want := activatedNorm(t, kind, false), []string{"ActivatedBatchNormGradient", "BatchNormTraining"}
			if seen {
				build, want = alsoNormed(build), append(want, "Elementwise")
				if kind == rectifier {
					want[2] = "Max"
				}
			}
			if operators := joinedOperators(t, [][]int{d, {4}, {4}, d}, build); !slices.Equal(operators, want) {
				t.Errorf("activation %d, seen from outside %t: %v; want %v", kind, seen, operators, want)
			}
		}
	}
}

// alsoNormed makes what a normalisation gives a result too.
func alsoNormed(build func(f compute.Function, p []compute.Value) ([]compute.Value, error)) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	return func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
		results, err := build(f, p)
		for _, n := range f.(*Function).nodes {
			if n.operator == "BatchNormTraining" {
				results = append(results, n.outputs[0])
			}
		}
		return results, err
	}
}
