package prune

import (
	"fmt"
	"math"
	"path"
	"slices"
	"sort"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// cutter says which channels go. It is made of the stage's arguments.
type cutter struct {
	global  bool
	round   int                // kept channels are a multiple of it where the group has as many
	least   float64            // share of every group that stays whatever the global order says
	ratios  map[string]float64 // by pattern of a layer's name, for what deviates from the common ratio
	exclude []string           // patterns of layers whose channels all stay
	mixed   bool               // also prune through statistics over channels
}

// candidate is a group that may be pruned.
type candidate struct {
	group *surgery.Group
	name  string    // of its first layer, for people
	score []float64 // by channel
	fixed float64   // the ratio that a pattern gives it; negative: the common one
}

// candidates scores the groups of a model that may be pruned, in order of the graph.
func (c *cutter) candidates(m *onnx.Model, groups *surgery.Groups, score importance) ([]candidate, error) {
	var out []candidate
	for _, g := range groups.List {
		layers := g.Layers()
		if !g.Prunable() && !(g.Mixed && c.mixed && len(layers) > 0 && g.Channels > 1) {
			continue
		}
		k := candidate{group: g, fixed: -1}
		excluded := false
		for i, n := range layers {
			name := n.Name
			if name == "" {
				name = n.Output[0]
			}
			if i == 0 {
				k.name = name
			}
			excluded = excluded || matches(c.exclude, name)
			for pattern, r := range c.ratios {
				if matches([]string{pattern}, name) {
					k.fixed = max(k.fixed, r) // of several layers that prune together, the largest ratio
				}
			}
		}
		if excluded {
			continue
		}
		var err error
		if k.score, err = score(m, g); err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

// matches reports whether a shell pattern fits the name: stage1.*, *.conv2.
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}

// cuts returns the channels to remove for a common ratio.
func (c *cutter) cuts(list []candidate, ratio float64) []surgery.Cut {
	share := make([]float64, len(list))
	for i, k := range list {
		share[i] = ratio
		if k.fixed >= 0 {
			share[i] = k.fixed
		}
	}
	if c.global {
		c.shareGlobally(list, ratio, share)
	}
	var out []surgery.Cut
	for i, k := range list {
		remove := k.group.Channels - surgery.Kept(k.group.Channels, share[i], c.round)
		if remove == 0 {
			continue
		}
		order := weakest(k.score)
		channels := slices.Clone(order[:remove])
		slices.Sort(channels)
		out = append(out, surgery.Cut{Group: k.group, Channels: channels})
	}
	return out
}

// weakest returns the channels, the least important first; of equals the last of the layer.
func weakest(score []float64) []int {
	order := make([]int, len(score))
	for i := range order {
		order[i] = len(score) - 1 - i
	}
	sort.SliceStable(order, func(a, b int) bool { return score[order[a]] < score[order[b]] })
	return order
}

// shareGlobally orders all channels of the groups without a ratio of their own by their importance relative to the group's mean, and gives
// each group the share of those that fall under the line.
func (c *cutter) shareGlobally(list []candidate, ratio float64, share []float64) {
	var all []float64
	relative := make([][]float64, len(list))
	for i, k := range list {
		relative[i] = normalised(k.score)
		if k.fixed < 0 {
			all = append(all, relative[i]...)
		}
	}
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	line := math.Inf(-1)
	if n := int(math.Round(ratio * float64(len(all)))); n > 0 {
		line = all[n-1]
	}
	for i, k := range list {
		if k.fixed >= 0 {
			continue
		}
		under := 0
		for _, v := range relative[i] {
			if v <= line {
				under++
			}
		}
		share[i] = min(float64(under)/float64(len(relative[i])), 1-c.least)
	}
}

// pruned returns the model without the channels of a common ratio, with the number of channels before and after.
func (c *cutter) pruned(m *onnx.Model, score importance, ratio float64) (*surgery.Graph, error) {
	g, groups, err := grouped(m)
	if err != nil {
		return nil, err
	}
	list, err := c.candidates(m, groups, score)
	if err != nil {
		return nil, err
	}
	return g, groups.Prune(c.cuts(list, ratio)...)
}

// grouped finds the groups of a copy of the model.
func grouped(m *onnx.Model) (*surgery.Graph, *surgery.Groups, error) {
	g := surgery.Edit(m)
	if err := g.Simplify(); err != nil {
		return nil, nil, err
	}
	groups, err := g.Groups()
	return g, groups, err
}

// steps of the search for a ratio: the ratios tried are multiples of 2⁻ᵗʰⁱˢ.
const searchSteps = 10

// unreachable says that no ratio brings the cost down to the target.
type unreachable struct{ least float64 } // in the cost's own unit

func (e *unreachable) Error() string {
	return fmt.Sprintf("the least that pruning can reach is %.4g", e.least)
}

// reach finds the smallest ratio whose cost is at most target, in the cost's own unit.
func (c *cutter) reach(m *onnx.Model, score importance, of cost, target float64) (float64, error) {
	low, high := 0, 1<<searchSteps-1 // the ratio 1 leaves nothing
	at := func(i int) (float64, error) {
		g, err := c.pruned(m, score, float64(i)/(1<<searchSteps))
		if err != nil {
			return 0, err
		}
		return of(g)
	}
	least, err := at(high)
	if err != nil {
		return 0, err
	}
	if least > target {
		return 0, &unreachable{least}
	}
	for low < high {
		middle := (low + high) / 2
		v, err := at(middle)
		if err != nil {
			return 0, err
		}
		if v <= target {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return float64(high) / (1 << searchSteps), nil
}
