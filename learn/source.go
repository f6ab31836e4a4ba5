package learn

import (
	"context"
	"fmt"
	"iter"

	"github.com/darkroom-dev/darkroom/dataset"
)

// Batch is the images of one step with what comes with them.
type Batch struct {
	Images  []float32            // (C, H, W, N), values 0 to 1
	Floats  map[string][]float32 // inputs by name, (N, …)
	Ints    map[string][]int32   // likewise
	Indexes []int                // (N): what BatchSource.ID names
	// Pass is what Machine.Values and Machine.Pull draw dropout by: equal numbers leave out the same.
	Pass int
}

// part returns the images of micro-batch number of as many equal ones, without what else comes with the batch.
func (b *Batch) part(number, parts int) *Batch {
	n := len(b.Indexes)
	size := n / parts
	out := &Batch{Images: make([]float32, 0, len(b.Images)/parts), Indexes: b.Indexes[number*size : (number+1)*size]}
	for row := range len(b.Images) / n {
		out.Images = append(out.Images, b.Images[row*n+number*size:row*n+(number+1)*size]...)
	}
	return out
}

// BatchSource gives the batches of a training.
type BatchSource interface {
	// Identity is a text with everything that changes the batches besides the training's own data and seed.
	Identity() string
	// Batches returns how many there are in an epoch; at least 1.
	Batches() int
	// Epoch yields the batches of an epoch, counted from 0, from the batch number first on. All of them are of the training's batch size, and
	// they are a function of the seed, the epoch and their number. When ctx ends it yields ctx's error.
	Epoch(ctx context.Context, epoch, first int) iter.Seq2[*Batch, error]
	// ID names a sample for messages.
	ID(index int) string
}

// DataSource is the source of a training on a labelled dataset: every image once in an epoch, in a new order and newly augmented, with its label
// as the input "labels", and shares of classes as "targets" where its policy mixes images or an image may have several classes. What is left of a last batch that is not full is left out of that epoch.
func DataSource(d *dataset.Dataset, batch int, seed uint64, workers int) (BatchSource, error) {
	return newDataSource(d, batch, seed, workers, false)
}

// newDataSource is DataSource, in whose epochs every class comes equally often where balanced says so.
func newDataSource(d *dataset.Dataset, batch int, seed uint64, workers int, balanced bool) (BatchSource, error) {
	o := dataset.LoaderOptions{Batch: batch, Seed: seed, Shuffle: true, Augment: true, DropLast: true, Workers: max(workers, 1), Layout: dataset.CHWN}
	if balanced {
		o.Rows = func(epoch int) []int { return balancedRows(d, seed, epoch) }
	}
	loader, err := dataset.NewLoader(d, o)
	if err != nil {
		return nil, err
	}
	return &dataSource{d, loader}, nil
}

type dataSource struct {
	data   *dataset.Dataset
	loader *dataset.Loader
}

// sized is a source whose images may have another size than those that are stored.
type sized interface{ size() (height, width int) }

func (s *dataSource) size() (height, width int) { return s.loader.Info().Height, s.loader.Info().Width }

func (s *dataSource) Identity() string    { return "dataset" }
func (s *dataSource) Batches() int        { return s.loader.Batches() }
func (s *dataSource) ID(index int) string { return s.data.ID(index) }

// several returns 1 for each class of each image, and 0 for the others: (N, classes).
func (s *dataSource) several(rows []int) []float32 {
	classes := len(s.data.Info().Classes)
	out := make([]float32, len(rows)*classes)
	for i, row := range rows {
		for _, c := range s.data.Labels(row) {
			out[i*classes+int(c)] = 1
		}
	}
	return out
}

func (s *dataSource) Epoch(ctx context.Context, epoch, first int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		for b, err := range s.loader.Epoch(ctx, epoch, first) {
			var batch *Batch
			if err == nil {
				batch = &Batch{Images: b.Images, Ints: map[string][]int32{LabelsInput: b.Labels}, Indexes: b.Indexes}
				switch {
				case b.Targets != nil:
					batch.Floats = map[string][]float32{TargetsInput: b.Targets}
				case s.data.Info().Task == dataset.MultiLabel:
					batch.Floats = map[string][]float32{TargetsInput: s.several(b.Indexes)}
				}
			}
			if !yield(batch, err) {
				return
			}
		}
	}
}

// Extend returns a source whose batches are those of s after fill has added to them, such as a teacher's answers, looked up by Indexes. Identity
// says what it adds.
func Extend(s BatchSource, identity string, fill func(b *Batch) error) BatchSource {
	return &extended{s, identity, fill}
}

type extended struct {
	BatchSource
	identity string
	fill     func(b *Batch) error
}

func (s *extended) size() (height, width int) {
	if inner, ok := s.BatchSource.(sized); ok {
		return inner.size()
	}
	return 0, 0
}

func (s *extended) Identity() string { return s.BatchSource.Identity() + "; " + s.identity }

func (s *extended) Epoch(ctx context.Context, epoch, first int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		for b, err := range s.BatchSource.Epoch(ctx, epoch, first) {
			if err == nil {
				if err = s.fill(b); err != nil {
					err = fmt.Errorf("epoch %d: %w", epoch+1, err)
				}
			}
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}
