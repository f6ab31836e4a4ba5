package dataset

import (
	"context"
	"fmt"
	"iter"
	"sync"
)

// Layout is the order of a batch's axes.
type Layout int

// The layouts. In CHWN the batch is the innermost axis, as the trainer wants it.
const (
	NCHW Layout = iota
	CHWN
)

// LoaderOptions say how batches are made.
type LoaderOptions struct {
	Batch    int    // images in a batch; at least 1
	Seed     uint64 // of the order and of the augmentations
	Shuffle  bool   // a new order in every epoch
	Augment  bool   // apply the dataset's policy, if it has one
	DropLast bool   // leave out a last batch that is not full
	Workers  int    // goroutines that prepare batches; at least 1; changes no byte
	Layout   Layout
}

// Loader turns a dataset into batches. It is immutable and safe for concurrent use.
type Loader struct {
	d *Dataset
	o LoaderOptions
}

// Batch is some images with their labels.
type Batch struct {
	Images  []float32 // values 0 to 1, (N, C, H, W) or (C, H, W, N)
	Labels  []int32   // (N)
	Indexes []int     // (N), the rows in the dataset
	N       int
}

// NewLoader checks the options.
func NewLoader(d *Dataset, o LoaderOptions) (*Loader, error) {
	if o.Batch < 1 {
		return nil, fmt.Errorf("a batch of %d images: at least 1 is needed", o.Batch)
	}
	o.Workers = max(1, o.Workers)
	l := &Loader{d, o}
	if l.Batches() == 0 {
		return nil, fmt.Errorf("the dataset has %d images, fewer than one batch of %d", d.Len(), o.Batch)
	}
	return l, nil
}

// Batches returns the number of batches in an epoch.
func (l *Loader) Batches() int {
	if l.o.DropLast {
		return l.d.Len() / l.o.Batch
	}
	return (l.d.Len() + l.o.Batch - 1) / l.o.Batch
}

// Epoch yields the batches of an epoch in order, from the batch number first on. Its bytes do not depend on Workers.
// When ctx ends it yields ctx's error once. All its goroutines have ended when it returns.
func (l *Loader) Epoch(ctx context.Context, epoch, first int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var workers sync.WaitGroup
		defer workers.Wait()
		defer cancel()
		order := l.order(epoch)
		queue := make(chan chan *Batch, l.o.Workers) // in order of the batches; its room bounds what is prepared ahead
		workers.Go(func() {
			defer close(queue)
			for b := first; b < l.Batches(); b++ {
				slot := make(chan *Batch, 1)
				select {
				case queue <- slot:
				case <-ctx.Done():
					return
				}
				workers.Go(func() { slot <- l.batch(order, epoch, b) })
			}
		})
		for slot := range queue {
			batch := <-slot
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if !yield(batch, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// order returns the rows in the order of the epoch.
func (l *Loader) order(epoch int) []int {
	if l.o.Shuffle {
		s := NewStream(l.o.Seed, "shuffle", uint64(epoch))
		return s.Permutation(l.d.Len())
	}
	order := make([]int, l.d.Len())
	for i := range order {
		order[i] = i
	}
	return order
}

func (l *Loader) batch(order []int, epoch, number int) *Batch {
	rows := order[number*l.o.Batch : min(len(order), (number+1)*l.o.Batch)]
	info := l.d.info
	n := len(rows)
	b := &Batch{Images: make([]float32, n*info.ImageSize()), Labels: make([]int32, n), Indexes: append([]int(nil), rows...), N: n}
	var augmenter *Augmenter
	if l.o.Augment && info.Policy != nil && len(info.Policy.operations) > 0 {
		augmenter = NewAugmenter(info.Policy, info)
	}
	plain := make([]float32, info.ImageSize())
	for i, row := range rows {
		b.Labels[i] = l.d.Label(row)
		image := plain
		if augmenter != nil {
			image = augmenter.Apply(l.d.Image(row), l.o.Seed, uint64(epoch), uint64(row))
		} else {
			for k, v := range l.d.Image(row) {
				plain[k] = float32(v) * (1.0 / 255)
			}
		}
		l.place(b.Images, image, i, n)
	}
	return b
}

// place copies the image (H, W, C) to its place among n in the batch.
func (l *Loader) place(to, image []float32, i, n int) {
	info := l.d.info
	pixels, c := info.Height*info.Width, info.Channels
	for ch := range c {
		start, step := (i*c+ch)*pixels, 1
		if l.o.Layout == CHWN {
			start, step = ch*pixels*n+i, n
		}
		for p := range pixels {
			to[start+p*step] = image[p*c+ch]
		}
	}
}
