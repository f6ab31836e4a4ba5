package learn

import (
	"context"
	"fmt"
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

// SWA is stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the ends of the last epochs. After the training the running
// statistics of normalisations are measured anew, by one pass over the training batches.
type SWA struct {
	From int     // the first epoch, counted from 1, whose weights count; 0: none are averaged
	Rate float64 // the learning rate from then on; 0: that of the schedule
}

// Averaged is what SWA came to.
type Averaged struct {
	From  int    `json:"from"`  // the first epoch
	Count int    `json:"count"` // of epochs
	Score *Score `json:"score,omitempty"`
}

func (a *Averaged) text() string {
	if a.Score == nil {
		return "not judged, there is no validation"
	}
	return fmt.Sprintf("validation loss %.4f, accuracy %.4f", a.Score.Loss, a.Score.Accuracy)
}

// weightMean is the mean of some snapshots' parameters, in order of the plan.
type weightMean struct {
	count   int
	tensors [][]float32
}

// add takes a snapshot in.
func (w *weightMean) add(s Snapshot, parameters int) {
	w.count++
	if w.tensors == nil {
		w.tensors = make([][]float32, parameters)
	}
	for i := range w.tensors {
		if w.tensors[i] == nil {
			w.tensors[i] = make([]float32, len(s.tensors[i]))
		}
		for k, v := range s.tensors[i] {
			mean := float64(w.tensors[i][k])
			w.tensors[i][k] = float32(mean + (float64(v)-mean)/float64(w.count))
		}
	}
}

// averageEpoch takes the weights after an epoch, counted from 1, into the mean.
func (r *run) averageEpoch(epoch int) error {
	if r.SWA.From == 0 || epoch < r.SWA.From {
		return nil
	}
	s, err := r.machine.Snapshot()
	if err != nil {
		return err
	}
	r.mean.add(s, len(r.machine.plan.parameters))
	return nil
}

// applyMean gives the machine the mean weights, and statistics that belong to them, and judges them.
func (r *run) applyMean(ctx context.Context) (*Averaged, error) {
	for i, p := range r.machine.plan.parameters {
		if err := r.machine.SetWeight(p.name, r.mean.tensors[i]); err != nil {
			return nil, err
		}
	}
	if err := r.machine.measureStatistics(ctx, r.source, r.epoch); err != nil {
		return nil, err
	}
	out := &Averaged{From: r.SWA.From, Count: r.mean.count}
	if r.validation == nil && r.Judge == nil {
		return out, nil
	}
	score, err := r.judge(ctx)
	out.Score = &score
	return out, err
}

// measureStatistics replaces the running statistics by their means over the batches of an epoch, with the weights as they are.
func (m *Machine) measureStatistics(ctx context.Context, source BatchSource, epoch int) error {
	if len(m.plan.statistics) == 0 { // a program needs an output
		return nil
	}
	momentum := momenta(m.o.Model)
	var names []string
	p, err := m.program("statistics", func(a *assembly) error {
		l, err := a.lowerFresh()
		if err != nil {
			return err
		}
		for _, s := range m.plan.statistics {
			if moved := l.updates[s.name]; moved != nil {
				a.result(moved)
				names = append(names, s.name)
			}
		}
		return nil
	})
	if err != nil || len(names) == 0 {
		return err
	}
	sums := make([][]float64, len(names))
	passes := 0
	for b, err := range source.Epoch(ctx, epoch, 0) {
		if err != nil {
			return err
		}
		for number := range m.o.Accumulate {
			if err := m.loadImages(b.Images, len(b.Indexes), number); err != nil {
				return err
			}
			out, err := m.execute(p)
			if err != nil {
				return fmt.Errorf("measuring the statistics of normalisations: %w", err)
			}
			for i, result := range out {
				list, err := floats(result)
				if err != nil {
					return err
				}
				if sums[i] == nil {
					sums[i] = make([]float64, len(list))
				}
				for k, v := range list {
					sums[i][k] += float64(v)
				}
				if err := result.Finalize(); err != nil {
					return err
				}
			}
			passes++
		}
	}
	for i, name := range names {
		mean := make([]float32, len(sums[i]))
		for k, v := range sums[i] {
			mean[k] = float32(v / float64(passes) / (1 - momentum[name]))
		}
		if err := m.SetWeight(name, mean); err != nil {
			return err
		}
	}
	return nil
}

// lowerFresh lowers the model in training with running statistics of 0, so that they move to (1-momentum) times those of the batch.
func (a *assembly) lowerFresh() (*lowering, error) {
	o := a.m.o
	images, err := a.feed(imagesFeed, shapes.Make(dtypes.Float32, o.Channels, o.Height, o.Width, a.m.microBatch()))
	if err != nil {
		return nil, err
	}
	weights := map[string]*graph.Node{}
	for _, p := range a.m.plan.parameters {
		weights[p.name] = a.read(slotKey{parameterSlot, p.name, 0})
	}
	for _, s := range a.m.plan.statistics {
		weights[s.name] = graph.Zeros(a.g, shapes.Make(dtypes.Float32, s.dims...))
	}
	plain := *a.m.plan
	plain.frozenStatistics = false
	l, _, err := lower(o.Model, images, weights, &plain, true)
	return l, err
}

// momenta returns the momentum of each running statistic.
func momenta(m *onnx.Model) map[string]float64 {
	out := map[string]float64{}
	for _, n := range m.Graph().Node {
		if n.OpType == "BatchNormalization" && len(n.Input) == 5 {
			momentum := onnx.Float(n, "momentum", 0.9)
			out[n.Input[3]], out[n.Input[4]] = momentum, momentum
		}
	}
	return out
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
