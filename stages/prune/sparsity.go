package prune

import (
	"slices"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// mask says which numbers of an initializer stay, in its own order.
type mask []bool

// masks returns what stays of each kernel and matrix that layers compute with: the largest numbers, of each by itself or of all together. Those of excluded
// layers stay whole.
func (c *cutter) masks(m *onnx.Model, groups *surgery.Groups, ratio float64) map[string]mask {
	weights := c.kernels(m, groups)
	var all []float32
	for _, name := range sortedNames(weights) {
		for _, v := range weights[name].Data {
			all = append(all, abs(v))
		}
	}
	slices.Sort(all)
	line := lineAt(all, ratio)
	out := map[string]mask{}
	for name, t := range weights {
		if !c.global {
			own := make([]float32, len(t.Data))
			for i, v := range t.Data {
				own[i] = abs(v)
			}
			slices.Sort(own)
			line = lineAt(own, ratio)
		}
		keep := make(mask, len(t.Data))
		for i, v := range t.Data {
			keep[i] = abs(v) > line
		}
		out[name] = keep
	}
	return out
}

// lineAt returns the largest of the smallest share of a sorted list; -1 when the share is none of it.
func lineAt(sorted []float32, share float64) float32 {
	n := int(share * float64(len(sorted)))
	if n == 0 {
		return -1
	}
	return sorted[n-1]
}

func abs(v float32) float32 { return max(v, -v) }

// masks24 keeps the two largest of every four neighbours along the inputs of each output channel, which the sparse tensor cores of NVIDIA's GPUs want
// (Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks"). Kernels whose inputs are not a multiple of four stay whole.
func (c *cutter) masks24(m *onnx.Model, groups *surgery.Groups) map[string]mask {
	out := map[string]mask{}
	for name, t := range c.kernels(m, groups) {
		inputs, inner := t.Dims[1], 1
		for _, d := range t.Dims[2:] {
			inner *= d
		}
		if inputs%4 != 0 {
			continue
		}
		keep := make(mask, len(t.Data))
		for o := range t.Dims[0] {
			for block := 0; block < inputs; block += 4 {
				for k := range inner {
					var at [4]int
					for j := range at {
						at[j] = (o*inputs+block+j)*inner + k
					}
					order := at[:]
					slices.SortStableFunc(order, func(a, b int) int {
						switch x, y := abs(t.Data[a]), abs(t.Data[b]); {
						case x > y:
							return -1
						case x < y:
							return 1
						}
						return 0
					})
					keep[order[0]], keep[order[1]] = true, true
				}
			}
		}
		out[name] = keep
	}
	return out
}

// kernels are the initializers of at least two axes, the first of which is the output channels of a layer that may be pruned.
func (c *cutter) kernels(m *onnx.Model, groups *surgery.Groups) map[string]onnx.Tensor {
	out := map[string]onnx.Tensor{}
	for _, g := range groups.List {
		for _, member := range g.Members {
			name := member.Node.Name
			if name == "" {
				name = member.Node.Output[0]
			}
			t, ok := m.Tensor(member.Tensor)
			if ok && member.Role == surgery.Produces && member.Axis == 0 && len(t.Dims) > 1 && !matches(c.exclude, name) {
				out[member.Tensor] = t
			}
		}
	}
	return out
}

// apply sets what does not stay to zero.
func apply(m *onnx.Model, masks map[string]mask) error {
	for _, name := range sortedNames(masks) {
		t, _ := m.Tensor(name)
		for i, keep := range masks[name] {
			if !keep {
				t.Data[i] = 0
			}
		}
		if err := m.SetTensor(name, t.Data); err != nil {
			return err
		}
	}
	return nil
}

func sortedNames[T any](m map[string]T) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
