package learn

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() {
	register([]string{"GlobalAveragePool"}, globalAverage)
	register([]string{"MaxPool", "AveragePool"}, pooling)
}

func globalAverage(l *lowering, n *protos.NodeProto) error {
	x, err := l.in(n, 0)
	if err != nil {
		return err
	}
	if !x.batched || len(x.dims()) != 4 {
		return fmt.Errorf("only images (N, C, H, W) are supported")
	}
	d := x.dims()
	area := d[1] * d[2]
	sum := graph.ReduceSum(graph.Reshape(x.node, d[0], area, d[3]), 1)
	y := graph.Reshape(graph.MulScalar(sum, 1/float64(area)), d[0], 1, 1, d[3])
	l.set(n, y, n.Input[:1], func(v *graph.Node) []*graph.Node {
		return []*graph.Node{graph.BroadcastToDims(graph.MulScalar(v, 1/float64(area)), d...)}
	})
	return nil
}

// pooling computes the taps of the window as strided slices of the padded image, (C, Ho, Wo, N) each.
func pooling(l *lowering, n *protos.NodeProto) error {
	x, err := l.in(n, 0)
	if err != nil {
		return err
	}
	if !x.batched || len(x.dims()) != 4 {
		return fmt.Errorf("only images (N, C, H, W) are supported")
	}
	if len(n.Output) > 1 {
		return fmt.Errorf("the output of indices is not supported")
	}
	d := x.dims()
	w, err := newWindow(n, d[1:3], onnx.Ints(n, "kernel_shape"))
	if err != nil {
		return err
	}
	largest := n.OpType == "MaxPool"
	if onnx.Int(n, "ceil_mode", 0) != 0 {
		if !largest && onnx.Int(n, "count_include_pad", 0) != 0 {
			return fmt.Errorf("ceil_mode with count_include_pad is not supported")
		}
		w = w.ceil(d[1], d[2])
	}
	if largest && l.fusedPool && w.dilations[0]*w.dilations[1] == 1 {
		y := graph.BackendReduceWindow(x.node, compute.ReduceOpMax, []int{1, w.kernel[0], w.kernel[1], 1}, []int{1, w.strides[0], w.strides[1], 1}, nil, nil,
			[][2]int{{}, w.pads[0], w.pads[1], {}})
		l.set(n, y, n.Input[:1], func(v *graph.Node) []*graph.Node { return vjp(y, v) })
		return nil
	}
	fill := graph.ScalarZero(l.g, l.dtype)
	if largest {
		fill = graph.Scalar(l.g, l.dtype, -3e38)
	}
	padded := x.node
	if w.pads != nil && (w.pads[0] != [2]int{} || w.pads[1] != [2]int{}) {
		padded = graph.Pad(x.node, fill, graph.PadAxis{}, graph.PadAxis{Start: w.pads[0][0], End: w.pads[0][1]},
			graph.PadAxis{Start: w.pads[1][0], End: w.pads[1][1]}, graph.PadAxis{})
	}
	taps := w.taps(padded, d[1], d[2])
	unpad := func(g *graph.Node) []*graph.Node {
		return []*graph.Node{graph.Slice(g, graph.AxisRange(), graph.AxisRange(w.pads[0][0], w.pads[0][0]+d[1]),
			graph.AxisRange(w.pads[1][0], w.pads[1][0]+d[2]), graph.AxisRange())}
	}
	if largest {
		y := taps[0]
		for _, t := range taps[1:] {
			y = graph.Max(y, t)
		}
		l.set(n, y, n.Input[:1], func(v *graph.Node) []*graph.Node { return unpad(spreadToLargest(taps, y, v)) })
		return nil
	}
	share := l.averageShare(n, w, d)
	y := graph.Mul(sumOf(taps), share)
	l.set(n, y, n.Input[:1], func(v *graph.Node) []*graph.Node {
		v = graph.Mul(v, share)
		var gs []*graph.Node
		for _, t := range taps {
			gs = append(gs, vjp(t, v)[0])
		}
		return unpad(sumOf(gs))
	})
	return nil
}

// ceil pads the end so far that a last window that starts inside the image or its padding is whole.
func (w window) ceil(sizes ...int) window {
	w.pads = slices.Clone(w.pads)
	for i, size := range sizes {
		span := (w.kernel[i]-1)*w.dilations[i] + 1
		left := (size + w.pads[i][0] + w.pads[i][1] - span) % w.strides[i]
		if next := size + w.pads[i][0] + w.pads[i][1] - span - left + w.strides[i]; left > 0 && next < size+w.pads[i][0] {
			w.pads[i][1] += w.strides[i] - left
		}
	}
	return w
}

// taps returns what the window sees through each of its elements, in row order.
func (w window) taps(padded *graph.Node, height, width int) []*graph.Node {
	ho, wo := w.out(0, height), w.out(1, width)
	var taps []*graph.Node
	for i := range w.kernel[0] {
		for j := range w.kernel[1] {
			a, b := i*w.dilations[0], j*w.dilations[1]
			taps = append(taps, graph.Slice(padded, graph.AxisRange(),
				graph.AxisRange(a, a+(ho-1)*w.strides[0]+1).Stride(w.strides[0]), graph.AxisRange(b, b+(wo-1)*w.strides[1]+1).Stride(w.strides[1]), graph.AxisRange()))
		}
	}
	return taps
}

// spreadToLargest sends the gradient of each window to the first of its largest elements, as ONNX Runtime's indices do.
func spreadToLargest(taps []*graph.Node, y, v *graph.Node) *graph.Node {
	zero := graph.ScalarZero(v.Graph(), v.DType())
	left := v // the gradient of the windows whose largest element was not met yet
	var gs []*graph.Node
	for _, t := range taps {
		hit := graph.Equal(t, y)
		gs = append(gs, vjp(t, graph.Where(hit, left, zero))[0])
		left = graph.Where(hit, zero, left)
	}
	return sumOf(gs)
}

func sumOf(list []*graph.Node) *graph.Node {
	sum := list[0]
	for _, n := range list[1:] {
		sum = graph.Add(sum, n)
	}
	return sum
}

// averageShare returns what each element of a window counts, (1, Ho, Wo, 1): padding counts only with count_include_pad.
func (l *lowering) averageShare(n *protos.NodeProto, w window, d []int) *graph.Node {
	ho, wo := w.out(0, d[1]), w.out(1, d[2])
	inside := func(axis, at int) int {
		count := 0
		for k := range w.kernel[axis] {
			if p := at*w.strides[axis] + k*w.dilations[axis] - w.pads[axis][0]; p >= 0 && p < d[1+axis] {
				count++
			}
		}
		return count
	}
	data := make([]float32, 0, ho*wo)
	for a := range ho {
		for b := range wo {
			count := w.kernel[0] * w.kernel[1]
			if onnx.Int(n, "count_include_pad", 0) == 0 {
				count = inside(0, a) * inside(1, b)
			}
			data = append(data, 1/float32(max(count, 1)))
		}
	}
	return l.constant(onnx.Tensor{Dims: []int{1, ho, wo, 1}, Data: data})
}
