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

// The names of feeds that are no inputs of an objective.
const (
	imagesFeed = "images of the batch"
	knobsFeed  = "learning rate"
)

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

// feed is memory of the device that the host fills before a program runs.
type feed struct {
	backend compute.Backend
	shape   shapes.Shape
	buffer  compute.Buffer
	floats  []float32 // the memory, of one of the two types
	ints    []int32
	shared  bool // the buffer is over the memory; else it is made anew from it
}

func newFeed(backend compute.Backend, shape shapes.Shape) (*feed, error) {
	f := &feed{backend: backend, shape: shape, shared: backend.HasSharedBuffers()}
	var flat any
	var err error
	switch {
	case f.shared:
		if f.buffer, flat, err = backend.NewSharedBuffer(0, shape); err != nil {
			return nil, err
		}
	case shape.DType == dtypes.Int32:
		flat = make([]int32, shape.Size())
	default:
		flat = make([]float32, shape.Size())
	}
	f.floats, _ = flat.([]float32)
	f.ints, _ = flat.([]int32)
	return f, nil
}

// setFloats fills the feed.
func (f *feed) setFloats(data []float32) error {
	if len(data) != len(f.floats) {
		return fmt.Errorf("%d numbers where %d are needed, of shape %s", len(data), len(f.floats), f.shape)
	}
	copy(f.floats, data)
	return f.send()
}

func (f *feed) setInts(data []int32) error {
	if len(data) != len(f.ints) {
		return fmt.Errorf("%d whole numbers where %d are needed, of shape %s", len(data), len(f.ints), f.shape)
	}
	copy(f.ints, data)
	return f.send()
}

// send moves the memory to a device that does not share it.
func (f *feed) send() error {
	if f.shared {
		return nil
	}
	f.close()
	var flat any = f.floats
	if f.ints != nil {
		flat = f.ints
	}
	var err error
	f.buffer, err = f.backend.BufferFromFlatData(0, flat, f.shape)
	return err
}

func (f *feed) close() {
	if f.buffer != nil {
		_ = f.buffer.Finalize() // nothing depends on it any more
	}
}

// load fills the feeds with a micro-batch, by its number, of a batch.
func (m *Machine) load(b *Batch, number int) error {
	if err := m.need(m.o.Accumulate == 1); err != nil {
		return err
	}
	if err := m.loadMasks(m.updates*m.o.Accumulate + number); err != nil {
		return err
	}
	if err := m.loadImages(b.Images, len(b.Indexes), number); err != nil {
		return err
	}
	for _, in := range m.o.Objective.Inputs() {
		size := in.shape(m.microBatch()).Size()
		from := number * size
		if in.Whole {
			from = 0
		}
		var err error
		switch list, ints := b.Floats[in.Name], b.Ints[in.Name]; {
		case in.Type == dtypes.Float32 && len(list) >= from+size:
			err = m.feeds[in.Name].setFloats(list[from : from+size])
		case in.Type == dtypes.Int32 && len(ints) >= from+size:
			err = m.feeds[in.Name].setInts(ints[from : from+size])
		default:
			err = fmt.Errorf("the batch has no %s numbers %q of %d", in.Type, in.Name, from+size)
		}
		if err != nil {
			return fmt.Errorf("the batch's %s: %w", in.Name, err)
		}
	}
	return nil
}

// need builds the program that trains, so that its feeds exist.
func (m *Machine) need(whole bool) error {
	if whole {
		_, err := m.program("train", m.buildTrain)
		return err
	}
	if err := m.needSums(); err != nil {
		return err
	}
	_, err := m.program("gradient", m.buildGradient)
	return err
}

// loadMasks draws what is dropped in a pass through the model.
func (m *Machine) loadMasks(pass int) error {
	for _, k := range m.masks {
		if err := k.fill(m.feeds[k.feed], m.o.Seed, pass); err != nil {
			return err
		}
	}
	return nil
}

// loadImages fills the feed of images with those of micro-batch number of n images (C, H, W, n). Where there are fewer than the feed holds, the
// others stay what they were.
func (m *Machine) loadImages(images []float32, n, number int) error {
	f := m.feeds[imagesFeed]
	size := m.microBatch()
	rows := len(f.floats) / size
	if n == 0 || len(images) != rows*n {
		return fmt.Errorf("%d numbers are not %d images of %d×%d with %d channels", len(images), n, m.o.Width, m.o.Height, m.o.Channels)
	}
	if n == size {
		copy(f.floats, images)
		return f.send()
	}
	from := number * size
	count := min(size, n-from)
	for row := range rows {
		copy(f.floats[row*size:row*size+count], images[row*n+from:])
	}
	return f.send()
}

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
