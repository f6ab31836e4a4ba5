package prune

import (
	"fmt"
	"math"
	"slices"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// importance returns how much each channel of a group counts, the least first to go. Numbers compare within a group; global decisions divide
// them by the group's mean.
type importance func(m *onnx.Model, g *surgery.Group) ([]float64, error)

// byNorm is the p-norm of what computes a channel, mean over the layers of the group: of its filters (Li et al. 2017, "Pruning Filters for
// Efficient ConvNets", with p = 1).
func byNorm(p float64) importance {
	return func(m *onnx.Model, g *surgery.Group) ([]float64, error) {
		return overLayers(m, g, func(slices [][]float32) []float64 {
			out := make([]float64, len(slices))
			for c, s := range slices {
				for _, v := range s {
					out[c] += math.Pow(math.Abs(float64(v)), p)
				}
				out[c] = math.Pow(out[c], 1/p)
			}
			return out
		})
	}
}

// byGeometricMedian is the distance of a filter from all others of its layer (He et al. 2019, "Filter Pruning via Geometric Median for Deep
// Convolutional Neural Networks Acceleration"): one that lies amid the others is the easiest to replace by them.
func byGeometricMedian(m *onnx.Model, g *surgery.Group) ([]float64, error) {
	return overLayers(m, g, func(slices [][]float32) []float64 {
		out := make([]float64, len(slices))
		for a := range slices {
			for b := range slices {
				sum := 0.0
				for i := range slices[a] {
					d := float64(slices[a][i]) - float64(slices[b][i])
					sum += d * d
				}
				out[a] += math.Sqrt(sum)
			}
		}
		return out
	})
}

// overLayers scores the channels in each layer that computes them, and returns the mean over the layers, each of which counts as much.
func overLayers(m *onnx.Model, g *surgery.Group, score func(slices [][]float32) []float64) ([]float64, error) {
	total := make([]float64, g.Channels)
	layers := 0
	for _, member := range g.Members {
		if member.Role != surgery.Produces {
			continue
		}
		s, err := slicesOf(m, member, nil)
		if err != nil {
			return nil, err
		}
		if s == nil || len(s[0]) == 1 { // a bias says nothing of its own
			continue
		}
		layers++
		for c, v := range normalised(score(s)) {
			total[c] += v
		}
	}
	if layers == 0 {
		return nil, fmt.Errorf("no layer of the group that begins at %q computes its channels from weights", g.Members[0].Tensor)
	}
	for c := range total {
		total[c] /= float64(layers)
	}
	return total, nil
}

// normalised divides by the mean; zeroes stay.
func normalised(list []float64) []float64 {
	mean := 0.0
	for _, v := range list {
		mean += v / float64(len(list))
	}
	if mean == 0 {
		return list
	}
	out := make([]float64, len(list))
	for i, v := range list {
		out[i] = v / mean
	}
	return out
}

// slicesOf returns the numbers of each channel of a member, of the tensor itself or of values of its shape; nil when it is not of float32.
func slicesOf(m *onnx.Model, member surgery.Member, values []float32) ([][]float32, error) {
	t, ok := m.Tensor(member.Tensor)
	if !ok {
		return nil, nil
	}
	if values == nil {
		values = t.Data
	}
	if len(values) != len(t.Data) {
		return nil, fmt.Errorf("%d values for the %d numbers of %q", len(values), len(t.Data), member.Tensor)
	}
	inner := 1
	for _, d := range t.Dims[member.Axis+1:] {
		inner *= d
	}
	size := t.Dims[member.Axis]
	outer := len(values) / (inner * size)
	out := make([][]float32, len(member.Index))
	for c, places := range member.Index {
		out[c] = make([]float32, 0, outer*inner*len(places))
		for o := range outer {
			for _, at := range places {
				start := (o*size + at) * inner
				out[c] = append(out[c], values[start:start+inner]...)
			}
		}
	}
	return out, nil
}

// byScale is the size of the batch normalisation's scale (Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming"), mean over
// the normalisations of the group.
func byScale(m *onnx.Model, g *surgery.Group) ([]float64, error) {
	total := make([]float64, g.Channels)
	found := 0
	for _, member := range g.Members {
		if !isScale(member) {
			continue
		}
		s, err := slicesOf(m, member, nil)
		if err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		found++
		for c := range s {
			total[c] += math.Abs(float64(s[c][0]))
		}
	}
	if found == 0 {
		return byNorm(1)(m, g) // a layer without a normalisation behind it
	}
	return total, nil
}

func isScale(m surgery.Member) bool {
	return m.Role == surgery.PerChannel && m.Node.OpType == "BatchNormalization" && m.Input == 1
}

// scales lists the batch normalisations' scales of the groups, which network slimming penalises.
func scales(groups *surgery.Groups) []string {
	var out []string
	for _, g := range groups.List {
		for _, m := range g.Members {
			if isScale(m) && !slices.Contains(out, m.Tensor) {
				out = append(out, m.Tensor)
			}
		}
	}
	return out
}

// byTaylor is the squared first-order change of the loss when a channel is set to zero (Molchanov et al. 2019, "Importance Estimation for Neural Network
// Pruning"): (Σ w·∂L/∂w)² over all of a channel's own numbers. gradients are by initializer, summed over batches; what is frozen has none.
func byTaylor(gradients map[string][]float32) importance {
	return func(m *onnx.Model, g *surgery.Group) ([]float64, error) {
		total := make([]float64, g.Channels)
		for _, member := range g.Members {
			gradient, ok := gradients[member.Tensor]
			if !ok || member.Role == surgery.Consumes {
				continue
			}
			w, err := slicesOf(m, member, nil)
			if err != nil {
				return nil, err
			}
			d, err := slicesOf(m, member, gradient)
			if err != nil {
				return nil, err
			}
			for c := range w {
				sum := 0.0
				for i := range w[c] {
					sum += float64(w[c][i]) * float64(d[c][i])
				}
				total[c] += sum * sum
			}
		}
		return total, nil
	}
}

// byChance is a random number for each channel, to compare the others with.
func byChance(seed uint64) importance {
	return func(_ *onnx.Model, g *surgery.Group) ([]float64, error) {
		out := make([]float64, g.Channels)
		for c := range out {
			s := dataset.NewStream(seed, "prune "+g.Members[0].Tensor, uint64(c))
			out[c] = s.Float()
		}
		return out, nil
	}
}
