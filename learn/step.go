package learn

import "fmt"

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
