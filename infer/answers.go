package infer

import (
	"context"
	"fmt"

	"github.com/darkroom-dev/darkroom/dataset"
)

// Answers are a model's logits for labelled images, in order of the dataset.
type Answers struct {
	Classes int
	Logits  []float32 // (N, Classes)
	Labels  []int32   // (N)
}

// Answer lets the model answer the images of d, at most limit of them, the first ones; 0 takes all. The dataset's policy is not applied.
// progress, when not nil, is told how many are done.
func Answer(ctx context.Context, s *Session, d *dataset.Dataset, limit int, progress func(done int)) (*Answers, error) {
	batch := s.Info().Batch
	loader, err := dataset.NewLoader(d, dataset.LoaderOptions{Batch: batch, Workers: 1, Layout: dataset.NCHW})
	if err != nil {
		return nil, err
	}
	total := d.Len()
	if limit > 0 {
		total = min(total, limit)
	}
	a := &Answers{Classes: len(d.Info().Classes)}
	for b, err := range loader.Epoch(ctx, 0, 0) {
		if err != nil {
			return nil, err
		}
		logits, err := s.Logits(ctx, b.Images, b.N)
		if err != nil {
			return nil, err
		}
		if len(logits) != b.N*a.Classes {
			return nil, &ModelError{s.path, fmt.Sprintf("it gives %d numbers an image, but the images have %d classes", len(logits)/b.N, a.Classes)}
		}
		n := min(b.N, total-len(a.Labels))
		a.Logits, a.Labels = append(a.Logits, logits[:n*a.Classes]...), append(a.Labels, b.Labels[:n]...)
		if progress != nil {
			progress(len(a.Labels))
		}
		if len(a.Labels) == total {
			break
		}
	}
	return a, ctx.Err()
}

// Accuracy is the share of images whose largest logit, the first of equal ones, is that of their class.
func (a *Answers) Accuracy() float64 {
	right := 0
	for i, label := range a.Labels {
		if Best(a.Logits[i*a.Classes:(i+1)*a.Classes]) == int(label) {
			right++
		}
	}
	return float64(right) / float64(max(len(a.Labels), 1))
}

// Loss is the mean cross entropy in nats.
func (a *Answers) Loss() float64 {
	sum := 0.0
	for i, label := range a.Labels {
		sum += LogLoss(a.Logits[i*a.Classes:(i+1)*a.Classes], int(label))
	}
	return sum / float64(max(len(a.Labels), 1))
}
