package learn

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/gomlx/compute"
)

// Memory is an estimate of the most that a training holds at once, in bytes, by what it is for. It follows from the computations alone, so it is known before the first step.
type Memory struct {
	Weights   int64 // parameters and running statistics
	Optimizer int64 // its moments, averages of the weights, sums of gradients
	Next      int64 // what a step gives: the next weights and moments, written before the old ones are given back
	Values    int64 // of a step, as many as are there at once: activations that wait for their gradients, and gradients
	Judging   int64 // values of the model applied to validation images
	Batches   int64 // that are being prepared, and the one that is trained on
	Copies    int64 // of the weights: the model itself, the best state so far, checkpoints
	Process   int64 // the program and its libraries
}

// Total is the sum.
func (m Memory) Total() int64 {
	return m.Weights + m.Optimizer + m.Next + m.Values + m.Judging + m.Batches + m.Copies + m.Process
}

// String lists the parts.
func (m Memory) String() string {
	var parts []string
	for _, p := range []struct {
		name  string
		bytes int64
	}{{"values of a step", m.Values}, {"of judging", m.Judging}, {"batches", m.Batches}, {"weights", m.Weights}, {"optimizer", m.Optimizer}, {"next state", m.Next}, {"copies", m.Copies}, {"process", m.Process}} {
		if p.bytes > 0 {
			parts = append(parts, p.name+" "+humanize.Bytes(uint64(p.bytes)))
		}
	}
	return fmt.Sprintf("about %s (%s)", humanize.Bytes(uint64(m.Total())), strings.Join(parts, ", "))
}

// planner is a device that tells what its computations take without executing them.
type planner interface{ Planning() compute.Backend }

// footprint is a compiled computation that tells what memory it takes beside its inputs, in bytes: for its results, and for what is in between.
type footprint interface {
	Footprint() (results, values int64)
}

const (
	processMemory = 100 << 20 // measured: the binary, ONNX Runtime, the threads' scratch memory, Go's own
	gaps          = 1.125     // measured: what the device's memory takes by the sum of what is in it
	// certainly is the share of an estimate that a training takes in any case: estimates are right to a quarter.
	certainly = 0.75
)

// EstimateMemory returns what a training takes. ok is false on a device that does not tell.
func EstimateMemory(c Config) (m Memory, ok bool, err error) {
	c = c.filled()
	p, ok := c.Backend.(planner)
	if !ok {
		return Memory{}, false, nil
	}
	c.Backend = p.Planning()
	defer c.Backend.Finalize()
	m, err = c.memory()
	return m, true, err
}

// memory estimates on a device that plans.
func (c Config) memory() (Memory, error) {
	o, err := c.machineOptions()
	if err != nil {
		return Memory{}, err
	}
	m, err := NewMachine(o)
	if err != nil {
		return Memory{}, err
	}
	defer m.Close()
	frozen, err := c.Freeze.frozenIn(max(c.Epochs-1, 0), c.Model, m.plan) // when the most is trained
	if err != nil {
		return Memory{}, err
	}
	if _, err := m.Freeze(frozen); err != nil {
		return Memory{}, err
	}
	training, err := m.trainingPrograms()
	if err != nil {
		return Memory{}, err
	}
	out := Memory{Process: processMemory}
	for _, p := range training {
		results, values := p.footprint()
		out.Next, out.Values = max(out.Next, results), out.Values+values
	}
	if c.Validation != nil || c.Judge != nil {
		apply, err := m.program("apply", m.buildApply)
		if err != nil {
			return Memory{}, err
		}
		results, values := apply.footprint()
		out.Judging = results + values
	}
	m.addState(&out)
	c.addHost(&out, m)
	return out, nil
}

// footprint is what a program takes on a device that tells.
func (p *program) footprint() (results, values int64) {
	f, ok := p.graph.Executable().(footprint)
	if !ok {
		return 0, 0
	}
	results, values = f.Footprint()
	return results, int64(gaps * float64(values))
}

// trainingPrograms builds what steps are made of.
func (m *Machine) trainingPrograms() ([]*program, error) {
	type part struct {
		name  string
		build func(a *assembly) error
	}
	parts := []part{{"train", m.buildTrain}}
	if m.o.Accumulate > 1 {
		if err := m.needSums(); err != nil {
			return nil, err
		}
		parts = []part{{"gradient", m.buildGradient}, {"update", m.buildUpdate}}
		if _, ok := m.o.Objective.(Whole); ok {
			parts[0] = part{"pull", func(a *assembly) error { return m.buildPull(a, m.names) }}
			parts = append(parts, part{"values", func(a *assembly) error { return m.buildValues(a, true, m.names) }})
		}
	}
	var out []*program
	for _, p := range parts {
		built, err := m.program(p.name, p.build)
		if err != nil {
			return nil, err
		}
		out = append(out, built)
	}
	return out, nil
}

// addState adds what the machine's state takes.
func (m *Machine) addState(out *Memory) {
	for _, s := range m.slots {
		size := int64(4 * elements(s.dims))
		switch s.kind {
		case parameterSlot, statisticSlot:
			out.Weights += size
		default:
			out.Optimizer += size
		}
	}
	for _, f := range m.feeds {
		out.Batches += int64(f.shape.ByteSize())
	}
}

// addHost adds what is held outside of the device.
func (c Config) addHost(out *Memory, m *Machine) {
	ahead := int64(c.Workers + 2) // the loader's
	out.Batches += ahead * int64(4*m.o.Channels*m.o.Height*m.o.Width*c.Batch)
	var kept int64 // a snapshot
	for _, s := range m.slots[:m.kept] {
		kept += int64(4 * elements(s.dims))
	}
	out.Copies = out.Weights + kept + 2*out.Weights // the model, a snapshot, and the best and the last model in the end
	if c.Validation != nil || c.Judge != nil {
		out.Copies += kept // of the best epoch
	}
}

// fitMemory refuses a training that cannot fit into c.MemoryLimit, and says what it takes.
func (c Config) fitMemory() (*Memory, error) {
	if c.MemoryLimit <= 0 {
		return nil, nil
	}
	m, ok, err := EstimateMemory(c)
	if err != nil || !ok {
		return nil, err
	}
	if c.Log != nil {
		c.Log("memory: " + m.String())
	}
	if certainly*float64(m.Total()) <= float64(c.MemoryLimit) {
		if c.Log != nil && m.Total() > c.MemoryLimit {
			c.Log(fmt.Sprintf("it may be too much: there are %s", humanize.Bytes(uint64(c.MemoryLimit))))
		}
		return &m, nil
	}
	return nil, &MemoryError{Batch: c.Batch / c.Accumulate, Fits: c.largestBatch(c.Batch / c.Accumulate), Needs: m.Total(), Limit: c.MemoryLimit}
}

// largestBatch returns how many images at once fit by estimates, where size do not, to a 32nd of these; 0: not even one.
func (c Config) largestBatch(size int) int {
	c.Backend = c.Backend.(planner).Planning()
	defer c.Backend.Finalize()
	c.Accumulate = 1
	fits, over := 0, size
	for over-fits > max(1, size/32) {
		c.Batch = (fits + over + 1) / 2
		if m, err := c.memory(); err == nil && m.Total() <= c.MemoryLimit {
			fits = c.Batch
		} else {
			over = c.Batch
		}
	}
	return fits
}

// machineOptions are those of the machine that trains.
func (c Config) machineOptions() (MachineOptions, error) {
	p, err := makePlan(c.Model)
	if err != nil {
		return MachineOptions{}, err
	}
	scales, err := c.Rates.scales(c.Model, p)
	if err != nil {
		return MachineOptions{}, err
	}
	info, err := c.images()
	if err != nil {
		return MachineOptions{}, err
	}
	return MachineOptions{Masks: c.Masks, Clip: c.Clip, Average: c.Average, Scales: scales, FrozenStatistics: c.Freeze.Statistics, Seed: c.Seed, Drop: c.Drop,
		Backend: c.Backend, Model: c.Model, Channels: info.Channels, Height: info.Height, Width: info.Width,
		Batch: c.Batch, Accumulate: c.Accumulate, Objective: c.Objective, Optimizer: c.Optimizer}, nil
}
