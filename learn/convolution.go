package learn

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func init() { register([]string{"Conv"}, convolution) }

// convolutionAxes: images and results (C, H, W, N), kernels (O, I, kh, kw) as ONNX stores them.
var convolutionAxes = graph.ConvolveAxesConfig{
	InputBatch: 3, InputChannels: 0, InputSpatial: []int{1, 2},
	KernelInputChannels: 1, KernelOutputChannels: 0, KernelSpatial: []int{2, 3},
	OutputBatch: 3, OutputChannels: 0, OutputSpatial: []int{1, 2},
}

func convolution(l *lowering, n *protos.NodeProto) error {
	x, err := l.in(n, 0)
	if err != nil {
		return err
	}
	w, err := l.in(n, 1)
	if err != nil {
		return err
	}
	if !x.batched || len(x.dims()) != 4 || w.batched || len(w.dims()) != 4 {
		return fmt.Errorf("only convolutions of images (N, C, H, W) with a kernel (O, I, kh, kw) are supported")
	}
	move, err := newWindow(n, x.dims()[1:3], w.dims()[2:])
	if err != nil {
		return err
	}
	groups := onnx.Int(n, "group", 1)
	y := graph.ConvGeneral(x.node, w.node, convolutionAxes, move.strides, move.pads, nil, move.dilations, groups, 1)
	backward := func(v *graph.Node) []*graph.Node { return vjp(y, v) }
	if c := x.dims()[0]; groups == c && w.dims()[0] == c && c > 1 {
		backward = func(v *graph.Node) []*graph.Node { return move.depthwiseGradients(x.node, w.node, v, l.fusedNorm) }
	} else if x.trained && move.even() {
		backward = func(v *graph.Node) []*graph.Node {
			gx := move.imageGradient(x.node, w.node, v, groups)
			if groups > 1 {
				return []*graph.Node{gx, move.groupedGradient(x.node, v, groups)}
			}
			return []*graph.Node{gx, vjp(y, v)[1]}
		}
	}
	if !has(n, 2) {
		l.set(n, y, n.Input[:2], backward)
		return nil
	}
	bias, err := l.in(n, 2)
	if err != nil {
		return err
	}
	shifted := graph.Add(y, graph.Reshape(bias.node, -1, 1, 1, 1))
	l.set(n, shifted, n.Input[:3], func(v *graph.Node) []*graph.Node {
		return append(backward(v), graph.ReduceSum(v, 1, 2, 3))
	})
	return nil
}

// even says that the kernel has no middle: there GoMLX's rule for the gradient of the image is one element off.
func (w window) even() bool {
	return ((w.kernel[0]-1)*w.dilations[0])%2 == 1 || ((w.kernel[1]-1)*w.dilations[1])%2 == 1
}

// imageGradient is the convolution of the gradient v with the reversed kernel (O, I, kh, kw), its elements as far apart as the strides. Of groups, whose
// kernel is (O, I/groups, kh, kw), each is turned round by itself.
func (w window) imageGradient(x, k, v *graph.Node, groups int) *graph.Node {
	back, _ := w.paddings(x)
	reversed := graph.Reverse(k, 2, 3)
	if groups > 1 {
		d := k.Shape().Dimensions
		apart := graph.Reshape(reversed, groups, d[0]/groups, d[1], d[2], d[3])
		turned := graph.Reshape(graph.TransposeAllAxes(apart, 0, 2, 1, 3, 4), groups*d[1], d[0]/groups, d[2], d[3]) // (I, O/groups, kh, kw)
		return graph.ConvGeneral(v, turned, convolutionAxes, nil, back, w.strides, w.dilations, groups, 1)
	}
	axes := convolutionAxes
	axes.KernelInputChannels, axes.KernelOutputChannels = axes.KernelOutputChannels, axes.KernelInputChannels
	return graph.ConvGeneral(v, reversed, axes, nil, back, w.strides, w.dilations, 1, 1)
}

// kernelGradientAxes are those of the convolution of images with the gradient of what they gave, whose result is the gradient of the kernel.
var kernelGradientAxes = graph.ConvolveAxesConfig{
	InputBatch: 0, InputChannels: 3, InputSpatial: []int{1, 2},
	KernelInputChannels: 3, KernelOutputChannels: 0, KernelSpatial: []int{1, 2},
	OutputBatch: 1, OutputChannels: 0, OutputSpatial: []int{2, 3},
}

// groupedGradient is the gradient (O, I/groups, kh, kw) of a kernel in groups, one after the other.
func (w window) groupedGradient(x, v *graph.Node, groups int) *graph.Node {
	_, along := w.paddings(x)
	in, out := x.Shape().Dimensions[0]/groups, v.Shape().Dimensions[0]/groups
	var parts []*graph.Node
	for g := range groups {
		of := graph.Slice(x, graph.AxisRange(g*in, (g+1)*in))
		by := graph.Slice(v, graph.AxisRange(g*out, (g+1)*out))
		parts = append(parts, graph.ConvGeneral(of, by, kernelGradientAxes, w.dilations, along, nil, w.strides, 1, 1))
	}
	return graph.Concatenate(parts, 0)
}

// paddings are those of the convolutions that give the gradient of the image and that of the kernel.
func (w window) paddings(x *graph.Node) (back, along [][2]int) {
	back, along = make([][2]int, 2), make([][2]int, 2)
	for i := range 2 {
		size, span := x.Shape().Dimensions[1+i], (w.kernel[i]-1)*w.dilations[i]
		last := (w.out(i, size) - 1) * w.strides[i] // where the last window begins, in the padded image
		before := span - w.pads[i][0]
		back[i] = [2]int{before, size + span - (last + 1) - before}
		along[i] = [2]int{w.pads[i][0], span + last + 1 - size - w.pads[i][0]} // the kernel has exactly as many places as it should
	}
	return back, along
}

// depthwiseGradients are those of a convolution in which each channel meets a kernel of its own, as one operation each; GoMLX's rule makes one
// for each channel. x is (C, H, W, N), the kernel k is (C, 1, kh, kw). Without groups of batches the kernel's gradient is a sum for each tap:
// GoMLX's device in Go, which knows no batch normalisation either, gets those groups wrong.
func (w window) depthwiseGradients(x, k, v *graph.Node, groups bool) []*graph.Node {
	c := x.Shape().Dimensions[0]
	back, along := w.paddings(x)
	gx := graph.ConvGeneral(v, graph.Reverse(k, 2, 3), convolutionAxes, nil, back, w.strides, w.dilations, c, 1)
	if !groups {
		return []*graph.Node{gx, w.depthwiseByTaps(x, k, v)}
	}
	// The images' channels are batches here, each of which meets the gradient of its own channel.
	gk := graph.ConvGeneral(x, v, kernelGradientAxes, w.dilations, along, nil, w.strides, 1, c)
	return []*graph.Node{gx, gk}
}

// depthwiseByTaps is the kernel's gradient as one sum for each tap.
func (w window) depthwiseByTaps(x, k, v *graph.Node) *graph.Node {
	d := x.Shape().Dimensions
	padded := graph.Pad(x, graph.ScalarZero(x.Graph(), x.DType()), graph.PadAxis{}, graph.PadAxis{Start: w.pads[0][0], End: w.pads[0][1]},
		graph.PadAxis{Start: w.pads[1][0], End: w.pads[1][1]}, graph.PadAxis{})
	var sums []*graph.Node
	for _, t := range w.taps(padded, d[1], d[2]) {
		sums = append(sums, graph.Reshape(graph.ReduceSum(graph.Mul(t, v), 1, 2, 3), d[0], 1))
	}
	return graph.Reshape(graph.Concatenate(sums, 1), k.Shape().Dimensions...)
}

// window is how a kernel moves over the two spatial axes, everything given.
type window struct {
	kernel, strides, dilations []int
	pads                       [][2]int
}

// newWindow reads ONNX's attributes of convolutions and poolings for an image of that size.
func newWindow(n *protos.NodeProto, size, kernel []int) (window, error) {
	w := window{kernel: kernel, strides: onnx.Ints(n, "strides"), dilations: onnx.Ints(n, "dilations"), pads: make([][2]int, 2)}
	if w.strides == nil {
		w.strides = []int{1, 1}
	}
	if w.dilations == nil {
		w.dilations = []int{1, 1}
	}
	pads := onnx.Ints(n, "pads")
	if pads == nil {
		pads = make([]int, 4)
	}
	if len(kernel) != 2 || len(w.strides) != 2 || len(w.dilations) != 2 || len(pads) != 4 {
		return w, fmt.Errorf("its kernel, strides, dilations and pads are not those of two axes")
	}
	for i := range w.pads {
		if kernel[i] < 1 || w.strides[i] < 1 || w.dilations[i] < 1 || pads[i] < 0 || pads[2+i] < 0 {
			return w, fmt.Errorf("its kernel, strides, dilations or pads are out of range")
		}
		w.pads[i] = [2]int{pads[i], pads[2+i]}
		span := (kernel[i]-1)*w.dilations[i] + 1
		if auto := onnx.Text(n, "auto_pad", "NOTSET"); auto == "SAME_UPPER" || auto == "SAME_LOWER" {
			total := max(0, ((size[i]+w.strides[i]-1)/w.strides[i]-1)*w.strides[i]+span-size[i])
			w.pads[i] = [2]int{total / 2, total - total/2}
			if auto == "SAME_LOWER" {
				w.pads[i] = [2]int{total - total/2, total / 2}
			}
		}
		if size[i]+w.pads[i][0]+w.pads[i][1] < span {
			return w, fmt.Errorf("its window of %d does not fit an image of %d with padding %v: the images are too small for this model", span, size[i], w.pads[i])
		}
	}
	return w, nil
}

// out returns the number of positions along axis i of an image of that size.
func (w window) out(i, size int) int {
	return (size+w.pads[i][0]+w.pads[i][1]-(w.kernel[i]-1)*w.dilations[i]-1)/w.strides[i] + 1
}
