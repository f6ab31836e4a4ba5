package learn

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/darkroom-dev/darkroom/onnx"
)

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

func floats(b compute.Buffer) ([]float32, error) {
	shape, err := b.Shape()
	if err != nil {
		return nil, err
	}
	list := make([]float32, shape.Size())
	return list, b.ToFlatData(list)
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
