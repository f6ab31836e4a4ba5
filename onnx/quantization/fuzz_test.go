package quantization

import (
	"math/rand/v2"
	"testing"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// FuzzQuantize spoils models in a way that follows from a seed and quantizes what is still a model: it may refuse, but not panic.
func FuzzQuantize(f *testing.F) {
	names := []string{"resnet8", "mobilenet_v3_small"}
	for i := range names {
		for seed := range uint64(10) {
			f.Add(i, seed)
		}
	}
	f.Fuzz(func(t *testing.T, which int, seed uint64) {
		if which < 0 || which >= len(names) {
			return
		}
		p := build(t, names[which]).Proto()
		spoil(p.Graph, rand.New(rand.NewPCG(seed, 2)))
		if m, err := onnx.New(p); err == nil {
			everyQuantization(m)
		}
	})
}

// spoil makes a few changes: other dimensions of weights, inputs that are missing or others, attributes that are gone or large.
func spoil(g *protos.GraphProto, r *rand.Rand) {
	for range 1 + r.IntN(3) {
		n := g.Node[r.IntN(len(g.Node))]
		switch r.IntN(5) {
		case 0:
			t := g.Initializer[r.IntN(len(g.Initializer))]
			if len(t.Dims) > 1 {
				t.Dims[0], t.Dims[1] = t.Dims[1], t.Dims[0]
			} else {
				t.Dims = append(t.Dims, 1)
			}
		case 1:
			if len(n.Input) > 0 {
				n.Input = n.Input[:len(n.Input)-1]
			}
		case 2:
			if len(n.Input) > 0 {
				n.Input[r.IntN(len(n.Input))] = g.Initializer[r.IntN(len(g.Initializer))].Name
			}
		case 3:
			if len(n.Attribute) > 0 {
				a := n.Attribute[r.IntN(len(n.Attribute))]
				a.I, a.Ints = int64(r.IntN(9)-3), nil
			}
		case 4:
			n.OpType = []string{"Gemm", "MatMul", "Conv", "Concat", "Add", "MaxPool", "BatchNormalization"}[r.IntN(7)]
		}
	}
}

// everyQuantization does all that needs no images.
func everyQuantization(m *onnx.Model) {
	for _, s := range []Scheme{{Target: ONNXRuntime, PerChannel: true}, {Target: TensorRT}} {
		g, err := Prepare(m)
		if err != nil {
			return
		}
		Equalise(g)
		SmoothValues(g)
		p, err := NewPlan(g, s)
		if err != nil {
			continue
		}
		ranges := map[string]Range{}
		for _, v := range p.Observed {
			ranges[v] = Range{-1, 2}
		}
		for _, n := range p.Nodes {
			p.NewGram(n)
		}
		p.CorrectBiases(p.Round(ranges), map[string][]float64{})
		_, _ = p.Apply(ranges, nil)
		if start, err := p.Training(ranges); err == nil {
			_, _ = ReadTrained(start)
		}
	}
	for _, quantize := range []func(g *surgery.Graph) (int, error){
		func(g *surgery.Graph) (int, error) { return Dynamic(g, Scheme{PerChannel: true}) },
		func(g *surgery.Graph) (int, error) { return WeightOnly(g, Scheme{PerChannel: true}, 4, 32) },
	} {
		if g, err := Prepare(m); err == nil {
			_, _ = quantize(g)
		}
	}
}
