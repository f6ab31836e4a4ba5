package surgery

import (
	"fmt"
	"strings"
)

// Dim is one size of a shape, or one number of shape arithmetic: Size, or Size times the open batch size N.
type Dim struct {
	Size  int
	Batch bool
}

// unknownDim is a size that does not follow from the graph.
var unknownDim = Dim{unknownSize, false}

// unknownSize marks unknownDim. It is not -1, since shape arithmetic has that number too (Reshape's "the rest").
const unknownSize = -1 << 62

// Fixed is a size that does not depend on the batch.
func Fixed(n int) Dim { return Dim{n, false} }

// Known says whether the size follows from the graph, perhaps as a multiple of the batch size.
func (d Dim) Known() bool { return !d.unknown() }

func (d Dim) unknown() bool { return d.Size == unknownSize }

func (d Dim) fixed() bool { return !d.Batch && !d.unknown() }

// At returns the size for a batch of n; ok is false when it is not known.
func (d Dim) At(n int) (size int, ok bool) {
	if d.unknown() {
		return 0, false
	}
	if d.Batch {
		return d.Size * n, true
	}
	return d.Size, true
}

func (d Dim) String() string {
	switch {
	case d.unknown():
		return "?"
	case d.Batch && d.Size == 1:
		return "N"
	case d.Batch:
		return fmt.Sprintf("%d·N", d.Size)
	}
	return fmt.Sprint(d.Size)
}

func normal(size int, batch bool) Dim {
	if size == 0 {
		batch = false
	}
	return Dim{size, batch}
}

func (d Dim) times(e Dim) Dim {
	if d.unknown() || e.unknown() || d.Batch && e.Batch || overflows(d.Size, e.Size) {
		return unknownDim
	}
	return normal(d.Size*e.Size, d.Batch || e.Batch)
}

func overflows(a, b int) bool {
	const most = 1 << 31
	return a > most && b > 1 || b > most && a > 1 || a < -most || b < -most
}

func (d Dim) plus(e Dim) Dim {
	switch {
	case d.unknown() || e.unknown():
		return unknownDim
	case d.Size == 0:
		return e
	case e.Size == 0:
		return d
	case d.Batch != e.Batch:
		return unknownDim
	}
	return normal(d.Size+e.Size, d.Batch)
}

func (d Dim) minus(e Dim) Dim { return d.plus(e.times(Fixed(-1))) }

// over divides as ONNX divides integers, towards zero.
func (d Dim) over(e Dim) Dim {
	switch {
	case d.unknown() || e.unknown() || e.Size == 0:
		return unknownDim
	case d.Batch == e.Batch && (!d.Batch || d.Size%e.Size == 0):
		return Fixed(d.Size / e.Size)
	case d.Batch && !e.Batch && d.Size%e.Size == 0:
		return normal(d.Size/e.Size, true)
	}
	return unknownDim
}

// Shape is the size of every axis.
type Shape []Dim

func (s Shape) String() string {
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = d.String()
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// Known says whether every size is known, perhaps as a multiple of the batch size.
func (s Shape) Known() bool {
	for _, d := range s {
		if d.unknown() {
			return false
		}
	}
	return true
}

// Elements returns the number of elements, perhaps a multiple of the batch size.
func (s Shape) Elements() Dim {
	n := Fixed(1)
	for _, d := range s {
		n = n.times(d)
	}
	return n
}

// fixed returns the sizes when none depends on the batch and all are known.
func (s Shape) fixed() ([]int, bool) {
	dims := make([]int, len(s))
	for i, d := range s {
		if !d.fixed() {
			return nil, false
		}
		dims[i] = d.Size
	}
	return dims, true
}

func shapeOf(dims []int) Shape {
	s := make(Shape, len(dims))
	for i, d := range dims {
		s[i] = Fixed(d)
	}
	return s
}

// broadcast combines two shapes as ONNX's element-wise operators do.
func broadcast(a, b Shape) (Shape, error) {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := append(Shape(nil), a...)
	for i := range b {
		at := len(a) - len(b) + i
		d, e := a[at], b[i]
		switch {
		case d == e || e == Fixed(1):
		case d == Fixed(1):
			out[at] = e
		case d.unknown() || e.unknown():
			out[at] = unknownDim
			if d.fixed() {
				out[at] = d // the other is 1 or the same
			} else if e.fixed() {
				out[at] = e
			}
		case d.Batch != e.Batch:
			out[at] = unknownDim // the same only for one batch size
		default:
			return nil, fmt.Errorf("the shapes %v and %v do not go together", a, b)
		}
	}
	return out, nil
}

// axisOf brings an axis into 0 … rank−1.
func axisOf(axis, rank int) (int, error) {
	if axis < -rank || axis >= rank {
		return 0, fmt.Errorf("axis %d of a value with %d", axis, rank)
	}
	if axis < 0 {
		axis += rank
	}
	return axis, nil
}
