package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/runners/local"
	"github.com/darkroom-dev/darkroom/stages"
)

// lender is a runner "gpu" of which one who asks gets a lease after he has waited once.
type lender struct {
	*local.Runner
	devices  int
	wrong    error
	released int
}

func (l *lender) Name() string    { return "gpu" }
func (l *lender) Backend() string { return stages.CUDA }
func (l *lender) Check() error    { return l.wrong }

func (l *lender) Capacity() stages.Resources {
	c := l.Runner.Capacity()
	c.GPUs = l.devices
	return c
}

func (l *lender) Device(want stages.Device) (stages.Device, error) {
	if want.Backend == stages.CPU {
		return l.Runner.Device(want)
	}
	if l.devices == 0 {
		return want, stages.Problemf("runner", "GPU not available", "There is none.")
	}
	want.Version, want.ISA = "test", "test"
	return want, nil
}

func (l *lender) Claim(want stages.Resources) (stages.Resources, error) {
	want.GPUs = max(want.GPUs, 1)
	return want, nil
}

func (l *lender) Lease(_ context.Context, _ stages.Resources, waiting func(string)) (engine.Lease, error) {
	waiting("a GPU")
	return &loan{l}, nil
}

type loan struct{ *lender }

func (l *loan) Run(ctx context.Context, job *stages.Job, r stages.Reporter) error {
	return l.Runner.Run(ctx, job, r)
}
func (l *loan) On() []string { return []string{"GPU-1"} }
func (l *loan) Release()     { l.released++ }

// choosy computes where its arguments say.
type choosy struct {
	text
	compute stages.Compute
}

func (c *choosy) Declare(s *stages.Schema) {
	c.text.Declare(s)
	c.compute.Declare(s)
}

var choosyKind = &stages.Kind{Name: "choosy", Version: 1, Doc: "Text.", Computes: true, New: func() stages.Stage { return &choosy{} }}

func lend(t *testing.T, devices int) (*bench, *lender) {
	t.Helper()
	b := newBench(t)
	l := &lender{Runner: b.options.Runners["local"].(*local.Runner), devices: devices}
	b.options.Runners["gpu"] = l
	return b, l
}

// The device class of the key is that of the device and the precision that a stage asks for, and they are not in the key besides.
func TestDeviceAndPrecisionAreInTheKeyByTheClass(t *testing.T) {
	b, _ := lend(t, 1)
	key := func(runner string, values map[string]any) string {
		t.Helper()
		n := node("a", nil)
		n.Kind, n.Args.Values = choosyKind, values
		n.Schema = nil
		n.Runner.Type = runner
		plan, err := engine.NewPlan(t.Context(), pipeline(b.dir, n), b.options)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Steps[0].Manifest.Text()
	}
	plain := key("", nil)
	if !strings.Contains(plain, `device backend "cpu"`) || !strings.Contains(plain, `device precision "fp32"`) || strings.Contains(plain, "arg device") || strings.Contains(plain, "arg precision") {
		t.Error(plain)
	}
	if key("", map[string]any{"device": "cpu", "precision": "fp32"}) != plain {
		t.Error("the default written out is another key")
	}
	onGPU := key("gpu", nil)
	if !strings.Contains(onGPU, `device backend "cuda"`) {
		t.Error(onGPU)
	}
	if key("", map[string]any{"device": "cuda"}) != onGPU {
		t.Error("device = cuda without a runner is not the GPU runner's")
	}
	if key("gpu", map[string]any{"device": "cpu"}) != plain {
		t.Error("the processor of a GPU runner is not the processor")
	}
	if narrow := key("gpu", map[string]any{"precision": "bf16"}); !strings.Contains(narrow, `device precision "bf16"`) {
		t.Error(narrow)
	}
}

func TestWhatADeviceCannotIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		devices int
		wrong   error
		runner  string
		values  map[string]any
		want    string
	}{
		"bf16 on the processor":             {1, nil, "", map[string]any{"precision": "bf16"}, "fp32 only"},
		"bf16 on a GPU runner's processor":  {1, nil, "gpu", map[string]any{"precision": "bf16", "device": "cpu"}, "fp32 only"},
		"cuda on a runner that has none":    {1, nil, "local", map[string]any{"device": "cuda"}, "lends no GPU"},
		"a GPU on a machine without":        {0, nil, "", map[string]any{"device": "cuda"}, "There is none"},
		"a runner whose settings are wrong": {1, stages.Problemf("runner", "Wrong", "No such setting."), "gpu", nil, "No such setting"},
	} {
		t.Run(name, func(t *testing.T) {
			b, l := lend(t, c.devices)
			l.wrong = c.wrong
			n := node("a", nil)
			n.Kind, n.Args.Values, n.Schema = choosyKind, c.values, nil
			n.Runner.Type = c.runner
			_, err := engine.NewPlan(t.Context(), pipeline(b.dir, n), b.options)
			var se *engine.StageError
			if !errors.As(err, &se) || len(se.Problems) != 1 || !strings.Contains(se.Problems[0].Detail, c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// A stage waits for its lease, which is in the record and is given back, and its time does not hold the waiting.
func TestAStageHasALease(t *testing.T) {
	b, l := lend(t, 1)
	n := node("a", nil)
	n.Runner.Type = "gpu"
	res, states := b.run(pipeline(b.dir, n))
	if states != "a done" || l.released != 1 || !slices.Equal(res.Stages[0].Record.On, []string{"GPU-1"}) || res.Stages[0].Record.Runner != "gpu" {
		t.Errorf("%s, released %d, %+v", states, l.released, res.Stages[0].Record)
	}
	waited := false
	for _, e := range b.events {
		waited = waited || e.Event == engine.EventWaitingForDevice && e.Address == "a" && e.Waiting == "a GPU"
	}
	if !waited {
		t.Error("no event says that it waits")
	}
}
