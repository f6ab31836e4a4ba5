package learn

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

// machine holds a model's weights on a device with the computations that train and apply it. It is used by one goroutine.
type machine struct {
	backend compute.Backend
	model   *onnx.Model
	plan    *plan
	batch   int

	// state is the parameters, their velocities and the statistics, each in order of the plan.
	state []compute.Buffer
	train *graph.Graph
	apply *graph.Graph

	images, labels compute.Buffer // of one batch: (C, H, W, N), (N)
	pixels         []float32      // the memory of images
	targets        []int32        // the memory of labels
}

// shape of an image.
type imageShape struct{ channels, height, width int }

func newMachine(backend compute.Backend, model *onnx.Model, p *plan, o stepOptions) (*machine, error) {
	m := &machine{backend: backend, model: model, plan: p, batch: o.batch}
	for _, w := range m.weights() {
		t, _ := model.Tensor(w.name)
		if err := m.push(t.Data, w.dims); err != nil {
			return nil, err
		}
	}
	if err := m.batchBuffers(o.image); err != nil {
		return nil, err
	}
	if err := build(func() error { return m.buildTrain(o) }); err != nil {
		return nil, err
	}
	return m, build(func() error { return m.buildApply(o.image) })
}

// stepOptions fix the computations.
type stepOptions struct {
	image     imageShape
	batch     int
	loss      CrossEntropy
	optimizer SGD
}

// weights lists what the state holds: parameters, velocities (as the parameters they belong to), statistics. The velocities start
// at 0, see push.
func (m *machine) weights() []weight {
	list := append([]weight(nil), m.plan.parameters...)
	for _, p := range m.plan.parameters {
		list = append(list, weight{dims: p.dims}) // no name: a velocity
	}
	return append(list, m.plan.statistics...)
}

// push adds a buffer to the state; without data it is zeroes.
func (m *machine) push(data []float32, dims []int) error {
	shape := shapes.Make(dtypes.Float32, dims...)
	if len(data) == 0 {
		data = make([]float32, shape.Size())
	}
	b, err := m.backend.BufferFromFlatData(0, data, shape)
	if err != nil {
		return fmt.Errorf("moving the weights to the device: %w", err)
	}
	m.state = append(m.state, b)
	return nil
}

func (m *machine) batchBuffers(s imageShape) error {
	var flat any
	var err error
	if m.images, flat, err = m.backend.NewSharedBuffer(0, shapes.Make(dtypes.Float32, s.channels, s.height, s.width, m.batch)); err != nil {
		return fmt.Errorf("memory for a batch of images: %w", err)
	}
	m.pixels = flat.([]float32)
	if m.labels, flat, err = m.backend.NewSharedBuffer(0, shapes.Make(dtypes.Int32, m.batch)); err != nil {
		return fmt.Errorf("memory for a batch of labels: %w", err)
	}
	m.targets = flat.([]int32)
	return nil
}

// stateNodes adds the state as parameters of g and returns them by name, and the velocities.
func (m *machine) stateNodes(g *graph.Graph, velocities bool) (weights map[string]*graph.Node, speeds []*graph.Node) {
	weights = map[string]*graph.Node{}
	for i, w := range m.weights() {
		shape := shapes.Make(dtypes.Float32, w.dims...)
		switch {
		case w.name != "":
			weights[w.name] = graph.Parameter(g, fmt.Sprintf("weight%d", i), shape)
		case velocities:
			speeds = append(speeds, graph.Parameter(g, fmt.Sprintf("velocity%d", i), shape))
		}
	}
	return weights, speeds
}

// buildTrain makes the computation (images, labels, rate, state) → (loss, correct, next state).
func (m *machine) buildTrain(o stepOptions) error {
	g := graph.NewGraph(m.backend, "train")
	images := graph.Parameter(g, "images", shapes.Make(dtypes.Float32, o.image.channels, o.image.height, o.image.width, o.batch))
	labels := graph.Parameter(g, "labels", shapes.Make(dtypes.Int32, o.batch))
	rate := graph.Parameter(g, "rate", shapes.Make(dtypes.Float32))
	weights, speeds := m.stateNodes(g, true)
	l, logits, err := lower(m.model, images, weights, m.plan, true)
	if err != nil {
		return err
	}
	terms := o.loss.terms(logits, labels)
	gradients := l.gradients(terms.gradient)
	var next, nextSpeeds []*graph.Node
	for i, p := range m.plan.parameters {
		w := weights[p.name]
		gradient := gradients[p.name]
		if gradient == nil { // the output does not depend on it
			next, nextSpeeds = append(next, w), append(nextSpeeds, speeds[i])
			continue
		}
		n, v := o.optimizer.update(p, w, speeds[i], gradient, rate)
		next, nextSpeeds = append(next, n), append(nextSpeeds, v)
	}
	outputs := append([]*graph.Node{terms.mean, terms.correct}, next...)
	outputs = append(outputs, nextSpeeds...)
	for _, s := range m.plan.statistics {
		moved := l.updates[s.name]
		if moved == nil {
			moved = weights[s.name]
		}
		outputs = append(outputs, moved)
	}
	m.train = g
	return g.Compile(outputs...)
}

// buildApply makes the computation (images, weights) → logits (classes, N), with the running statistics.
func (m *machine) buildApply(s imageShape) error {
	g := graph.NewGraph(m.backend, "apply")
	images := graph.Parameter(g, "images", shapes.Make(dtypes.Float32, s.channels, s.height, s.width, m.batch))
	weights, _ := m.stateNodes(g, false)
	_, logits, err := lower(m.model, images, weights, m.plan, false)
	if err != nil {
		return err
	}
	m.apply = g
	return g.Compile(logits)
}

// step trains on the batch that lies in pixels and targets.
func (m *machine) step(rate float64) (loss, correct float64, err error) {
	scalar, err := m.backend.BufferFromFlatData(0, []float32{float32(rate)}, shapes.Make(dtypes.Float32))
	if err != nil {
		return 0, 0, err
	}
	inputs := append([]compute.Buffer{m.images, m.labels, scalar}, m.state...)
	donate := make([]bool, len(inputs))
	for i := 2; i < len(donate); i++ {
		donate[i] = true
	}
	out, err := m.train.Executable().Execute(inputs, donate, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("training step: %w", err)
	}
	m.state = out[2:]
	var v [2]float64
	for i := range v {
		one := make([]float32, 1)
		if err := out[i].ToFlatData(one); err != nil {
			return 0, 0, err
		}
		v[i] = float64(one[0])
		if err := out[i].Finalize(); err != nil {
			return 0, 0, err
		}
	}
	return v[0], v[1], nil
}

// logits returns the scores (classes, N) of the images that lie in pixels.
func (m *machine) logits() ([]float32, error) {
	inputs := []compute.Buffer{m.images}
	n := len(m.plan.parameters)
	inputs = append(inputs, m.state[:n]...)
	inputs = append(inputs, m.state[2*n:]...)
	out, err := m.apply.Executable().Execute(inputs, make([]bool, len(inputs)), 0)
	if err != nil {
		return nil, fmt.Errorf("applying the model: %w", err)
	}
	shape, err := out[0].Shape()
	if err != nil {
		return nil, err
	}
	scores := make([]float32, shape.Size())
	if err := out[0].ToFlatData(scores); err != nil {
		return nil, err
	}
	return scores, out[0].Finalize()
}

// snapshot copies the state.
func (m *machine) snapshot() ([][]float32, error) {
	list := make([][]float32, len(m.state))
	for i, b := range m.state {
		shape, err := b.Shape()
		if err != nil {
			return nil, err
		}
		list[i] = make([]float32, shape.Size())
		if err := b.ToFlatData(list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// restore replaces the state by a snapshot.
func (m *machine) restore(list [][]float32) error {
	old := m.state
	m.state = nil
	for i, w := range m.weights() {
		if err := m.push(list[i], w.dims); err != nil {
			return err
		}
	}
	for _, b := range old {
		if err := b.Finalize(); err != nil {
			return err
		}
	}
	return nil
}

// trained returns a copy of the model with the weights of a snapshot.
func (m *machine) trained(list [][]float32) (*onnx.Model, error) {
	c := m.model.Clone()
	for i, w := range m.weights() {
		if w.name == "" {
			continue
		}
		if err := c.SetTensor(w.name, list[i]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// close frees the computations and the memory on the device.
func (m *machine) close() {
	for _, b := range append(m.state, m.images, m.labels) {
		_ = b.Finalize() // nothing depends on it any more
	}
	m.train.Finalize()
	m.apply.Finalize()
}
