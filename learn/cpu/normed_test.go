package cpu

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gomlx/compute"
)

// normedChain is a normalisation with an activation, a convolution of single channels, another normalisation with an activation, and the gradients of
// all that, as package learn writes them. Its parameters are x, scale, shift, kernel, scale, shift and the gradient of the result. Apart, what the
// convolution reads is a result too, so that nothing can be joined across it. With two more parameters channels are weighed: the result is summed over
// its positions, and its gradient made of parts.
func normedChain(t *testing.T, v convolution, first, second activation, apart bool) func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	return func(f compute.Function, p []compute.Value) ([]compute.Value, error) {
		c := calculator{t, f}
		x, mean, variance, err := f.BatchNormForTraining(p[0], p[1], p[2], 1e-3, 0)
		if err != nil {
			return nil, err
		}
		pass := func(kind activation, y, v compute.Value) (z, g compute.Value) {
			if kind == linear {
				return y, v
			}
			return curves[kind](c, y, v)
		}
		inner, _ := pass(first, x, x)
		y := v.alone(c, inner, p[3])
		after, mean2, variance2, err := f.BatchNormForTraining(y, p[4], p[5], 1e-5, 0)
		if err != nil {
			return nil, err
		}
		gz := p[6]
		if len(p) > 7 {
			wide := float32Shape([]int{v.c, v.out(v.h), v.out(v.w), v.n})
			gate, rest := c.ok(f.BroadcastInDim(p[7], wide, []int{0, 1, 2, 3})), c.ok(f.BroadcastInDim(p[8], wide, []int{0, 1, 2, 3}))
			gz = c.add(rest, c.mul(gz, gate))
		}
		z, g := pass(second, after, gz)
		gy, gscale2, gshift2, err := f.BatchNormGradient(y, p[4], mean2, variance2, g, 1e-5, 0)
		if err != nil {
			return nil, err
		}
		gi, gk := v.aloneGradients(c, inner, p[3], gy)
		_, g = pass(first, x, gi)
		gx, gscale, gshift, err := f.BatchNormGradient(p[0], p[1], mean, variance, g, 1e-3, 0)
		results := []compute.Value{z, mean, variance, mean2, variance2, gx, gscale, gshift, gk, gscale2, gshift2}
		if len(p) > 7 {
			results = append(results, c.ok(f.ReduceSum(c.ok(f.Reshape(z, v.c, v.out(v.h)*v.out(v.w), v.n)), 1)))
		}
		if apart {
			results = append(results, inner)
		}
		return results, err
	}
}

func (v convolution) chainShapes() [][]int {
	x, c := []int{v.c, v.h, v.w, v.n}, []int{v.c}
	return [][]int{x, c, c, {v.c, 1, v.k, v.k}, c, c, {v.c, v.out(v.h), v.out(v.w), v.n}}
}

// weighedShapes are those of a chain whose channels are weighed.
func (v convolution) weighedShapes() [][]int {
	return append(v.chainShapes(), []int{v.c, 1, 1, v.n}, []int{v.c, 1, 1, v.n})
}

// TestNormedChannels compares the joined operators with those that they are of: the bits are the same.
func TestNormedChannels(t *testing.T) {
	for _, v := range []convolution{
		{c: 5, h: 7, w: 6, n: 3, k: 3, stride: 1, dilation: 1, pad: [2]int{1, 1}},
		{c: 4, h: 6, w: 6, n: 64, k: 5, stride: 1, dilation: 1, pad: [2]int{2, 2}},
		{c: 3, h: 12, w: 9, n: 35, k: 5, stride: 2, dilation: 1, pad: [2]int{2, 2}},
		{c: 3, h: 8, w: 8, n: 32, k: 3, stride: 2, dilation: 1, pad: [2]int{0, 1}},
		{c: 2, h: 11, w: 10, n: 16, k: 3, stride: 1, dilation: 2, pad: [2]int{2, 2}},
		{c: 2, h: 3, w: 3, n: 70, k: 7, stride: 1, dilation: 1, pad: [2]int{3, 3}},
	} {
		for _, kinds := range [][2]activation{{hardSwish, hardSwish}, {rectifier, linear}, {swish, rectifier6}} {
			t.Run(fmt.Sprintf("%+v %v", v, kinds), func(t *testing.T) {
				b := newBackend(t, 2)
				joined := execute(t, b, v.chainShapes(), normedChain(t, v, kinds[0], kinds[1], false))
				compare(t, joined, execute(t, b, v.chainShapes(), normedChain(t, v, kinds[0], kinds[1], true))[:len(joined)], 0)
				joined = execute(t, b, v.weighedShapes(), normedChain(t, v, kinds[0], kinds[1], false))
				compare(t, joined, execute(t, b, v.weighedShapes(), normedChain(t, v, kinds[0], kinds[1], true))[:len(joined)], 2e-5)
			})
		}
	}
}

// TestNormedChannelsAreJoined looks at the nodes of such computations.
func TestNormedChannelsAreJoined(t *testing.T) {
	v := convolution{c: 8, h: 6, w: 6, n: 16, k: 3, stride: 2, dilation: 1, pad: [2]int{1, 1}}
	for _, c := range []struct {
		apart  bool
		shapes [][]int
		want   []string
	}{
		{false, v.chainShapes(), []string{"NormedDepthwise", "NormedDepthwiseGradient"}},
		{false, v.weighedShapes(), []string{"NormedDepthwiseSum", "WeighedNormedDepthwiseGradient"}},
		{true, v.chainShapes(), []string{"ActivatedBatchNormGradient", "ActivatedBatchNormGradient", "BatchNormTraining", "BatchNormTraining", "Depthwise", "Depthwise",
			"DepthwiseGradient"}},
	} {
		got := joinedOperators(t, c.shapes, normedChain(t, v, hardSwish, rectifier, c.apart))
		if !slices.Equal(got, c.want) {
			t.Errorf("apart %t, %d parameters: %v; want %v", c.apart, len(c.shapes), got, c.want)
		}
	}
}

// joinedOperators lists the operators of a computation after the passes that join some, but for those that move nothing.
func joinedOperators(t *testing.T, dimensions [][]int, build func(f compute.Function, p []compute.Value) ([]compute.Value, error)) []string {
	t.Helper()
	main := newBuilder(newBackend(t, 1).(*Backend), "joined").main
	results, err := build(main, parametersOf(t, main, dimensions...))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		main.results = append(main.results, r.(*value))
	}
	main.combine()
	var operators []string
	for _, n := range main.neededNodes() {
		if n.constant == nil && n.operator != "Reshape" {
			operators = append(operators, n.operator)
		}
	}
	slices.Sort(operators)
	return operators
}
