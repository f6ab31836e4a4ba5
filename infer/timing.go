package infer

import (
	"bufio"
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/dataset"
)

// TimingOptions say how a model is timed.
type TimingOptions struct {
	Warmup int // runs before the clock starts, at least 1: the first runs allocate
	Runs   int // runs that are timed, at least 1
	// Budget ends the timed runs early, after Least of them.
	Budget time.Duration
	Least  int
}

// Timing is how long runs of a model took.
type Timing struct {
	Batch, Threads int
	Took           []float64 // milliseconds, sorted
}

// At returns the q-quantile in milliseconds.
func (t *Timing) At(q float64) float64 { return Quantile(t.Took, q) }

// Rate returns images a second at the median.
func (t *Timing) Rate() float64 { return 1000 * float64(t.Batch) / t.At(0.5) }

// Time runs a session's model on noise and times each run alone: no image is prepared meanwhile.
func Time(ctx context.Context, s *Session, threads int, o TimingOptions) (*Timing, error) {
	noise := dataset.NewStream(0, "timing")
	pixels := make([]float32, len(s.input.GetData()))
	for i := range pixels {
		pixels[i] = float32(noise.Float())
	}
	s.fill(pixels)
	for range max(1, o.Warmup) {
		if _, err := s.run(ctx, s.input); err != nil {
			return nil, err
		}
	}
	t := &Timing{Batch: s.info.Batch, Threads: threads}
	started := time.Now()
	for len(t.Took) < max(1, o.Runs) {
		before := time.Now()
		if _, err := s.run(ctx, s.input); err != nil {
			return nil, err
		}
		t.Took = append(t.Took, float64(time.Since(before).Nanoseconds())/1e6)
		if o.Budget > 0 && time.Since(started) > o.Budget && len(t.Took) >= o.Least {
			break
		}
	}
	slices.Sort(t.Took)
	return t, nil
}

// ResetPeakMemory forgets the process's largest resident memory so far, where the system allows it.
func ResetPeakMemory() {
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // without it the peak is that of the whole process's life
}

// PeakMemory returns the process's largest resident memory in bytes since ResetPeakMemory, and whether the system tells.
func PeakMemory() (int64, bool) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 64)
			return kilobytes << 10, err == nil
		}
	}
	return 0, false
}
