package pretrain

import (
	"context"
	"math"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/learn/probe"
	"github.com/darkroom-dev/darkroom/onnx"
)

// judgement is how good a representation is.
type judgement struct {
	knn, linear float64
	features    probe.Features // of the images that were told, in order of their dataset
}

// linearDecay is the L2 penalty of the linear probe.
const linearDecay = 1e-3

// judge probes the backbone of a model with its projection; nil without a probe.
func (w *work) judge(ctx context.Context, c *learn.Config, m *onnx.Model) (*judgement, error) {
	if w.probe == nil {
		return nil, nil
	}
	info := w.data.Info()
	machine, err := learn.NewMachine(learn.MachineOptions{Backend: c.Backend, Model: m, Channels: info.Channels, Height: info.Height, Width: info.Width, Batch: min(c.Batch, 256)})
	if err != nil {
		return nil, err
	}
	defer machine.Close()
	bank, told, err := w.features(ctx, machine)
	if err != nil {
		return nil, err
	}
	j := &judgement{features: told}
	if j.knn, err = w.knn(bank, told); err != nil {
		return nil, err
	}
	if w.test == nil {
		bank, told = parted(bank)
	}
	j.linear, err = probe.Linear(bank, told, linearDecay)
	return j, err
}

// judgeEpoch is the training's judge: the accuracy of the neighbours, cheap enough for every epoch.
func (w *work) judgeEpoch(ctx context.Context, m *learn.Machine) (learn.Score, error) {
	bank, told, err := w.features(ctx, m)
	if err != nil {
		return learn.Score{}, err
	}
	a, err := w.knn(bank, told)
	return learn.Score{Accuracy: a, Metrics: map[string]float64{"knn_accuracy": a}}, err
}

// features are those of the probe and of what is told by it, the same without a test set.
func (w *work) features(ctx context.Context, m *learn.Machine) (bank, told probe.Features, err error) {
	if bank, err = w.collect(ctx, m, w.probe); err != nil || w.test == nil {
		return bank, bank, err
	}
	told, err = w.collect(ctx, m, w.test)
	return bank, told, err
}

func (w *work) collect(ctx context.Context, m *learn.Machine, d *dataset.Dataset) (probe.Features, error) {
	values, err := learn.Collect(ctx, m, d, w.probeLimit, onnx.FeaturesName)
	if err != nil {
		return probe.Features{}, err
	}
	n := d.Len()
	if w.probeLimit > 0 {
		n = min(n, w.probeLimit)
	}
	f := probe.Features{Width: len(values) / n, Values: values, Classes: len(d.Info().Classes)}
	for i := range n {
		f.Labels = append(f.Labels, d.Label(i))
	}
	return f, nil
}

func (w *work) knn(bank, told probe.Features) (float64, error) {
	k := min(w.neighbours, bank.Len()-1)
	if w.test == nil {
		return probe.KNNWithin(told, k, w.kelvin)
	}
	return probe.KNN(bank, told, k, w.kelvin)
}

// parted takes every fifth image away to be told by the others.
func parted(f probe.Features) (fit, told probe.Features) {
	fit, told = probe.Features{Width: f.Width, Classes: f.Classes}, probe.Features{Width: f.Width, Classes: f.Classes}
	for i := range f.Len() {
		to := &fit
		if i%5 == 4 {
			to = &told
		}
		to.Values, to.Labels = append(to.Values, f.Row(i)...), append(to.Labels, f.Labels[i])
	}
	return fit, told
}

// accuracies are the judgement's numbers; not numbers where there is none.
func (j *judgement) accuracies() (knn, linear float64) {
	if j == nil {
		return math.NaN(), math.NaN()
	}
	return j.knn, j.linear
}
