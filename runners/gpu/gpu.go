package gpu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/runners/local"
	"github.com/darkroom-dev/darkroom/stages"
)

// visibleVariable is what CUDA's libraries choose their devices by.
const visibleVariable = "CUDA_VISIBLE_DEVICES"

// Options say what a runner is made of.
type Options struct {
	Local    *local.Runner  // executes the stages
	Settings map[string]any // arguments of the block, plain values: devices, memory, uuids
	// Device returns the device class of computing on a GPU of this machine in want's precision, or of engines built for it, or a stages.Problem that says what is missing; nil: no kind can.
	Device func(want stages.Device, on Device) (stages.Device, error)
	// Environment returns what the worker of a job that computes on a GPU needs in its environment; nil: nothing.
	Environment func(job *stages.Job) ([]string, error)
}

// Runner implements engine.Leaser. It asks the driver when it first has to know.
type Runner struct {
	o        Options
	settings settings
	wrong    error // of the settings
	devices  func() ([]Device, error)
}

var _ engine.Leaser = (*Runner)(nil)

// New returns a runner. Wrong settings are told by Check.
func New(o Options) *Runner {
	r := &Runner{o: o}
	r.settings, r.wrong = parseSettings(o.Settings)
	r.devices = sync.OnceValues(func() ([]Device, error) {
		list, err := List(context.Background())
		variable, set := os.LookupEnv(visibleVariable)
		return visible(list, variable, set), err
	})
	return r
}

// Check implements engine.Configured.
func (r *Runner) Check() error { return r.wrong }

// Name implements engine.Runner.
func (r *Runner) Name() string { return "gpu" }

// Backend implements engine.Runner.
func (r *Runner) Backend() string { return stages.CUDA }

// Capacity implements engine.Runner.
func (r *Runner) Capacity() stages.Resources {
	c := r.o.Local.Capacity()
	devices, err := r.devices()
	if err == nil {
		c.GPUs = len(devices)
	}
	return c
}

// Claim implements engine.Leaser.
func (r *Runner) Claim(want stages.Resources) (stages.Resources, error) {
	devices, err := r.found()
	if err != nil {
		return want, err
	}
	if want.GPUs == 0 {
		want.GPUs = r.settings.devices
	}
	return want, r.settings.misfit(want.GPUs, devices)
}

// found returns the devices, at least one, or a problem.
func (r *Runner) found() ([]Device, error) {
	devices, err := r.devices()
	const remedy = "Run the stage without the runner, or on a machine with a GPU; `darkroom doctor` says what it finds."
	switch {
	case err != nil:
		return nil, stages.Problemf("runner", "GPU not available", "The GPUs of this machine are not known: %v. %s", err, remedy)
	case len(devices) == 0 && os.Getenv(visibleVariable) != "":
		return nil, stages.Problemf("runner", "GPU not available", "%s = %q leaves no GPU of this machine. %s", visibleVariable, os.Getenv(visibleVariable), remedy)
	case len(devices) == 0:
		return nil, stages.Problemf("runner", "GPU not available", "The NVIDIA driver knows no GPU on this machine. %s", remedy)
	}
	return devices, nil
}

// Device implements engine.Runner. Which GPU a stage gets is not known before it runs, so those that it can get must be of one model.
func (r *Runner) Device(want stages.Device) (stages.Device, error) {
	if want.Backend != stages.CUDA && want.Backend != stages.TensorRT {
		return r.o.Local.Device(want)
	}
	devices, err := r.found()
	if err != nil {
		return stages.Device{}, err
	}
	if err := r.settings.misfit(1, devices); err != nil {
		return stages.Device{}, err
	}
	could := r.settings.eligible(devices)
	for _, d := range could[1:] {
		if d.Name != could[0].Name || d.Class != could[0].Class {
			return stages.Device{}, stages.Problemf("runner", "GPUs of different models", "The stage could get the GPU %s (%s) or %s (%s), and the bits of its result depend on which. Choose those of one model with uuids = [\"…\"] "+
				"in the runner's block.", could[0].UUID, could[0].Name, d.UUID, d.Name)
		}
	}
	if r.o.Device == nil {
		return stages.Device{}, errors.New("this darkroom does not compute on GPUs")
	}
	return r.o.Device(want, could[0])
}

// Run implements engine.Runner: on a lease of its own.
func (r *Runner) Run(ctx context.Context, job *stages.Job, rep stages.Reporter) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	want, err := r.Claim(job.Resources)
	if err != nil {
		return err
	}
	l, err := r.Lease(ctx, want, func(string) {})
	if err != nil {
		return err
	}
	defer l.Release()
	return l.Run(ctx, job, rep)
}

// Lease implements engine.Leaser.
func (r *Runner) Lease(ctx context.Context, want stages.Resources, waiting func(why string)) (engine.Lease, error) {
	devices, err := r.found()
	if err != nil {
		return nil, err
	}
	l, err := openLocks()
	if err != nil {
		return nil, err
	}
	could := r.settings.eligible(devices)
	held, err := l.take(ctx, claim{want.GPUs, names(could)}, holder{PID: os.Getpid()}, waiting)
	if err != nil {
		return nil, err
	}
	out := &lease{runner: r}
	for _, d := range could { // in the driver's order
		if f := held[d.UUID]; f != nil {
			out.devices, out.files = append(out.devices, d), append(out.files, f)
		}
	}
	return out, nil
}

// lease is some GPUs that nobody else has.
type lease struct {
	runner  *Runner
	devices []Device
	files   []*os.File
}

// Run implements engine.Lease: the worker sees only these GPUs, and it holds the locks too, so that they last as long as it does.
func (l *lease) Run(ctx context.Context, job *stages.Job, rep stages.Reporter) error {
	for _, f := range l.files {
		if err := write(f, holder{os.Getpid(), job.Address}); err != nil {
			return err
		}
	}
	env := []string{"CUDA_DEVICE_ORDER=PCI_BUS_ID", visibleVariable + "=" + strings.Join(names(l.devices), ",")}
	if job.Device.Backend == stages.CUDA && l.runner.o.Environment != nil {
		more, err := l.runner.o.Environment(job)
		if err != nil {
			return err
		}
		env = slices.Concat(more, env)
	}
	return l.runner.o.Local.RunWith(ctx, job, rep, local.Extra{Env: env, Files: l.files})
}

// On implements engine.Lease.
func (l *lease) On() []string {
	var out []string
	for _, d := range l.devices {
		out = append(out, fmt.Sprintf("%s, %s, driver %s", d.Name, d.UUID, d.Driver))
	}
	return out
}

// Release implements engine.Lease. The locks are not taken off but closed: if a process of the stage has escaped, they stay until it is dead.
func (l *lease) Release() {
	for _, f := range l.files {
		_ = f.Close()
	}
}
