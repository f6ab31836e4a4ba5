package learn

import (
	"errors"
	"fmt"
	"maps"

	"github.com/gomlx/compute"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Machine holds a model's weights and an optimizer's state on a device, with the computations over them. It is used by one
// goroutine. Train drives one; what needs another order of things (a loss over more images than fit through the model at once,
// scores from gradients) drives its own. The computations are compiled when they are first used.
type Machine struct {
	o     MachineOptions
	plan  *plan
	names []string // the outputs that the objective is built on

	// state is, in order of slots: the parameters, their moments (those of the optimizer), the statistics, and then, once they are needed, the
	// sums of gradients, which are no part of a snapshot.
	slots []slot
	state []compute.Buffer
	kept  int // slots in a snapshot
	index map[slotKey]int

	feeds    map[string]*feed
	programs map[string]*program
	metrics  []string // names of the objective's metrics, known when it is built
	updates  int      // of the weights so far
	momentum float64  // that the schedule wants; 0: the optimizer's own
	masks    []mask   // of dropout, in the order in which the lowering meets them
}

// MachineOptions say what a Machine computes.
type MachineOptions struct {
	Backend                 compute.Backend
	Model                   *onnx.Model // where to start; it is not changed
	Channels, Height, Width int         // of an image
	Batch                   int         // images in a step
	// Accumulate is how many equal micro-batches a batch passes through the model in; 0 counts as 1. Their gradients are averaged; a
	// normalisation sees one micro-batch at a time.
	Accumulate int
	// Objective is what Step makes small; nil: it is only possible to apply the model and to pull gradients that are given.
	Objective Objective
	Optimizer Optimizer // nil: plain SGD
	// Clip bounds the gradient of a batch before the optimizer has it.
	Clip Clip
	// Average is kept of the weights and statistics, for applying the model and for Trained, or for the objective where it is apart.
	Average Average
	// Scales multiply the learning rate of parameters by name; 1 where there is none.
	Scales map[string]float64
	// Frozen are parameters that stay as they are, by name. What lies before the first trained parameter is not differentiated.
	Frozen map[string]bool
	// FrozenStatistics says that a normalisation whose scale and shift are both frozen normalises by its running statistics, which stay as they are.
	FrozenStatistics bool
	// Masks hold numbers of parameters at 0, by name: those whose entry, in the order of the file, is false.
	Masks map[string][]bool
	// Seed and the number of the step decide what dropout leaves out.
	Seed uint64
	Drop Drop
}

// Clip bounds a gradient.
type Clip struct {
	Norm  float64 // of all parameters together: a larger one is scaled down to it; 0: not
	Value float64 // of each number; 0: not
}

// NewMachine moves the model's weights to the device.
func NewMachine(o MachineOptions) (*Machine, error) {
	o.Model = o.Model.Untied()
	p, err := makePlan(o.Model)
	if err != nil {
		return nil, err
	}
	p.frozen, p.frozenStatistics, p.drop = o.Frozen, o.FrozenStatistics, o.Drop
	if err := p.planDrop(o.Model); err != nil {
		return nil, err
	}
	return newMachine(o, p)
}

func newMachine(o MachineOptions, p *plan) (*Machine, error) {
	o.Accumulate = max(o.Accumulate, 1)
	if o.Batch < 1 || o.Batch%o.Accumulate != 0 {
		return nil, fmt.Errorf("a batch of %d images does not divide into %d equal micro-batches", o.Batch, o.Accumulate)
	}
	if o.Optimizer == nil {
		o.Optimizer = SGD{}
	}
	for _, name := range sortedKeys(o.Masks) {
		if t, ok := o.Model.Tensor(name); !ok || !p.isParameter(name) || len(t.Data) != len(o.Masks[name]) {
			return nil, fmt.Errorf("a mask of %d numbers for %q, which is no parameter of as many", len(o.Masks[name]), name)
		}
	}
	m := &Machine{o: o, plan: p, index: map[slotKey]int{}, feeds: map[string]*feed{}, programs: map[string]*program{}}
	if o.Objective != nil {
		m.names = outputNames(o.Objective, o.Model.Output().Name)
	}
	for _, s := range m.layout() {
		var data []float32
		if s.kind != momentSlot {
			t, _ := o.Model.Tensor(s.name)
			data = t.Data
		}
		if s.kind == scaleSlot {
			data = []float32{scaleFirst, 0, 0}
		}
		if err := m.push(s, data); err != nil {
			m.Close()
			return nil, err
		}
	}
	m.kept = len(m.slots)
	return m, nil
}

// microBatch returns how many images pass through the model at once.
func (m *Machine) microBatch() int { return m.o.Batch / m.o.Accumulate }

// SetMomentum replaces the optimizer's momentum, or its β1, in the steps that follow; 0 gives it back.
func (m *Machine) SetMomentum(momentum float64) { m.momentum = momentum }

// Freeze changes which parameters stay as they are, and reports whether that differs from before. The computations are built anew then.
func (m *Machine) Freeze(frozen map[string]bool) (changed bool, err error) {
	if maps.Equal(frozen, m.plan.frozen) || len(frozen)+len(m.plan.frozen) == 0 {
		return false, nil
	}
	m.plan.frozen = frozen
	for _, b := range m.state[m.kept:] {
		if err := b.Finalize(); err != nil {
			return true, err
		}
	}
	for _, s := range m.slots[m.kept:] {
		delete(m.index, s.slotKey)
	}
	m.slots, m.state = m.slots[:m.kept], m.state[:m.kept]
	for name, p := range m.programs {
		p.graph.Finalize()
		delete(m.programs, name)
	}
	return true, nil
}

// Values returns values of the model's graph by name, in ONNX's order (N, …), for a batch of any number of images up to one micro-batch; in training mode
// normalisations are by the batch, which then must be a whole one, and the running statistics do not move.
func (m *Machine) Values(b *Batch, training bool, names ...string) (map[string][]float32, error) {
	p, err := m.program(fmt.Sprintf("values%q %t", names, training), func(a *assembly) error { return m.buildValues(a, training, names) })
	if err != nil {
		return nil, err
	}
	n := len(b.Indexes)
	if training && n != m.microBatch() {
		return nil, fmt.Errorf("a batch of %d images in training mode, where a micro-batch is of %d", n, m.microBatch())
	}
	if training {
		if err := m.loadMasks(b.Pass); err != nil {
			return nil, err
		}
	}
	if err := m.loadImages(b.Images, n, 0); err != nil {
		return nil, err
	}
	results, err := m.execute(p)
	if err != nil {
		return nil, fmt.Errorf("applying the model: %w", err)
	}
	out := map[string][]float32{}
	for i, r := range results {
		list, err := floats(r)
		if err != nil {
			return nil, err
		}
		out[names[i]] = list[:len(list)/m.microBatch()*n]
		if err := r.Finalize(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// logits returns the scores (classes, N) of the images that are loaded.
func (m *Machine) logits() ([]float32, error) {
	p, err := m.program("apply", m.buildApply)
	if err != nil {
		return nil, err
	}
	out, err := m.execute(p)
	if err != nil {
		return nil, fmt.Errorf("applying the model: %w", err)
	}
	scores, err := floats(out[0])
	return scores, errors.Join(err, out[0].Finalize())
}

// Close frees the computations and the memory on the device.
func (m *Machine) Close() {
	for _, b := range m.state {
		_ = b.Finalize() // nothing depends on it any more
	}
	for _, f := range m.feeds {
		f.close()
	}
	for _, p := range m.programs {
		p.graph.Finalize()
	}
	m.state, m.feeds, m.programs = nil, nil, nil
}
