package learn

import (
	"fmt"
	"slices"
	"sort"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// program is a compiled computation over a machine's state: it reads slots and feeds, gives results, and writes slots.
type program struct {
	graph   *graph.Graph
	inputs  []programInput
	results int
	writes  []int // slots, whose values are the outputs after the results
}

// programInput is a slot, or a feed where that is not nil.
type programInput struct {
	slot int
	feed *feed
}

// assembly is a program in the making.
type assembly struct {
	m     *Machine
	g     *graph.Graph
	p     *program
	nodes map[string]*graph.Node
	out   []*graph.Node
	next  []*graph.Node // in order of p.writes
	// finite, once it is set, says whether what is written counts (scaling.go).
	finite *graph.Node
}

// program returns the compiled program of that name and builds it when it is first asked for.
func (m *Machine) program(name string, fn func(a *assembly) error) (*program, error) {
	if p := m.programs[name]; p != nil {
		return p, nil
	}
	a := &assembly{m: m, g: graph.NewGraph(m.o.Backend, name), p: &program{}, nodes: map[string]*graph.Node{}}
	a.p.graph = a.g
	err := build(func() error {
		if err := fn(a); err != nil {
			return err
		}
		a.p.results = len(a.out)
		return a.g.Compile(append(slices.Clone(a.out), a.next...)...)
	})
	if err != nil {
		return nil, err
	}
	m.programs[name] = a.p
	return a.p, nil
}

// execute runs the program and stores what it writes.
func (m *Machine) execute(p *program) ([]compute.Buffer, error) {
	inputs, donate := make([]compute.Buffer, len(p.inputs)), make([]bool, len(p.inputs))
	given := map[int]bool{}
	for i, in := range p.inputs {
		if in.feed != nil {
			inputs[i] = in.feed.buffer
			continue
		}
		inputs[i] = m.state[in.slot]
		donate[i] = slices.Contains(p.writes, in.slot)
		given[in.slot] = donate[i]
	}
	out, err := p.graph.Executable().Execute(inputs, donate, 0)
	if err != nil {
		return nil, err
	}
	for i, s := range p.writes {
		if !given[s] {
			if err := m.state[s].Finalize(); err != nil {
				return nil, err
			}
		}
		m.state[s] = out[p.results+i]
	}
	return out[:p.results], nil
}

// read returns the value of a slot.
func (a *assembly) read(key slotKey) *graph.Node {
	i, ok := a.m.index[key]
	if !ok {
		panic(fmt.Sprintf("there is no slot %v", key)) // a mistake in this package
	}
	name := fmt.Sprintf("slot%d", i)
	if n := a.nodes[name]; n != nil {
		return n
	}
	n := graph.Parameter(a.g, name, shapes.Make(dtypes.Float32, a.m.slots[i].dims...))
	a.nodes[name] = n
	a.p.inputs = append(a.p.inputs, programInput{slot: i})
	return n
}

// write sets the value that a slot has afterwards.
func (a *assembly) write(key slotKey, n *graph.Node) {
	a.p.writes, a.next = append(a.p.writes, a.m.index[key]), append(a.next, a.kept(key, n))
}

// result adds a result.
func (a *assembly) result(n *graph.Node) { a.out = append(a.out, n) }

// feed returns the value of a feed.
func (a *assembly) feed(name string, shape shapes.Shape) (*graph.Node, error) {
	if n := a.nodes["feed "+name]; n != nil {
		return n, nil
	}
	f := a.m.feeds[name]
	if f == nil {
		var err error
		if f, err = newFeed(a.m.o.Backend, shape); err != nil {
			return nil, fmt.Errorf("memory for a batch (%s): %w", name, err)
		}
		a.m.feeds[name] = f
	}
	n := graph.Parameter(a.g, fmt.Sprintf("feed%d", len(a.p.inputs)), shape)
	a.nodes["feed "+name] = n
	a.p.inputs = append(a.p.inputs, programInput{feed: f})
	return n, nil
}

// lower builds the model: in training with the trained parameters on the tape.
func (a *assembly) lower(training bool) (*lowering, *graph.Node, error) {
	o := a.m.o
	images, err := a.feed(imagesFeed, shapes.Make(dtypes.Float32, o.Channels, o.Height, o.Width, a.m.microBatch()))
	if err != nil {
		return nil, nil, err
	}
	weights := map[string]*graph.Node{}
	kinds := []slotKind{parameterSlot, statisticSlot}
	if !training && o.Average.given() {
		kinds = []slotKind{averageSlot, averageSlot}
	}
	for _, p := range a.m.plan.parameters {
		weights[p.name] = a.read(slotKey{kinds[0], p.name, 0})
	}
	for _, s := range a.m.plan.statistics {
		weights[s.name] = a.read(slotKey{kinds[1], s.name, 0})
	}
	return lowerDropping(o.Model, images, weights, a.m.plan, training, a.newMask)
}

// value returns a value of the lowered graph that has the batch.
func (l *lowering) value(name string) (*graph.Node, error) {
	v, ok := l.values[name]
	if !ok || !v.batched {
		return nil, fmt.Errorf("the model's graph has no value %q with the batch. Its output is %q", name, l.model.Output().Name)
	}
	return l.kept(v).node, nil
}

// buildTrain: (batch, rate, state) → (loss, metrics, next state).
func (m *Machine) buildTrain(a *assembly) error {
	gradients, l, err := a.gradient()
	if err != nil {
		return err
	}
	return a.moveWeights(gradients, a.moveStatistics(l))
}

// buildGradient: (micro-batch, weights, sums) → (loss, metrics, next statistics, next sums).
func (m *Machine) buildGradient(a *assembly) error {
	gradients, l, err := a.gradient()
	if err != nil {
		return err
	}
	a.moveStatistics(l)
	a.addToSums(gradients, 1/float64(m.o.Accumulate))
	return nil
}

// buildPull: (images, gradients of values, weights, sums) → (next statistics, next sums).
func (m *Machine) buildPull(a *assembly, names []string) error {
	l, _, err := a.lower(true)
	if err != nil {
		return err
	}
	seeds := map[string]*graph.Node{}
	for _, name := range names {
		y, err := l.value(name)
		if err != nil {
			return err
		}
		d := y.Shape().Dimensions
		g, err := a.feed("gradient of "+name, shapes.Make(dtypes.Float32, append([]int{m.microBatch()}, d[:len(d)-1]...)...))
		if err != nil {
			return err
		}
		seeds[name] = batchLast(g)
	}
	a.moveStatistics(l)
	a.addToSums(a.pull(l, seeds), 1)
	return nil
}

// buildUpdate: (rate, weights, moments, sums) → (next weights and moments, empty sums).
func (m *Machine) buildUpdate(a *assembly) error {
	gradients := map[string]*graph.Node{}
	for _, p := range m.trained() {
		key := slotKey{gradientSlot, p.name, 0}
		gradients[p.name] = a.read(key)
		a.write(key, graph.ZerosLike(gradients[p.name]))
	}
	return a.moveWeights(gradients, nil)
}

// buildApply: (images, weights) → logits (classes, N), with the running statistics.
func (m *Machine) buildApply(a *assembly) error {
	_, logits, err := a.lower(false)
	if err == nil {
		a.result(logits)
	}
	return err
}

func (m *Machine) buildValues(a *assembly, training bool, names []string) error {
	l, _, err := a.lower(training)
	if err != nil {
		return err
	}
	for _, name := range names {
		v, err := l.value(name)
		if err != nil {
			return err
		}
		a.result(batchFirst(v))
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
