package learn

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
)

// Dynamic loss scaling (Micikevicius et al. 2018, section 3.2), with the numbers of PyTorch's GradScaler. On a device whose products are in
// float16 the gradients of the outputs are multiplied by a scale, so that small ones do not vanish on their way back, and those of the weights divided
// by it. A step whose gradients are not finite moves no weight and halves the scale; scaleGrowth good steps in a row double it. The scale is a slot of
// the machine's state, so it is computed on the device and kept in checkpoints.
const (
	scaleFirst  = 1 << 16
	scaleMost   = 1 << 24 // above, float32 itself would overflow before long
	scaleGrowth = 2000
)

// scaleKey is the slot (3): the scale, good steps since it changed, steps skipped.
var scaleKey = slotKey{kind: scaleSlot}

// narrowRange is a device on which small gradients vanish.
type narrowRange interface{ NarrowRange() bool }

// scaled reports whether the machine scales its losses.
func (m *Machine) scaled() bool {
	d, ok := m.o.Backend.(narrowRange)
	return ok && d.NarrowRange()
}

// LossScale is the state of dynamic loss scaling.
type LossScale struct {
	Scale   float64
	Skipped int // steps whose gradients were not finite
}

// LossScale returns the state of dynamic loss scaling, zero on a device that needs none.
func (m *Machine) LossScale() (LossScale, error) {
	i, ok := m.index[scaleKey]
	if !ok {
		return LossScale{}, nil
	}
	list, err := floats(m.state[i])
	if err != nil {
		return LossScale{}, fmt.Errorf("reading the loss scale: %w", err)
	}
	return LossScale{Scale: float64(list[0]), Skipped: int(list[2])}, nil
}

// exhausted reports whether no scale makes the gradients finite: then the trouble is not their size.
func (s LossScale) exhausted() bool { return s.Scale != 0 && s.Scale < 1 }

// pull walks the lowering's tape back from the gradients of values, with a scaled loss where the device wants it.
func (a *assembly) pull(l *lowering, seeds map[string]*graph.Node) map[string]*graph.Node {
	if !a.m.scaled() {
		return l.pull(seeds)
	}
	scale := element(a.read(scaleKey), 0)
	scaled := map[string]*graph.Node{}
	for name, g := range seeds {
		scaled[name] = graph.Mul(g, scale)
	}
	gradients := map[string]*graph.Node{}
	all := l.pull(scaled)
	for _, p := range a.m.trained() {
		if g := all[p.name]; g != nil {
			gradients[p.name] = graph.Div(g, scale)
		}
	}
	return gradients
}

// guard makes what is written from here on wait for finite gradients, and moves the scale.
func (a *assembly) guard(gradients map[string]*graph.Node) {
	if !a.m.scaled() {
		return
	}
	for _, p := range a.m.trained() {
		g := gradients[p.name]
		if g == nil {
			continue
		}
		finite := graph.LogicalAll(graph.IsFinite(g))
		if a.finite != nil {
			finite = graph.LogicalAnd(a.finite, finite)
		}
		a.finite = finite
	}
	if a.finite == nil {
		return
	}
	old := a.read(scaleKey)
	a.p.writes, a.next = append(a.p.writes, a.m.index[scaleKey]), append(a.next, nextScale(old, a.finite))
}

// nextScale is the state (3) after a step whose gradients were finite or not.
func nextScale(old, finite *graph.Node) *graph.Node {
	g, dtype := old.Graph(), old.DType()
	number := func(v float64) *graph.Node { return graph.Scalar(g, dtype, v) }
	scale, good, skipped := element(old, 0), element(old, 1), element(old, 2)
	grown := graph.GreaterOrEqual(good, number(scaleGrowth-1))
	scaleAfter := graph.Where(finite, graph.Where(grown, graph.Min(graph.MulScalar(scale, 2), number(scaleMost)), scale), graph.MulScalar(scale, 0.5))
	goodAfter := graph.Where(graph.LogicalAnd(finite, graph.LogicalNot(grown)), graph.AddScalar(good, 1), number(0))
	skippedAfter := graph.Where(finite, skipped, graph.AddScalar(skipped, 1))
	return graph.Concatenate([]*graph.Node{graph.Reshape(scaleAfter, 1), graph.Reshape(goodAfter, 1), graph.Reshape(skippedAfter, 1)}, 0)
}

// element returns element i of a vector as a scalar.
func element(vector *graph.Node, i int) *graph.Node {
	return graph.Reshape(graph.Slice(vector, graph.AxisElem(i)))
}

// kept returns what a slot holds afterwards: n, or what it held, where a step is skipped.
func (a *assembly) kept(key slotKey, n *graph.Node) *graph.Node {
	if a.finite == nil || key.kind == gradientSlot {
		return n
	}
	old := a.read(key)
	return graph.Where(graph.BroadcastToDims(a.finite, old.Shape().Dimensions...), n, old)
}

// noteScale notes the scale and what was skipped, and ends a training that no scale helps.
func (r *run) noteScale(e *Epoch) error {
	s, err := r.machine.LossScale()
	if err != nil {
		return err
	}
	e.LossScale, e.Skipped = s.Scale, s.Skipped
	if s.Skipped == 0 {
		return nil
	}
	if s.exhausted() {
		return r.diverged(e.Step, e.LearningRate, nil)
	}
	r.log("steps skipped so far, since their gradients were not finite in float16: %d; the loss is scaled by %g now", s.Skipped, s.Scale)
	return nil
}
