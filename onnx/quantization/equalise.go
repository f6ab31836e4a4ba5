package quantization

import (
	"math"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// equaliseRounds is how often all pairs of layers are gone through: a change of one pair moves its neighbours.
const equaliseRounds = 20

// Equalise makes the ranges of the channels between two convolutions alike (cross-layer equalisation, Nagel et al. 2019, "Data-Free Quantization Through Weight
// Equalization and Bias Correction"): what one computes is divided by a factor a channel and what the next reads is multiplied by it, where only a ReLU, a LeakyRelu or
// nothing is between them. It changes no answer beyond rounding and returns the number of pairs.
func Equalise(g *surgery.Graph) int {
	x := g.Index()
	type pair struct{ first, second *protos.NodeProto }
	var pairs []pair
	for _, n := range g.Nodes() {
		if n.OpType != "Conv" {
			continue
		}
		if next := onlyConvBehind(g, x, n); next != nil && ownsWeights(x, n) && ownsWeights(x, next) && channelsAgree(x, n, next) {
			pairs = append(pairs, pair{n, next})
		}
	}
	for range equaliseRounds {
		for _, p := range pairs {
			equalise(g, p.first, p.second)
		}
	}
	return len(pairs)
}

// onlyConvBehind returns the convolution that alone reads what n gives, through an activation that commutes with positive factors.
func onlyConvBehind(g *surgery.Graph, x surgery.Index, n *protos.NodeProto) *protos.NodeProto {
	for out := n.Output[0]; out != g.Output(); {
		users := x.Users(out)
		if len(users) != 1 {
			return nil
		}
		switch u := users[0]; u.OpType {
		case "Conv":
			if u.Input[0] == out {
				return u
			}
			return nil
		case "Relu", "LeakyRelu":
			out = u.Output[0]
		default:
			return nil
		}
	}
	return nil
}

func ownsWeights(x surgery.Index, n *protos.NodeProto) bool {
	for i := 1; i < len(n.Input); i++ {
		if _, _, ok := x.Floats(n.Input[i]); !ok || len(x.Users(n.Input[i])) != 1 {
			return false
		}
	}
	return true
}

// channelsAgree is for pairs of which the second is plain or depthwise.
func channelsAgree(x surgery.Index, first, second *protos.NodeProto) bool {
	a, _, _ := x.Floats(first.Input[1])
	b, _, _ := x.Floats(second.Input[1])
	groups := onnx.Int(second, "group", 1)
	return groups == 1 && b[1] == a[0] || groups == a[0] && b[1] == 1 && b[0] == a[0]
}

func equalise(g *surgery.Graph, first, second *protos.NodeProto) {
	x := g.Index()
	a, w, _ := x.Floats(first.Input[1])
	b, v, _ := x.Floats(second.Input[1])
	channels := a[0]
	inner, tail := len(w)/channels, len(v)/b[0]/b[1]
	of := func(i int) int { // the channel that element i of the second's weights reads
		if b[1] == 1 && onnx.Int(second, "group", 1) > 1 {
			return i / tail
		}
		return i / tail % b[1]
	}
	out, in := make([]float64, channels), make([]float64, channels)
	for i, q := range w {
		out[i/inner] = math.Max(out[i/inner], math.Abs(float64(q)))
	}
	for i, q := range v {
		in[of(i)] = math.Max(in[of(i)], math.Abs(float64(q)))
	}
	factors := make([]float64, channels)
	for c := range factors {
		factors[c] = 1
		if out[c] > 0 && in[c] > 0 {
			factors[c] = math.Sqrt(out[c] / in[c]) // then both ranges are √(out·in)
		}
	}
	for i := range w {
		w[i] = float32(float64(w[i]) / factors[i/inner])
	}
	for i := range v {
		v[i] = float32(float64(v[i]) * factors[of(i)])
	}
	g.SetFloats(first.Input[1], a, w)
	g.SetFloats(second.Input[1], b, v)
	if len(first.Input) > 2 && first.Input[2] != "" {
		dims, bias, _ := x.Floats(first.Input[2])
		for c := range bias {
			bias[c] = float32(float64(bias[c]) / factors[c])
		}
		g.SetFloats(first.Input[2], dims, bias)
	}
}

// smoothTarget is a layer normalization, the layers that alone read it, and the value between them.
type smoothTarget struct {
	value        string
	scale, shift string // initializers of the normalization
	layers       []*protos.NodeProto
}

// SmoothValues are the values whose largest magnitude by channel (the last axis) Smooth needs: outputs of layer normalizations that only products with constant
// weights read.
func SmoothValues(g *surgery.Graph) []string {
	var values []string
	for _, t := range smoothTargets(g) {
		values = append(values, t.value)
	}
	return values
}

func smoothTargets(g *surgery.Graph) []smoothTarget {
	x := g.Index()
	var list []smoothTarget
	for _, n := range g.Nodes() {
		t := smoothTarget{value: n.Output[0]}
		switch {
		case n.OpType == "LayerNormalization" && len(n.Input) == 3:
			t.scale, t.shift = n.Input[1], n.Input[2]
		case n.OpType == "Add" && len(n.Input) == 2: // written out: (…)·scale + shift
			mul := x.Producer(n.Input[0])
			if mul == nil || mul.OpType != "Mul" || len(x.Users(mul.Output[0])) != 1 || !dividedBefore(x, mul) {
				continue
			}
			t.scale, t.shift = mul.Input[1], n.Input[1]
		default:
			continue
		}
		if !vector(x, t.scale) || !vector(x, t.shift) || t.value == g.Output() {
			continue
		}
		t.layers = x.Users(t.value)
		good := len(t.layers) > 0
		for _, l := range t.layers {
			dims, _, ok := x.Floats(inputOf(l, 1))
			good = good && ok && l.OpType == "MatMul" && len(dims) == 2 && l.Input[0] == t.value && len(x.Users(l.Input[1])) == 1
		}
		if good {
			list = append(list, t)
		}
	}
	return list
}

func dividedBefore(x surgery.Index, mul *protos.NodeProto) bool {
	from := x.Producer(mul.Input[0])
	return from != nil && from.OpType == "Div"
}

func inputOf(n *protos.NodeProto, i int) string {
	if i < len(n.Input) {
		return n.Input[i]
	}
	return ""
}

func vector(x surgery.Index, name string) bool {
	dims, _, ok := x.Floats(name)
	return ok && len(dims) == 1 && len(x.Users(name)) == 1
}

// Smooth divides what a layer normalization gives by a factor a channel and multiplies the weights that read it, so that outliers of a few channels do not widen the range of
// all (SmoothQuant, Xiao et al. 2022): factor = max|x|^alpha / max|w|^(1−alpha). largest has max|x| by channel for every value of SmoothValues.
func Smooth(g *surgery.Graph, largest map[string][]float64, alpha float64) int {
	x := g.Index()
	targets := smoothTargets(g)
	for _, t := range targets {
		_, scale, _ := x.Floats(t.scale)
		_, shift, _ := x.Floats(t.shift)
		channels := len(scale)
		w := make([]float64, channels)
		for _, l := range t.layers {
			dims, data, _ := x.Floats(l.Input[1])
			for i, v := range data {
				w[i/dims[1]] = math.Max(w[i/dims[1]], math.Abs(float64(v)))
			}
		}
		factors := make([]float64, channels)
		for c := range factors {
			factors[c] = 1
			if a := largest[t.value]; len(a) == channels && a[c] > 0 && w[c] > 0 {
				factors[c] = math.Max(1e-5, math.Pow(a[c], alpha)/math.Pow(w[c], 1-alpha))
			}
			scale[c] = float32(float64(scale[c]) / factors[c])
			shift[c] = float32(float64(shift[c]) / factors[c])
		}
		g.SetFloats(t.scale, []int{channels}, scale)
		g.SetFloats(t.shift, []int{channels}, shift)
		for _, l := range t.layers {
			dims, data, _ := x.Floats(l.Input[1])
			for i := range data {
				data[i] = float32(float64(data[i]) * factors[i/dims[1]])
			}
			g.SetFloats(l.Input[1], dims, data)
		}
	}
	return len(targets)
}
