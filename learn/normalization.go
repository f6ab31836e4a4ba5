package learn

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() { register([]string{"BatchNormalization"}, batchNormalization) }

// batchNormalization (Ioffe and Szegedy 2015). In training it normalises by the batch and moves the running statistics
// as ONNX defines it: running = running·momentum + batch·(1-momentum), with the population variance.
func batchNormalization(l *lowering, n *protos.NodeProto) error {
	var in [5]value
	for i := range in {
		var err error
		if in[i], err = l.in(n, i); err != nil {
			return err
		}
	}
	x := in[0]
	if !x.batched {
		return fmt.Errorf("its input does not have the batch")
	}
	d := x.dims()
	c := d[0]
	column := func(v value) *graph.Node { return graph.Reshape(v.node, c, 1) }
	scale, shift, mean, variance := column(in[1]), column(in[2]), column(in[3]), column(in[4])
	epsilon, momentum := onnx.Float(n, "epsilon", 1e-5), onnx.Float(n, "momentum", 0.9)
	rows := graph.Reshape(x.node, c, -1) // (C, H·W·N)
	if keeps := l.keepsStatistics(n); !l.training || keeps {
		factor := graph.Mul(scale, reciprocalRoot(variance, epsilon))
		y := graph.Add(graph.Mul(rows, factor), graph.Sub(shift, graph.Mul(mean, factor)))
		l.set(n, graph.Reshape(y, d...), n.Input[:1], func(v *graph.Node) []*graph.Node {
			return []*graph.Node{graph.Reshape(graph.Mul(graph.Reshape(v, c, -1), factor), d...)}
		})
		return nil
	}
	if l.fusedNorm {
		return l.fusedBatchNorm(n, x, in, epsilon, momentum)
	}
	m := float64(rows.Shape().Dimensions[1])
	batchMean := graph.MulScalar(graph.ReduceAndKeep(rows, graph.ReduceSum, 1), 1/m)
	batchVariance := graph.Sub(graph.MulScalar(graph.ReduceAndKeep(graph.Mul(rows, rows), graph.ReduceSum, 1), 1/m), graph.Mul(batchMean, batchMean))
	// Rounding can leave the variance of a constant channel a little below 0.
	batchVariance = graph.MaxScalar(batchVariance, 0)
	deviation := reciprocalRoot(batchVariance, epsilon) // 1/σ
	factor := graph.Mul(scale, deviation)
	y := graph.Add(graph.Mul(rows, factor), graph.Sub(shift, graph.Mul(batchMean, factor)))
	move := func(i int, running, batch *graph.Node) {
		moved := graph.Add(graph.MulScalar(running, momentum), graph.MulScalar(batch, 1-momentum))
		l.updates[n.Input[i]] = graph.Reshape(moved, c)
	}
	move(3, mean, batchMean)
	move(4, variance, batchVariance)
	l.set(n, graph.Reshape(y, d...), n.Input[:3], func(v *graph.Node) []*graph.Node {
		// With x̂ = (x-μ)/σ: ∂x = γ/σ·(v - mean(v) - x̂·mean(v·x̂)), written so that it is one product and one sum over rows of x and v.
		v = graph.Reshape(v, c, -1)
		sum := graph.ReduceAndKeep(v, graph.ReduceSum, 1)
		product := graph.ReduceAndKeep(graph.Mul(v, rows), graph.ReduceSum, 1)
		gScale := graph.Mul(deviation, graph.Sub(product, graph.Mul(batchMean, sum))) // Σ v·x̂
		a := graph.MulScalar(graph.Mul(graph.Mul(factor, deviation), gScale), -1/m)
		b := graph.Sub(graph.MulScalar(graph.Mul(factor, sum), -1/m), graph.Mul(a, batchMean))
		gx := graph.Add(graph.Add(graph.Mul(v, factor), graph.Mul(rows, a)), b)
		return []*graph.Node{graph.Reshape(gx, d...), graph.Reshape(gScale, c), graph.Reshape(sum, c)}
	})
	return nil
}

// keepsStatistics reports whether a batch normalisation is frozen whole: it normalises by its running statistics in training too.
func (l *lowering) keepsStatistics(n *protos.NodeProto) bool {
	return l.plan.frozenStatistics && !l.values[n.Input[1]].trained && !l.values[n.Input[2]].trained
}

// reciprocalRoot returns 1/√(v+epsilon).
func reciprocalRoot(v *graph.Node, epsilon float64) *graph.Node {
	return graph.Reciprocal(graph.Sqrt(graph.AddScalar(v, epsilon)))
}

// fusedBatchNorm is batchNormalization in training where the device has it as one operation.
func (l *lowering) fusedBatchNorm(n *protos.NodeProto, x value, in [5]value, epsilon, momentum float64) error {
	scale := in[1].node
	y, mean, variance := graph.InternalBatchNormForTraining(x.node, scale, in[2].node, float32(epsilon), 0)
	move := func(i int, batch *graph.Node) {
		l.updates[n.Input[i]] = graph.Add(graph.MulScalar(in[i].node, momentum), graph.MulScalar(batch, 1-momentum))
	}
	move(3, mean)
	move(4, variance)
	l.set(n, y, n.Input[:3], func(v *graph.Node) []*graph.Node {
		gx, gScale, gShift := graph.InternalBatchNormGradient(x.node, scale, mean, variance, v, float32(epsilon), 0)
		return []*graph.Node{gx, gScale, gShift}
	})
	return nil
}
