package cpu

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gomlx/compute"
)

// positionSums are the sums of a value over its middle axes, of it and another, and one that leaves an axis.
func positionSums(t *testing.T) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	return func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
		c := calculator{t, f}
		return []compute.Value{c.ok(f.ReduceSum(p[0], 1, 2)), c.ok(f.ReduceSum(c.mul(p[0], p[1]), 1, 2)), c.ok(f.ReduceSum(c.mul(p[0], p[1]), 1))}, nil
	}
}

func TestPositionSums(t *testing.T) {
	for _, d := range [][]int{{9, 6, 6, 64}, {8, 3, 50, 5}, {33, 9, 8, 70}, {12, 2, 1, 1}} {
		t.Run(fmt.Sprint(d), func(t *testing.T) {
			compare(t, execute(t, newBackend(t, 2), [][]int{d, d}, positionSums(t)), execute(t, plainBackend(t), [][]int{d, d}, positionSums(t)), 2e-5)
		})
	}
}

func TestPositionSumsAreJoined(t *testing.T) {
	d := []int{9, 6, 6, 16}
	got := joinedOperators(t, [][]int{d, d}, positionSums(t))
	// The third is of the same product, so it is kept.
	if want := []string{"Mul", "PositionSum", "PositionSum", "PositionSum"}; !slices.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
	got = joinedOperators(t, [][]int{d, d}, func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
		results, err := positionSums(t)(f, p)
		return results[:2], err
	})
	if want := []string{"PositionProductSum", "PositionSum"}; !slices.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
}
