package learn

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// moveStatistics writes the running statistics that the forward pass moved, and returns them by name.
func (a *assembly) moveStatistics(l *lowering) map[string]*graph.Node {
	for _, s := range a.m.plan.statistics {
		if moved := l.updates[s.name]; moved != nil {
			a.write(slotKey{statisticSlot, s.name, 0}, moved)
		}
	}
	return l.updates
}

// moveWeights builds the optimizer's update for the gradients, and the averages of the weights and of the statistics, which are given where this
// computation moves them.
func (a *assembly) moveWeights(gradients, statistics map[string]*graph.Node) error {
	o := a.m.o
	count := 2 + len(o.Optimizer.knobs(1, 0))
	vector, err := a.feed(knobsFeed, shapes.Make(dtypes.Float32, count))
	if err != nil {
		return err
	}
	knobs := make([]*graph.Node, count)
	for i := range knobs {
		knobs[i] = graph.Reshape(graph.Slice(vector, graph.AxisElem(i)))
	}
	a.guard(gradients)
	a.clip(gradients)
	next := map[string]*graph.Node{}
	for _, p := range a.m.trained() {
		g := gradients[p.name]
		if g == nil { // the loss does not depend on it
			continue
		}
		v := variable{weight: p, value: a.read(slotKey{parameterSlot, p.name, 0}), gradient: g, rate: knobs[0], knobs: knobs[2:]}
		if scale, ok := o.Scales[p.name]; ok && scale != 1 {
			v.rate = graph.MulScalar(v.rate, scale)
		}
		for n := range o.Optimizer.moments(p) {
			v.moments = append(v.moments, a.read(slotKey{momentSlot, p.name, n}))
		}
		var moments []*graph.Node
		next[p.name], moments = o.Optimizer.update(v)
		if mask := o.Masks[p.name]; mask != nil {
			next[p.name] = graph.Mul(next[p.name], a.mask(mask, p.dims))
		}
		a.write(slotKey{parameterSlot, p.name, 0}, next[p.name])
		for n, moment := range moments {
			a.write(slotKey{momentSlot, p.name, n}, moment)
		}
	}
	if o.Average.Decay > 0 {
		a.average(next, statistics, knobs[1])
	}
	return nil
}

// mask is 1 where a number stays and 0 where it is held at 0.
func (a *assembly) mask(mask []bool, dims []int) *graph.Node {
	flat := make([]float32, len(mask))
	for i, stays := range mask {
		if stays {
			flat[i] = 1
		}
	}
	return graph.Reshape(graph.Const(a.g, flat), dims...)
}

// average moves the averages towards the weights and statistics after this step.
func (a *assembly) average(parameters, statistics map[string]*graph.Node, decay *graph.Node) {
	rest := graph.OneMinus(decay)
	move := func(kind slotKind, name string, now *graph.Node) {
		if now == nil {
			now = a.read(slotKey{kind, name, 0})
		}
		key := slotKey{averageSlot, name, 0}
		old := a.read(key)
		a.write(key, graph.Add(old, graph.Mul(graph.Sub(now, old), rest)))
	}
	for _, p := range a.m.trained() {
		move(parameterSlot, p.name, parameters[p.name])
	}
	for _, s := range a.m.plan.statistics {
		move(statisticSlot, s.name, statistics[s.name])
	}
}

// clip bounds the gradients in place.
func (a *assembly) clip(gradients map[string]*graph.Node) {
	c := a.m.o.Clip
	if c.Value > 0 {
		for _, p := range a.m.trained() {
			if g := gradients[p.name]; g != nil {
				gradients[p.name] = graph.MaxScalar(graph.MinScalar(g, c.Value), -c.Value)
			}
		}
	}
	if c.Norm <= 0 {
		return
	}
	var total *graph.Node
	for _, p := range a.m.trained() {
		g := gradients[p.name]
		if g == nil {
			continue
		}
		square := graph.ReduceAllSum(graph.Mul(g, g))
		if total != nil {
			square = graph.Add(total, square)
		}
		total = square
	}
	if total == nil {
		return
	}
	// As in PyTorch: norm/(total+1e-6), at most 1.
	share := graph.MinScalar(graph.MulScalar(graph.Reciprocal(graph.AddScalar(graph.Sqrt(total), 1e-6)), c.Norm), 1)
	for _, p := range a.m.trained() {
		if g := gradients[p.name]; g != nil {
			gradients[p.name] = graph.Mul(g, share)
		}
	}
}
