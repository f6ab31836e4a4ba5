package engine

import (
	"context"

	"github.com/darkroom-dev/darkroom/stages"
)

// Runner executes jobs somewhere. runners/runnertest is the suite that every runner passes. Runners are compared with ==, so an
// implementation is a pointer.
type Runner interface {
	// Run executes the job and returns when it and every process it started have ended. The reporter gets its progress,
	// log, values and measurements. An error that the user can mend is a stages.Problem or wraps one; a worker that
	// died is a *WorkerError. After ctx is cancelled Run ends the worker and returns ctx's error.
	Run(ctx context.Context, job *stages.Job, r stages.Reporter) error
	// Capacity is what the runner has in all, for the pool that schedules its jobs.
	Capacity() stages.Resources
	// Backend is what a stage that can choose computes on unless it says otherwise: stages.CPU, stages.CUDA.
	Backend() string
	// Device returns the device class on which a job would compute that asks for want's backend, precision and threads. What
	// the runner cannot give is a stages.Problem.
	Device(want stages.Device) (stages.Device, error)
	// Name names the runner in records: local, gpu.
	Name() string
}

// Configured is a Runner with settings of the user's.
type Configured interface {
	// Check returns what is wrong with them, a stages.Problem.
	Check() error
}

// Leaser is a Runner of something that other processes of the machine want too, and that a job has for itself.
type Leaser interface {
	Runner
	// Claim returns what a job that asks for want takes, with what it left open filled in; what can never fit is a
	// stages.Problem.
	Claim(want stages.Resources) (stages.Resources, error)
	// Lease waits until the claim is free and takes it. It calls waiting, from one goroutine, whenever what it waits for changes.
	Lease(ctx context.Context, claim stages.Resources, waiting func(why string)) (Lease, error)
}

// Lease is what a job has of a Leaser. It ends with Release, and by itself when this process and all that it started are dead.
type Lease interface {
	// Run is Runner's, on what is leased.
	Run(ctx context.Context, job *stages.Job, r stages.Reporter) error
	// On says what is leased, for the record: one line each.
	On() []string
	Release()
}

// WorkerError says that a worker ended without an answer: killed, out of memory, crashed.
type WorkerError struct {
	Reason string // in words: "was killed by signal 9 (out of memory?)"
	Log    string // the last lines of what it printed
}

func (e *WorkerError) Error() string { return "the worker " + e.Reason }
