package recipe

import (
	"errors"
	"testing"

	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/stages"
)

// The same words say what fits, whether it was tried or estimated.
func TestMemoryText(t *testing.T) {
	for _, c := range []struct {
		e    learn.MemoryError
		want string
	}{
		{learn.MemoryError{Batch: 128, Fits: 32, Err: errors.New("bad_alloc")},
			"There is not enough memory for a step with 128 images at once. 32 fit, which was tried: write batch = 32, or keep the batch and write accumulate = 4."},
		{learn.MemoryError{Batch: 20, Fits: 8, Err: errors.New("bad_alloc")},
			"There is not enough memory for a step with 20 images at once. 8 fit, which was tried: write batch = 8, or keep the batch and write accumulate = 4."},
		{learn.MemoryError{Batch: 128, Fits: 50, Needs: 3 << 30, Limit: 1 << 30},
			"There is not enough memory for a step with 128 images at once. It takes about 3.2 GB, and the stage may have 1.1 GB. 50 fit, by the same estimate: write batch = 50, or keep the batch and write accumulate = 4."},
		{learn.MemoryError{Batch: 2, Needs: 3 << 30, Limit: 1 << 30},
			"There is not enough memory for a step with 2 images at once. It takes about 3.2 GB, and the stage may have 1.1 GB. Not even one fits: give the stage more memory in its resources block, or take a smaller model or smaller images."},
	} {
		if got := memoryText(&c.e, c.e.Batch); got != c.want {
			t.Errorf("%s", got)
		}
	}
}

// A stage may have what it claims, and no more than there is.
func TestMemoryLimit(t *testing.T) {
	machine := MemoryLimit(&stages.Job{})
	if machine < 64<<20 {
		t.Skipf("the system tells of %d bytes", machine)
	}
	for claimed, want := range map[int64]int64{1 << 20: 1 << 20, machine * 2: machine} {
		if got := MemoryLimit(&stages.Job{Resources: stages.Resources{Memory: claimed}}); got != want {
			t.Errorf("claiming %d: %d, want %d", claimed, got, want)
		}
	}
}
