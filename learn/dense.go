package learn

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() {
	register([]string{"Gemm"}, gemm)
	register([]string{"MatMul"}, matmul)
}

// gemm is A·B + C of matrices, each of which may be transposed.
func gemm(l *lowering, n *protos.NodeProto) error {
	if onnx.Float(n, "alpha", 1) != 1 || onnx.Float(n, "beta", 1) != 1 {
		return fmt.Errorf("alpha and beta other than 1 are not supported")
	}
	a, err := l.get(n, 0)
	if err != nil {
		return err
	}
	b, err := l.get(n, 1)
	if err != nil {
		return err
	}
	if a.rank() != 2 || b.rank() != 2 {
		return fmt.Errorf("its operands have %d and %d dimensions, not 2", a.rank(), b.rank())
	}
	if onnx.Int(n, "transA", 0) != 0 {
		a.axes = layout{a.axes[1], a.axes[0]}
	}
	if onnx.Int(n, "transB", 0) != 0 {
		b.axes = layout{b.axes[1], b.axes[0]}
	}
	y, err := l.multiply(a, b)
	if err != nil {
		return err
	}
	if !has(n, 2) {
		l.values[n.Output[0]] = y
		return nil
	}
	c, err := l.get(n, 2)
	if err != nil {
		return err
	}
	return l.combine(n, "Add", y, c)
}

func matmul(l *lowering, n *protos.NodeProto) error {
	if y, ok := l.attention(n); ok {
		l.values[n.Output[0]] = y
		return nil
	}
	a, err := l.get(n, 0)
	if err != nil {
		return err
	}
	b, err := l.get(n, 1)
	if err != nil {
		return err
	}
	if a.rank() < 2 || b.rank() < 2 {
		return fmt.Errorf("products of vectors are not supported")
	}
	y, err := l.multiply(a, b)
	if err != nil {
		return err
	}
	l.values[n.Output[0]] = y
	return nil
}

// multiply is the product of (…, M, K) and (…, K, O), the axes before broadcast.
func (l *lowering) multiply(a, b value) (value, error) {
	if k, other := a.shape()[a.rank()-1], b.shape()[b.rank()-2]; k != other {
		return value{}, fmt.Errorf("it multiplies %d columns with %d rows: the images may have another size than the model is for", k, other)
	}
	rank := max(a.rank(), b.rank())
	a, b = l.lift(a, rank), l.lift(b, rank)
	if b.batched || elements(b.shape()[:rank-2]) > 1 {
		return l.multiplyStacks(a, b)
	}
	b = l.to(b, append(count(rank-2), rank-2, rank-1)...)
	b.axes = append(make(layout, rank-2), []int{rank - 2}, []int{rank - 1})
	return l.dense(a, b)
}

// count returns 0 … n-1.
func count(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// dense is the product of (…, K) with one matrix (K, O). The result is kept as (O, rest), with the rest as it is in a.
func (l *lowering) dense(a, b value) (value, error) {
	rank := a.rank()
	w := l.regroup(b, b.shape()[rank-2:], append(make(layout, rank-2), []int{0}, []int{1}), -1)
	x := l.featuresFirst(a)
	rest := x.dims()[1:]
	flat := graph.Reshape(x.node, x.dims()[0], elements(rest)) // (K, R)
	y := product(w.node, flat, 0, 0)                           // (O, R)
	axes := slices.Clone(x.axes)
	axes[rank-1] = []int{0}
	out := value{node: graph.Reshape(y, append([]int{w.dims()[1]}, rest...)...), axes: axes, last: x.last, batched: a.batched || b.batched, trained: a.trained || b.trained}
	return l.record(out, []value{x, w}, func(v *graph.Node) []*graph.Node {
		v = graph.Reshape(v, w.dims()[1], -1)
		return []*graph.Node{graph.Reshape(product(w.node, v, 1, 0), x.dims()...), product(flat, v, 1, 1)}
	}), nil
}

// featuresFirst keeps v with its last ONNX axis as the first axis of the node. When that takes a move, the batch goes last.
func (l *lowering) featuresFirst(v value) value {
	v = l.slim(v)
	features := v.axes[v.rank()-1]
	if !slices.Equal(features, count(len(features))) {
		order := slices.Clone(features)
		for _, parts := range v.axes[:v.rank()-1] {
			for _, p := range parts {
				if p != v.last {
					order = append(order, p)
				}
			}
		}
		if v.last >= 0 && !slices.Contains(features, v.last) {
			order = append(order, v.last)
		}
		v = l.permute(v, order)
	}
	n := len(features)
	dims := append([]int{v.shape()[v.rank()-1]}, v.dims()[n:]...)
	axes := make(layout, v.rank())
	for i, parts := range v.axes {
		for _, p := range parts {
			axes[i] = append(axes[i], p-n+1)
		}
	}
	axes[v.rank()-1] = []int{0}
	last := v.last
	if last >= 0 {
		last += 1 - n
	}
	return l.regroup(v, dims, axes, max(last, -1))
}

// product contracts axis i of a with axis j of b, both matrices.
func product(a, b *graph.Node, i, j int) *graph.Node {
	return graph.Dot(a, b).General([]int{i}, nil, []int{j}, nil)
}
