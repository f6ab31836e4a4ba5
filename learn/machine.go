package learn

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

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

// Average is an exponential moving average of the weights: average ← decay·average + (1-decay)·weight after each step.
type Average struct {
	Decay float64 // 0 < d < 1; 0: none is kept
	// Rising says that the decay of step t, counted from 1, is at most (1+t)/(10+t), so that a short training is not an average of its start.
	Rising bool
	// Steps, when it is above 0, is how many steps the training has, over which the decay rises from Decay to 1 along half a cosine: that of step t, counted
	// from 1, is 1-(1-Decay)·(cos(π(t-1)/Steps)+1)/2 (Grill et al. 2020).
	Steps int
	// Apart says that the average is the target network of an objective alone (Targeted): the weights themselves are judged and given.
	Apart bool
}

func (a Average) at(t int) float64 {
	if a.Steps > 0 {
		return 1 - (1-a.Decay)*(math.Cos(math.Pi*float64(t-1)/float64(a.Steps))+1)/2
	}
	if a.Rising {
		return math.Min(a.Decay, (1+float64(t))/(10+float64(t)))
	}
	return a.Decay
}

// given reports whether the model is applied and given with the average.
func (a Average) given() bool { return a.Decay > 0 && !a.Apart }

type slotKind int

const (
	parameterSlot slotKind = iota
	momentSlot
	statisticSlot
	averageSlot
	scaleSlot // see scaling.go
	gradientSlot
)

// slotKey finds a slot: a weight's name, and for a moment which one it is.
type slotKey struct {
	kind slotKind
	name string
	n    int
}

type slot struct {
	slotKey
	dims []int
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

// layout lists what a snapshot holds.
func (m *Machine) layout() []slot {
	var list []slot
	for _, p := range m.plan.parameters {
		list = append(list, slot{slotKey{parameterSlot, p.name, 0}, p.dims})
	}
	for _, p := range m.plan.parameters {
		for n := range m.o.Optimizer.moments(p) {
			list = append(list, slot{slotKey{momentSlot, p.name, n}, p.dims})
		}
	}
	for _, s := range m.plan.statistics {
		list = append(list, slot{slotKey{statisticSlot, s.name, 0}, s.dims})
	}
	if m.o.Average.Decay > 0 {
		for _, w := range append(slices.Clone(m.plan.parameters), m.plan.statistics...) {
			list = append(list, slot{slotKey{averageSlot, w.name, 0}, w.dims})
		}
	}
	if m.scaled() {
		list = append(list, slot{scaleKey, []int{3}})
	}
	return list
}

// push adds a slot to the state; without data it is zeroes.
func (m *Machine) push(s slot, data []float32) error {
	b, err := m.buffer(data, s.dims)
	if err != nil {
		return fmt.Errorf("moving the weights to the device: %w", err)
	}
	m.index[s.slotKey] = len(m.slots)
	m.slots, m.state = append(m.slots, s), append(m.state, b)
	return nil
}

func (m *Machine) buffer(data []float32, dims []int) (compute.Buffer, error) {
	shape := shapes.Make(dtypes.Float32, dims...)
	if len(data) == 0 {
		data = make([]float32, shape.Size())
	}
	return m.o.Backend.BufferFromFlatData(0, data, shape)
}

// microBatch returns how many images pass through the model at once.
func (m *Machine) microBatch() int { return m.o.Batch / m.o.Accumulate }

// Outcome is what a step says.
type Outcome struct {
	Loss    float64            // mean over the batch, before the weights moved
	Metrics map[string]float64 // summed over the images of the batch, by name
}

// Step trains on a batch with a learning rate. The loss of the outcome is not checked for being finite.
func (m *Machine) Step(b *Batch, rate float64) (Outcome, error) {
	if m.o.Accumulate == 1 {
		if err := m.load(b, 0); err != nil {
			return Outcome{}, err
		}
		return m.step(rate)
	}
	out, err := m.accumulate(b)
	if err != nil {
		return Outcome{}, err
	}
	return out, m.Update(rate)
}

// gather adds the gradient of a loss over the whole batch to the sums: values of each micro-batch, the loss over all of them, and each micro-batch
// once more for its gradients.
func (m *Machine) gather(b *Batch, o Whole) (Outcome, error) {
	n := m.microBatch()
	values := map[string][]float32{}
	for number := range m.o.Accumulate {
		part, err := m.Values(m.microBatchOf(b, number), true, m.names...)
		if err != nil {
			return Outcome{}, fmt.Errorf("micro-batch %d of a training step: %w", number+1, err)
		}
		for name, v := range part {
			values[name] = append(values[name], v...)
		}
	}
	loss, gradients, metrics, err := o.Over(values, m.o.Batch)
	if err != nil {
		return Outcome{}, err
	}
	for number := range m.o.Accumulate {
		part := map[string][]float32{}
		for name, g := range gradients {
			width := len(g) / m.o.Batch
			part[name] = g[number*n*width : (number+1)*n*width]
		}
		if err := m.Pull(m.microBatchOf(b, number), part); err != nil {
			return Outcome{}, fmt.Errorf("micro-batch %d of a training step: %w", number+1, err)
		}
	}
	return Outcome{Loss: loss, Metrics: metrics}, nil
}

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

// microBatchOf returns the images of a micro-batch, which lose to dropout what they lose in this step.
func (m *Machine) microBatchOf(b *Batch, number int) *Batch {
	part := b.part(number, m.o.Accumulate)
	part.Pass = m.updates*m.o.Accumulate + number
	return part
}

// step trains on the batch that is loaded.
func (m *Machine) step(rate float64) (Outcome, error) {
	p, err := m.program("train", m.buildTrain)
	if err != nil {
		return Outcome{}, err
	}
	if err := m.knobs(rate); err != nil {
		return Outcome{}, err
	}
	numbers, err := m.scalars(p)
	if err != nil {
		return Outcome{}, fmt.Errorf("training step: %w", err)
	}
	m.updates++
	return m.outcome(numbers), nil
}

// accumulate adds the mean gradient of a batch to the sums, one micro-batch at a time.
func (m *Machine) accumulate(b *Batch) (Outcome, error) {
	if err := m.needSums(); err != nil {
		return Outcome{}, err
	}
	if whole, ok := m.o.Objective.(Whole); ok && m.o.Accumulate > 1 {
		return m.gather(b, whole)
	}
	p, err := m.program("gradient", m.buildGradient)
	if err != nil {
		return Outcome{}, err
	}
	total := Outcome{Metrics: map[string]float64{}}
	for number := range m.o.Accumulate {
		if err := m.load(b, number); err != nil {
			return total, err
		}
		numbers, err := m.scalars(p)
		if err != nil {
			return total, fmt.Errorf("micro-batch %d of a training step: %w", number+1, err)
		}
		one := m.outcome(numbers)
		total.Loss += one.Loss / float64(m.o.Accumulate)
		for name, v := range one.Metrics {
			total.Metrics[name] += v
		}
	}
	return total, nil
}

// Gradients returns the gradient of the objective on a batch by parameter, in training mode, and leaves the weights as they are. The
// running statistics of normalisations move.
func (m *Machine) Gradients(b *Batch) (map[string][]float32, Outcome, error) {
	out, err := m.accumulate(b)
	if err != nil {
		return nil, out, err
	}
	g, err := m.TakeGradients()
	return g, out, err
}

// Pull adds the gradients of parameters that follow from gradients of values of the model's graph, given by name and in ONNX's order (N, …),
// for the images of one micro-batch, to the sums that Update and TakeGradients use. The forward pass is that of training; it moves the running
// statistics. So a loss can be over more images than pass through the model at once: Values for each micro-batch, the loss over all, Pull for each.
func (m *Machine) Pull(b *Batch, gradients map[string][]float32) error {
	if err := m.needSums(); err != nil {
		return err
	}
	names := sortedKeys(gradients)
	p, err := m.program(fmt.Sprintf("pull%q", names), func(a *assembly) error { return m.buildPull(a, names) })
	if err != nil {
		return err
	}
	if err := m.loadMasks(b.Pass); err != nil {
		return err
	}
	if err := m.loadImages(b.Images, len(b.Indexes), 0); err != nil {
		return err
	}
	for _, name := range names {
		if err := m.feeds["gradient of "+name].setFloats(gradients[name]); err != nil {
			return err
		}
	}
	_, err = m.execute(p)
	return err
}

// Update moves the weights by the sums of gradients, and empties these.
func (m *Machine) Update(rate float64) error {
	if err := m.needSums(); err != nil {
		return err
	}
	p, err := m.program("update", m.buildUpdate)
	if err != nil {
		return err
	}
	if err := m.knobs(rate); err != nil {
		return err
	}
	if _, err := m.execute(p); err != nil {
		return fmt.Errorf("moving the weights: %w", err)
	}
	m.updates++
	return nil
}

// TakeGradients returns the sums of gradients by parameter, as ONNX stores it, and empties them.
func (m *Machine) TakeGradients() (map[string][]float32, error) {
	if err := m.needSums(); err != nil {
		return nil, err
	}
	out := map[string][]float32{}
	for i := m.kept; i < len(m.slots); i++ {
		s := m.slots[i]
		list, err := floats(m.state[i])
		if err != nil {
			return nil, err
		}
		out[s.name] = list
		if err := m.replace(i, nil); err != nil {
			return nil, err
		}
	}
	return out, nil
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

// Parameters returns the names of the parameters, in order of the file.
func (m *Machine) Parameters() []string {
	var names []string
	for _, p := range m.plan.parameters {
		names = append(names, p.name)
	}
	return names
}

// Weight returns the value of a parameter or a running statistic.
func (m *Machine) Weight(name string) ([]float32, error) {
	i, err := m.weightSlot(name)
	if err != nil {
		return nil, err
	}
	return floats(m.state[i])
}

// SetWeight replaces the value of a parameter or a running statistic.
func (m *Machine) SetWeight(name string, data []float32) error {
	i, err := m.weightSlot(name)
	if err != nil {
		return err
	}
	if want := shapes.Make(dtypes.Float32, m.slots[i].dims...).Size(); len(data) != want {
		return fmt.Errorf("%q holds %d numbers, not %d", name, want, len(data))
	}
	return m.replace(i, data)
}

func (m *Machine) weightSlot(name string) (int, error) {
	for _, kind := range []slotKind{parameterSlot, statisticSlot} {
		if i, ok := m.index[slotKey{kind, name, 0}]; ok {
			return i, nil
		}
	}
	return 0, fmt.Errorf("the model has no parameter or running statistic %q", name)
}

// replace gives a slot another value; nil: zeroes.
func (m *Machine) replace(i int, data []float32) error {
	b, err := m.buffer(data, m.slots[i].dims)
	if err != nil {
		return fmt.Errorf("moving the weights to the device: %w", err)
	}
	old := m.state[i]
	m.state[i] = b
	return old.Finalize()
}

// Snapshot is a copy of a Machine's weights and its optimizer's state.
type Snapshot struct {
	updates int
	tensors [][]float32
}

// Snapshot copies the state. Sums of gradients are not part of it.
func (m *Machine) Snapshot() (Snapshot, error) {
	s := Snapshot{m.updates, make([][]float32, m.kept)}
	for i := range s.tensors {
		var err error
		if s.tensors[i], err = floats(m.state[i]); err != nil {
			return Snapshot{}, err
		}
	}
	return s, nil
}

// Restore replaces the state by a snapshot of this machine or of one with the same options.
func (m *Machine) Restore(s Snapshot) error {
	if len(s.tensors) != m.kept {
		return fmt.Errorf("a snapshot of %d tensors, where the state has %d", len(s.tensors), m.kept)
	}
	for i := range s.tensors {
		if err := m.replace(i, s.tensors[i]); err != nil {
			return err
		}
	}
	m.updates = s.updates
	return nil
}

// Trained returns a copy of the model with the weights of a snapshot, or their average where one is kept.
func (m *Machine) Trained(s Snapshot) (*onnx.Model, error) {
	c := m.o.Model.Clone()
	for i, slot := range m.slots[:m.kept] {
		if slot.kind == momentSlot || slot.kind == scaleSlot || (slot.kind == averageSlot) != m.o.Average.given() {
			continue
		}
		if err := c.SetTensor(slot.name, s.tensors[i]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// finite reports whether every number of the snapshot is one.
func (s Snapshot) finite() bool {
	for _, list := range s.tensors {
		for _, v := range list {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return false
			}
		}
	}
	return true
}

// needSums adds a slot of zeroes for the gradient of each trained parameter.
func (m *Machine) needSums() error {
	if len(m.slots) > m.kept {
		return nil
	}
	for _, p := range m.plan.parameters {
		if !m.plan.isTrained(p.name) {
			continue
		}
		if err := m.push(slot{slotKey{gradientSlot, p.name, 0}, p.dims}, nil); err != nil {
			return err
		}
	}
	return nil
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

func floats(b compute.Buffer) ([]float32, error) {
	shape, err := b.Shape()
	if err != nil {
		return nil, err
	}
	list := make([]float32, shape.Size())
	return list, b.ToFlatData(list)
}

// scalars executes a program whose results are numbers.
func (m *Machine) scalars(p *program) ([]float64, error) {
	results, err := m.execute(p)
	if err != nil {
		return nil, err
	}
	numbers := make([]float64, len(results))
	one := make([]float32, 1)
	for i, r := range results {
		if err := r.ToFlatData(one); err != nil {
			return nil, err
		}
		numbers[i] = float64(one[0])
		if err := r.Finalize(); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

func (m *Machine) outcome(numbers []float64) Outcome {
	o := Outcome{Loss: numbers[0], Metrics: map[string]float64{}}
	for i, name := range m.metrics {
		o.Metrics[name] = numbers[1+i]
	}
	return o
}

// knobs sets the numbers of an update that change from step to step.
func (m *Machine) knobs(rate float64) error {
	list := []float32{float32(rate), float32(m.o.Average.at(m.updates + 1))}
	for _, k := range m.o.Optimizer.knobs(m.updates+1, m.momentum) {
		list = append(list, float32(k))
	}
	return m.feeds[knobsFeed].setFloats(list)
}

// trained lists the parameters that are trained, in order of the file.
func (m *Machine) trained() []weight {
	var list []weight
	for _, p := range m.plan.parameters {
		if m.plan.isTrained(p.name) {
			list = append(list, p)
		}
	}
	return list
}
