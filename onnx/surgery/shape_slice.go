package surgery

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"
)

// The operators that put together, take apart and repeat along axes.
func init() {
	register(fromFirst(concatenating), "Concat")
	register(splitting, "Split")
	register(fromFirst(slicing), "Slice")
	register(fromFirst(gathering), "Gather")
	register(fromFirst(gatheringElements), "GatherElements")
	register(fromFirst(padding), "Pad")
	register(fromFirst(tiling), "Tile")
}

func concatenating(s *inference, n *protos.NodeProto, x Shape) (Shape, error) {
	axis, err := axisAttribute(n, x)
	if err != nil {
		return nil, err
	}
	out := append(Shape(nil), x...)
	for i := 1; i < len(n.Input); i++ {
		v, err := s.ranked(n, i, len(x))
		if err != nil {
			return nil, err
		}
		for k, d := range v.Shape {
			if k == axis {
				out[k] = out[k].plus(d)
			} else if out[k].unknown() {
				out[k] = d
			} else if d.Known() && d != out[k] && d.Batch == out[k].Batch {
				return nil, fmt.Errorf("its inputs have the shapes %v and %v", x, v.Shape)
			}
		}
	}
	return out, nil
}

// splitSizes returns the sizes of Split's outputs along its axis.
func (s *inference) splitSizes(n *protos.NodeProto, d Dim) ([]Dim, error) {
	if list, ok := s.fixedNumbers(n, "split", 1); ok {
		if len(list) != len(n.Output) {
			return nil, fmt.Errorf("it has %d sizes for %d outputs", len(list), len(n.Output))
		}
		return shapeOf(list), nil
	}
	sizes := make([]Dim, len(n.Output))
	for i := range sizes {
		sizes[i] = unknownDim
		if d.fixed() && !has(n, 1) {
			each := (d.Size + len(sizes) - 1) / len(sizes)
			sizes[i] = Fixed(max(0, min(each, d.Size-i*each)))
		}
	}
	return sizes, nil
}

func splitting(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	axis, err := axisAttribute(n, x.Shape)
	if err != nil {
		return err
	}
	sizes, err := s.splitSizes(n, x.Shape[axis])
	if err != nil {
		return err
	}
	total := Fixed(0)
	for i, d := range sizes {
		out := append(Shape(nil), x.Shape...)
		out[axis] = d
		total = total.plus(d)
		s.set(n, i, x.Type, out)
	}
	if total.fixed() && x.Shape[axis].fixed() && total != x.Shape[axis] {
		return fmt.Errorf("its sizes %v do not add up to %v", Shape(sizes), x.Shape[axis])
	}
	return nil
}

// cut is a slice of one axis.
type cut struct{ axis, start, end, step int }

// count is how many elements the cut keeps; start and end are within the axis.
func (c cut) count() int {
	if c.step > 0 {
		return max(0, (c.end-c.start+c.step-1)/c.step)
	}
	return max(0, (c.start-c.end-c.step-1)/-c.step)
}

// cuts returns what Slice does to each axis; known is false when it follows only while the model runs.
func (s *inference) cuts(n *protos.NodeProto, x Shape) (list []cut, known bool, err error) {
	starts, ok := s.fixedNumbers(n, "starts", 1)
	ends, ok2 := s.fixedNumbers(n, "ends", 2)
	if !ok || !ok2 || len(starts) != len(ends) {
		return nil, false, nil
	}
	axes, ok := s.fixedNumbers(n, "axes", 3)
	if !ok {
		if has(n, 3) {
			return nil, false, nil
		}
		for i := range starts {
			axes = append(axes, i)
		}
	}
	steps, ok := s.fixedNumbers(n, "steps", 4)
	if !ok {
		if has(n, 4) {
			return nil, false, nil
		}
		steps, _ = filled(nil, len(starts), 1)
	}
	if len(axes) != len(starts) || len(steps) != len(starts) {
		return nil, false, fmt.Errorf("its starts, ends, axes and steps have different lengths")
	}
	for i := range starts {
		axis, err := axisOf(axes[i], len(x))
		if err != nil {
			return nil, false, err
		}
		if steps[i] == 0 || steps[i] < -1<<31 {
			return nil, false, fmt.Errorf("its step is %d", steps[i])
		}
		if !x[axis].fixed() {
			if starts[i] == 0 && ends[i] >= 1<<31-1 && steps[i] == 1 {
				continue // the whole axis
			}
			return nil, false, nil
		}
		list = append(list, clampCut(cut{axis, starts[i], ends[i], steps[i]}, x[axis].Size))
	}
	return list, true, nil
}

func clampCut(c cut, d int) cut {
	c.step = max(-1<<30, min(c.step, 1<<30))
	at := func(v, low, high int) int {
		if v < 0 {
			v += d
		}
		return max(low, min(v, high))
	}
	if c.step > 0 {
		c.start, c.end = at(c.start, 0, d), at(c.end, 0, d)
	} else {
		c.start, c.end = at(c.start, -1, d-1), at(max(c.end, -1<<40), -1, d-1)
	}
	return c
}

func slicing(s *inference, n *protos.NodeProto, x Shape) (Shape, error) {
	list, known, err := s.cuts(n, x)
	if err != nil {
		return nil, err
	}
	if !known {
		return unranked(len(x)), nil
	}
	out := append(Shape(nil), x...)
	for _, c := range list {
		out[c.axis] = Fixed(c.count())
	}
	return out, nil
}

func gathering(s *inference, n *protos.NodeProto, x Shape) (Shape, error) {
	indices, err := s.in(n, 1)
	if err != nil {
		return nil, err
	}
	axis, err := axisAttribute(n, x)
	if err != nil {
		return nil, err
	}
	return slices.Concat(x[:axis], indices.Shape, x[axis+1:]), nil
}

func gatheringElements(s *inference, n *protos.NodeProto, x Shape) (Shape, error) {
	indices, err := s.in(n, 1)
	return indices.Shape, err
}

func padding(s *inference, n *protos.NodeProto, x Shape) (Shape, error) {
	pads, ok := s.fixedNumbers(n, "pads", 1)
	out := append(Shape(nil), x...)
	switch {
	case !ok || has(n, 3):
		out = unranked(len(out))
	case len(pads) != 2*len(out):
		return nil, fmt.Errorf("it has %d pads for the shape %v", len(pads), x)
	default:
		for i := range out {
			out[i] = out[i].plus(Fixed(pads[i]).plus(Fixed(pads[len(out)+i])))
		}
	}
	return out, nil
}

func tiling(s *inference, n *protos.NodeProto, x Shape) (Shape, error) {
	out := unranked(len(x))
	if list, ok := s.numbers(n, 1); ok && len(list) == len(out) {
		for i := range out {
			out[i] = x[i].times(list[i])
		}
	}
	return out, nil
}
