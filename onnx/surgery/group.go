package surgery

import (
	"fmt"
	"sort"
	"strings"

	"github.com/gomlx/compute-onnx/support/protos"
)

// Groups are the channels of a graph that can be removed, in groups of channels that the same initializers know. They describe the graph
// of the moment; Prune and every other surgery makes them out of date.
type Groups struct {
	List    []*Group
	tracker *tracker
}

// Group is a set of channels alike: each is known to the same axes of the same initializers. Removing one of them touches all of these axes, and
// nothing else. The channels of a residual stream are one group with every layer that adds to it; those of two branches that are concatenated
// are two; a head of an attention layer is one channel.
type Group struct {
	Channels int
	Members  []Member
	// Mixed says that statistics over the channels are taken (LayerNormalization, a mean): removing one changes the
	// others, even when it is zero.
	Mixed bool
	roots []int // by channel
}

// Member is an axis of an initializer along which a group's channels lie.
type Member struct {
	Tensor string
	Axis   int
	Role   Role
	Node   *protos.NodeProto // the first node that uses the axis so
	Input  int               // the tensor is that input of Node
	Index  [][]int           // by channel: its positions along the axis, ascending; after a flattening, one channel has several
}

// Groups finds the groups. Simplify should have been called: reshapes whose target is computed hide their channels. Channels of the
// image, of the output, and of what cannot be followed are in no group. The order follows the graph. It refuses quantized models.
func (g *Graph) Groups() (*Groups, error) {
	t, err := g.track()
	if err != nil {
		return nil, err
	}
	groups := &Groups{tracker: t}
	byKey := map[string]*Group{}
	known, roots := t.members()
	for _, root := range roots {
		members := known[root]
		key := keyOf(members, t.mixed[root])
		group := byKey[key]
		if group == nil {
			group = &Group{Mixed: t.mixed[root]}
			for _, m := range members {
				group.Members = append(group.Members, Member{Tensor: m.use.key.tensor, Axis: m.use.key.axis, Role: m.use.role, Node: m.use.node, Input: m.use.input})
			}
			byKey[key] = group
			groups.List = append(groups.List, group)
		}
		group.Channels++
		group.roots = append(group.roots, root)
		for i, m := range members {
			group.Members[i].Index = append(group.Members[i].Index, m.at)
		}
	}
	return groups, nil
}

// place is where one channel lies along one axis.
type place struct {
	use *axisUse
	at  []int
}

// members lists the places of every removable channel, and the channels in order of their first place.
func (t *tracker) members() (known map[int][]place, roots []int) {
	known = map[int][]place{}
	for _, use := range t.order {
		for i, c := range use.labels {
			root := t.root(c)
			if t.fixed[root] {
				continue
			}
			list := known[root]
			if list == nil {
				roots = append(roots, root)
			}
			if n := len(list); n > 0 && list[n-1].use == use {
				list[n-1].at = append(list[n-1].at, i)
			} else {
				list = append(list, place{use, []int{i}})
			}
			known[root] = list
		}
	}
	return known, roots
}

func keyOf(members []place, mixed bool) string {
	var b strings.Builder
	fmt.Fprint(&b, mixed)
	for _, m := range members {
		fmt.Fprintf(&b, "\x00%s\x00%d", m.use.key.tensor, m.use.key.axis)
	}
	return b.String()
}

// Layers returns the nodes that compute the group's channels, in order of the graph.
func (g *Group) Layers() []*protos.NodeProto {
	var list []*protos.NodeProto
	seen := map[*protos.NodeProto]bool{}
	for _, m := range g.Members {
		if m.Role == Produces && !seen[m.Node] {
			seen[m.Node] = true
			list = append(list, m.Node)
		}
	}
	return list
}

// Cut names channels of a group to remove, in any order.
type Cut struct {
	Group    *Group
	Channels []int
}

// removal is what a set of cuts takes away.
type removal struct {
	t     *tracker
	roots map[int]bool
}

func (r removal) gone(c int) bool { return r.roots[r.t.root(c)] }

// kept counts the channels of an axis that stay.
func (r removal) kept(l labels) int {
	n := 0
	for _, c := range l {
		if !r.gone(c) {
			n++
		}
	}
	return n
}

// Prune removes channels from the graph that the groups were found in, everywhere at once: from every initializer, and from what the graph says about
// sizes (groups of depthwise convolutions, targets of reshapes, splits, slices). It refuses to empty a layer, and leaves the
// graph as it was then.
func (gs *Groups) Prune(cuts ...Cut) error {
	r := removal{gs.tracker, map[int]bool{}}
	for _, c := range cuts {
		for _, k := range c.Channels {
			if k < 0 || k >= c.Group.Channels {
				return fmt.Errorf("channel %d of a group with %d channels", k, c.Group.Channels)
			}
			r.roots[c.Group.roots[k]] = true
		}
	}
	for _, use := range r.t.order {
		if r.kept(use.labels) == 0 && len(use.labels) > 0 {
			return fmt.Errorf("nothing would be left of %s (axis %d of %q); keep at least one of its channels", nodeName(use.node), use.key.axis, use.key.tensor)
		}
	}
	before := gs.tracker.g.copied()
	if err := r.apply(); err != nil {
		gs.tracker.g.proto = before
		return err
	}
	return nil
}

func nodeName(n *protos.NodeProto) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output[0]
}

func (r removal) apply() error {
	axes := map[string][]*axisUse{}
	for _, use := range r.t.order {
		if r.kept(use.labels) < len(use.labels) {
			axes[use.key.tensor] = append(axes[use.key.tensor], use)
		}
	}
	for _, p := range r.t.g.graph().Initializer {
		uses := axes[p.Name]
		sort.Slice(uses, func(i, j int) bool { return uses[i].key.axis < uses[j].key.axis })
		for _, use := range uses {
			if err := r.shorten(use); err != nil {
				return err
			}
		}
	}
	for _, n := range r.t.g.graph().Node {
		if err := r.resize(n); err != nil {
			return fmt.Errorf("%s: %w", nodeName(n), err)
		}
	}
	r.t.g.RemoveDead()
	if _, err := r.t.g.Shapes(); err != nil {
		return fmt.Errorf("after removing channels: %w", err)
	}
	return nil
}

// shorten removes positions from one axis of an initializer.
func (r removal) shorten(use *axisUse) error {
	for _, p := range r.t.g.graph().Initializer {
		if p.Name != use.key.tensor {
			continue
		}
		a, err := decode(p)
		if err != nil {
			return err
		}
		axis := use.key.axis
		inner, d := size(a.dims[axis+1:]), a.dims[axis]
		var from []int
		for i := range a.len() {
			if !r.gone(use.labels[i/inner%d]) {
				from = append(from, i)
			}
		}
		dims := append([]int(nil), a.dims...)
		dims[axis] = r.kept(use.labels)
		t, err := a.pick(dims, from).encode(p.Name)
		if err != nil {
			return err
		}
		r.t.g.setTensor(t)
	}
	return nil
}
