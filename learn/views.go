package learn

import (
	"context"
	"fmt"
	"iter"

	"github.com/darkroom-dev/darkroom/dataset"
)

// ViewSource is the source of a self-supervised training: two views of each image, by a policy of their own, the first views of a batch before the
// second ones. Labels are not looked at. Its batches hold twice as many views as images.
func ViewSource(d *dataset.Dataset, policy *dataset.Policy, images int, seed uint64, workers int) (BatchSource, error) {
	loader, err := dataset.NewLoader(d, dataset.LoaderOptions{Batch: images, Seed: seed, Shuffle: true, DropLast: true, Workers: max(workers, 1), Layout: dataset.CHWN, Policy: policy, Views: 2})
	if err != nil {
		return nil, err
	}
	if a, b := loader.Info(), d.Info(); a.Height != b.Height || a.Width != b.Width || a.Channels != b.Channels {
		return nil, fmt.Errorf("the views are %d×%d, the images %d×%d; they must be of one size", a.Width, a.Height, b.Width, b.Height)
	}
	return &viewSource{d, loader, string(policy.JSON())}, nil
}

type viewSource struct {
	data   *dataset.Dataset
	loader *dataset.Loader
	policy string
}

func (s *viewSource) Identity() string    { return "views " + s.policy }
func (s *viewSource) Batches() int        { return s.loader.Batches() }
func (s *viewSource) ID(index int) string { return s.data.ID(index) }

func (s *viewSource) Epoch(ctx context.Context, epoch, first int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		for b, err := range s.loader.Epoch(ctx, epoch, first) {
			var batch *Batch
			if err == nil {
				batch = &Batch{Images: b.Images, Indexes: b.Indexes}
			}
			if !yield(batch, err) {
				return
			}
		}
	}
}

// Collect returns a value of the model's graph, (N, width), for the first images of d, at most limit of them, 0 for all, in evaluation mode and without augmentation.
func Collect(ctx context.Context, m *Machine, d *dataset.Dataset, limit int, value string) ([]float32, error) {
	n := d.Len()
	if limit > 0 {
		n = min(n, limit)
	}
	loader, err := dataset.NewLoader(d, dataset.LoaderOptions{Batch: m.microBatch(), Workers: 1, Layout: dataset.CHWN})
	if err != nil {
		return nil, err
	}
	var out []float32
	done := 0
	for b, err := range loader.Epoch(ctx, 0, 0) {
		if err != nil {
			return nil, err
		}
		got, err := m.Values(&Batch{Images: b.Images, Indexes: b.Indexes}, false, value)
		if err != nil {
			return nil, err
		}
		width := len(got[value]) / b.N
		take := min(b.N, n-done)
		out = append(out, got[value][:take*width]...)
		if done += take; done == n {
			break
		}
	}
	return out, ctx.Err()
}
