package surgery

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() {
	register(reshaping, "Reshape")
	register(transposing, "Transpose")
	register(squeezing, "Squeeze")
	register(unsqueezing, "Unsqueeze")
	register(concatenating, "Concat")
	register(splitting, "Split")
	register(slicing, "Slice")
	register(gathering, "Gather")
	register(gatheringElements, "GatherElements")
	register(padding, "Pad")
	register(reducing, "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")
	register(arguing, "ArgMax", "ArgMin")
	register(shaping, "Shape")
	register(sizing, "Size")
	register(constantNode, "Constant")
	register(filling, "ConstantOfShape")
	register(ranging, "Range")
	register(expanding, "Expand")
	register(tiling, "Tile")
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

func transposing(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	perm, err := permutation(n, len(x.Shape))
	if err != nil {
		return err
	}
	out := make(Shape, len(perm))
	for i, p := range perm {
		out[i] = x.Shape[p]
	}
	s.set(n, 0, x.Type, out)
	return nil
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

func squeezing(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	axes, given, err := s.axes(n, len(x.Shape))
	if err != nil {
		return err
	}
	out := Shape{}
	for i, d := range x.Shape {
		if given && slices.Contains(axes, i) {
			if d.fixed() && d.Size != 1 {
				return fmt.Errorf("axis %d of the shape %v is not 1", i, x.Shape)
			}
			continue
		}
		if !given && d == Fixed(1) {
			continue
		}
		out = append(out, d)
	}
	s.set(n, 0, x.Type, out)
	return nil
}

func unsqueezing(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	raw, ok := s.fixedNumbers(n, "axes", 1)
	if !ok {
		return fmt.Errorf("its axes are not constant")
	}
	axes, _, err := s.axes(n, len(x.Shape)+len(raw))
	if err != nil {
		return err
	}
	out, at := Shape{}, 0
	for i := range len(x.Shape) + len(axes) {
		if slices.Contains(axes, i) {
			out = append(out, Fixed(1))
			continue
		}
		out = append(out, x.Shape[at])
		at++
	}
	s.set(n, 0, x.Type, out)
	return nil
}

func concatenating(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	axis, err := axisOf(onnx.Int(n, "axis", 0), len(x.Shape))
	if err != nil {
		return err
	}
	out := append(Shape(nil), x.Shape...)
	for i := 1; i < len(n.Input); i++ {
		v, err := s.ranked(n, i, len(x.Shape))
		if err != nil {
			return err
		}
		for k, d := range v.Shape {
			if k == axis {
				out[k] = out[k].plus(d)
			} else if out[k].unknown() {
				out[k] = d
			} else if d.Known() && d != out[k] && d.Batch == out[k].Batch {
				return fmt.Errorf("its inputs have the shapes %v and %v", x.Shape, v.Shape)
			}
		}
	}
	s.set(n, 0, x.Type, out)
	return nil
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
	axis, err := axisOf(onnx.Int(n, "axis", 0), len(x.Shape))
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

func slicing(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	list, known, err := s.cuts(n, x.Shape)
	if err != nil {
		return err
	}
	if !known {
		s.set(n, 0, x.Type, unranked(len(x.Shape)))
		return nil
	}
	out := append(Shape(nil), x.Shape...)
	for _, c := range list {
		out[c.axis] = Fixed(c.count())
	}
	s.set(n, 0, x.Type, out)
	return nil
}

func gathering(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	indices, err := s.in(n, 1)
	if err != nil {
		return err
	}
	axis, err := axisOf(onnx.Int(n, "axis", 0), len(x.Shape))
	if err != nil {
		return err
	}
	s.set(n, 0, x.Type, slices.Concat(x.Shape[:axis], indices.Shape, x.Shape[axis+1:]))
	return nil
}

func gatheringElements(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	indices, err := s.in(n, 1)
	s.set(n, 0, x.Type, indices.Shape)
	return err
}

func padding(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	pads, ok := s.fixedNumbers(n, "pads", 1)
	out := append(Shape(nil), x.Shape...)
	switch {
	case !ok || has(n, 3):
		out = unranked(len(out))
	case len(pads) != 2*len(out):
		return fmt.Errorf("it has %d pads for the shape %v", len(pads), x.Shape)
	default:
		for i := range out {
			out[i] = out[i].plus(Fixed(pads[i]).plus(Fixed(pads[len(out)+i])))
		}
	}
	s.set(n, 0, x.Type, out)
	return nil
}

func reducing(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	axes, given, err := s.axes(n, len(x.Shape))
	if err != nil {
		return err
	}
	if !given && onnx.Int(n, "noop_with_empty_axes", 0) != 0 {
		s.set(n, 0, x.Type, x.Shape)
		return nil
	}
	out := Shape{}
	for i, d := range x.Shape {
		if given && !slices.Contains(axes, i) {
			out = append(out, d)
		} else if onnx.Int(n, "keepdims", 1) != 0 {
			out = append(out, Fixed(1))
		}
	}
	s.set(n, 0, x.Type, out)
	return nil
}

func arguing(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	axis, err := axisOf(onnx.Int(n, "axis", 0), len(x.Shape))
	if err != nil {
		return err
	}
	out := append(Shape(nil), x.Shape...)
	out[axis] = Fixed(1)
	if onnx.Int(n, "keepdims", 1) == 0 {
		out = slices.Delete(out, axis, axis+1)
	}
	s.set(n, 0, typeInt64, out)
	return nil
}

func shaping(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	list := shapePart(n, x.Shape)
	s.set(n, 0, typeInt64, Shape{Fixed(len(list))})
	return nil
}

// shapePart is what Shape returns, from start to end.
func shapePart(n *protos.NodeProto, x Shape) Shape {
	c := clampCut(cut{0, onnx.Int(n, "start", 0), onnx.Int(n, "end", 1<<31), 1}, len(x))
	return x[c.start:max(c.start, c.end)]
}

func sizing(s *inference, n *protos.NodeProto) error {
	s.set(n, 0, typeInt64, Shape{})
	return nil
}

func ranging(s *inference, n *protos.NodeProto) error {
	start, err := s.in(n, 0)
	s.set(n, 0, start.Type, unranked(1))
	return err
}

func constantNode(s *inference, n *protos.NodeProto) error {
	a, err := constantValue(n)
	if err != nil {
		return err
	}
	s.set(n, 0, a.typ, shapeOf(a.dims))
	return nil
}

// target is a shape that is given as input i.
func (s *inference) target(n *protos.NodeProto, i int) (Shape, bool) {
	if list, ok := s.numbers(n, i); ok {
		return Shape(list), true
	}
	v, err := s.in(n, i)
	if err == nil && len(v.Shape) == 1 && v.Shape[0].fixed() && v.Shape[0].Size <= 16 {
		return unranked(v.Shape[0].Size), true
	}
	return nil, false
}

func filling(s *inference, n *protos.NodeProto) error {
	typ := typeFloat
	if a := attribute(n, "value"); a != nil && a.T != nil {
		typ = a.T.DataType
	}
	if shape, ok := s.target(n, 0); ok {
		s.set(n, 0, typ, shape)
	}
	return nil
}

func expanding(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	target, ok := s.target(n, 1)
	if !ok {
		return nil
	}
	out, err := broadcast(x.Shape, target)
	s.set(n, 0, x.Type, out)
	return err
}

func tiling(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	out := unranked(len(x.Shape))
	if list, ok := s.numbers(n, 1); ok && len(list) == len(out) {
		for i := range out {
			out[i] = x.Shape[i].times(list[i])
		}
	}
	s.set(n, 0, x.Type, out)
	return nil
}
