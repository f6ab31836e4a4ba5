package learn

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// greedy is an objective that no more than limit images at once have the memory for.
type greedy struct {
	CrossEntropy
	limit int
}

func (g greedy) Build(s *Step) (Terms, error) {
	if s.Batch > g.limit {
		return Terms{}, fmt.Errorf("Failed to allocate memory for requested buffer of size %d", s.Batch<<20)
	}
	return g.CrossEntropy.Build(s)
}

func TestOutOfMemorySaysWhatFits(t *testing.T) {
	for limit, want := range map[int]int{3: 2, 4: 4, 0: 0} {
		c := config(t)
		c.Objective = greedy{limit: limit}
		_, err := Train(context.Background(), c)
		var m *MemoryError
		if !errors.As(err, &m) || m.Batch != 8 || m.Fits != want {
			t.Errorf("memory for %d images: %+v, %v", limit, m, err)
		}
	}
	c := config(t)
	c.Objective, c.Accumulate = greedy{limit: 4}, 2
	if _, err := Train(context.Background(), c); err != nil {
		t.Errorf("in micro-batches of four: %v", err)
	}
}
