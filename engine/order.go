package engine

import (
	"container/heap"
	"errors"
)

// graph is the order of a pipeline's nodes by integer indexes.
type graph struct {
	nodes      []*Node
	index      map[string]int
	needs      [][]int // what a node waits for: inputs, values, depends_on
	dependents [][]int
	order      []int // topological; among equals by ID
}

type intHeap []int

func (h intHeap) Len() int           { return len(h) }
func (h intHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h intHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *intHeap) Push(x any)        { *h = append(*h, x.(int)) }
func (h *intHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// newGraph orders the nodes of p that targets need, all of them when targets is empty.
func newGraph(p *Pipeline, targets []string) (*graph, error) {
	nodes, err := chosen(p, targets)
	if err != nil {
		return nil, err
	}
	g := &graph{nodes: nodes, index: map[string]int{}, needs: make([][]int, len(nodes)), dependents: make([][]int, len(nodes))}
	for i, n := range nodes {
		g.index[n.ID] = i
	}
	waits := make([]int, len(nodes))
	for i, n := range nodes {
		seen := map[string]bool{}
		for _, id := range n.upstream() {
			j, ok := g.index[id]
			if !ok {
				return nil, unknownStage(id)
			}
			if seen[id] {
				continue
			}
			seen[id] = true
			g.needs[i] = append(g.needs[i], j)
			g.dependents[j] = append(g.dependents[j], i)
			waits[i]++
		}
	}
	ready := &intHeap{}
	for i := range nodes {
		if waits[i] == 0 {
			heap.Push(ready, i)
		}
	}
	for ready.Len() > 0 {
		i := heap.Pop(ready).(int)
		g.order = append(g.order, i)
		for _, d := range g.dependents[i] {
			if waits[d]--; waits[d] == 0 {
				heap.Push(ready, d)
			}
		}
	}
	if len(g.order) != len(nodes) {
		return nil, errors.New("the pipeline has a cycle")
	}
	return g, nil
}

// upstream lists the IDs of what n waits for, with repeats.
func (n *Node) upstream() []string {
	var ids []string
	for _, e := range n.Inputs {
		if !e.IsSource() {
			ids = append(ids, e.From.Node)
		}
	}
	ids = append(ids, n.Waits...)
	return append(ids, n.After...)
}

// chosen returns the targets and all that they need, also for their requirements, in the pipeline's order.
func chosen(p *Pipeline, targets []string) ([]*Node, error) {
	if len(targets) == 0 {
		return p.Nodes, nil
	}
	byID := map[string]*Node{}
	for _, n := range p.Nodes {
		byID[n.ID] = n
	}
	take := map[string]bool{}
	for queue := append([]string(nil), targets...); len(queue) > 0; queue = queue[1:] {
		n := byID[queue[0]]
		if n == nil {
			return nil, unknownStage(queue[0])
		}
		if take[n.ID] {
			continue
		}
		take[n.ID] = true
		queue = append(queue, n.upstream()...)
		for _, r := range n.Requires {
			queue = append(queue, r.Needs()...)
		}
	}
	var nodes []*Node
	for _, n := range p.Nodes {
		if take[n.ID] {
			nodes = append(nodes, n)
		}
	}
	return nodes, nil
}
