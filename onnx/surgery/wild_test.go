package surgery

import (
	"math/rand/v2"
	"testing"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// spoil changes a few things of a valid model at random: operators, attributes, inputs, constants, sizes.
func spoil(p *protos.ModelProto, r *rand.Rand) {
	wild := []int64{-1, 0, 1, 2, 3, 7, 1 << 20, 1 << 31, 1 << 40, -1 << 62, -1 << 63, 1<<63 - 1, -5}
	g := p.Graph
	for range 1 + r.IntN(4) {
		n := g.Node[r.IntN(len(g.Node))]
		other := g.Node[r.IntN(len(g.Node))]
		switch r.IntN(8) {
		case 0:
			n.OpType = other.OpType
		case 1:
			if len(n.Attribute) > 0 {
				a := n.Attribute[r.IntN(len(n.Attribute))]
				a.I = wild[r.IntN(len(wild))]
				if len(a.Ints) > 0 {
					a.Ints[r.IntN(len(a.Ints))] = wild[r.IntN(len(wild))]
				}
			}
		case 2:
			n.Attribute = append(n.Attribute, other.Attribute...)
		case 3:
			if len(n.Input) > 0 {
				n.Input = n.Input[:r.IntN(len(n.Input))]
			}
		case 4:
			n.Input = append(n.Input, g.Initializer[r.IntN(len(g.Initializer))].Name)
		case 5:
			if len(n.Input) > 0 {
				n.Input[r.IntN(len(n.Input))] = g.Initializer[r.IntN(len(g.Initializer))].Name
			}
		case 6:
			t := g.Initializer[r.IntN(len(g.Initializer))]
			if len(t.Dims) > 1 {
				t.Dims[0], t.Dims[1] = t.Dims[1], t.Dims[0]
			}
			if r.IntN(2) == 0 {
				t.Dims = []int64{elementCount(t.Dims)}
			}
		case 7:
			d := g.Input[0].Type.GetTensorType().Shape.Dim
			d[r.IntN(4)].Value = &protos.TensorShapeProto_Dimension_DimValue{DimValue: []int64{0, 1, 2, 5, 1 << 20}[r.IntN(5)]}
		}
	}
}

func elementCount(dims []int64) int64 {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	return n
}

// FuzzSpoiled: models that contradict themselves are refused in words, never with a panic or much memory.
func FuzzSpoiled(f *testing.F) {
	for i := range networks {
		for seed := range uint64(100) {
			f.Add(i, seed)
		}
	}
	f.Fuzz(func(t *testing.T, network int, seed uint64) {
		if network < 0 || network > len(networks) {
			return
		}
		var m *onnx.Model
		if network == len(networks) {
			m = old(t)
		} else {
			m = networks[network].build(t)
		}
		p := m.Proto()
		spoil(p, rand.New(rand.NewPCG(seed, 1)))
		if m, err := onnx.New(p); err == nil {
			everySurgery(m)
		}
	})
}

// everySurgery does all that this package can.
func everySurgery(m *onnx.Model) {
	g := Edit(m)
	_ = g.Upgrade(21)
	_, _ = g.Costs()
	if g.Simplify() != nil {
		return
	}
	_, _ = g.FoldNormalization()
	_, _ = g.Costs()
	if groups, err := g.Groups(); err == nil {
		_ = groups.Prune(cutEvery(groups)...)
	}
	if m, err := g.Model(); err == nil {
		Diff(m, m)
	}
	_, _ = g.Half(HalfOptions{})
}
