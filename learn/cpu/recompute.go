package cpu

import (
	"fmt"
	"maps"
	"slices"

	"github.com/gomlx/compute/dtypes"
)

// What an activation computed on the way forward its gradient can compute again: for a GELU Φ(x) and what leads to it, from x. A fused operator then reads
// one array in place of several, and the one that computed them writes none of them. The instructions are the same, so the bits are too.

// passCost is what it costs to write or read an array once, in the units of instructionCost: processor cycles for a vector of 64 bytes.
const passCost = 24

// instructionCost is about what an instruction costs for a vector that is in the cache.
func instructionCost(operator string) int {
	switch operator {
	case "Erf", "Tanh", "Gelu", geluSlope:
		return 40
	case "Exp", "Sigmoid":
		return 25
	case "Div", "Sqrt", "Reciprocal":
		return 10
	}
	return 3
}

// recomputed returns the nodes with copies of those that a group computes again, rather than read what another group has written; nil when there are none.
func (u *fuser) recomputed(results []*value) []*node {
	copies := map[*node][]*node{}
	for _, g := range slices.Sorted(maps.Keys(u.members)) {
		for _, from := range u.feeders(g) {
			u.recompute(g, from, results, copies)
		}
	}
	if len(copies) == 0 {
		return nil
	}
	var list []*node
	for _, n := range u.nodes {
		list = append(append(list, n), copies[n]...)
	}
	return alive(list, results)
}

// alive leaves out the nodes whose outputs nobody reads.
func alive(nodes []*node, results []*value) []*node {
	seen := needed(results)
	return slices.DeleteFunc(nodes, func(n *node) bool { return !seen[n] })
}

// feeders lists the groups of fusible nodes that the group reads arrays from.
func (u *fuser) feeders(g int) []int {
	var list []int
	if !fusible(u.nodes[u.members[g][0]]) {
		return nil
	}
	for _, v := range u.outside(u.members[g]) {
		if p := u.producer(v); p >= 0 && fusible(u.nodes[p]) && sameSize(u.nodes[p], u.nodes[g]) && !slices.Contains(list, u.group[p]) {
			list = append(list, u.group[p])
		}
	}
	return list
}

// recompute adds copies of the nodes by which group g can compute again what only it reads of another group's values, where that pays.
func (u *fuser) recompute(g, from int, results []*value, copies map[*node][]*node) {
	members, feeder := u.members[g], u.members[from]
	uses := u.uses(feeder)
	reads := u.outside(members)
	var wanted []*value // would not be stored any more
	for v, own := range u.uses(members) {
		if slices.Contains(feeder, u.producer(v)) && v.shape.DType == dtypes.Float32 && u.consumers[v] == own+uses[v] {
			wanted = append(wanted, v)
		}
	}
	again, leaves := u.ancestors(wanted, feeder, func(v *value) bool { return slices.Contains(reads, v) && !slices.Contains(wanted, v) })
	cost, arrays := 0, 0
	for _, m := range again {
		cost += instructionCost(u.nodes[m].operator)
	}
	for _, v := range leaves {
		if v.shape.Size() == u.nodes[g].outputs[0].shape.Size() && !slices.Contains(reads, v) {
			arrays++
		}
	}
	if len(wanted) == 0 || len(again)+len(members) > fusedLength || len(reads)+len(leaves) > fusedOperands || cost >= passCost*(2*len(wanted)-arrays) {
		return
	}
	made := map[*value]*value{}
	replaced := func(n *node) {
		n.inputs = slices.Clone(n.inputs)
		for i, in := range n.inputs {
			if own, ok := made[in]; ok {
				n.inputs[i] = own
			}
		}
	}
	for _, m := range again {
		n := *u.nodes[m]
		y := *n.outputs[0]
		y.name, y.node = fmt.Sprintf("%s_again%d", y.name, g), &n
		replaced(&n)
		n.outputs = []*value{&y}
		made[u.nodes[m].outputs[0]] = &y
		copies[u.nodes[m]] = append(copies[u.nodes[m]], &n)
	}
	for _, m := range members {
		replaced(u.nodes[m])
	}
}

// uses counts how often a set of nodes reads each value.
func (u *fuser) uses(set []int) map[*value]int {
	uses := map[*value]int{}
	for _, m := range set {
		for _, in := range u.nodes[m].inputs {
			uses[in]++
		}
	}
	return uses
}

// ancestors lists the members of a set that the values are computed by, in order, and what those read from elsewhere. What stop says is read as it is.
func (u *fuser) ancestors(values []*value, set []int, stop func(v *value) bool) (members []int, leaves []*value) {
	seen := map[*value]bool{}
	var visit func(v *value)
	visit = func(v *value) {
		if seen[v] {
			return
		}
		seen[v] = true
		m := u.producer(v)
		if stop(v) || !slices.Contains(set, m) {
			if _, number := scalarBits(source(v)); !number {
				leaves = append(leaves, v)
			}
			return
		}
		members = append(members, m)
		for _, in := range u.nodes[m].inputs {
			visit(in)
		}
	}
	for _, v := range values {
		visit(v)
	}
	slices.Sort(members)
	return members, leaves
}
