package learn

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// gradient builds the objective; its loss and metrics become results. It returns the gradient of each trained parameter that has one.
func (a *assembly) gradient() (map[string]*graph.Node, *lowering, error) {
	m := a.m
	if m.o.Objective == nil {
		return nil, nil, fmt.Errorf("there is no objective to train for")
	}
	l, _, err := a.lower(true)
	if err != nil {
		return nil, nil, err
	}
	s := &Step{Graph: a.g, Batch: m.microBatch(), Outputs: map[string]*graph.Node{}, Inputs: map[string]*graph.Node{}, Parameters: map[string]*graph.Node{}}
	for _, name := range m.names {
		if s.Outputs[name], err = l.value(name); err != nil {
			return nil, nil, err
		}
	}
	for _, in := range m.o.Objective.Inputs() {
		if s.Inputs[in.Name], err = a.input(in); err != nil {
			return nil, nil, err
		}
	}
	for _, p := range m.trained() {
		s.Parameters[p.name] = l.values[p.name].node
	}
	if s.Targets, err = a.targets(); err != nil {
		return nil, nil, err
	}
	t, err := buildTerms(m.o.Objective, s, m.names)
	if err != nil {
		return nil, nil, err
	}
	a.result(t.Loss)
	m.metrics = nil
	for _, metric := range t.Metrics {
		a.result(metric.Total)
		m.metrics = append(m.metrics, metric.Name)
	}
	gradients := a.pull(l, t.Outputs)
	for name, g := range t.Parameters {
		if sum := gradients[name]; sum != nil {
			g = graph.Add(sum, g)
		}
		gradients[name] = g
	}
	return gradients, l, nil
}

// targets applies the network with the averaged weights to the batch, for an objective that asks for it. Normalisations are by the batch; nothing is dropped, nothing is
// differentiated, and no running statistic moves.
func (a *assembly) targets() (map[string]*graph.Node, error) {
	m := a.m
	o, ok := m.o.Objective.(Targeted)
	if !ok {
		return nil, nil
	}
	if m.o.Average.Decay <= 0 || !m.o.Average.Apart {
		return nil, fmt.Errorf("the objective compares with an average of the weights, and none is kept for it")
	}
	images, err := a.feed(imagesFeed, shapes.Make(dtypes.Float32, m.o.Channels, m.o.Height, m.o.Width, m.microBatch()))
	if err != nil {
		return nil, err
	}
	weights := map[string]*graph.Node{}
	for _, w := range slices.Concat(m.plan.parameters, m.plan.statistics) {
		weights[w.name] = a.read(slotKey{averageSlot, w.name, 0})
	}
	plain := *m.plan
	plain.drop = Drop{}
	l, _, err := lower(m.o.Model, images, weights, &plain, true)
	if err != nil {
		return nil, err
	}
	out := map[string]*graph.Node{}
	for _, name := range o.Targets() {
		if out[name], err = l.value(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// input returns an input of the objective as the computation has it, with the batch last.
func (a *assembly) input(in Input) (*graph.Node, error) {
	n, err := a.feed(in.Name, in.shape(a.m.microBatch()))
	if err != nil || in.Whole || len(in.Dims) == 0 {
		return n, err
	}
	return batchLast(n), nil
}

// batchLast turns (N, a, b) into (a, b, N), and batchFirst turns it back.
func batchLast(n *graph.Node) *graph.Node {
	axes := make([]int, n.Rank())
	for i := range axes {
		axes[i] = (i + 1) % n.Rank()
	}
	return graph.TransposeAllAxes(n, axes...)
}

func batchFirst(n *graph.Node) *graph.Node {
	axes := make([]int, n.Rank())
	for i := range axes {
		axes[i] = (i + n.Rank() - 1) % n.Rank()
	}
	return graph.TransposeAllAxes(n, axes...)
}

func (a *assembly) addToSums(gradients map[string]*graph.Node, share float64) {
	for _, p := range a.m.trained() {
		if g := gradients[p.name]; g != nil {
			key := slotKey{gradientSlot, p.name, 0}
			if share != 1 {
				g = graph.MulScalar(g, share)
			}
			a.write(key, graph.Add(a.read(key), g))
		}
	}
}
