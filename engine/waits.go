package engine

import (
	"context"
	"sync"

	"github.com/darkroom-dev/darkroom/stages"
)

// waits is what running stages wait for outside of this run, by address. Executions write it, the scheduler reads it.
type waits struct {
	state   *waitState
	changed chan struct{} // has an element when something changed since it was last read
}

type waitState struct {
	mu  sync.Mutex
	why map[string]string
}

func newWaits() waits {
	return waits{&waitState{why: map[string]string{}}, make(chan struct{}, 1)}
}

func (w waits) set(address, why string) {
	w.state.mu.Lock()
	w.state.why[address] = why
	w.state.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w waits) of(address string) string {
	w.state.mu.Lock()
	defer w.state.mu.Unlock()
	return w.state.why[address]
}

// place is where a job runs: its runner, or what is leased of it.
type place interface {
	Run(ctx context.Context, job *stages.Job, r stages.Reporter) error
}

// lease takes what the stage claims of a Leaser, and says meanwhile what it waits for. Other runners have nothing to lease: then the
// lease is nil.
func (x *execution) lease(ctx context.Context) (Lease, error) {
	l, ok := x.res.runner.(Leaser)
	if !ok {
		return nil, nil
	}
	address, waited := x.res.node.ID, false
	lease, err := l.Lease(ctx, x.res.resources, func(why string) {
		waited = true
		x.run.waits.set(address, why)
		x.run.events.emit(Event{Event: EventWaitingForDevice, Address: address, Key: x.res.key, Waiting: why})
	})
	if waited {
		x.run.waits.set(address, "")
	}
	return lease, err
}
