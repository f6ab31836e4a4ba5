package engine

import (
	"context"

	"github.com/darkroom-dev/darkroom/stages"
)

// Runner executes jobs somewhere. runners/runnertest is the suite that every runner passes.
type Runner interface {
	// Run executes the job and returns when it and every process it started have ended. The reporter gets its progress,
	// log, values and measurements; when it is a stages.Memory too, the stage's Memo is served by it. An error that the user can mend is a stages.Problem or wraps one; a worker that
	// died is a *WorkerError. After ctx is cancelled Run ends the worker and returns ctx's error.
	Run(ctx context.Context, job *stages.Job, r stages.Reporter) error
	// Capacity is what the runner has in all, for the pool that schedules its jobs.
	Capacity() stages.Resources
	// Device returns the device class on which a job with that many threads would compute.
	Device(threads int) (stages.Device, error)
	// Name names the runner in records: local, gpu.
	Name() string
}

// WorkerError says that a worker ended without an answer: killed, out of memory, crashed.
type WorkerError struct {
	Reason string // in words: "was killed by signal 9 (out of memory?)"
	Log    string // the last lines of what it printed
}

func (e *WorkerError) Error() string { return "the worker " + e.Reason }
