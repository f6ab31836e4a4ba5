package learn

import (
	"fmt"
	"strings"
)

// MemoryError says that a step did not get the memory that it needs.
type MemoryError struct {
	Batch int // images that pass through the model at once
	Fits  int // the largest half, quarter, … of it that was tried and does; 0: not even one image
	Err   error
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("there is not enough memory for %d images at once: %v", e.Batch, e.Err)
}

func (e *MemoryError) Unwrap() error { return e.Err }

// allocationTexts are how the devices say that memory is out: ONNX Runtime's arena and the C++ library under it, and XLA.
var allocationTexts = []string{"Failed to allocate memory", "bad_alloc", "bad allocation", "RESOURCE_EXHAUSTED", "out of memory", "Out of memory"}

// outOfMemory makes an error of a step, if it is about memory, one that says how many images would fit: it tries halves.
func (r *run) outOfMemory(err error, b *Batch) error {
	text := err.Error()
	found := false
	for _, t := range allocationTexts {
		found = found || strings.Contains(text, t)
	}
	if !found {
		return err
	}
	out := &MemoryError{Batch: r.machine.microBatch(), Err: err}
	o := r.machine.o
	o.Accumulate = 1
	r.machine.Close()
	for size := out.Batch / 2; size > 0; size /= 2 {
		o.Batch = size
		if tryStep(o, b) {
			out.Fits = size
			break
		}
	}
	return out
}

// tryStep reports whether a step on the first images of a batch gets the memory that it needs.
func tryStep(o MachineOptions, b *Batch) bool {
	m, err := NewMachine(o)
	if err != nil {
		return false
	}
	defer m.Close()
	few := &Batch{Floats: b.Floats, Ints: b.Ints, Indexes: b.Indexes[:o.Batch]}
	n := len(b.Indexes)
	for row := range len(b.Images) / n {
		few.Images = append(few.Images, b.Images[row*n:row*n+o.Batch]...)
	}
	_, err = m.Step(few, 0)
	return err == nil
}
