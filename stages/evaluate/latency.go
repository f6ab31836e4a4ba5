package evaluate

import (
	"context"
	"fmt"
	"time"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/stages"
)

// latency says how the model is timed.
type latency struct {
	batches, threads []int
	runs             int
}

func (l *latency) Declare(s *stages.Schema) {
	s.Ints(&l.batches, "batches", nil, "Images a run, each timed; without it one image alone, which is always timed.").In(1, 4096).InUnit("images")
	s.Ints(&l.threads, "thread_counts", nil, "Threads of the compute library, each timed; without it those of the stage.").In(1, 256)
	s.Int(&l.runs, "runs", 100, "How often a combination is run, after a warm-up of a tenth; fewer where that takes longer than 5 seconds.").In(1, 100000)
}

// Check implements stages.Checker.
func (l *latency) Check() []stages.Problem {
	for _, list := range []struct {
		arg    string
		values []int
	}{{"batches", l.batches}, {"thread_counts", l.threads}} {
		for _, n := range repeated(list.values) {
			return []stages.Problem{stages.Problemf(list.arg, "Repeated number", "The argument %q holds %d twice. Each number has measurements of its own; keep it once.", list.arg, n)}
		}
	}
	return nil
}

// suffix ends the names of a combination's measurements. threads is 0 for those of the stage.
func suffix(batch, threads int) string {
	if threads == 0 {
		return fmt.Sprintf("_batch%d", batch)
	}
	return fmt.Sprintf("_batch%d_threads%d", batch, threads)
}

// combinations calls visit for every combination that is asked for.
func (l *latency) combinations(visit func(batch, threads int)) {
	batches, threads := l.batches, l.threads
	if len(batches) == 0 && len(threads) > 0 {
		batches = []int{1}
	}
	if len(threads) == 0 {
		threads = []int{0}
	}
	for _, b := range batches {
		for _, t := range threads {
			visit(b, t)
		}
	}
}

func (l *latency) shape(s *stages.Schema) {
	l.combinations(func(batch, threads int) {
		of := fmt.Sprintf("a run of %d images", batch)
		if threads > 0 {
			of += fmt.Sprintf(" on %d threads", threads)
		}
		end := suffix(batch, threads)
		s.Measures("latency"+end, "ms", "Median time of "+of+".")
		s.Measures("latency_p90"+end, "ms", "90th percentile of "+of+".")
		s.Measures("latency_p99"+end, "ms", "99th percentile of "+of+".")
		s.Measures("images_per_second"+end, "images/s", "Images a second at the median of "+of+".")
	})
}

// timingBudget bounds the timed runs of a combination, after a few at least.
const (
	timingBudget = 5 * time.Second
	timingLeast  = 5
)

// measureLatency times the model: one image alone, and what else is asked for.
func (e *evaluate) measureLatency(ctx context.Context, job *stages.Job, info dataset.Info) error {
	one, err := e.time(ctx, job, info, 1, 0, 2*time.Second)
	if err != nil {
		return err
	}
	if one.Batch == 1 {
		job.Measure("latency", one.At(0.5))
		job.Measure("latency_p90", one.At(0.9))
		job.Measure("latency_p99", one.At(0.99))
	}
	var failed error
	e.timed.combinations(func(batch, threads int) {
		if failed != nil {
			return
		}
		t, err := e.time(ctx, job, info, batch, threads, timingBudget)
		switch {
		case err != nil:
			failed = err
			return
		case t.Batch != batch:
			failed = stages.Problemf("latency", "Batch is fixed", "The model takes %d images a run and no other number, so it cannot be timed with %d.", t.Batch, batch)
			return
		}
		end := suffix(batch, threads)
		job.Measure("latency"+end, t.At(0.5))
		job.Measure("latency_p90"+end, t.At(0.9))
		job.Measure("latency_p99"+end, t.At(0.99))
		job.Measure("images_per_second"+end, t.Rate())
	})
	return failed
}

// time times one combination; threads 0 stands for the stage's.
func (e *evaluate) time(ctx context.Context, job *stages.Job, info dataset.Info, batch, threads int, budget time.Duration) (*infer.Timing, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if threads == 0 {
		threads = job.Device.Threads
	}
	session, err := e.openSession(job, "model", info, batch, threads)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	job.Progress(stages.Progress{Phase: fmt.Sprintf("timing batch %d", batch)})
	return infer.Time(ctx, session, threads, infer.TimingOptions{Warmup: max(1, e.timed.runs/10), Runs: e.timed.runs, Budget: budget, Least: timingLeast})
}
