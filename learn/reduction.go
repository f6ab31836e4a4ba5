package learn

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() {
	register([]string{"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare", "ReduceL1"}, reduction)
	register([]string{"GlobalMaxPool"}, globalMaximum)
	register([]string{"Softmax", "LogSoftmax"}, softmax)
}

// reduction sums, averages or takes the largest along axes that the batch is none of.
func reduction(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	named, err := l.axesOf(n, 1)
	if err != nil {
		return err
	}
	if len(named) == 0 {
		if onnx.Int(n, "noop_with_empty_axes", 0) != 0 {
			l.values[n.Output[0]] = x
			return nil
		}
		named = count(x.rank())
	}
	var axes []int
	for _, a := range named {
		if a, err = x.axis(a); err != nil {
			return err
		}
		axes = append(axes, a)
	}
	slices.Sort(axes)
	if axes = slices.Compact(axes); slices.ContainsFunc(axes, x.holdsBatch) {
		return fmt.Errorf("it reduces the batch, so that images would depend on each other")
	}
	l.values[n.Output[0]] = l.reduced(n.OpType, x, axes, onnx.Int(n, "keepdims", 1) != 0)
	return nil
}

// globalMaximum is the largest of each channel.
func globalMaximum(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	if x.rank() < 3 {
		return fmt.Errorf("its input has %d dimensions", x.rank())
	}
	l.values[n.Output[0]] = l.reduced("ReduceMax", x, count(x.rank())[2:], true)
	return nil
}

// reduced is a reduction along ONNX axes, which stay with size 1 where keep says so.
func (l *lowering) reduced(operator string, x value, axes []int, keep bool) value {
	x = l.slim(x)
	shape, size := x.shape(), 1
	var parts []int
	for _, a := range axes {
		parts = append(parts, x.axes[a]...)
		size *= shape[a]
		shape[a] = 1
	}
	slices.Sort(parts)
	y, slope := reduce(operator, x.node, parts, size)
	kept := layout(slices.Clone(x.axes))
	for _, a := range axes {
		kept[a] = nil
	}
	if !keep {
		var left layout
		for a, p := range kept {
			if !slices.Contains(axes, a) {
				left = append(left, p)
			}
		}
		kept = left
	}
	return l.derive(value{node: y, axes: kept, last: x.last}, []value{x}, func(v *graph.Node) []*graph.Node { return []*graph.Node{slope(v)} })
}

// reduce keeps the axes that it reduces, with size 1. The slope takes the result's gradient to that of x.
func reduce(operator string, x *graph.Node, axes []int, size int) (y *graph.Node, slope func(v *graph.Node) *graph.Node) {
	sum := func(x *graph.Node) *graph.Node {
		if len(axes) == 0 {
			return x
		}
		return graph.ReduceAndKeep(x, graph.ReduceSum, axes...)
	}
	wide := func(v *graph.Node) *graph.Node { return graph.BroadcastToDims(v, x.Shape().Dimensions...) }
	switch operator {
	case "ReduceMean":
		return graph.MulScalar(sum(x), 1/float64(size)), func(v *graph.Node) *graph.Node { return wide(graph.MulScalar(v, 1/float64(size))) }
	case "ReduceL1":
		return sum(graph.Abs(x)), func(v *graph.Node) *graph.Node { return graph.Mul(graph.Sign(x), v) }
	case "ReduceSumSquare":
		return sum(graph.Mul(x, x)), func(v *graph.Node) *graph.Node { return graph.Mul(scaled(x, 2), v) }
	case "ReduceL2":
		y = graph.Sqrt(sum(graph.Mul(x, x)))
		return y, func(v *graph.Node) *graph.Node { return graph.Mul(x, graph.Div(v, y)) }
	case "ReduceMax", "ReduceMin":
		f := graph.ReduceMax
		if operator == "ReduceMin" {
			f = graph.ReduceMin
		}
		if y = x; len(axes) > 0 {
			y = graph.ReduceAndKeep(x, f, axes...)
		}
		return y, func(v *graph.Node) *graph.Node { // equal ones share, as in PyTorch
			hit := graph.ConvertDType(graph.Equal(x, wide(y)), x.DType())
			return graph.Mul(hit, graph.Div(v, sum(hit)))
		}
	}
	return sum(x), wide
}

// softmax normalises the exponentials along one axis.
func softmax(l *lowering, n *protos.NodeProto) error {
	x, err := l.get(n, 0)
	if err != nil {
		return err
	}
	def := -1
	if l.model.OpsetVersion() < 13 {
		def = 1
	}
	axis, err := x.axis(onnx.Int(n, "axis", def))
	if err != nil {
		return err
	}
	if def == 1 && axis != x.rank()-1 {
		return fmt.Errorf("before operator set 13 only the last axis is supported")
	}
	x = l.whole(x, axis)
	at := x.axes[axis][0]
	sum := func(v *graph.Node) *graph.Node { return graph.ReduceAndKeep(v, graph.ReduceSum, at) }
	if n.OpType == "LogSoftmax" {
		centred := graph.Sub(x.node, graph.ReduceAndKeep(x.node, graph.ReduceMax, at))
		y := graph.Sub(centred, graph.Log(sum(graph.Exp(centred))))
		l.define(n, 0, x.like(y), []value{x}, func(v *graph.Node) []*graph.Node {
			return []*graph.Node{graph.Sub(v, graph.Mul(graph.Exp(y), sum(v)))}
		})
		return nil
	}
	var y *graph.Node
	if l.fusedSoftmax {
		y = graph.BackendFusedSoftmax(x.node, at)
	} else {
		e := graph.Exp(graph.Sub(x.node, graph.ReduceAndKeep(x.node, graph.ReduceMax, at)))
		y = graph.Div(e, sum(e))
	}
	l.define(n, 0, x.like(y), []value{x}, func(v *graph.Node) []*graph.Node {
		return []*graph.Node{graph.Mul(y, graph.Sub(v, sum(graph.Mul(v, y))))}
	})
	return nil
}
