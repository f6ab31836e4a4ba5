package cpu

import (
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
)

// Convolutions of images in the layout (C, H, W, N), batch innermost. GoMLX writes a convolution and its two gradients as
// ConvGeneral, which is recognised here in these forms:
//
//   - Stride 1: ONNX's Conv over one image (1, C, H, W·N), with a kernel dilated by N along W. Nothing moves in memory.
//   - The kernel's gradient of one that keeps the image's size, odd kernel and stride 1: x shifted along W for each kernel
//     column and v shifted along H for each kernel row, stacked, and one product of the stacks. im2col would move k² images
//     where this moves 2k.
//   - A dilated input (the gradient of a strided convolution): per residue of the output position, only the taps that
//     meet an element and not an inserted zero.
//   - A kernel of 1×1, and anything else: im2col and a product.

// chwn reports whether images have the layout (C, H, W, N) in input and output.
func chwn(axes compute.ConvolveAxesConfig) bool {
	return axes.InputChannels == 0 && slices.Equal(axes.InputSpatial, []int{1, 2}) && axes.InputBatch == 3 &&
		axes.OutputChannels == 0 && slices.Equal(axes.OutputSpatial, []int{1, 2}) && axes.OutputBatch == 3
}

// kernelGradientCHWN reports whether it is the kernel's gradient of images in that layout: what was the batch is summed
// over, and the gradient of the output, of the same layout, is the kernel.
func kernelGradientCHWN(axes compute.ConvolveAxesConfig) bool {
	return axes.InputBatch == 0 && slices.Equal(axes.InputSpatial, []int{1, 2}) && axes.InputChannels == 3 &&
		axes.KernelOutputChannels == 0 && slices.Equal(axes.KernelSpatial, []int{1, 2}) && axes.KernelInputChannels == 3
}

// plane is how a convolution moves over the two spatial axes, everything given.
type plane struct {
	strides, inputDilations, kernelDilations []int
	paddings                                 [][2]int
}

func newPlane(strides []int, paddings [][2]int, inputDilations, kernelDilations []int) plane {
	if len(paddings) == 0 {
		paddings = make([][2]int, 2)
	}
	return plane{strides: orOnes(strides, 2), inputDilations: orOnes(inputDilations, 2), kernelDilations: orOnes(kernelDilations, 2), paddings: paddings}
}

// simple reports whether nothing is dilated and the stride is 1.
func (p plane) simple() bool {
	ones := []int{1, 1}
	return slices.Equal(p.strides, ones) && slices.Equal(p.inputDilations, ones) && slices.Equal(p.kernelDilations, ones)
}

// convolveCHWN convolves x (I, H, W, N) with w (kh, kw, I, O); the result is (O, Ho, Wo, N).
func (f *Function) convolveCHWN(x, w *value, p plane, ho, wo int) *value {
	ones := []int{1, 1}
	if slices.Equal(p.strides, ones) {
		plain := slices.Equal(p.inputDilations, ones)
		switch {
		case plain && w.shape.Dimensions[0]*w.shape.Dimensions[1] > 1:
			return f.convolveFlattened(x, w, p, ho, wo)
		case !plain && slices.Equal(p.kernelDilations, ones) && ho%p.inputDilations[0] == 0 && wo%p.inputDilations[1] == 0:
			return f.convolveByResidues(x, w, p, ho, wo)
		}
	}
	x, p = f.insertZeroes(x, p)
	o, n := w.shape.Dimensions[3], x.shape.Dimensions[3]
	columns := f.columns(x, w.shape.Dimensions[:2], p, ho, wo)
	rows := f.reshape(w, columns.shape.Dimensions[0], o)
	y := f.matrixProduct(matrixSide{v: rows, transposed: true}, matrixSide{v: columns})
	return f.reshape(y, o, ho, wo, n)
}

// convolveFlattened lets ONNX's Conv see one image (1, I, H, W·N): a step along W is N elements, so the kernel is dilated by
// N there, and padding is N wide. It reads and writes the layout as it is.
func (f *Function) convolveFlattened(x, w *value, p plane, ho, wo int) *value {
	var before, after [2]int // padding that is left once negative padding is cut off
	cutBefore, cutAfter := make([]int, 4), make([]int, 4)
	for axis, pad := range p.paddings {
		before[axis], after[axis] = max(pad[0], 0), max(pad[1], 0)
		cutBefore[1+axis], cutAfter[1+axis] = min(pad[0], 0), min(pad[1], 0)
	}
	x = f.pad(x, cutBefore, cutAfter, f.scalar(x, 0))
	i, h, width, n := x.shape.Dimensions[0], x.shape.Dimensions[1], x.shape.Dimensions[2], x.shape.Dimensions[3]
	o := w.shape.Dimensions[3]
	image := f.reshape(x, 1, i, h, width*n)
	kernel := f.transpose(w, 3, 2, 0, 1)
	y := f.emit("Conv", shapes.Make(x.shape.DType, 1, o, ho, wo*n), []*value{image, kernel},
		intsAttribute("kernel_shape", w.shape.Dimensions[:2]),
		intsAttribute("dilations", []int{p.kernelDilations[0], p.kernelDilations[1] * n}),
		intsAttribute("pads", []int{before[0], before[1] * n, after[0], after[1] * n}))
	return f.reshape(y, o, ho, wo, n)
}

// insertZeroes makes a dilated input a plain one.
func (f *Function) insertZeroes(x *value, p plane) (*value, plane) {
	for i, d := range p.inputDilations {
		x = f.spread(x, 1+i, d-1, f.scalar(x, 0))
	}
	p.inputDilations = []int{1, 1}
	return x, p
}

// stack returns (k·C, H, W, N): k copies of x (C, H, W, N), copy i holding at each position what lies i-k/2 further along
// the spatial axis, and zeroes beyond the border.
func (f *Function) stack(x *value, spatial, k int) *value {
	if k == 1 {
		return x
	}
	copies := make([]*value, k)
	for i := range copies {
		copies[i] = f.shift(x, spatial, k/2-i)
	}
	d := slices.Clone(x.shape.Dimensions)
	d[0] *= k
	return f.emit("Concat", shapes.Make(x.shape.DType, d...), copies, intAttribute("axis", 0))
}

// shift moves x (C, H, W, N) by that many positions along the spatial axis and fills up with zeroes.
func (f *Function) shift(x *value, spatial, by int) *value {
	before, after := make([]int, 4), make([]int, 4)
	before[1+spatial], after[1+spatial] = by, -by
	return f.pad(x, before, after, f.scalar(x, 0))
}

// columns returns im2col of x (C, H, W, N): (kh·kw·C, Ho·Wo·N), taps outermost.
func (f *Function) columns(x *value, kernel []int, p plane, ho, wo int) *value {
	c, n := x.shape.Dimensions[0], x.shape.Dimensions[3]
	padded := f.pad(x, []int{0, p.paddings[0][0], p.paddings[1][0], 0}, []int{0, p.paddings[0][1], p.paddings[1][1], 0}, f.scalar(x, 0))
	var taps []*value
	for i := range kernel[0] {
		for j := range kernel[1] {
			y, x := i*p.kernelDilations[0], j*p.kernelDilations[1]
			starts := []int{0, y, x, 0}
			limits := []int{c, y + (ho-1)*p.strides[0] + 1, x + (wo-1)*p.strides[1] + 1, n}
			tap := f.slice(padded, []int{c, ho, wo, n}, starts, limits, []int{1, p.strides[0], p.strides[1], 1})
			taps = append(taps, f.reshape(tap, c, ho*wo*n))
		}
	}
	if len(taps) == 1 {
		return taps[0]
	}
	return f.emit("Concat", shapes.Make(x.shape.DType, len(taps)*c, ho*wo*n), taps, intAttribute("axis", 0))
}

// residue is what one output position modulo the dilation sees of one spatial axis: which taps, and how far from its own
// place each reads. With dilation d and padding before of b, output u = d·q+r meets through tap k the element
// q + (r+k-b)/d where that is whole, else an inserted zero.
type residue struct{ taps, offsets []int }

func residues(kernel, dilation, before int) []residue {
	list := make([]residue, dilation)
	for r := range list {
		for k := range kernel {
			if (r+k-before)%dilation == 0 {
				list[r].taps = append(list[r].taps, k)
				list[r].offsets = append(list[r].offsets, (r+k-before)/dilation)
			}
		}
	}
	return list
}

// convolveByResidues is the gradient of a strided convolution: one product per residue, then the results interleaved.
func (f *Function) convolveByResidues(x, w *value, p plane, ho, wo int) *value {
	o, n := w.shape.Dimensions[3], x.shape.Dimensions[3]
	dh, dw := p.inputDilations[0], p.inputDilations[1]
	qh, qw := ho/dh, wo/dw
	dtype := x.shape.DType
	vertical, horizontal := residues(w.shape.Dimensions[0], dh, p.paddings[0][0]), residues(w.shape.Dimensions[1], dw, p.paddings[1][0])
	var rows []*value // (O, qh, 1, qw·dw, N) each
	for _, v := range vertical {
		var cells []*value // (O, qh, qw, 1, N) each
		for _, h := range horizontal {
			cells = append(cells, f.reshape(f.residueProduct(x, w, v, h, qh, qw), o, qh, qw, 1, n))
		}
		row := f.join(cells, 3, shapes.Make(dtype, o, qh, qw, dw, n))
		rows = append(rows, f.reshape(row, o, qh, 1, wo, n))
	}
	return f.reshape(f.join(rows, 2, shapes.Make(dtype, o, qh, dh, wo, n)), o, ho, wo, n)
}

// join concatenates along the axis unless there is only one part.
func (f *Function) join(parts []*value, axis int, shape shapes.Shape) *value {
	if len(parts) == 1 {
		return parts[0]
	}
	return f.emit("Concat", shape, parts, intAttribute("axis", axis))
}

// residueProduct returns (O, qh·qw·N) for the output positions of one residue of each axis.
func (f *Function) residueProduct(x, w *value, v, h residue, qh, qw int) *value {
	i, o := w.shape.Dimensions[2], w.shape.Dimensions[3]
	height, width, n := x.shape.Dimensions[1], x.shape.Dimensions[2], x.shape.Dimensions[3]
	zero := f.scalar(x, 0)
	if len(v.taps)*len(h.taps) == 0 {
		return f.broadcast(f.reshape(zero, 1, 1), o, qh*qw*n)
	}
	var read, kernels []*value
	for a, kh := range v.taps {
		for b, kw := range h.taps {
			moved := f.pad(x, []int{0, -v.offsets[a], -h.offsets[b], 0}, []int{0, qh + v.offsets[a] - height, qw + h.offsets[b] - width, 0}, zero)
			read = append(read, f.reshape(moved, i, qh*qw*n))
			tap := f.slice(w, []int{1, 1, i, o}, []int{kh, kw, 0, 0}, []int{kh + 1, kw + 1, i, o}, []int{1, 1, 1, 1})
			kernels = append(kernels, f.reshape(tap, i, o))
		}
	}
	t := len(read)
	columns := f.join(read, 0, shapes.Make(x.shape.DType, t*i, qh*qw*n))
	rows := f.join(kernels, 0, shapes.Make(x.shape.DType, t*i, o))
	return f.matrixProduct(matrixSide{v: rows, transposed: true}, matrixSide{v: columns})
}

// kernelGradientCHWN returns the gradient (kh, kw, I, O) of a kernel from the images x (I, H, W, N) and the gradient of the
// output v (O, Ho, Wo, N). The plane is that of the reverse convolution: its kernel dilation is the stride.
func (f *Function) kernelGradientCHWN(x, v *value, p plane, kh, kw int) *value {
	i, n := x.shape.Dimensions[0], x.shape.Dimensions[3]
	o, ho, wo := v.shape.Dimensions[0], v.shape.Dimensions[1], v.shape.Dimensions[2]
	sameSize := ho == x.shape.Dimensions[1] && wo == x.shape.Dimensions[2]
	if p.simple() && sameSize && kh%2 == 1 && kw%2 == 1 && p.paddings[0] == [2]int{kh / 2, kh / 2} && p.paddings[1] == [2]int{kw / 2, kw / 2} {
		xs := f.reshape(f.stack(x, 1, kw), kw*i, ho*wo*n)
		vs := f.reshape(f.stack(v, 0, kh), kh*o, ho*wo*n)
		g := f.matrixProduct(matrixSide{v: vs}, matrixSide{v: xs, transposed: true})
		// Copy a of vs looks a-kh/2 further down: it met the tap kh-1-a.
		g = f.reverse(f.reshape(g, kh, o, kw, i), 0)
		return f.transpose(g, 0, 2, 3, 1)
	}
	x, p = f.insertZeroes(x, p)
	// The reverse convolution's stride is the taps' dilation, its dilation the stride over the image.
	forward := plane{strides: p.kernelDilations, kernelDilations: p.strides, inputDilations: []int{1, 1}, paddings: p.paddings}
	columns := f.columns(x, []int{kh, kw}, forward, ho, wo)
	g := f.matrixProduct(matrixSide{v: columns}, matrixSide{v: f.reshape(v, o, ho*wo*n), transposed: true})
	return f.reshape(g, kh, kw, i, o)
}
