package cpu

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapeinference"
	"github.com/gomlx/compute/shapes"
)

// ConvGeneral convolves the input with the kernel. It becomes ONNX's Conv, which wants (batch, channels, spatial…) and
// (output channels, input channels, spatial…): axes in another order are moved there and back. A dilated input gets
// its zeroes inserted, negative padding is cut off before, and groups of batches become groups of channels. Images in
// the layout (C, H, W, N) have ways of their own.
func (f *Function) ConvGeneral(
	input, kernel compute.Value, axes compute.ConvolveAxesConfig,
	strides []int, paddings [][2]int, inputDilations, kernelDilations []int,
	channelGroupCount, batchGroupCount int,
) (compute.Value, error) {
	vs, err := f.operands("ConvGeneral", input, kernel)
	if err != nil {
		return nil, err
	}
	channelGroupCount, batchGroupCount = max(channelGroupCount, 1), max(batchGroupCount, 1)
	shape, err := shapeinference.ConvGeneral(vs[0].shape, vs[1].shape, axes, strides, paddings,
		inputDilations, kernelDilations, channelGroupCount, batchGroupCount)
	if err != nil {
		return nil, err
	}
	if shape.DType != dtypes.Float32 {
		return nil, fmt.Errorf("cpu device: ConvGeneral of %s: %w", shape.DType, compute.ErrNotImplemented)
	}
	if len(axes.InputSpatial) == 2 && channelGroupCount*batchGroupCount > 1 {
		p := newPlane(strides, paddings, inputDilations, kernelDilations)
		if y := f.depthwise(vs[0], vs[1], shape, axes, p, channelGroupCount, batchGroupCount); y != nil {
			return y, nil
		}
	}
	if channelGroupCount == 1 && batchGroupCount == 1 && len(axes.InputSpatial) == 2 {
		p := newPlane(strides, paddings, inputDilations, kernelDilations)
		if y := f.kernelConvolution(vs[0], vs[1], shape, axes, p); y != nil {
			return y, nil
		}
		switch {
		case chwn(axes):
			ho, wo := shape.Dimensions[1], shape.Dimensions[2]
			w := f.transpose(vs[1], slices.Concat(axes.KernelSpatial, []int{axes.KernelInputChannels, axes.KernelOutputChannels})...)
			return f.convolveCHWN(vs[0], w, p, ho, wo), nil
		case kernelGradientCHWN(axes):
			order := slices.Concat(axes.OutputSpatial, []int{axes.OutputBatch, axes.OutputChannels}) // (kh, kw, I, O)
			g := f.kernelGradientCHWN(vs[0], vs[1], p, shape.Dimensions[order[0]], shape.Dimensions[order[1]])
			return f.transpose(g, argsort(order)...), nil
		}
	}
	spatial := len(axes.InputSpatial)
	x := f.transpose(vs[0], slices.Concat([]int{axes.InputBatch, axes.InputChannels}, axes.InputSpatial)...)
	w := f.transpose(vs[1], slices.Concat([]int{axes.KernelOutputChannels, axes.KernelInputChannels}, axes.KernelSpatial)...)
	x, pads := f.dilateAndCut(x, paddings, inputDilations)
	groups := channelGroupCount
	if batchGroupCount > 1 {
		groups = batchGroupCount
		x = f.batchesToChannels(x, groups)
	}
	order := slices.Concat([]int{axes.OutputBatch, axes.OutputChannels}, axes.OutputSpatial)
	y := f.emit("Conv", shapes.Make(shape.DType, pick(shape.Dimensions, order)...), []*value{x, w},
		intAttribute("group", groups),
		intsAttribute("kernel_shape", w.shape.Dimensions[2:]),
		intsAttribute("strides", orOnes(strides, spatial)),
		intsAttribute("dilations", orOnes(kernelDilations, spatial)),
		intsAttribute("pads", pads))
	// Axis i of y is axis order[i] of the result.
	return f.transpose(y, argsort(order)...), nil
}

// dilateAndCut inserts the zeroes of a dilated input (batch, channels, spatial…) and applies negative padding. It
// returns what padding is left, all starts and then all ends, as Conv takes it.
func (f *Function) dilateAndCut(x *value, paddings [][2]int, dilations []int) (*value, []int) {
	spatial := x.shape.Rank() - 2
	zero := f.constant([]float32{0}, shapes.Make(dtypes.Float32))
	for i, d := range dilations {
		x = f.spread(x, 2+i, d-1, zero)
	}
	pads := make([]int, 2*spatial)
	before, after := make([]int, x.shape.Rank()), make([]int, x.shape.Rank())
	for i, p := range paddings {
		pads[i], pads[spatial+i] = max(p[0], 0), max(p[1], 0)
		before[2+i], after[2+i] = min(p[0], 0), min(p[1], 0)
	}
	return f.pad(x, before, after, zero), pads
}

// batchesToChannels takes (groups·N, C, spatial…) to (N, groups·C, spatial…), so that each group of batches meets its
// own kernels.
func (f *Function) batchesToChannels(x *value, groups int) *value {
	d := x.shape.Dimensions
	split := f.reshape(x, slices.Concat([]int{groups, d[0] / groups}, d[1:])...)
	order := []int{1, 0}
	for axis := 2; axis <= len(d); axis++ {
		order = append(order, axis)
	}
	return f.reshape(f.transpose(split, order...), slices.Concat([]int{d[0] / groups, groups * d[1]}, d[2:])...)
}

// orOnes returns list, or n ones where none is given.
func orOnes(list []int, n int) []int {
	if len(list) == 0 {
		return slices.Repeat([]int{1}, n)
	}
	return list
}
