package learn

import (
	"fmt"
	"math"

	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"google.golang.org/protobuf/proto"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/onnx"
)

func init() { register([]string{"Dropout"}, dropout) }

// Drop is what is left out at random while training. What is left out follows from the seed, the step, the place in the graph and the place in the
// batch, and is worked out on the host, so that it is the same on every device and after a resumed checkpoint.
type Drop struct {
	// Out is the share of features that dropout sets to 0 (Srivastava et al. 2014): in place of the ratios of the graph's own Dropout nodes, or where
	// there are none, of what enters the classifier. 0: the nodes' own ratios.
	Out float64
	// Path is the share of images for which the last residual branch is left out (stochastic depth, Huang et al. 2016); for the branches before it is
	// less, in equal steps from 0 for the first.
	Path float64
}

// mask is a tensor of 0 and 1/(1-rate) that a batch is multiplied with.
type mask struct {
	feed  string
	rate  float64
	place int // in the order of the graph
}

// fill draws the mask of a pass through the model.
func (k mask) fill(f *feed, seed uint64, pass int) error {
	s := dataset.NewStream(seed, fmt.Sprintf("drop %d", k.place), uint64(pass))
	keep := float32(1 / (1 - k.rate))
	limit := uint64(k.rate * math.MaxUint64)
	for i := range f.floats {
		f.floats[i] = keep
		if s.Uint64() < limit {
			f.floats[i] = 0
		}
	}
	return f.send()
}

// newMask adds a mask of the shape to the computation, an input that the machine fills.
func (a *assembly) newMask(place int, rate float64, dims []int) (*graph.Node, error) {
	name := fmt.Sprintf("mask %d", place)
	n, err := a.feed(name, shapes.Make(dtypes.Float32, dims...))
	if err == nil && place == len(a.m.masks) {
		a.m.masks = append(a.m.masks, mask{name, rate, place})
	}
	return n, err
}

// drop multiplies x by a mask of dims, which broadcast to those of x.
func (l *lowering) drop(x *graph.Node, rate float64, dims []int) (y, mask *graph.Node, err error) {
	if mask, err = l.newMask(l.masks, rate, dims); err != nil {
		return nil, nil, err
	}
	l.masks++
	return graph.Mul(x, mask), mask, nil
}

// dropout lowers Dropout: the identity, but in training where masks are to be had.
func dropout(l *lowering, n *protos.NodeProto) error {
	rate, err := l.dropoutRate(n)
	if err != nil {
		return err
	}
	if !l.training || rate == 0 || l.newMask == nil {
		return identity(l, n)
	}
	x, err := l.in(n, 0)
	if err != nil {
		return err
	}
	if !x.batched {
		return fmt.Errorf("its input does not have the batch")
	}
	y, mask, err := l.drop(x.node, rate, x.dims())
	if err != nil {
		return err
	}
	l.set(n, y, n.Input[:1], func(v *graph.Node) []*graph.Node { return []*graph.Node{graph.Mul(v, mask)} })
	return nil
}

// dropoutRate returns the ratio of a Dropout node: that of the training, an attribute (up to operator set 11), or an input.
func (l *lowering) dropoutRate(n *protos.NodeProto) (float64, error) {
	rate, err := l.scalar(n, 1, onnx.Float(n, "ratio", 0.5))
	if err != nil {
		return 0, err
	}
	if l.plan.drop.Out > 0 {
		rate = l.plan.drop.Out
	}
	if !(rate >= 0 && rate < 1) {
		return 0, fmt.Errorf("its ratio is %g, not within 0 and 1", rate)
	}
	return rate, nil
}

// dropped returns the node with what it takes dropped, where the training asks for it: a residual branch, or what enters the classifier.
func (l *lowering) dropped(n *protos.NodeProto) (*protos.NodeProto, error) {
	if !l.training || l.newMask == nil {
		return n, nil
	}
	if b, ok := l.plan.branches[n.Output[0]]; ok && b.rate > 0 {
		return l.dropInput(n, b.input, b.rate, true)
	}
	if l.plan.dropsHead && l.plan.headNode == n {
		return l.dropInput(n, 0, l.plan.drop.Out, false)
	}
	return n, nil
}

// dropInput returns a copy of the node whose input i is dropped: by image as a whole, or each number by itself.
func (l *lowering) dropInput(n *protos.NodeProto, i int, rate float64, byImage bool) (*protos.NodeProto, error) {
	x, err := l.in(n, i)
	if err != nil {
		return nil, err
	}
	dims := append([]int(nil), x.dims()...)
	for k := range dims[:len(dims)-1] {
		if byImage {
			dims[k] = 1
		}
	}
	y, mask, err := l.drop(x.node, rate, dims)
	if err != nil {
		return nil, err
	}
	name := n.Input[i] + " dropped for " + n.Output[0]
	own := &protos.NodeProto{Name: name, Output: []string{name}}
	l.set(own, y, []string{n.Input[i]}, func(v *graph.Node) []*graph.Node { return []*graph.Node{graph.Mul(v, mask)} })
	n = proto.Clone(n).(*protos.NodeProto)
	n.Input[i] = name
	return n, nil
}

// branch is the input of an Add that is a residual branch.
type branch struct {
	input int
	rate  float64
}

// planDrop finds the residual branches and whether the classifier's features are to be dropped.
func (p *plan) planDrop(m *onnx.Model) error {
	own := false
	for _, n := range m.Graph().Node {
		own = own || n.OpType == "Dropout"
	}
	p.dropsHead = p.drop.Out > 0 && !own
	if p.dropsHead && p.headNode == nil {
		return fmt.Errorf("the model has no Dropout and its classifier was not found, so there is nothing that dropout could be applied to")
	}
	if p.drop.Path == 0 {
		return nil
	}
	list := residuals(m)
	if len(list) == 0 {
		return fmt.Errorf("the model has no residual branches that could be dropped")
	}
	p.branches = map[string]branch{}
	for i, r := range list {
		rate := p.drop.Path
		if len(list) > 1 {
			rate *= float64(i) / float64(len(list)-1)
		}
		p.branches[r.output] = branch{r.input, rate}
	}
	return nil
}

// residual is an Add one of whose inputs is the longer way from where the two ways part.
type residual struct {
	output string
	input  int
}

// residuals returns the Adds of a graph that join a branch with a shortcut, in the graph's order.
func residuals(m *onnx.Model) []residual {
	makers := map[string]*protos.NodeProto{}
	depth := map[string]int{m.Input().Name: 0} // of values that depend on the images: the longest way to them
	var list []residual
	for _, n := range m.Graph().Node {
		deepest := -1
		for _, in := range n.Input {
			if d, ok := depth[in]; ok {
				deepest = max(deepest, d)
			}
		}
		if deepest < 0 {
			continue
		}
		for _, out := range n.Output {
			makers[out], depth[out] = n, deepest+1
		}
		if n.OpType != "Add" || len(n.Input) != 2 {
			continue
		}
		_, a := depth[n.Input[0]]
		_, b := depth[n.Input[1]]
		if !a || !b || n.Input[0] == n.Input[1] {
			continue
		}
		if i := longerWay(n, makers, depth); i >= 0 {
			list = append(list, residual{n.Output[0], i})
		}
	}
	return list
}

// longerWay returns which of the two inputs is the longer way from the last value that both depend on; -1 where they are equally long.
func longerWay(n *protos.NodeProto, makers map[string]*protos.NodeProto, depth map[string]int) int {
	reach := func(from string) map[string]bool {
		seen := map[string]bool{from: true}
		stack := []string{from}
		for len(stack) > 0 {
			maker := makers[stack[len(stack)-1]]
			stack = stack[:len(stack)-1]
			if maker == nil {
				continue
			}
			for _, in := range maker.Input {
				if _, ok := depth[in]; ok && !seen[in] {
					seen[in] = true
					stack = append(stack, in)
				}
			}
		}
		return seen
	}
	a, b := reach(n.Input[0]), reach(n.Input[1])
	meet := 0
	for name := range a {
		if b[name] {
			meet = max(meet, depth[name])
		}
	}
	first, second := depth[n.Input[0]]-meet, depth[n.Input[1]]-meet
	switch {
	case first > second:
		return 0
	case second > first:
		return 1
	}
	return -1
}
