package evaluate

import (
	"context"
	"iter"
	"sync"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/pixel"
)

// feed prepares batches of a dataset's images while the model answers others.
type feed struct {
	data    *dataset.Dataset
	batch   int                                 // images
	workers int                                 // change no byte
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
				workers.Go(func() { slot <- f.prepare(first, free) })
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

// unit and zero make values from 0 to 1 of bytes, by channel, with the bits of the dataset's loader.
var unit, zero = []float32{1.0 / 255, 1.0 / 255, 1.0 / 255}, []float32{0, 0, 0}

func (f *feed) prepare(first int, free <-chan []float32) *ready {
	info := f.data.Info()
	size := info.ImageSize()
	b := &ready{n: min(f.batch, f.data.Len()-first)}
	select {
	case b.images = <-free:
	default:
		b.images = make([]float32, f.batch*size)
	}
	b.images = b.images[:b.n*size]
	var buffer []byte
	for i := range b.n {
		pixels, err := f.data.Pixels(first+i, buffer)
		if err != nil {
			b.err = err
			return b
		}
		if info.Encoded {
			buffer = pixels
		}
		if f.spoil != nil {
			pixels = f.spoil(first+i, pixels)
		}
		if f.look != nil {
			pixels = f.look(pixels)
		}
		pixel.Planes(pixels, b.images[i*size:(i+1)*size], info.Height*info.Width, info.Channels, unit, zero)
	}
	return b
}
