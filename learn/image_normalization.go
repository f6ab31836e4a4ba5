package learn

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() {
	register([]string{"LayerNormalization"}, layerNormalization)
	register([]string{"InstanceNormalization"}, instanceNormalization)
	register([]string{"GroupNormalization"}, groupNormalization)
}

// standardised is v with mean 0 and variance 1 over the ONNX axes, for each element of the others.
func (l *lowering) standardised(x value, over []int, epsilon float64) value {
	x = l.slim(x)
	var axes []int
	size := 1
	for _, a := range over {
		axes = append(axes, x.axes[a]...)
		size *= x.shape()[a]
	}
	slices.Sort(axes)
	if l.fusedColumns && len(axes) > 0 && slices.Equal(axes, count(len(axes))) && size < elements(x.dims()) {
		return l.columnsStandardised(x, size, epsilon)
	}
	mean := func(v *graph.Node) *graph.Node {
		if len(axes) == 0 {
			return v
		}
		return graph.MulScalar(graph.ReduceAndKeep(v, graph.ReduceSum, axes...), 1/float64(size))
	}
	centred := graph.Sub(x.node, mean(x.node))
	deviation := reciprocalRoot(mean(graph.Mul(centred, centred)), epsilon) // 1/σ
	normal := graph.Mul(centred, deviation)
	return l.derive(x.like(normal), []value{x}, func(v *graph.Node) []*graph.Node {
		// ∂x = 1/σ·(v - mean(v) - x̂·mean(v·x̂))
		return []*graph.Node{graph.Mul(deviation, graph.Sub(graph.Sub(v, mean(v)), graph.Mul(normal, mean(graph.Mul(v, normal)))))}
	})
}

// columnsStandardised is standardised for the first axes of the node, of that many elements, where the device has it as one operation.
func (l *lowering) columnsStandardised(x value, size int, epsilon float64) value {
	flat := graph.Reshape(x.node, size, -1) // (D, R)
	ones, zeroes := graph.Ones(l.g, shapes.Make(l.dtype, flat.Shape().Dimensions[1])), graph.Zeros(l.g, shapes.Make(l.dtype, flat.Shape().Dimensions[1]))
	normal, mean, variance := graph.InternalBatchNormForTraining(flat, ones, zeroes, float32(epsilon), 1)
	return l.derive(x.like(graph.Reshape(normal, x.dims()...)), []value{x}, func(v *graph.Node) []*graph.Node {
		v = graph.Reshape(v, size, -1)
		gx, _, _ := graph.InternalBatchNormGradient(flat, ones, mean, variance, v, float32(epsilon), 1)
		return []*graph.Node{graph.Reshape(gx, x.dims()...)}
	})
}

// affine sets the node's output to y times its input 1 plus its input 2, each given as many more axes of size 1 at the end.
func (l *lowering) affine(n *protos.NodeProto, y value, more int) error {
	for i, operation := range []string{"Mul", "Add"} {
		if i == 1 && !has(n, 2) {
			break
		}
		w, err := l.get(n, 1+i)
		if err != nil {
			return err
		}
		w.axes = append(slices.Clone(w.axes), make(layout, more)...)
		if y, err = l.binary(operation, y, w); err != nil {
			return err
		}
	}
	l.values[n.Output[0]] = y
	return nil
}

// layerNormalization (Ba et al. 2016) normalises each image over the axes from the given one on.
func layerNormalization(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	axis, err := x.axis(onnx.Int(n, "axis", -1))
	if err != nil {
		return err
	}
	if slices.ContainsFunc(count(x.rank())[axis:], x.holdsBatch) {
		return fmt.Errorf("it normalises over the batch")
	}
	if slices.ContainsFunc(n.Output[1:], func(name string) bool { return name != "" }) {
		return fmt.Errorf("its outputs of means and deviations are not supported")
	}
	return l.affine(n, l.standardised(x, count(x.rank())[axis:], onnx.Float(n, "epsilon", 1e-5)), 0)
}

// instanceNormalization (Ulyanov et al. 2016) normalises each channel of each image.
func instanceNormalization(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	if x.rank() < 3 {
		return fmt.Errorf("its input has %d dimensions", x.rank())
	}
	return l.affine(n, l.standardised(x, count(x.rank())[2:], onnx.Float(n, "epsilon", 1e-5)), x.rank()-2)
}

// groupNormalization (Wu and He 2018) normalises groups of channels of each image. Scale and shift are per channel since operator set 21, per
// group before.
func groupNormalization(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	shape, groups := x.shape(), onnx.Int(n, "num_groups", 0)
	if len(shape) < 3 || groups < 1 || shape[1]%groups != 0 {
		return fmt.Errorf("%d groups of an input of shape %v", groups, shape)
	}
	split := slices.Concat([]int{shape[0], groups, shape[1] / groups}, shape[2:])
	y := l.standardised(l.reshape(x, split), count(len(split))[2:], onnx.Float(n, "epsilon", 1e-5))
	if l.model.OpsetVersion() < 21 {
		if err := l.affine(n, y, len(split)-2); err != nil {
			return err
		}
		l.values[n.Output[0]] = l.reshape(l.values[n.Output[0]], shape)
		return nil
	}
	return l.affine(n, l.reshape(y, shape), len(shape)-2)
}
