package cpu

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
)

// Fusion joins elementwise operators that feed each other into one operator of package kernel, a short program that runs block by block: values in
// between are never written to memory. An optimizer's update of a parameter, an activation with its gradient, or the mask of a
// rectifier each become one pass. It changes neither what is computed nor in which order; exp, tanh and erf are kernel's own.

// instructions numbers ONNX's operators as kernels.h does.
var instructions = map[string]int{"Add": 0, "Sub": 1, "Mul": 2, "Div": 3, "Max": 4, "Min": 5, "Neg": 6, "Abs": 7, "Sqrt": 8, "Reciprocal": 9,
	"Exp": 10, "Sigmoid": 11, "Tanh": 12, "Erf": 13, "Equal": 14, "Less": 15, "LessOrEqual": 16, "Greater": 17, "GreaterOrEqual": 18,
	"And": 19, "Or": 20, "Not": 21, "Where": 22,
	"Gelu": 23, geluSlope: 24}

const (
	fusedLeast    = 4  // elements below which nothing is fused
	fusedOperands = 24 // inputs of a fused operator at most, below DK_OPERANDS in kernels.h
	fusedLength   = 64 // operators at most
	fusedRank     = 8  // DK_AXES
)

// fuser is one pass over a computation.
type fuser struct {
	nodes []*node
	place map[*node]int // of the nodes as they were
	group []int         // by place of a node: its group, the place of the group's first member
	// members of each group by its number, in order.
	members   map[int][]int
	consumers map[*value]int // that are needed, results counted too
}

// fuse returns the nodes, which are in topological order, with groups of elementwise ones joined.
func fuse(nodes []*node, results []*value) []*node {
	u := grouped(ownTruths(nodes), results)
	if more := u.recomputed(results); more != nil {
		u = grouped(more, results)
	}
	u.divide()
	return u.schedule()
}

// grouped finds the groups of nodes that can be joined.
func grouped(nodes []*node, results []*value) *fuser {
	u := &fuser{nodes: nodes, place: map[*node]int{}, group: make([]int, len(nodes)), members: map[int][]int{}, consumers: map[*value]int{}}
	for i, n := range nodes {
		u.place[n], u.group[i], u.members[i] = i, i, []int{i}
		for _, in := range n.inputs {
			u.consumers[in]++
		}
	}
	for _, r := range results {
		u.consumers[r]++
	}
	for i, n := range nodes {
		if !fusible(n) || n.outputs[0].shape.DType == dtypes.Bool {
			continue // a truth value goes with what uses it
		}
		for _, in := range truths(n) {
			if p := u.producer(in); p >= 0 && fusible(u.nodes[p]) && sameSize(u.nodes[p], n) {
				u.join(u.group[p], u.group[i])
			}
		}
	}
	return u
}

// truths lists the inputs of a node, and of those that are truth values the inputs too.
func truths(n *node) []*value {
	list := slices.Clone(n.inputs)
	for _, in := range n.inputs {
		if in.shape.DType == dtypes.Bool && in.node != nil && fusible(in.node) {
			list = append(list, truths(in.node)...)
		}
	}
	return list
}

// ownTruths gives every operator comparisons of its own, since truth values cannot leave the operator that uses them. To compare again is cheap.
func ownTruths(nodes []*node) []*node {
	users := map[*value]int{}
	copies := map[*node][]*node{}
	for _, n := range slices.Backward(nodes) {
		all := append([]*node{n}, copies[n]...)
		for _, each := range all {
			for i, in := range each.inputs {
				if in.shape.DType != dtypes.Bool || in.node == nil || in.node.constant != nil || !fusible(in.node) {
					continue
				}
				users[in]++
				if users[in] == 1 {
					continue
				}
				own := *in.node
				y := *in
				y.name, y.node = fmt.Sprintf("%s_%d", in.name, users[in]), &own
				own.inputs, own.outputs = slices.Clone(own.inputs), []*value{&y}
				copies[in.node] = append(copies[in.node], &own)
				each.inputs = slices.Clone(each.inputs)
				each.inputs[i] = &y
			}
		}
	}
	var list []*node
	for _, n := range nodes {
		list = append(append(list, n), copies[n]...)
	}
	return list
}

// fusible reports whether a node is elementwise over float32 or truth values of a size worth it.
func fusible(n *node) bool {
	_, known := instructions[n.operator]
	if n.domain != "" || !known || len(n.attributes) > 0 || len(n.outputs) != 1 || n.outputs[0].shape.Size() < fusedLeast || n.outputs[0].shape.Rank() > fusedRank {
		return false
	}
	switch n.outputs[0].shape.DType {
	case dtypes.Float32, dtypes.Bool:
	default:
		return false
	}
	for _, in := range n.inputs {
		d := in.shape.DType
		if d != dtypes.Float32 && (d != dtypes.Bool || in.node == nil || !fusible(in.node) || !sameSize(in.node, n)) {
			return false
		}
	}
	return true
}

// sameSize reports whether two nodes run over the same array.
func sameSize(a, b *node) bool {
	return slices.Equal(a.outputs[0].shape.Dimensions, b.outputs[0].shape.Dimensions)
}

// producer returns the place of the node that makes v, or -1.
func (u *fuser) producer(v *value) int {
	if v.node == nil || v.node.constant != nil {
		return -1
	}
	if p, ok := u.place[v.node]; ok {
		return p
	}
	return -1
}

// join makes two groups one unless one waits for the other by way of a third, or it would be too large.
func (u *fuser) join(a, b int) {
	if a == b || len(u.members[a])+len(u.members[b]) > fusedLength {
		return
	}
	all := slices.Concat(u.members[a], u.members[b])
	slices.Sort(all)
	if u.wouldWait(all) || len(u.outside(all)) > fusedOperands {
		return
	}
	first := all[0]
	delete(u.members, a)
	delete(u.members, b)
	u.members[first] = all
	for _, m := range all {
		u.group[m] = first
	}
}

// wouldWait reports whether something outside of the set that the set needs, needs the set.
func (u *fuser) wouldWait(set []int) bool {
	inside := map[int]bool{}
	for _, m := range set {
		inside[m] = true
	}
	seen := map[int]bool{}
	var stack []int
	visit := func(m int) (waits bool) {
		for _, in := range u.nodes[m].inputs {
			p := u.producer(in)
			switch {
			case p < 0:
			case inside[p]:
				waits = true
			case !seen[u.group[p]]:
				seen[u.group[p]] = true
				stack = append(stack, u.group[p])
			}
		}
		return waits
	}
	for _, m := range set {
		visit(m)
	}
	for len(stack) > 0 {
		members := u.members[stack[len(stack)-1]]
		stack = stack[:len(stack)-1]
		if members[len(members)-1] < set[0] {
			continue // all of it, and so all that it needs, comes before the set
		}
		for _, m := range members {
			if visit(m) {
				return true
			}
		}
	}
	return false
}

// divide takes groups apart that would have to hand a truth value to the outside or take one from there: their operators have them as
// words, ONNX Runtime's as bytes.
func (u *fuser) divide() {
	for again := true; again; {
		again = false
		for g, set := range u.members {
			if len(set) > 1 && u.leaks(set) {
				delete(u.members, g)
				for _, m := range set {
					u.group[m], u.members[m] = m, []int{m}
				}
				again = true
			}
		}
	}
}

func (u *fuser) leaks(set []int) bool {
	uses := map[*value]int{}
	for _, m := range set {
		for _, in := range u.nodes[m].inputs {
			if in.shape.DType == dtypes.Bool && !slices.Contains(set, u.producer(in)) {
				return true
			}
			uses[in]++
		}
	}
	for _, m := range set {
		if y := u.nodes[m].outputs[0]; y.shape.DType == dtypes.Bool && u.consumers[y] > uses[y] {
			return true
		}
	}
	return false
}

// outside lists the values that a set of nodes reads from elsewhere, without the scalars that become part of the program.
func (u *fuser) outside(set []int) []*value {
	var list []*value
	for _, m := range set {
		for _, in := range u.nodes[m].inputs {
			in = source(in)
			if _, immediate := scalarBits(in); immediate {
				continue
			}
			if p := u.producer(in); p >= 0 && slices.Contains(set, p) || slices.Contains(list, in) {
				continue
			}
			list = append(list, in)
		}
	}
	return list
}

// source returns what a fused operator reads in v's place: what is only repeated is read as it is.
func source(v *value) *value {
	if v.narrow != nil {
		return v.narrow
	}
	return v
}

// scalarBits returns the bits of a constant scalar.
func scalarBits(v *value) (bits uint32, ok bool) {
	if v.node == nil || v.node.constant == nil || v.shape.Size() != 1 || v.shape.DType != dtypes.Float32 {
		return 0, false
	}
	return math.Float32bits(v.node.constant.([]float32)[0]), true
}

// schedule returns the nodes with the groups in place, each as soon as what it needs is there.
func (u *fuser) schedule() []*node {
	done := make([]bool, len(u.nodes))
	var out []*node
	var place func(g int)
	place = func(g int) {
		if done[g] {
			return
		}
		done[g] = true
		members := u.members[g]
		for _, m := range members {
			for _, in := range u.nodes[m].inputs {
				if p := u.producer(in); p >= 0 && u.group[p] != g {
					place(u.group[p])
				}
			}
		}
		if len(members) == 1 && !ownInstruction(u.nodes[g].operator) {
			out = append(out, u.nodes[g])
			return
		}
		out = append(out, u.program(members))
	}
	for i := range u.nodes {
		place(u.group[i])
	}
	return out
}

// program makes one node of a group.
func (u *fuser) program(set []int) *node {
	p := &program{shape: u.nodes[set[0]].outputs[0].shape, numbers: map[*value]int{}}
	uses := map[*value]int{} // within the group
	for _, m := range set {
		for _, in := range u.nodes[m].inputs {
			uses[in]++
			p.operand(in, u, set)
		}
	}
	var results []*value
	for _, m := range set {
		y := u.nodes[m].outputs[0]
		if u.consumers[y] > uses[y] {
			results = append(results, y)
		}
	}
	p.code = p.allocate(u, set, results)
	n := &node{operator: "Elementwise", domain: kernel.Domain, inputs: p.inputs, outputs: results}
	n.attributes = append(n.attributes, intsAttribute("geometry", p.geometry(results)))
	for _, r := range results {
		r.node = n
	}
	return n
}

// program is a fused operator in the making; kernels.h describes it.
type program struct {
	shape      shapes.Shape
	inputs     []*value
	immediates []uint32
	numbers    map[*value]int // of registers, from 0
	registers  int
	code       [][5]int
}

// operand notes what a node reads from outside.
func (p *program) operand(v *value, u *fuser, set []int) {
	v = source(v)
	if bits, ok := scalarBits(v); ok {
		if !slices.Contains(p.immediates, bits) {
			p.immediates = append(p.immediates, bits)
		}
		return
	}
	if q := u.producer(v); q >= 0 && slices.Contains(set, q) || slices.Contains(p.inputs, v) {
		return
	}
	p.inputs = append(p.inputs, v)
}

// number returns the number of an operand.
func (p *program) number(v *value) int {
	if r, ok := p.numbers[v]; ok {
		return len(p.inputs) + len(p.immediates) + r
	}
	v = source(v)
	if r, ok := p.numbers[v]; ok {
		return len(p.inputs) + len(p.immediates) + r
	}
	if bits, ok := scalarBits(v); ok {
		return len(p.inputs) + slices.Index(p.immediates, bits)
	}
	return slices.Index(p.inputs, v)
}

// allocate writes the instructions. A register is free again after its value's last use, unless it is a result.
func (p *program) allocate(u *fuser, set []int, results []*value) [][5]int {
	last := map[*value]int{}
	for _, m := range set {
		for _, in := range u.nodes[m].inputs {
			last[in] = m
		}
	}
	var free []int
	var code [][5]int
	for _, m := range set {
		n := u.nodes[m]
		y := n.outputs[0]
		line := [5]int{instructions[n.operator]}
		for k, in := range n.inputs {
			line[2+k] = p.number(in)
		}
		for k := len(n.inputs); k < 3; k++ {
			line[2+k] = line[2]
		}
		r := p.registers
		if len(free) > 0 && !slices.Contains(results, y) {
			r, free = free[len(free)-1], free[:len(free)-1]
		} else {
			p.registers++
		}
		p.numbers[y] = r
		line[1] = len(p.inputs) + len(p.immediates) + r
		code = append(code, line)
		var freed []*value
		for _, in := range n.inputs {
			if r, ok := p.numbers[in]; ok && last[in] == m && !slices.Contains(results, in) && !slices.Contains(freed, in) {
				free, freed = append(free, r), append(freed, in)
			}
		}
	}
	return code
}

// geometry writes the program as kernels.h and operators.c read it.
func (p *program) geometry(results []*value) []int {
	var steps [][]int
	for _, in := range p.inputs {
		steps = append(steps, p.steps(in))
	}
	dims, steps := collapsed(p.shape.Dimensions, steps)
	list := []int{p.shape.Size(), len(dims), len(p.inputs), len(p.immediates), p.registers, len(results), len(p.code)}
	list = append(list, dims...)
	for _, s := range steps {
		list = append(list, s...)
	}
	for _, bits := range p.immediates {
		list = append(list, int(bits))
	}
	for _, line := range p.code {
		list = append(list, line[:]...)
	}
	for _, r := range results {
		list = append(list, p.number(r))
	}
	return append(append(list, p.shape.Rank()), p.shape.Dimensions...)
}

// collapsed joins each axis with the one before it where every input goes on from one to the other as within them, and leaves out those of size 1.
// An input whose steps begin with -1 has all elements, so it always does.
func collapsed(dims []int, steps [][]int) (fewer []int, theirs [][]int) {
	theirs = make([][]int, len(steps))
	for k, d := range dims {
		last := len(fewer) - 1
		if d == 1 && (last >= 0 || k < len(dims)-1) {
			continue
		}
		goesOn := last >= 0
		for i, s := range steps {
			goesOn = goesOn && (s[0] < 0 || theirs[i][last] == s[k]*d)
		}
		if goesOn {
			fewer[last] *= d
		} else {
			fewer, last = append(fewer, d), last+1
		}
		for i, s := range steps {
			step := s[k]
			if s[0] < 0 {
				step = min(0, last-1) // -1 first, then 0
			}
			theirs[i] = append(theirs[i][:last], step)
		}
	}
	return fewer, theirs
}

// steps returns how an input lies under the program's axes: -1 first when it has all elements.
func (p *program) steps(in *value) []int {
	dims := p.shape.Dimensions
	out := make([]int, len(dims))
	if in.shape.Size() == p.shape.Size() {
		out[0] = -1
		return out
	}
	own := steps(in.shape.Dimensions)
	shift := len(dims) - len(own)
	for k, d := range in.shape.Dimensions {
		if d != 1 {
			out[shift+k] = own[k]
		}
	}
	return out
}
