package cpu

import (
	"fmt"
	"math"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// maxTaps bounds the kernel area that package kernel's convolutions are used for.
const maxTaps = 1024

// kernelConvolution returns a convolution of images in the layout (C, H, W, N), or the gradient of its kernel, as one operator of package
// kernel; nil when it is neither.
func (f *Function) kernelConvolution(x, w *value, shape shapes.Shape, axes compute.ConvolveAxesConfig, p plane) *value {
	if f.builder.backend.options.plain || shape.Size() == 0 || x.shape.Size() == 0 || w.shape.Size() == 0 {
		return nil
	}
	switch {
	case chwn(axes):
		// (H, W, I, O) of the kernel's axes, wherever they are and whichever way round.
		w, start, ks := unreversed(w)
		kd := w.shape.Dimensions
		kh, kw := axes.KernelSpatial[0], axes.KernelSpatial[1]
		if kd[kh]*kd[kw] > maxTaps {
			return nil
		}
		g := geometry(x.shape.Dimensions, shape.Dimensions[0], kd[kh], kd[kw], shape.Dimensions[1], shape.Dimensions[2])
		g = append(g, p.strides[0], p.strides[1], p.kernelDilations[0], p.kernelDilations[1], p.paddings[0][0], p.paddings[1][0], p.inputDilations[0], p.inputDilations[1])
		g = append(g, ks[axes.KernelOutputChannels], ks[axes.KernelInputChannels], ks[kh], ks[kw], start)
		return f.emitKernel("Convolution", []shapes.Shape{shape}, []*value{x, w}, g...)[0]
	case kernelGradientCHWN(axes) && p.inputDilations[0]*p.inputDilations[1] == 1:
		// The reverse convolution's stride is the taps' dilation, its dilation the stride over the image.
		d, s := shape.Dimensions, steps(shape.Dimensions)
		kh, kw := axes.OutputSpatial[0], axes.OutputSpatial[1]
		if d[kh]*d[kw] > maxTaps {
			return nil
		}
		v := w.shape.Dimensions
		g := geometry(x.shape.Dimensions, v[0], d[kh], d[kw], v[1], v[2])
		g = append(g, p.kernelDilations[0], p.kernelDilations[1], p.strides[0], p.strides[1], p.paddings[0][0], p.paddings[1][0], 1, 1)
		g = append(g, s[axes.OutputChannels], s[axes.OutputBatch], s[kh], s[kw], 0)
		return f.emitKernel("KernelGradient", []shapes.Shape{shape}, []*value{x, w}, append(g, d...)...)[0]
	}
	return nil
}

// depthwise returns a convolution in which each channel meets a kernel of its own, or the gradient of such a kernel, as one operator of
// package kernel; nil when it is neither.
func (f *Function) depthwise(x, w *value, shape shapes.Shape, axes compute.ConvolveAxesConfig, p plane, channelGroups, batchGroups int) *value {
	if f.builder.backend.options.plain || shape.Size() == 0 || x.shape.Size() == 0 || w.shape.Size() == 0 {
		return nil
	}
	c := x.shape.Dimensions[0]
	switch {
	case chwn(axes) && channelGroups == c && shape.Dimensions[0] == c && batchGroups == 1:
		w, start, ks := unreversed(w)
		kd, kh, kw := w.shape.Dimensions, axes.KernelSpatial[0], axes.KernelSpatial[1]
		if kd[kh]*kd[kw] > maxTaps {
			return nil
		}
		g := geometry(x.shape.Dimensions, c, kd[kh], kd[kw], shape.Dimensions[1], shape.Dimensions[2])
		g = append(g, p.strides[0], p.strides[1], p.kernelDilations[0], p.kernelDilations[1], p.paddings[0][0], p.paddings[1][0], p.inputDilations[0], p.inputDilations[1])
		g = append(g, ks[axes.KernelOutputChannels], 0, ks[kh], ks[kw], start)
		return f.emitKernel("Depthwise", []shapes.Shape{shape}, []*value{x, w}, g...)[0]
	case kernelGradientCHWN(axes) && batchGroups == c && w.shape.Dimensions[0] == c && channelGroups == 1 && p.inputDilations[0]*p.inputDilations[1] == 1:
		d, s, v := shape.Dimensions, steps(shape.Dimensions), w.shape.Dimensions
		kh, kw := axes.OutputSpatial[0], axes.OutputSpatial[1]
		if d[kh]*d[kw] > maxTaps {
			return nil
		}
		g := geometry(x.shape.Dimensions, c, d[kh], d[kw], v[1], v[2])
		g = append(g, p.kernelDilations[0], p.kernelDilations[1], p.strides[0], p.strides[1], p.paddings[0][0], p.paddings[1][0], 1, 1)
		g = append(g, s[axes.OutputChannels], 0, s[kh], s[kw], 0)
		return f.emitKernel("DepthwiseGradient", []shapes.Shape{shape}, []*value{x, w}, append(g, d...)...)[0]
	}
	return nil
}

// largestOfWindow returns the plane of a maximum over windows that move along the two middle axes of float32 values (C, H, W, N); nil when
// it is something else.
func (f *Function) largestOfWindow(x *value, result []int, window, strides, inputDilations, windowDilations []int, paddings [][2]int) []int {
	if f.builder.backend.options.plain || x.shape.Rank() != 4 || x.shape.DType != dtypes.Float32 || x.shape.Size() == 0 || window[1]*window[2] > maxTaps {
		return nil
	}
	strides, inputDilations, windowDilations = orOnes(strides, 4), orOnes(inputDilations, 4), orOnes(windowDilations, 4)
	if len(paddings) == 0 {
		paddings = make([][2]int, 4)
	}
	for axis := range 4 {
		outer := axis == 0 || axis == 3
		if outer && (window[axis] != 1 || strides[axis] != 1 || paddings[axis] != [2]int{}) || inputDilations[axis] != 1 {
			return nil
		}
	}
	d := x.shape.Dimensions
	g := geometry(d, d[0], window[1], window[2], result[1], result[2])
	g = append(g, strides[1], strides[2], windowDilations[1], windowDilations[2], paddings[1][0], paddings[2][0], 1, 1)
	return append(g, 0, 0, 0, 0, 0)
}

// geometry begins what a convolution is told, for images (I, H, W, N): the fields of dk_plane in kernels.h, in order.
func geometry(x []int, o, kh, kw, ho, wo int) []int {
	return []int{x[0], x[1], x[2], x[3], o, kh, kw, ho, wo}
}

// worthAProduct is the number of products from which package kernel's way pays.
const worthAProduct = 1 << 19

// kernelProduct returns a product of two matrices as package kernel's; nil where ONNX Runtime's own product is to be used.
func (f *Function) kernelProduct(a, b matrixSide, shape shapes.Shape) *value {
	if f.builder.backend.options.plain || shape.Rank() != 2 || shape.DType != dtypes.Float32 {
		return nil
	}
	ad, bd := a.v.shape.Dimensions, b.v.shape.Dimensions
	m, k, p := shape.Dimensions[0], ad[1], shape.Dimensions[1]
	apart := []int{ad[1], 1, bd[1], 1} // how far apart the elements of a along M and K, and those of b along K and P, are
	if a.transposed {
		k, apart[0], apart[1] = ad[0], 1, ad[1]
	}
	if b.transposed {
		apart[2], apart[3] = 1, bd[1]
	}
	if m < 8 || k < 8 || p < 16 || m*k*p < worthAProduct {
		return nil
	}
	return f.emitKernel("Product", []shapes.Shape{shape}, []*value{a.v, b.v}, append([]int{m, k, p}, apart...)...)[0]
}

// unreversed returns what v is the reverse of, where v's first element lies in it, and how far apart v's elements along each axis lie, so
// that nothing has to be reversed in memory.
func unreversed(v *value) (of *value, start int, apart []int) {
	if v.reverse == nil {
		return v, 0, steps(v.shape.Dimensions)
	}
	apart = steps(v.shape.Dimensions)
	for _, axis := range v.reverse.axes {
		start += (v.shape.Dimensions[axis] - 1) * apart[axis]
		apart[axis] = -apart[axis]
	}
	return v.reverse.of, start, apart
}

// steps returns how far apart the elements along each axis lie.
func steps(dimensions []int) []int {
	out := make([]int, len(dimensions))
	step := 1
	for i := len(dimensions) - 1; i >= 0; i-- {
		out[i] = step
		step *= dimensions[i]
	}
	return out
}

// BatchNormForTraining normalises by the batch, for float32 values whose first axis is the feature axis.
func (f *Function) BatchNormForTraining(operand, scale, offset compute.Value, epsilon float32, featureAxis int) (compute.Value, compute.Value, compute.Value, error) {
	vs, err := f.operands("BatchNormForTraining", operand, scale, offset)
	if err != nil {
		return nil, nil, nil, err
	}
	x := vs[0]
	if columns(x, featureAxis) {
		return f.columnNorm(x, vs[1], vs[2], epsilon)
	}
	if err := normalised("BatchNormForTraining", x, vs[1:], featureAxis); err != nil {
		return nil, nil, nil, err
	}
	row := shapes.Make(dtypes.Float32, x.shape.Dimensions[0])
	out := f.emitKernel("BatchNormTraining", []shapes.Shape{x.shape, row, row}, []*value{x, vs[1], vs[2]}, normGeometry(x, epsilon)...)
	return out[0], out[1], out[2], nil
}

// BatchNormGradient returns the gradients of the operand, the scale and the offset.
func (f *Function) BatchNormGradient(operand, scale, mean, variance, gradOutput compute.Value, epsilon float32, featureAxis int) (compute.Value, compute.Value, compute.Value, error) {
	vs, err := f.operands("BatchNormGradient", operand, scale, mean, variance, gradOutput)
	if err != nil {
		return nil, nil, nil, err
	}
	x := vs[0]
	if columns(x, featureAxis) {
		return f.columnNormGradient(x, vs[1], vs[2], vs[3], vs[4], epsilon)
	}
	if err := normalised("BatchNormGradient", x, vs[1:4], featureAxis); err != nil {
		return nil, nil, nil, err
	}
	if !vs[4].shape.Equal(x.shape) {
		return nil, nil, nil, fmt.Errorf("cpu device: BatchNormGradient of %s with a gradient of %s", x.shape, vs[4].shape)
	}
	row := shapes.Make(dtypes.Float32, x.shape.Dimensions[0])
	out := f.emitKernel("BatchNormGradient", []shapes.Shape{x.shape, row, row}, []*value{x, vs[1], vs[2], vs[3], vs[4]}, normGeometry(x, epsilon)...)
	return out[0], out[1], out[2], nil
}

// normalised checks what a batch normalisation is given.
func normalised(operation string, x *value, features []*value, axis int) error {
	if axis < 0 {
		axis += x.shape.Rank()
	}
	if x.shape.DType != dtypes.Float32 || axis != 0 || x.shape.Rank() < 2 || x.shape.Size() == 0 {
		return fmt.Errorf("cpu device: %s of %s along axis %d: %w", operation, x.shape, axis, compute.ErrNotImplemented)
	}
	c := x.shape.Dimensions[0]
	for _, v := range features {
		if v.shape.DType != dtypes.Float32 || v.shape.Rank() != 1 || v.shape.Dimensions[0] != c {
			return fmt.Errorf("cpu device: %s of %s with %s, want one float32 for each of %d features", operation, x.shape, v.shape, c)
		}
	}
	return nil
}

// normGeometry is what a normalisation is told: a row for each feature, the epsilon, the activation behind it, and the dimensions.
func normGeometry(x *value, epsilon float32) []int {
	d := x.shape.Dimensions
	list := []int{d[0], x.shape.Size() / d[0], int(math.Float64bits(float64(epsilon))), int(linear), len(d)}
	return append(list, d...)
}
