package surgery

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// The operators that keep every number and arrange the axes anew.
func init() {
	register(reshaping, "Reshape")
	register(fromFirst(transposing), "Transpose")
	register(fromFirst(squeezing), "Squeeze")
	register(fromFirst(unsqueezing), "Unsqueeze")
}

// fromFirst is the rule of an operator whose output has the type of its first input and a shape that follows from it.
func fromFirst(shape func(s *inference, n *protos.NodeProto, x Shape) (Shape, error)) inferrer {
	return func(s *inference, n *protos.NodeProto) error {
		x, err := s.in(n, 0)
		if err != nil {
			return err
		}
		out, err := shape(s, n, x.Shape)
		if err != nil {
			return err
		}
		s.set(n, 0, x.Type, out)
		return nil
	}
}

// axisAttribute returns the axis of x that a node names, the first without a name.
func axisAttribute(n *protos.NodeProto, x Shape) (int, error) {
	return axisOf(onnx.Int(n, "axis", 0), len(x))
}

func reshaping(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	target, ok := s.numbers(n, 1)
	if !ok {
		shape, err := s.in(n, 1)
		if err != nil {
			return err
		}
		if len(shape.Shape) == 1 && shape.Shape[0].fixed() && shape.Shape[0].Size <= 16 {
			s.set(n, 0, x.Type, unranked(shape.Shape[0].Size))
		}
		return nil
	}
	out, err := reshapeTo(x.Shape, target, onnx.Int(n, "allowzero", 0) != 0)
	s.set(n, 0, x.Type, out)
	return err
}

// reshapeTo resolves a target of Reshape: 0 copies an axis, -1 is what remains.
func reshapeTo(x Shape, target []Dim, zeros bool) (Shape, error) {
	out := append(Shape{}, target...)
	rest, known := -1, Fixed(1)
	for i, d := range out {
		switch {
		case d == Fixed(0) && !zeros:
			if i >= len(x) {
				return nil, fmt.Errorf("its target %v copies an axis that the shape %v does not have", Shape(target), x)
			}
			out[i] = x[i]
		case d == Fixed(-1):
			if rest >= 0 {
				return nil, fmt.Errorf("its target %v leaves two axes open", Shape(target))
			}
			rest = i
			continue
		}
		known = known.times(out[i])
	}
	total := x.Elements()
	if rest >= 0 {
		out[rest] = total.over(known)
		if total.fixed() && known.fixed() && (known.Size == 0 || total.Size%known.Size != 0) {
			return nil, fmt.Errorf("the shape %v cannot become %v", x, Shape(target))
		}
		return out, nil
	}
	if total.Known() && known.Known() && total != known && total.Batch == known.Batch {
		return nil, fmt.Errorf("the shape %v cannot become %v", x, Shape(target))
	}
	return out, nil
}

func transposing(s *inference, n *protos.NodeProto, x Shape) (Shape, error) {
	perm, err := permutation(n, len(x))
	if err != nil {
		return nil, err
	}
	out := make(Shape, len(perm))
	for i, p := range perm {
		out[i] = x[p]
	}
	return out, nil
}

// permutation returns Transpose's, which reverses the axes when it is not given.
func permutation(n *protos.NodeProto, rank int) ([]int, error) {
	perm := onnx.Ints(n, "perm")
	if perm == nil {
		for i := rank - 1; i >= 0; i-- {
			perm = append(perm, i)
		}
	}
	sorted := slices.Sorted(slices.Values(perm))
	for i, p := range sorted {
		if p != i {
			return nil, fmt.Errorf("%v is no permutation", perm)
		}
	}
	if len(perm) != rank {
		return nil, fmt.Errorf("its permutation %v is not of %d axes", perm, rank)
	}
	return perm, nil
}

// axes returns the sorted axes of Squeeze, Unsqueeze or a reduction: an attribute, or input 1 from a later operator set on.
func (s *inference) axes(n *protos.NodeProto, rank int) (list []int, given bool, err error) {
	list, ok := s.fixedNumbers(n, "axes", 1)
	if !ok {
		if has(n, 1) {
			return nil, true, fmt.Errorf("its axes are computed while the model runs")
		}
		return nil, false, nil
	}
	list = append([]int(nil), list...)
	for i := range list {
		if list[i], err = axisOf(list[i], rank); err != nil {
			return nil, true, err
		}
	}
	slices.Sort(list)
	if len(slices.Compact(append([]int(nil), list...))) != len(list) {
		return nil, true, fmt.Errorf("its axes %v repeat one", list)
	}
	return list, true, nil
}

func squeezing(s *inference, n *protos.NodeProto, x Shape) (Shape, error) {
	axes, given, err := s.axes(n, len(x))
	if err != nil {
		return nil, err
	}
	out := Shape{}
	for i, d := range x {
		if given && slices.Contains(axes, i) {
			if d.fixed() && d.Size != 1 {
				return nil, fmt.Errorf("axis %d of the shape %v is not 1", i, x)
			}
			continue
		}
		if !given && d == Fixed(1) {
			continue
		}
		out = append(out, d)
	}
	return out, nil
}

func unsqueezing(s *inference, n *protos.NodeProto, x Shape) (Shape, error) {
	raw, ok := s.fixedNumbers(n, "axes", 1)
	if !ok {
		return nil, fmt.Errorf("its axes are not constant")
	}
	axes, _, err := s.axes(n, len(x)+len(raw))
	if err != nil {
		return nil, err
	}
	out, at := Shape{}, 0
	for i := range len(x) + len(axes) {
		if slices.Contains(axes, i) {
			out = append(out, Fixed(1))
			continue
		}
		out = append(out, x[at])
		at++
	}
	return out, nil
}
