package quantization

import (
	"math"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// parameters of a quantized value: number = Scale · (code − Zero), with codes from Low to High.
type parameters struct {
	Scale     float64
	Zero      int
	Low, High int
}

// smallestScale keeps divisions by a scale finite, for values that are 0 throughout.
const smallestScale = 1e-20

// parametersOf spreads codes over a range that includes 0: int8 from −127 to 127, symmetric, or uint8 with a zero point. The scale is rounded to
// float32, as the file has it.
func parametersOf(r Range, symmetric bool) parameters {
	if symmetric {
		largest := math.Max(-r.Low, r.High)
		return parameters{Scale: scaleOf(largest / 127), Low: -127, High: 127}
	}
	p := parameters{Scale: scaleOf((r.High - r.Low) / 255), High: 255}
	p.Zero = int(math.Min(255, math.Max(0, math.RoundToEven(-r.Low/p.Scale))))
	return p
}

func scaleOf(s float64) float64 { return float64(float32(math.Max(s, smallestScale))) }

// code rounds half to even, as QuantizeLinear does.
func (p parameters) code(v float64) int {
	c := math.RoundToEven(v/p.Scale) + float64(p.Zero)
	return int(math.Max(float64(p.Low), math.Min(float64(p.High), c)))
}

// rounded is the number that v's code stands for.
func (p parameters) rounded(v float64) float64 { return p.Scale * float64(p.code(v)-p.Zero) }

// Weights are the codes of a layer's weights. The number of code c in channel k is Scales[k]·c.
type Weights struct {
	Dims   []int
	Axis   int
	Codes  []int8
	Scales []float64 // one, or one for each position along Axis
}

// channelOf returns, for each element, the index of its scale.
func (w *Weights) channelOf(i int) int {
	if len(w.Scales) == 1 {
		return 0
	}
	inner := 1
	for _, d := range w.Dims[w.Axis+1:] {
		inner *= d
	}
	return i / inner % w.Dims[w.Axis]
}

// weightsOf rounds weights to codes from −levels to levels.
func weightsOf(dims []int, data []float32, axis int, perChannel bool, levels float64) *Weights {
	n := 1
	if perChannel {
		n = dims[axis]
	}
	w := &Weights{Dims: dims, Axis: axis, Scales: make([]float64, n), Codes: make([]int8, len(data))}
	for i, v := range data {
		k := w.channelOf(i)
		w.Scales[k] = math.Max(w.Scales[k], math.Abs(float64(v)))
	}
	for k := range w.Scales {
		w.Scales[k] = scaleOf(w.Scales[k] / levels)
	}
	w.round(data, levels)
	return w
}

func (w *Weights) round(data []float32, levels float64) {
	for i, v := range data {
		c := math.RoundToEven(float64(v) / w.Scales[w.channelOf(i)])
		w.Codes[i] = int8(math.Max(-levels, math.Min(levels, c)))
	}
}

// Numbers are the weights that the codes stand for.
func (w *Weights) Numbers() []float32 {
	data := make([]float32, len(w.Codes))
	for i, c := range w.Codes {
		data[i] = float32(w.Scales[w.channelOf(i)] * float64(c))
	}
	return data
}

func int8Tensor(name string, dims []int, codes []int8) *protos.TensorProto {
	t := &protos.TensorProto{Name: name, DataType: int32(protos.TensorProto_INT8), Dims: wide(dims), RawData: make([]byte, len(codes))}
	for i, c := range codes {
		t.RawData[i] = byte(c)
	}
	return t
}

func wide(dims []int) []int64 {
	list := make([]int64, len(dims))
	for i, d := range dims {
		list[i] = int64(d)
	}
	return list
}

// scaleTensor is a scalar, or a list where there are several.
func scaleTensor(name string, scales []float64) *protos.TensorProto {
	data := make([]float32, len(scales))
	for i, s := range scales {
		data[i] = float32(s)
	}
	if len(data) == 1 {
		return onnx.NewTensor(name, nil, data)
	}
	return onnx.NewTensor(name, []int{len(data)}, data)
}
