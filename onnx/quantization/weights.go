package quantization

import (
	"fmt"
	"math"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// blockOpset is the operator set from which on DequantizeLinear takes 4 bits and blocks.
const blockOpset = 21

// nothing is the error of a model without weights that can be quantized.
func nothing() error {
	return fmt.Errorf("nothing of the model can be quantized: it has no convolution or matrix product with constant weights that is not excluded")
}

// WeightOnly keeps the weights of layers in 8 or 4 bits; everything is computed in float. With 4 bits, block weights along a layer's inputs share a scale where their number is
// a multiple of block; a convolution's have one scale an output channel. It returns the number of layers.
func WeightOnly(g *surgery.Graph, s Scheme, bits, block int) (int, error) {
	if bits == 4 {
		if err := g.Upgrade(blockOpset); err != nil {
			return 0, err
		}
	}
	x := g.Index()
	done := map[string]string{}
	var before []*protos.NodeProto
	count := 0
	for _, n := range g.Nodes() {
		axis, ok := layer(x, n)
		if !ok || s.excludes(n) {
			continue
		}
		name := n.Input[1]
		if done[name] == "" {
			dims, data, _ := x.Floats(name)
			var d *protos.NodeProto
			if bits == 4 {
				d = fourBits(g, name, dims, data, axis, block, n.OpType == "MatMul" || n.OpType == "Gemm")
			} else {
				d = eightBits(g, name, weightsOf(dims, data, axis, s.PerChannel, s.levels()))
			}
			before = append(before, d)
			done[name] = d.Output[0]
		}
		n.Input[1] = done[name]
		count++
	}
	if count == 0 {
		return 0, nothing()
	}
	g.SetNodes(append(before, g.Nodes()...))
	g.RemoveDead()
	return count, nil
}

func eightBits(g *surgery.Graph, name string, w *Weights) *protos.NodeProto {
	g.SetTensor(int8Tensor(name+".quantized", w.Dims, w.Codes))
	g.SetTensor(scaleTensor(name+".quantized.scale", w.Scales))
	d := &protos.NodeProto{OpType: "DequantizeLinear", Name: name + ".dequantized", Input: []string{name + ".quantized", name + ".quantized.scale"}, Output: []string{name + ".dequantized"}}
	zero := &protos.TensorProto{Name: name + ".quantized.zero", DataType: int32(protos.TensorProto_INT8), RawData: make([]byte, len(w.Scales))}
	if len(w.Scales) > 1 {
		zero.Dims = []int64{int64(len(w.Scales))}
		d.Attribute = []*protos.AttributeProto{onnx.IntOf("axis", w.Axis)}
	}
	g.SetTensor(zero)
	d.Input = append(d.Input, zero.Name)
	return d
}

// fourBits writes codes from −7 to 7, two in a byte.
func fourBits(g *surgery.Graph, name string, dims []int, data []float32, axis, block int, matrix bool) *protos.NodeProto {
	d := &protos.NodeProto{OpType: "DequantizeLinear", Name: name + ".dequantized", Input: []string{name + ".quantized", name + ".quantized.scale"}, Output: []string{name + ".dequantized"}}
	inputs := 1 - axis
	blocked := matrix && dims[inputs]%block == 0
	scaleDims := []int{dims[axis]}
	scaleAt := func(i int) int { inner := size(dims[axis+1:]); return i / inner % dims[axis] }
	if blocked {
		scaleDims = append([]int(nil), dims...)
		scaleDims[inputs] /= block
		scaleAt = func(i int) int {
			at := []int{i / dims[1], i % dims[1]}
			at[inputs] /= block
			return at[0]*scaleDims[1] + at[1]
		}
		d.Attribute = []*protos.AttributeProto{onnx.IntOf("axis", inputs), onnx.IntOf("block_size", block)}
	} else {
		d.Attribute = []*protos.AttributeProto{onnx.IntOf("axis", axis)}
	}
	scales := make([]float32, size(scaleDims))
	for i, v := range data {
		scales[scaleAt(i)] = float32(math.Max(float64(scales[scaleAt(i)]), math.Abs(float64(v))/7))
	}
	raw := make([]byte, (len(data)+1)/2)
	for i, v := range data {
		code := 0.0
		if s := float64(scales[scaleAt(i)]); s > 0 {
			code = math.Max(-7, math.Min(7, math.RoundToEven(float64(v)/s)))
		}
		raw[i/2] |= byte(int8(code)) & 15 << (4 * (i % 2))
	}
	for i := range scales {
		scales[i] = float32(scaleOf(float64(scales[i])))
	}
	g.SetTensor(&protos.TensorProto{Name: name + ".quantized", DataType: int32(protos.TensorProto_INT4), Dims: wide(dims), RawData: raw})
	g.SetFloats(name+".quantized.scale", scaleDims, scales)
	return d
}

func size(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// Dynamic makes the matrix products of layers compute in 8 bits with ranges found while the model runs: DynamicQuantizeLinear and MatMulInteger, which ONNX Runtime
// fuses. Convolutions stay in float: their dynamic kernels are slower than float ones. It returns the number of layers.
func Dynamic(g *surgery.Graph, s Scheme) (int, error) {
	x := g.Index()
	var nodes []*protos.NodeProto
	codes := map[string][3]string{} // by input: codes, scale, zero point
	count := 0
	for _, n := range g.Nodes() {
		axis, ok := layer(x, n)
		if !ok || s.excludes(n) || n.OpType != "MatMul" && n.OpType != "Gemm" {
			nodes = append(nodes, n)
			continue
		}
		in := n.Input[0]
		if codes[in][0] == "" {
			c := [3]string{in + ".quantized", in + ".quantized.scale", in + ".quantized.zero"}
			nodes = append(nodes, &protos.NodeProto{OpType: "DynamicQuantizeLinear", Name: c[0], Input: []string{in}, Output: c[:]})
			codes[in] = c
		}
		nodes = append(nodes, dynamicLayer(g, x, s, n, axis, codes[in])...)
		count++
	}
	if count == 0 {
		return 0, fmt.Errorf("nothing of the model can be quantized dynamically: it has no matrix product with constant weights that is not excluded")
	}
	g.SetNodes(nodes)
	g.RemoveDead()
	return count, nil
}

// dynamicLayer is y = float(x·w) · (scale of x · scales of w) + bias.
func dynamicLayer(g *surgery.Graph, x surgery.Index, s Scheme, n *protos.NodeProto, axis int, in [3]string) []*protos.NodeProto {
	dims, data, _ := x.Floats(n.Input[1])
	if axis == 0 { // MatMulInteger takes (inputs, outputs)
		turned := make([]float32, len(data))
		for i, v := range data {
			turned[i%dims[1]*dims[0]+i/dims[1]] = v
		}
		dims, data = []int{dims[1], dims[0]}, turned
	}
	w := weightsOf(dims, data, 1, s.PerChannel, s.levels())
	name, out := n.Input[1], n.Output[0]
	codes := g.Fresh(name + ".quantized")
	g.SetTensor(int8Tensor(codes, dims, w.Codes))
	g.SetTensor(scaleTensor(codes+".scale", w.Scales))
	g.SetTensor(&protos.TensorProto{Name: codes + ".zero", DataType: int32(protos.TensorProto_INT8), RawData: []byte{0}})
	node := func(op, out string, in ...string) *protos.NodeProto {
		return &protos.NodeProto{OpType: op, Name: out, Input: in, Output: []string{out}}
	}
	sum := node("MatMulInteger", out+".products", in[0], codes, in[2], codes+".zero")
	float := node("Cast", out+".float", sum.Output[0])
	float.Attribute = []*protos.AttributeProto{onnx.IntOf("to", int(protos.TensorProto_FLOAT))}
	scale := node("Mul", out+".scale", in[1], codes+".scale")
	list := []*protos.NodeProto{sum, float, scale}
	if inputOf(n, 2) == "" {
		return append(list, node("Mul", out, float.Output[0], scale.Output[0]))
	}
	return append(list, node("Mul", out+".scaled", float.Output[0], scale.Output[0]), node("Add", out, out+".scaled", n.Input[2]))
}
