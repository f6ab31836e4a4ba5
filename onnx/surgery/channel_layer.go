package surgery

import (
	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// trackers has one entry for each operator through which channels can be followed.
var trackers map[string]func(*tracker, *protos.NodeProto) error

func init() {
	trackers = map[string]func(*tracker, *protos.NodeProto) error{
		"Conv": trackConv, "ConvTranspose": trackConvTranspose, "Gemm": trackGemm, "MatMul": trackMatMul,
		"BatchNormalization": trackScales, "InstanceNormalization": trackScales, "LayerNormalization": trackLayerNorm, "PRelu": trackBroadcast,
		"Softmax": trackAlong, "LogSoftmax": trackAlong, "Hardmax": trackAlong, "LpNormalization": trackAlong, "CumSum": trackAlong,
		"Reshape": trackReshape, "Flatten": trackReshape, "Squeeze": trackReshape, "Unsqueeze": trackReshape, "Transpose": trackTranspose,
		"Concat": trackConcat, "Split": trackSplit, "Slice": trackSlice, "Gather": trackGather, "Expand": trackExpand, "Pad": trackPad,
		"Shape": trackNothing, "Size": trackNothing, "Constant": trackNothing, "ConstantOfShape": trackNothing, "Range": trackNothing,
		"Resize": trackChannelsOnly, "Upsample": trackChannelsOnly,
	}
	for _, name := range []string{"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "MaxPool", "AveragePool", "LpPool"} {
		trackers[name] = trackChannelsOnly
	}
	for _, name := range []string{"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"} {
		trackers[name] = trackReduce
	}
	for _, name := range []string{"Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Clip", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh", "Erf", "Gelu", "Mish", "Softplus", "Softsign", "Swish",
		"ThresholdedRelu", "Neg", "Abs", "Sqrt", "Exp", "Log", "Floor", "Ceil", "Round", "Reciprocal", "Sin", "Cos", "Sign", "Not", "Identity", "Dropout", "Cast", "IsNaN", "IsInf"} {
		trackers[name] = trackUnary
	}
	for _, name := range []string{"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Where"} {
		trackers[name] = trackBroadcast
	}
}

func trackNothing(*tracker, *protos.NodeProto) error { return nil }

func trackUnary(t *tracker, n *protos.NodeProto) error {
	l, _ := t.of(n, 0)
	t.set(n, 0, l)
	return nil
}

// trackChannelsOnly is for operators that work within each channel of (N, C, …).
func trackChannelsOnly(t *tracker, n *protos.NodeProto) error {
	l, _ := t.of(n, 0)
	out := make([]labels, len(l))
	for i, axis := range l {
		if i < 2 {
			out[i] = axis
		} else {
			t.fix(axis)
		}
	}
	t.set(n, 0, out)
	return nil
}

func trackConv(t *tracker, n *protos.NodeProto) error {
	x, shape := t.of(n, 0)
	if !t.isTensor(n, 1) || len(shape) < 3 {
		return opaque(t, n)
	}
	in, groups := x[1], max(1, onnx.Int(n, "group", 1))
	dims := t.s.x.tensors[n.Input[1]].Dims
	each, outputs := int(dims[1]), int(dims[0])
	role := Produces
	if groups > 1 && each == 1 {
		role = PerChannel
	}
	out := t.axis(n, 1, 0, role)
	switch {
	case groups == 1:
		t.same(in, t.axis(n, 1, 1, Consumes))
	case in == nil || len(in) != groups*each:
		t.fix(out)
		t.fix(in)
	case each == 1: // depthwise: one channel in, outputs/groups out
		for c := range out {
			t.unite(out[c], in[c/(outputs/groups)])
		}
	default: // every group must keep as many channels as the others: the same ones
		kernel := t.axis(n, 1, 1, Consumes)
		for c := range in {
			t.unite(in[c], kernel[c%each])
		}
		for c := range out {
			t.unite(out[c], out[c%(outputs/groups)])
		}
	}
	if t.isTensor(n, 2) {
		t.same(out, t.axis(n, 2, 0, PerChannel))
	} else if has(n, 2) {
		t.fix(out)
	}
	l := make([]labels, len(shape))
	l[0], l[1] = x[0], out
	t.set(n, 0, l)
	return nil
}

func trackConvTranspose(t *tracker, n *protos.NodeProto) error {
	x, shape := t.of(n, 0)
	if !t.isTensor(n, 1) || len(shape) < 3 || onnx.Int(n, "group", 1) != 1 {
		return opaque(t, n)
	}
	t.same(x[1], t.axis(n, 1, 0, Consumes))
	out := t.axis(n, 1, 1, Produces)
	if t.isTensor(n, 2) {
		t.same(out, t.axis(n, 2, 0, PerChannel))
	} else if has(n, 2) {
		t.fix(out)
	}
	l := make([]labels, len(shape))
	l[0], l[1] = x[0], out
	t.set(n, 0, l)
	return nil
}

func trackGemm(t *tracker, n *protos.NodeProto) error {
	x, _ := t.of(n, 0)
	if !t.isTensor(n, 1) || onnx.Int(n, "transA", 0) != 0 {
		return opaque(t, n)
	}
	axis, _ := outputAxis(n)
	t.same(x[1], t.axis(n, 1, 1-axis, Consumes))
	out := t.axis(n, 1, axis, Produces)
	if has(n, 2) {
		c, shape := t.of(n, 2)
		last := len(shape) - 1
		switch {
		case last < 0 || shape[last] == Fixed(1):
		case t.isTensor(n, 2):
			t.same(out, t.axis(n, 2, last, PerChannel))
		default:
			t.same(out, c[last])
		}
	}
	t.set(n, 0, []labels{x[0], out})
	return nil
}

// trackMatMul follows (…, M, K) times (…, K, L): K's channels are the same on both sides, and so are those of the leading axes.
func trackMatMul(t *tracker, n *protos.NodeProto) error {
	a, left := t.of(n, 0)
	b, right := t.of(n, 1)
	if len(left) < 2 || len(right) < 2 {
		return opaque(t, n)
	}
	p, q := len(left), len(right)
	column := b[q-1]
	switch {
	case t.isTensor(n, 1):
		t.same(a[p-1], t.axis(n, 1, q-2, Consumes))
		column = t.axis(n, 1, q-1, Produces)
	case t.isTensor(n, 0):
		return opaque(t, n)
	default:
		t.same(a[p-1], b[q-2])
	}
	rank := max(p, q)
	out := make([]labels, rank)
	for i := range rank - 2 {
		at, bt := i-(rank-p), i-(rank-q)
		switch {
		case at < 0 || left[at] == Fixed(1):
			out[i] = b[bt]
		case bt < 0 || right[bt] == Fixed(1):
			out[i] = a[at]
		default:
			out[i] = t.same(a[at], b[bt])
		}
	}
	out[rank-2], out[rank-1] = a[p-2], column
	t.set(n, 0, out)
	return nil
}

// trackScales is for normalizations with one scale and shift a channel.
func trackScales(t *tracker, n *protos.NodeProto) error {
	x, _ := t.of(n, 0)
	if len(x) < 2 {
		return opaque(t, n)
	}
	for i := 1; i < len(n.Input); i++ {
		if t.isTensor(n, i) {
			x[1] = t.same(x[1], t.axis(n, i, 0, PerChannel))
		} else {
			t.fix(x[1])
		}
	}
	t.set(n, 0, x)
	return nil
}

func trackLayerNorm(t *tracker, n *protos.NodeProto) error {
	x, shape := t.of(n, 0)
	first, err := axisOf(onnx.Int(n, "axis", -1), len(shape))
	if err != nil {
		return err
	}
	for i := 1; i < len(n.Input); i++ {
		if !t.isTensor(n, i) {
			return opaque(t, n)
		}
		rank := len(t.s.x.tensors[n.Input[i]].Dims)
		for k := range rank {
			if at := len(shape) - rank + k; x[at] != nil {
				t.same(x[at], t.axis(n, i, k, PerChannel))
			}
		}
	}
	for _, axis := range x[first:] {
		t.mix(axis)
	}
	t.set(n, 0, x)
	return nil
}

// trackAlong is for operators that work along an axis whose elements cannot be taken away.
func trackAlong(t *tracker, n *protos.NodeProto) error {
	x, shape := t.of(n, 0)
	def := -1
	if t.g.Opset() < 13 {
		def = 1
	}
	axis, err := axisOf(onnx.Int(n, "axis", def), len(shape))
	if err != nil {
		return err
	}
	if n.OpType == "CumSum" {
		return opaque(t, n)
	}
	for i := range x {
		if i == axis || t.g.Opset() < 13 && i > axis {
			t.fix(x[i])
		}
	}
	t.set(n, 0, x)
	return nil
}

// trackBroadcast is for element-wise operators of several inputs.
func trackBroadcast(t *tracker, n *protos.NodeProto) error {
	shape := t.s.Of(n.Output[0]).Shape
	out := make([]labels, len(shape))
	open := make([]bool, len(shape)) // an input without channels has that axis too
	for i, name := range n.Input {
		if name == "" {
			continue
		}
		l, in := t.of(n, i)
		for k, d := range in {
			at := len(shape) - len(in) + k
			if d == Fixed(1) && shape[at] != Fixed(1) {
				continue
			}
			if l[k] == nil {
				open[at] = open[at] || !t.isTensor(n, i)
				continue
			}
			if out[at] == nil {
				out[at] = l[k]
			} else {
				out[at] = t.same(out[at], l[k])
			}
		}
	}
	for i := range n.Input {
		t.broadcastTensor(n, i, out)
	}
	for at := range out {
		if open[at] {
			t.fix(out[at])
		}
	}
	t.set(n, 0, out)
	return nil
}

// broadcastTensor unites the axes of an initializer with those of what it is combined with.
func (t *tracker) broadcastTensor(n *protos.NodeProto, i int, out []labels) {
	if !t.isTensor(n, i) {
		return
	}
	_, in := t.of(n, i)
	for k, d := range in {
		at := len(out) - len(in) + k
		if at >= 0 && d != Fixed(1) && out[at] != nil {
			t.same(out[at], t.axis(n, i, k, PerChannel))
		}
	}
}
