package learn

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() {
	register([]string{"Gemm", "MatMul"}, dense)
	register([]string{"Flatten", "Reshape"}, flatten)
}

// dense is x·W + b of features (K, N), kept with the batch last: y = Wᵀ·x + b.
func dense(l *lowering, n *protos.NodeProto) error {
	x, err := l.in(n, 0)
	if err != nil {
		return err
	}
	w, err := l.in(n, 1)
	if err != nil {
		return err
	}
	if !x.batched || len(x.dims()) != 2 || w.batched || len(w.dims()) != 2 || onnx.Int(n, "transA", 0) != 0 {
		return fmt.Errorf("only products of features (N, K) with a matrix are supported")
	}
	if onnx.Float(n, "alpha", 1) != 1 || onnx.Float(n, "beta", 1) != 1 {
		return fmt.Errorf("alpha and beta other than 1 are not supported")
	}
	inner := 0 // the axis of W that meets the features
	if onnx.Int(n, "transB", 0) != 0 {
		inner = 1
	}
	if w.dims()[inner] != x.dims()[0] {
		return fmt.Errorf("it takes %d features, there are %d: the images have another size than the model", w.dims()[inner], x.dims()[0])
	}
	y := product(w.node, x.node, inner, 0) // (O, N)
	inputs := n.Input[:2]
	if has(n, 2) {
		b, err := l.in(n, 2)
		if err != nil {
			return err
		}
		y = graph.Add(y, graph.Reshape(b.node, -1, 1))
		inputs = n.Input[:3]
	}
	l.set(n, y, inputs, func(v *graph.Node) []*graph.Node {
		gw := product(v, x.node, 1, 1) // (O, K)
		if inner == 0 {
			gw = product(x.node, v, 1, 1)
		}
		gs := []*graph.Node{product(w.node, v, 1-inner, 0), gw}
		if len(inputs) == 3 {
			gs = append(gs, graph.Reshape(graph.ReduceSum(v, 1), l.values[inputs[2]].dims()...))
		}
		return gs
	})
	return nil
}

// product contracts axis i of a with axis j of b, both matrices.
func product(a, b *graph.Node, i, j int) *graph.Node {
	return graph.Dot(a, b).General([]int{i}, nil, []int{j}, nil)
}

// flatten lowers Flatten and those uses of Reshape that keep the batch: (a, b, c, N) → (…, N) has the same order of elements.
func flatten(l *lowering, n *protos.NodeProto) error {
	x, err := l.in(n, 0)
	if err != nil {
		return err
	}
	if !x.batched {
		return fmt.Errorf("its input does not have the batch")
	}
	d := x.dims()
	size := x.node.Shape().Size() / l.batch
	to := []int{size}
	if n.OpType == "Flatten" {
		if axis := onnx.Int(n, "axis", 1); axis != 1 {
			return fmt.Errorf("axis %d is not supported, only 1", axis)
		}
	} else if to, err = l.reshapeTo(n, size); err != nil {
		return err
	}
	y := graph.Reshape(x.node, append(to, l.batch)...)
	l.set(n, y, n.Input[:1], func(v *graph.Node) []*graph.Node { return []*graph.Node{graph.Reshape(v, d...)} })
	return nil
}

// reshapeTo returns the dimensions after the batch that a Reshape of size elements for each image asks for.
func (l *lowering) reshapeTo(n *protos.NodeProto, size int) ([]int, error) {
	if !has(n, 1) {
		return nil, fmt.Errorf("its shape is missing")
	}
	shape, ok := l.model.Int64s(n.Input[1])
	if !ok || len(shape) < 2 {
		return nil, fmt.Errorf("its shape is not a constant with the batch first")
	}
	known, open := 1, -1
	var to []int
	for i, s := range shape[1:] {
		if s == -1 && open < 0 {
			open = i
			s = 1
		}
		if s < 1 || s > int64(size) {
			return nil, fmt.Errorf("its shape %v is not supported", shape)
		}
		known *= int(s)
		to = append(to, int(s))
	}
	if open >= 0 && size%known == 0 {
		to[open] = size / known
		known = size
	}
	if known != size || open >= 0 && shape[0] == -1 {
		return nil, fmt.Errorf("its shape %v does not fit %d elements for each image", shape, size)
	}
	return to, nil
}
