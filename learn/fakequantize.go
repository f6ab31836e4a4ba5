package learn

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() { register([]string{onnx.FakeQuantizeOperator}, fakeQuantize) }

// fakeQuantize rounds a value to the codes that its quantized form has. Its gradient passes to the value within the range and is 0 outside (the clipped
// straight-through estimator). To the scale s it is that of LSQ (Esser et al. 2020, "Learned Step Size Quantization"),
//
//	Σ v·(round(x/s) − x/s) within the range, Σ v·low or v·high outside
//
// What is trained is a factor of the scale, whose gradient is that times the scale at the start: relative, as the logarithm is in TQT (Jain et al. 2020, "Trained
// Quantization Thresholds"), so that a step does not depend on how large the numbers of a layer are. LSQ's factor 1/√(N·high) is for scales trained as they are and
// has no place here; with it, scales of values near 0 diverge in a model whose normalisations are folded.
func fakeQuantize(l *lowering, n *protos.NodeProto) error {
	f, ok := onnx.ReadFakeQuantize(n)
	if !ok {
		return fmt.Errorf("it is malformed")
	}
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	factor, err := l.get(n, 1)
	if err != nil {
		return err
	}
	several := len(f.Scales) > 1
	if several {
		if x, err = l.in(n, 0); err != nil {
			return err
		}
		if x.batched || f.Axis >= x.rank() || f.Axis < 0 || x.dims()[f.Axis] != len(f.Scales) {
			return fmt.Errorf("%d scales along axis %d do not fit a value of shape %v", len(f.Scales), f.Axis, x.shape())
		}
	}
	if elements(factor.dims()) != len(f.Scales) {
		return fmt.Errorf("%d factors for %d scales", elements(factor.dims()), len(f.Scales))
	}
	wide := make([]int, len(x.dims())) // the dimensions in which scales meet the value
	var others []int                   // the axes along which elements share a scale
	for i := range wide {
		wide[i] = 1
		if several && i == f.Axis {
			wide[i] = len(f.Scales)
			continue
		}
		others = append(others, i)
	}
	number := func(v float64) *graph.Node { return graph.Scalar(x.node.Graph(), x.node.DType(), v) }
	starts := l.constant(onnx.Tensor{Dims: wide, Data: f.Scales})
	scale := graph.Mul(starts, graph.Reshape(graph.Max(factor.node, number(onnx.LeastFactor)), wide...))
	steps := graph.Div(x.node, scale)
	rounded := graph.Round(steps)
	codes := graph.Max(graph.Min(rounded, number(float64(f.High))), number(float64(f.Low)))
	y := x.like(graph.Mul(codes, scale))
	l.define(n, 0, y, []value{x, factor}, func(v *graph.Node) []*graph.Node {
		within := graph.Equal(rounded, codes)
		var gx, gf *graph.Node
		if x.trained {
			gx = graph.Where(within, v, number(0))
		}
		if factor.trained {
			toScale := graph.Mul(v, graph.Sub(codes, graph.Where(within, steps, number(0))))
			gf = graph.Reshape(graph.Mul(graph.ReduceAndKeep(toScale, graph.ReduceSum, others...), starts), factor.dims()...)
		}
		return []*graph.Node{gx, gf}
	})
	return nil
}
