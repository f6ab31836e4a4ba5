package evaluate

import (
	"context"
	"iter"
	"sync"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// feed prepares batches of a dataset's images: while the model answers others where the machine has cores that the model leaves alone, else in turns with it.
// A thread that prepares on a core of the model's keeps all of the model's threads waiting at the end of each layer, which costs several times what it does.
type feed struct {
	data    *dataset.Dataset
	batch   int                                 // images
	workers int                                 // at least 1; change no byte
	ahead   bool                                // prepare while the model answers
	spoil   func(row int, pixels []byte) []byte // nil: none. Neither may write to its argument.
	look    func(pixels []byte) []byte          // nil: as it is
}

// ready is some images, values 0 to 1, (n, C, H, W), until the next batch is asked for: then its memory is used again, since fresh memory costs as much as
// making the values.
type ready struct {
	images []float32
	n      int
	err    error
}

// batches yields all batches in order. When ctx ends it yields ctx's error once. All its goroutines have ended when it returns.
func (f *feed) batches(ctx context.Context) iter.Seq2[*ready, error] {
	if !f.ahead {
		return f.inTurns(ctx)
	}
	return func(yield func(*ready, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var workers sync.WaitGroup
		defer workers.Wait()
		defer cancel()
		queue := make(chan chan *ready, f.workers)
		free := make(chan []float32, f.workers+2) // at most so many batches are on the way
		workers.Go(func() {
			defer close(queue)
			for first := 0; first < f.data.Len(); first += f.batch {
				slot := make(chan *ready, 1)
				select {
				case queue <- slot:
				case <-ctx.Done():
					return
				}
				workers.Go(func() {
					b := &ready{n: min(f.batch, f.data.Len()-first)}
					select {
					case b.images = <-free:
					default:
						b.images = make([]float32, f.batch*f.data.Info().ImageSize())
					}
					b.images = b.images[:b.n*f.data.Info().ImageSize()]
					b.err = f.prepare(b.images, first, first+b.n)
					slot <- b
				})
			}
		})
		for slot := range queue {
			b := <-slot
			if ctx.Err() != nil {
				yield(nil, ctx.Err())
				return
			}
			if !yield(b, b.err) || b.err != nil {
				return
			}
			select {
			case free <- b.images:
			default:
			}
		}
		if ctx.Err() != nil {
			yield(nil, ctx.Err())
		}
	}
}

// inTurns yields all batches in order, each prepared by all workers when it is asked for.
func (f *feed) inTurns(ctx context.Context) iter.Seq2[*ready, error] {
	return func(yield func(*ready, error) bool) {
		size := f.data.Info().ImageSize()
		images := make([]float32, min(f.batch, f.data.Len())*size)
		for first := 0; first < f.data.Len(); first += f.batch {
			if ctx.Err() != nil {
				yield(nil, ctx.Err())
				return
			}
			b := &ready{images: images, n: min(f.batch, f.data.Len()-first)}
			b.err = f.share(b, first)
			b.images = images[:b.n*size]
			if !yield(b, b.err) || b.err != nil {
				return
			}
		}
	}
}

// share lets every worker prepare a part of a batch.
func (f *feed) share(b *ready, first int) error {
	size := f.data.Info().ImageSize()
	errs := make([]error, f.workers)
	var workers sync.WaitGroup
	part := func(w int) {
		from, to := b.n*w/f.workers, b.n*(w+1)/f.workers
		errs[w] = f.prepare(b.images[from*size:], first+from, first+to)
	}
	for w := 1; w < f.workers; w++ {
		workers.Go(func() { part(w) })
	}
	part(0)
	workers.Wait()
	for _, err := range errs { // the first of the batch's, whichever worker was the first
		if err != nil {
			return err
		}
	}
	return nil
}

// unit and zero make values from 0 to 1 of bytes, by channel, with the bits of the dataset's loader.
var unit, zero = []float32{1.0 / 255, 1.0 / 255, 1.0 / 255}, []float32{0, 0, 0}

// prepare writes the images from one row to before another to dst, (to−from, C, H, W).
func (f *feed) prepare(dst []float32, from, to int) error {
	info := f.data.Info()
	size := info.ImageSize()
	var buffer []byte
	for row := from; row < to; row++ {
		pixels, err := f.data.Pixels(row, buffer)
		if err != nil {
			return err
		}
		if info.Encoded {
			buffer = pixels
		}
		if f.spoil != nil {
			pixels = f.spoil(row, pixels)
		}
		if f.look != nil {
			pixels = f.look(pixels)
		}
		pixel.Planes(pixels, dst[:size], info.Height*info.Width, info.Channels, unit, zero)
		dst = dst[size:]
	}
	return nil
}
