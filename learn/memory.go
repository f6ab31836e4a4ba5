package learn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/gomlx/compute/dtypes"
)

// MemoryError says that a step did not get the memory that it needs, or will not get it.
type MemoryError struct {
	Batch int // images that pass through the model at once
	// Fits is how many of them do: the largest half, quarter, … that was tried, or by estimate; 0: not even one image.
	Fits int
	// Needs and Limit are what the training takes by estimate and what it may take, in bytes, where it was refused before its first step; else 0.
	Needs, Limit int64
	Err          error // of the device; nil where it was refused before
}

func (e *MemoryError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("there is not enough memory for %d images at once: about %s, where there are %s", e.Batch, humanize.Bytes(uint64(e.Needs)), humanize.Bytes(uint64(e.Limit)))
	}
	return fmt.Sprintf("there is not enough memory for %d images at once: %v", e.Batch, e.Err)
}

func (e *MemoryError) Unwrap() error { return e.Err }

// allocationTexts are how the devices say that memory is out: ONNX Runtime's arena and the C++ library under it, and XLA.
var allocationTexts = []string{"Failed to allocate memory", "bad_alloc", "bad allocation", "RESOURCE_EXHAUSTED", "out of memory", "Out of memory"}

// outOfMemory makes an error of a step or of a judgement, if it is about memory, one that says how many images would fit: it tries halves. The machine is closed then.
func (r *run) outOfMemory(err error) error {
	text := err.Error()
	if !slices.ContainsFunc(allocationTexts, func(t string) bool { return strings.Contains(text, t) }) {
		return err
	}
	out := &MemoryError{Batch: r.machine.microBatch(), Err: err}
	o := r.machine.o
	o.Accumulate = 1
	r.machine.Close()
	for size := out.Batch / 2; size > 0; size /= 2 {
		o.Batch = size
		if tryStep(o, r.validation != nil || r.Judge != nil) == nil {
			out.Fits = size
			break
		}
	}
	return out
}

// tryStep makes a step on images of zeroes, and applies the model to them where it will be judged. Its error may be that it did not get the memory that it needs.
func tryStep(o MachineOptions, judged bool) error {
	m, err := NewMachine(o)
	if err != nil {
		return err
	}
	defer m.Close()
	b := &Batch{Images: make([]float32, o.Channels*o.Height*o.Width*o.Batch), Floats: map[string][]float32{}, Ints: map[string][]int32{}, Indexes: make([]int, o.Batch)}
	for _, in := range o.Objective.Inputs() {
		if n := in.shape(o.Batch).Size(); in.Type == dtypes.Int32 {
			b.Ints[in.Name] = make([]int32, n)
		} else {
			b.Floats[in.Name] = make([]float32, n)
		}
	}
	if _, err := m.Step(b, 0); err != nil || !judged {
		return err
	}
	_, err = m.logits()
	return err
}
