package engine

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/stages"
)

// Options are what planning and running need besides the pipeline.
type Options struct {
	Cache   *cache.Cache
	Runners map[string]Runner // by type, or by TYPE.NAME, which comes first; "local" is what stages have that name none
	Threads int               // compute threads where neither stage nor resources say; 0: the machine's cores
	Jobs    int               // most stages at once; 0: as the pools allow
	// KeepGoing starts what depends on a stage whose requirement failed, too. A failed stage never stops more than what
	// depends on it.
	KeepGoing bool
	Targets   []string // only these and what they need; empty: all
	Force     []string // run these though their results are known
	// Events takes what happens, from one goroutine at a time; nil: nobody listens.
	Events func(Event)

	// pinned are devices recorded by an experiment, by address: Reproduce sets them.
	pinned map[string]stages.Device
}

func (o Options) threads(n *Node) int {
	switch {
	case n.Threads > 0:
		return n.Threads
	case o.pinned[n.ID].Threads > 0:
		return o.pinned[n.ID].Threads
	case n.Resources.CPUs > 0:
		return n.Resources.CPUs
	case o.Threads > 0:
		return o.Threads
	}
	return runtime.NumCPU()
}

// gpuRunner is the type of the runner that a stage gets which asks for a GPU and names none.
const gpuRunner = "gpu"

// runner returns the runner that n asks for. compute is what the stage says of where it computes; nil: nothing.
func (o Options) runner(n *Node, compute *stages.Compute) (Runner, error) {
	names := []string{"local"}
	switch {
	case n.Runner.Type != "":
		names = []string{n.Runner.Type + "." + n.Runner.Name, n.Runner.Type}
	case compute != nil && compute.Device == stages.CUDA:
		names = []string{gpuRunner}
	}
	for _, name := range names {
		if r := o.Runners[name]; r != nil {
			if c, ok := r.(Configured); ok {
				return r, c.Check()
			}
			return r, nil
		}
	}
	return nil, stages.Problemf("runner", "Runner not available", "This darkroom has no runner of the type %q. Leave `runner` out to run the stage on this machine.", names[len(names)-1])
}

// wanted is the device class that n asks for: its backend, precision and threads.
func (o Options) wanted(n *Node, compute *stages.Compute, runner Runner) (stages.Device, error) {
	want := stages.Device{Backend: stages.CPU, Precision: stages.FP32, Threads: o.threads(n)}
	if compute != nil {
		want.Precision = compute.Precision
		if want.Backend = compute.Device; want.Backend == "" {
			want.Backend = runner.Backend()
		}
	}
	if want.Backend == stages.TensorRT {
		want.Threads = 1 // those of the processor do not compute
	}
	if want.Backend == stages.CPU && want.Precision != stages.FP32 {
		return want, stages.NarrowOnCPU(want.Precision)
	}
	return want, nil
}

// computeOf is what n says of where it computes; nil while that waits for values, and where it says nothing.
func computeOf(n *Node) *stages.Compute {
	if n.Schema == nil || n.Binder != nil {
		return nil
	}
	return n.Schema.Compute
}

// CheckRunners returns what is wrong with the runners that the stages of p ask for and with what they want to compute on there, in the order of
// the stages, so that a pipeline can be refused before it is planned. What this machine lacks of it is found by the plan.
func (o Options) CheckRunners(p *Pipeline) []*StageError {
	var out []*StageError
	for _, n := range p.Nodes {
		compute := computeOf(n)
		runner, err := o.runner(n, compute)
		if err == nil {
			_, err = o.wanted(n, compute, runner)
		}
		if err != nil {
			out = append(out, stageError(n.ID, err))
		}
	}
	return out
}

// StageError is what is wrong with one stage. Problems are what the user can mend; Err is set for everything else.
type StageError struct {
	Address  string
	Problems []stages.Problem
	Err      error
}

// Error implements error.
func (e *StageError) Error() string { return e.Address + ": " + e.words() }

// words is the error without the address; of a worker that died, with the end of its log.
func (e *StageError) words() string {
	var parts []string
	for _, p := range e.Problems {
		parts = append(parts, p.Error())
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	text := strings.Join(parts, "; ")
	var died *WorkerError
	if errors.As(e.Err, &died) && died.Log != "" {
		text += "\nThe last lines that it printed:\n" + died.Log
	}
	return text
}

// Unwrap implements errors.Unwrap.
func (e *StageError) Unwrap() error { return e.Err }

// stageError makes a StageError of err, taking a problem in it apart.
func stageError(address string, err error) *StageError {
	var se *StageError
	if errors.As(err, &se) {
		return se
	}
	var p stages.Problem
	if errors.As(err, &p) {
		if err.Error() != p.Error() {
			p.Detail = strings.TrimSuffix(err.Error(), p.Error()) + p.Detail
		}
		return &StageError{Address: address, Problems: []stages.Problem{p}}
	}
	return &StageError{Address: address, Err: err}
}

// unknownStage is the error for an address that the pipeline does not have.
func unknownStage(address string) error {
	return fmt.Errorf("the pipeline has no stage %s", address)
}
