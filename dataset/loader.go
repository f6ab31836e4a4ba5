package dataset

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/darkroom-dev/darkroom/dataset/pixel"
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
	Batch   int    // images in a batch; at least 1
	Seed    uint64 // of the order and of the augmentations
	Shuffle bool   // a new order in every epoch
	Augment bool   // apply the dataset's policy, if it has one
	// Policy, when not nil, is applied instead of the dataset's.
	Policy *Policy
	// Views is how often each row of a batch is augmented, each time anew; 0 counts as 1. The batch holds the first view of all rows, then the
	// second of all rows, and so on, Batch times Views images.
	Views    int
	DropLast bool // leave out a last batch that is not full
	Workers  int  // goroutines that prepare batches; at least 1; changes no byte
	Layout   Layout
	// Rows are those of an epoch, in order; nil: all of them, in the order that Shuffle says. There are as many in every epoch as images in the dataset.
	Rows func(epoch int) []int
}

// Loader turns a dataset into batches. It is immutable and safe for concurrent use.
//
// The order is a permutation of all rows: every image is equally likely to stand beside any other. A dataset larger than memory is read through
// the page cache, one whole image at a time, which is what a permutation costs on a drive without moving parts; workers read ahead, so several
// reads are under way at once.
type Loader struct {
	d       *Dataset
	o       LoaderOptions
	info    Info // of the images in batches
	augment bool
	pool    sync.Pool // of *maker
}

// Batch is some images with their labels. It is valid until the next is asked for.
type Batch struct {
	Images  []float32 // values 0 to 1 unless the policy normalises, (N, C, H, W) or (C, H, W, N)
	Labels  []int32   // (N), of the samples' own
	Targets []float32 // (N, classes), shares of the classes; nil unless the policy mixes samples
	Indexes []int     // (N), the rows in the dataset
	N       int       // images
}

// NewLoader checks the options, and that the policy fits the images.
func NewLoader(d *Dataset, o LoaderOptions) (*Loader, error) {
	if o.Batch < 1 {
		return nil, fmt.Errorf("a batch of %d images: at least 1 is needed", o.Batch)
	}
	o.Workers, o.Views = max(1, o.Workers), max(1, o.Views)
	if o.Policy == nil && o.Augment {
		o.Policy = d.info.Policy
	}
	l := &Loader{d: d, o: o, info: d.info, augment: len(o.Policy.Operations()) > 0}
	l.info.Policy = nil
	if l.augment {
		g, err := NewAugmenter(o.Policy, d.info, d)
		if err != nil {
			return nil, fmt.Errorf("the augmentation policy for the dataset %s: %w", d.path, err)
		}
		l.info = g.Info()
	}
	if l.Batches() == 0 {
		return nil, fmt.Errorf("the dataset has %d images, fewer than one batch of %d", d.Len(), o.Batch)
	}
	return l, nil
}

// Info describes the images in batches: of another size than the dataset's where the policy changes it.
func (l *Loader) Info() Info { return l.info }

// Batches returns the number of batches in an epoch.
func (l *Loader) Batches() int {
	if l.o.DropLast {
		return l.d.Len() / l.o.Batch
	}
	return (l.d.Len() + l.o.Batch - 1) / l.o.Batch
}

// Epoch yields the batches of an epoch in order, from the batch number first on. Its bytes do not depend on Workers. When ctx ends, or an image
// cannot be read, it yields the error once. All its goroutines have ended when it returns. Batches are made ahead, as many as there are workers,
// in memory that is used again: a batch must not be kept after the next is asked for.
func (l *Loader) Epoch(ctx context.Context, epoch, first int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var workers sync.WaitGroup
		defer workers.Wait()
		defer cancel()
		order := l.order(epoch)
		free := make(chan *Batch, l.o.Workers+2) // bounds what is prepared ahead
		for range cap(free) {
			free <- &Batch{}
		}
		type made struct {
			batch *Batch
			err   error
		}
		queue := make(chan chan made, cap(free)) // in order of the batches
		running := make(chan struct{}, l.o.Workers)
		workers.Go(func() {
			defer close(queue)
			for number := first; number < l.Batches(); number++ {
				var b *Batch
				select {
				case b = <-free:
				case <-ctx.Done():
					return
				}
				select {
				case running <- struct{}{}:
				case <-ctx.Done():
					return
				}
				slot := make(chan made, 1)
				queue <- slot // has room for every batch that there is
				workers.Go(func() {
					err := l.fill(ctx, b, order, epoch, number)
					<-running
					slot <- made{b, err}
				})
			}
		})
		for slot := range queue {
			m := <-slot
			if m.err == nil {
				m.err = ctx.Err()
			}
			if m.err != nil {
				yield(nil, m.err)
				return
			}
			if !yield(m.batch, nil) {
				return
			}
			free <- m.batch
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// Read makes the batch of that number, counted from 0, of an epoch in b, in the memory that b has where that is enough: so a caller gets images
// straight into a buffer of its own, b.Images. It is safe for concurrent use with different batches; each call computes the epoch's order.
func (l *Loader) Read(ctx context.Context, b *Batch, epoch, number int) error {
	if number < 0 || number >= l.Batches() {
		return fmt.Errorf("batch %d of an epoch of %d", number, l.Batches())
	}
	return l.fill(ctx, b, l.order(epoch), epoch, number)
}

// order returns the rows in the order of the epoch.
func (l *Loader) order(epoch int) []int {
	if l.o.Rows != nil {
		return l.o.Rows(epoch)
	}
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

// maker is what a worker needs to make images.
type maker struct {
	augmenter    *Augmenter // nil: no policy
	decoded      []byte
	block        []byte // pixel.Side images, side by side
	scale, shift []float32
}

func (l *Loader) maker() (*maker, error) {
	if m, ok := l.pool.Get().(*maker); ok {
		return m, nil
	}
	m := &maker{decoded: make([]byte, l.d.info.ImageSize()), block: make([]byte, pixel.Side*l.info.ImageSize())}
	m.scale, m.shift = (*Policy)(nil).normalisation(l.info.Channels)
	if l.augment {
		var err error
		if m.augmenter, err = NewAugmenter(l.o.Policy, l.d.info, l.d); err != nil {
			return nil, err
		}
		m.scale, m.shift = m.augmenter.Normalisation()
	}
	return m, nil
}

// resized returns a slice of that length, the old one where it has room.
func resized[T any](s []T, n int) []T {
	return slices.Grow(s[:0], n)[:n]
}

// fill makes the batch of that number.
func (l *Loader) fill(ctx context.Context, b *Batch, order []int, epoch, number int) error {
	rows := order[number*l.o.Batch : min(len(order), (number+1)*l.o.Batch)]
	n, size := len(rows)*l.o.Views, l.info.ImageSize()
	b.N, b.Images, b.Labels, b.Indexes = n, resized(b.Images, n*size), resized(b.Labels, n), b.Indexes[:0]
	for range l.o.Views {
		b.Indexes = append(b.Indexes, rows...)
	}
	classes := len(l.info.Classes)
	b.Targets = nil
	if l.augment && l.o.Policy.Mixes() {
		b.Targets = make([]float32, n*classes)
	}
	m, err := l.maker()
	if err != nil {
		return err
	}
	defer l.pool.Put(m)
	pixels := l.info.Height * l.info.Width
	for i, row := range b.Indexes {
		if err := ctx.Err(); err != nil {
			return err
		}
		image, shares, err := l.image(m, epoch*l.o.Views+i/len(rows), row)
		if err != nil {
			return err
		}
		b.Labels[i] = l.d.Label(row)
		if b.Targets != nil {
			l.target(b.Targets[i*classes:(i+1)*classes], shares)
		}
		if l.o.Layout == NCHW {
			pixel.Planes(image, b.Images[i*size:(i+1)*size], pixels, l.info.Channels, m.scale, m.shift)
			continue
		}
		k := i % pixel.Side
		copy(m.block[k*size:], image)
		if k == pixel.Side-1 || i == n-1 {
			pixel.Batch(m.block, k+1, b.Images, n, i-k, pixels, l.info.Channels, m.scale, m.shift)
		}
	}
	return nil
}

// image returns the bytes of a row's image, augmented by the draws of that number.
func (l *Loader) image(m *maker, draw, row int) ([]byte, []Share, error) {
	image, err := l.d.Pixels(row, m.decoded)
	if err != nil || m.augmenter == nil {
		return image, nil, err
	}
	return m.augmenter.Apply(image, l.o.Seed, uint64(draw), uint64(row))
}

// target adds up the shares of the classes: of the label, or of all labels of a multi-label dataset.
func (l *Loader) target(to []float32, shares []Share) {
	for _, s := range shares {
		if label := l.d.Label(s.Row); label != NoLabel {
			to[label] += s.Weight
			continue
		}
		for _, label := range l.d.Labels(s.Row) {
			to[label] += s.Weight
		}
	}
}
