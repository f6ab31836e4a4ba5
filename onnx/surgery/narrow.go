package surgery

import (
	"math"
	"regexp"
)

// Kept returns how many of n channels stay when a share of them is to go: at least one, and a multiple of round where there are as many, the nearest one.
func Kept(n int, ratio float64, round int) int {
	k := int(math.Round(float64(n) * (1 - ratio)))
	if round > 1 && n >= round {
		k = max(round, (k+round/2)/round*round)
	}
	return min(n, max(k, 1))
}

// Narrow keeps a share of the channels of every group that can be pruned, the first ones, whatever they are worth: the model is for timing, not for its answers.
// Groups over whose channels statistics are taken, and those of no layer, stay whole, as they do where a model is pruned. It calls Simplify.
func (g *Graph) Narrow(width float64, round int) error {
	if err := g.Simplify(); err != nil {
		return err
	}
	groups, err := g.Groups()
	if err != nil {
		return err
	}
	var cuts []Cut
	for _, group := range groups.List {
		if !group.Prunable() {
			continue
		}
		cut := Cut{Group: group}
		for c := Kept(group.Channels, 1-width, round); c < group.Channels; c++ {
			cut.Channels = append(cut.Channels, c)
		}
		cuts = append(cuts, cut)
	}
	return groups.Prune(cuts...)
}

// Prunable reports whether channels of the group may go without changing what the others say: it has a layer that computes it, more than one channel, and no
// statistics are taken over them.
func (g *Group) Prunable() bool { return len(g.Layers()) > 0 && g.Channels > 1 && !g.Mixed }

// Name returns the node's name, or that of its first output where it has none.
func (n NodeCost) Name() string { return nodeName(n.Node) }

// LayerOf returns the layer, a node with multiply-accumulates, that a runtime means by the name and the operator of what it runs: runtimes fuse a layer with
// what follows it and call the whole by the name of one of them, and ONNX Runtime appends "_nchwc" or "_token_" and a number where it changes the layout. It is nil where there is none.
func (c *Costs) LayerOf(name, operator string) *NodeCost {
	if fuses[operator] {
		return nil
	}
	producer := map[string]int{}
	at := -1
	name = layoutChange.ReplaceAllString(name, "")
	for i, n := range c.Nodes {
		for _, out := range n.Node.Output {
			producer[out] = i
		}
		if n.Name() == name {
			at = i
		}
	}
	for at >= 0 && c.Nodes[at].MACs == 0 {
		n := c.Nodes[at].Node
		at = -1
		for _, in := range n.Input {
			// Of the branches that a residual addition joins, the fused one was computed last.
			if i, ok := producer[in]; ok && fuses[n.OpType] {
				at = max(at, i)
			}
		}
	}
	if at < 0 {
		return nil
	}
	return &c.Nodes[at]
}

// layoutChange is what ONNX Runtime appends.
var layoutChange = regexp.MustCompile(`(_nchwc|_token_[0-9]+)$`)

// fuses are the operators that runtimes make a part of the layer before them.
var fuses = map[string]bool{"BatchNormalization": true, "Relu": true, "Clip": true, "Sigmoid": true, "Tanh": true, "HardSigmoid": true, "HardSwish": true, "LeakyRelu": true, "Add": true, "Mul": true}
