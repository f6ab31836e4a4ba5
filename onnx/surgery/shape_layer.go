package surgery

import (
	"fmt"
	"strings"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() {
	register(convolving, "Conv", "ConvInteger", "QLinearConv", "FusedConv")
	register(convolvingTransposed, "ConvTranspose")
	register(pooling, "MaxPool", "AveragePool", "LpPool")
	register(poolingGlobally, "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
	register(multiplying, "MatMul", "MatMulInteger")
	register(gemm, "Gemm")
	register(flattening, "Flatten")
	register(resizing, "Resize", "Upsample")
	register(rearranging, "DepthToSpace", "SpaceToDepth")
	register(einsum, "Einsum")
}

// window is the geometry of a convolution or a pooling over the axes after the second.
type window struct {
	kernel, strides, dilations, pads []int
	auto                             string // auto_pad
}

// filled returns list, or n times def when it is empty.
func filled(list []int, n, def int) ([]int, error) {
	if len(list) == 0 {
		list = make([]int, n)
		for i := range list {
			list[i] = def
		}
	}
	if len(list) != n {
		return nil, fmt.Errorf("an attribute has %d numbers, %d are needed", len(list), n)
	}
	for _, v := range list {
		if v < 0 || v > 1<<20 || v == 0 && def > 0 {
			return nil, fmt.Errorf("an attribute holds %d", v)
		}
	}
	return list, nil
}

func windowOf(n *protos.NodeProto, kernel []int) (w window, err error) {
	rank := len(kernel)
	if w.kernel, err = filled(kernel, rank, 1); err != nil {
		return w, err
	}
	if w.strides, err = filled(onnx.Ints(n, "strides"), rank, 1); err != nil {
		return w, err
	}
	if w.dilations, err = filled(onnx.Ints(n, "dilations"), rank, 1); err != nil {
		return w, err
	}
	w.pads, err = filled(onnx.Ints(n, "pads"), 2*rank, 0)
	w.auto = onnx.Text(n, "auto_pad", "NOTSET")
	return w, err
}

// out returns the size of spatial axis i after the window moved over in.
func (w window) out(i int, in Dim, ceil bool) (Dim, error) {
	if !in.fixed() {
		return unknownDim, nil
	}
	reach := w.dilations[i]*(w.kernel[i]-1) + 1
	stride := w.strides[i]
	if strings.HasPrefix(w.auto, "SAME") {
		return Fixed((in.Size + stride - 1) / stride), nil
	}
	pad := w.pads[i] + w.pads[len(w.kernel)+i]
	if w.auto == "VALID" {
		pad = 0
	}
	room := in.Size + pad - reach
	if room < 0 {
		return Dim{}, fmt.Errorf("its window of %d does not fit into the size %d", reach, in.Size+pad)
	}
	if !ceil {
		return Fixed(room/stride + 1), nil
	}
	out := (room+stride-1)/stride + 1
	if (out-1)*stride >= in.Size+w.pads[i] {
		out-- // a window must not start in the padding at the end
	}
	return Fixed(out), nil
}

func convolving(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	at := 1
	if n.OpType == "QLinearConv" {
		at = 3
	}
	w, err := s.ranked(n, at, len(x.Shape))
	if err != nil {
		return err
	}
	dims, ok := w.Shape.fixed()
	if len(dims) < 3 {
		if !ok && len(x.Shape) >= 3 {
			s.set(n, 0, x.Type, unranked(len(x.Shape)))
			return nil
		}
		return fmt.Errorf("its kernel has the shape %v", w.Shape)
	}
	groups := onnx.Int(n, "group", 1)
	if groups < 1 || dims[0]%groups != 0 || dims[0] == 0 {
		return fmt.Errorf("its kernel has %d outputs and it has %d groups", dims[0], groups)
	}
	if c := x.Shape[1]; c.fixed() && c.Size != dims[1]*groups {
		return fmt.Errorf("its input has %d channels, its kernel takes %d", c.Size, dims[1]*groups)
	}
	win, err := windowOf(n, dims[2:])
	if err != nil {
		return err
	}
	out := Shape{x.Shape[0], Fixed(dims[0])}
	for i := range win.kernel {
		d, err := win.out(i, x.Shape[2+i], false)
		if err != nil {
			return err
		}
		out = append(out, d)
	}
	typ := x.Type
	if n.OpType == "ConvInteger" {
		typ = int32(protos.TensorProto_INT32)
	}
	s.set(n, 0, typ, out)
	return nil
}

func convolvingTransposed(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	w, err := s.ranked(n, 1, len(x.Shape))
	if err != nil {
		return err
	}
	dims, ok := w.Shape.fixed()
	if !ok || len(dims) < 3 {
		return fmt.Errorf("its kernel has the shape %v", w.Shape)
	}
	if c := x.Shape[1]; c.fixed() && c.Size != dims[0] {
		return fmt.Errorf("its input has %d channels, its kernel takes %d", c.Size, dims[0])
	}
	win, err := windowOf(n, dims[2:])
	if err != nil {
		return err
	}
	extra, err := filled(onnx.Ints(n, "output_padding"), len(win.kernel), 0)
	if err != nil {
		return err
	}
	given := onnx.Ints(n, "output_shape")
	out := Shape{x.Shape[0], Fixed(dims[1] * max(1, onnx.Int(n, "group", 1)))}
	for i := range win.kernel {
		d := unknownDim
		switch in := x.Shape[2+i]; {
		case len(given) == len(win.kernel):
			d = Fixed(given[i])
		case !in.fixed():
		case strings.HasPrefix(win.auto, "SAME"):
			d = Fixed(in.Size * win.strides[i])
		default:
			d = Fixed(win.strides[i]*(in.Size-1) + extra[i] + win.dilations[i]*(win.kernel[i]-1) + 1 - win.pads[i] - win.pads[len(win.kernel)+i])
		}
		out = append(out, d)
	}
	s.set(n, 0, x.Type, out)
	return nil
}

func pooling(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	kernel := onnx.Ints(n, "kernel_shape")
	if len(x.Shape) < 3 || len(kernel) != len(x.Shape)-2 {
		return fmt.Errorf("its window %v does not go with the shape %v", kernel, x.Shape)
	}
	win, err := windowOf(n, kernel)
	if err != nil {
		return err
	}
	out := Shape{x.Shape[0], x.Shape[1]}
	for i := range kernel {
		d, err := win.out(i, x.Shape[2+i], onnx.Int(n, "ceil_mode", 0) != 0)
		if err != nil {
			return err
		}
		out = append(out, d)
	}
	s.set(n, 0, x.Type, out)
	s.set(n, 1, typeInt64, out)
	return nil
}

func poolingGlobally(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	if len(x.Shape) < 3 {
		return fmt.Errorf("its input has the shape %v", x.Shape)
	}
	out := append(Shape(nil), x.Shape...)
	for i := range out[2:] {
		out[2+i] = Fixed(1)
	}
	s.set(n, 0, x.Type, out)
	return nil
}

func multiplying(s *inference, n *protos.NodeProto) error {
	a, err := s.in(n, 0)
	if err != nil {
		return err
	}
	b, err := s.in(n, 1)
	if err != nil {
		return err
	}
	left, right := a.Shape, b.Shape
	if len(left) == 0 || len(right) == 0 {
		return fmt.Errorf("it multiplies the shapes %v and %v", left, right)
	}
	row, column := len(left) == 1, len(right) == 1
	if row {
		left = Shape{Fixed(1), left[0]}
	}
	if column {
		right = Shape{right[0], Fixed(1)}
	}
	k, l := left[len(left)-1], right[len(right)-2]
	if k.fixed() && l.fixed() && k != l {
		return fmt.Errorf("the shapes %v and %v cannot be multiplied", a.Shape, b.Shape)
	}
	out, err := broadcast(left[:len(left)-2], right[:len(right)-2])
	if err != nil {
		return err
	}
	out = append(Shape(nil), out...)
	if !row {
		out = append(out, left[len(left)-2])
	}
	if !column {
		out = append(out, right[len(right)-1])
	}
	typ := a.Type
	if n.OpType == "MatMulInteger" {
		typ = int32(protos.TensorProto_INT32)
	}
	s.set(n, 0, typ, out)
	return nil
}

func gemm(s *inference, n *protos.NodeProto) error {
	a, err := s.ranked(n, 0, 2)
	if err != nil {
		return err
	}
	b, err := s.ranked(n, 1, 2)
	if err != nil {
		return err
	}
	m, k := a.Shape[0], a.Shape[1]
	if onnx.Int(n, "transA", 0) != 0 {
		m, k = k, m
	}
	l, o := b.Shape[0], b.Shape[1]
	if onnx.Int(n, "transB", 0) != 0 {
		l, o = o, l
	}
	if k.fixed() && l.fixed() && k != l {
		return fmt.Errorf("its input has %d features, its matrix takes %d", k.Size, l.Size)
	}
	s.set(n, 0, a.Type, Shape{m, o})
	return nil
}

func flattening(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	axis := onnx.Int(n, "axis", 1)
	if axis < 0 {
		axis += len(x.Shape)
	}
	if axis < 0 || axis > len(x.Shape) {
		return fmt.Errorf("axis %d of a value with %d", axis, len(x.Shape))
	}
	s.set(n, 0, x.Type, Shape{x.Shape[:axis].Elements(), x.Shape[axis:].Elements()})
	return nil
}

func resizing(s *inference, n *protos.NodeProto) error {
	x, err := s.in(n, 0)
	if err != nil {
		return err
	}
	sizes, scales := 3, 2
	if n.OpType == "Upsample" || s.opset < 11 {
		sizes, scales = 9, 1
	}
	out := unranked(len(x.Shape))
	copy(out, x.Shape[:min(2, len(x.Shape))])
	if list, ok := s.numbers(n, sizes); ok && len(list) == len(out) {
		copy(out, list)
	} else if has(n, scales) {
		a := s.constants[n.Input[scales]]
		for i := range out {
			if a != nil && len(a.floats) == len(out) && x.Shape[i].fixed() && a.floats[i] > 0 && a.floats[i] < 1<<20 {
				out[i] = Fixed(int(float64(x.Shape[i].Size) * a.floats[i]))
			}
		}
	}
	s.set(n, 0, x.Type, out)
	return nil
}

func rearranging(s *inference, n *protos.NodeProto) error {
	x, err := s.ranked(n, 0, 4)
	if err != nil {
		return err
	}
	b := onnx.Int(n, "blocksize", 0)
	if b < 1 || b > 1<<10 {
		return fmt.Errorf("its block size is %d", b)
	}
	c, h, w, k := x.Shape[1], x.Shape[2], x.Shape[3], Fixed(b)
	if n.OpType == "DepthToSpace" {
		s.set(n, 0, x.Type, Shape{x.Shape[0], c.over(Fixed(b * b)), h.times(k), w.times(k)})
	} else {
		s.set(n, 0, x.Type, Shape{x.Shape[0], c.times(Fixed(b * b)), h.over(k), w.over(k)})
	}
	return nil
}

// einsum knows equations without an ellipsis.
func einsum(s *inference, n *protos.NodeProto) error {
	equation := strings.ReplaceAll(onnx.Text(n, "equation", ""), " ", "")
	left, right, ok := strings.Cut(equation, "->")
	terms := strings.Split(left, ",")
	if !ok || strings.Contains(equation, ".") || len(terms) != len(n.Input) {
		s.Unknown = append(s.Unknown, n)
		return nil
	}
	sizes := map[rune]Dim{}
	typ := int32(0)
	for i, term := range terms {
		v, err := s.ranked(n, i, len(term))
		if err != nil {
			return err
		}
		typ = v.Type
		for k, letter := range []byte(term) {
			sizes[rune(letter)] = v.Shape[k]
		}
	}
	out := Shape{}
	for _, letter := range right {
		d, ok := sizes[letter]
		if !ok {
			return fmt.Errorf("its equation %q has a letter that no input has", equation)
		}
		out = append(out, d)
	}
	s.set(n, 0, typ, out)
	return nil
}
