package learn

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// The names of feeds that are no inputs of an objective.
const (
	imagesFeed = "images of the batch"
	knobsFeed  = "learning rate"
)

// feed is memory of the device that the host fills before a program runs.
type feed struct {
	backend compute.Backend
	shape   shapes.Shape
	buffer  compute.Buffer
	floats  []float32 // the memory, of one of the two types
	ints    []int32
	shared  bool // the buffer is over the memory; else it is made anew from it
}

func newFeed(backend compute.Backend, shape shapes.Shape) (*feed, error) {
	f := &feed{backend: backend, shape: shape, shared: backend.HasSharedBuffers()}
	var flat any
	var err error
	switch {
	case f.shared:
		if f.buffer, flat, err = backend.NewSharedBuffer(0, shape); err != nil {
			return nil, err
		}
	case shape.DType == dtypes.Int32:
		flat = make([]int32, shape.Size())
	default:
		flat = make([]float32, shape.Size())
	}
	f.floats, _ = flat.([]float32)
	f.ints, _ = flat.([]int32)
	return f, nil
}

// setFloats fills the feed.
func (f *feed) setFloats(data []float32) error {
	if len(data) != len(f.floats) {
		return fmt.Errorf("%d numbers where %d are needed, of shape %s", len(data), len(f.floats), f.shape)
	}
	copy(f.floats, data)
	return f.send()
}

func (f *feed) setInts(data []int32) error {
	if len(data) != len(f.ints) {
		return fmt.Errorf("%d whole numbers where %d are needed, of shape %s", len(data), len(f.ints), f.shape)
	}
	copy(f.ints, data)
	return f.send()
}

// send moves the memory to a device that does not share it.
func (f *feed) send() error {
	if f.shared {
		return nil
	}
	f.close()
	var flat any = f.floats
	if f.ints != nil {
		flat = f.ints
	}
	var err error
	f.buffer, err = f.backend.BufferFromFlatData(0, flat, f.shape)
	return err
}

func (f *feed) close() {
	if f.buffer != nil {
		_ = f.buffer.Finalize() // nothing depends on it any more
	}
}

// load fills the feeds with a micro-batch, by its number, of a batch.
func (m *Machine) load(b *Batch, number int) error {
	if err := m.need(m.o.Accumulate == 1); err != nil {
		return err
	}
	if err := m.loadMasks(m.updates*m.o.Accumulate + number); err != nil {
		return err
	}
	if err := m.loadImages(b.Images, len(b.Indexes), number); err != nil {
		return err
	}
	for _, in := range m.o.Objective.Inputs() {
		size := in.shape(m.microBatch()).Size()
		from := number * size
		if in.Whole {
			from = 0
		}
		var err error
		switch list, ints := b.Floats[in.Name], b.Ints[in.Name]; {
		case in.Type == dtypes.Float32 && len(list) >= from+size:
			err = m.feeds[in.Name].setFloats(list[from : from+size])
		case in.Type == dtypes.Int32 && len(ints) >= from+size:
			err = m.feeds[in.Name].setInts(ints[from : from+size])
		default:
			err = fmt.Errorf("the batch has no %s numbers %q of %d", in.Type, in.Name, from+size)
		}
		if err != nil {
			return fmt.Errorf("the batch's %s: %w", in.Name, err)
		}
	}
	return nil
}

// need builds the program that trains, so that its feeds exist.
func (m *Machine) need(whole bool) error {
	if whole {
		_, err := m.program("train", m.buildTrain)
		return err
	}
	if err := m.needSums(); err != nil {
		return err
	}
	_, err := m.program("gradient", m.buildGradient)
	return err
}

// loadMasks draws what is dropped in a pass through the model.
func (m *Machine) loadMasks(pass int) error {
	for _, k := range m.masks {
		if err := k.fill(m.feeds[k.feed], m.o.Seed, pass); err != nil {
			return err
		}
	}
	return nil
}

// loadImages fills the feed of images with those of micro-batch number of n images (C, H, W, n). Where there are fewer than the feed holds, the
// others stay what they were.
func (m *Machine) loadImages(images []float32, n, number int) error {
	f := m.feeds[imagesFeed]
	size := m.microBatch()
	rows := len(f.floats) / size
	if n == 0 || len(images) != rows*n {
		return fmt.Errorf("%d numbers are not %d images of %d×%d with %d channels", len(images), n, m.o.Width, m.o.Height, m.o.Channels)
	}
	if n == size {
		copy(f.floats, images)
		return f.send()
	}
	from := number * size
	count := min(size, n-from)
	for row := range rows {
		copy(f.floats[row*size:row*size+count], images[row*n+from:])
	}
	return f.send()
}
