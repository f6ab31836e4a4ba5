package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/darkroom-dev/darkroom/cmd/live"
	"github.com/darkroom-dev/darkroom/engine"
)

// watcher shows a run while it goes on. The engine calls event from one goroutine at a time.
type watcher interface {
	event(engine.Event)
	close()
}

// newWatcher chooses how a run is shown: events for programs, a live block on a terminal, else plain lines.
func (a *app) newWatcher(stageCount int, verbose bool) watcher {
	switch {
	case a.json:
		return &jsonWatcher{a: a}
	case isTerminal(a.out) && os.Getenv("TERM") != "dumb":
		return a.newLiveWatcher(stageCount, verbose)
	}
	return &plainWatcher{a: a, verbose: verbose, phase: map[string]string{}, at: map[string]time.Time{}, tails: tails{}}
}

// jsonWatcher prints an event a line.
type jsonWatcher struct {
	a  *app
	mu sync.Mutex // guards the stream
}

func (w *jsonWatcher) event(e engine.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.a.printJSONLine(e)
}

func (w *jsonWatcher) close() {}

// At least progressEvery lies between two plain lines on how far a stage is, and samePhaseEvery between two in one phase: an
// epoch that takes an hour is seen to go on.
const (
	progressEvery  = 5 * time.Second
	samePhaseEvery = time.Minute
)

// plainWatcher prints lines that a log keeps: no control codes, one line for each thing that happened, and for a running
// stage one when it enters another phase, and one a minute while it stays there.
type plainWatcher struct {
	a       *app
	verbose bool

	mu    sync.Mutex           // guards what follows and the stream
	phase map[string]string    // the phase last printed, by address
	at    map[string]time.Time // when that was
	tails tails
}

func (w *plainWatcher) event(e engine.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Event == engine.EventStageProgress {
		p := e.Progress
		if p == nil || p.Phase == "" || p.Done == 0 && p.Total > 0 {
			return
		}
		least := progressEvery
		if p.Phase == w.phase[e.Address] {
			least = samePhaseEvery
		}
		if e.Time.Sub(w.at[e.Address]) < least {
			return
		}
		w.phase[e.Address], w.at[e.Address] = p.Phase, e.Time
		fmt.Fprintf(w.a.out, "%s: %s\n", e.Address, live.Summary(*p))
		return
	}
	w.tails.add(e)
	for _, line := range append(w.a.eventLines(e, w.verbose), w.tails.of(e, w.verbose)...) {
		fmt.Fprintln(w.a.out, line)
	}
}

func (w *plainWatcher) close() {}

// tails are the last lines of the running stages' logs, by address: they are shown when a stage fails.
type tails map[string][]string

func (t tails) add(e engine.Event) {
	const most = 12
	switch e.Event {
	case engine.EventStageLog:
		lines := append(t[e.Address], "    | "+live.Clean(e.Line))
		t[e.Address] = lines[max(0, len(lines)-most):]
	case engine.EventStageFinished:
		delete(t, e.Address)
	}
}

// of returns the lines to show with the event; none when they have been shown already.
func (t tails) of(e engine.Event, shown bool) []string {
	if e.Event != engine.EventStageFailed || shown {
		return nil
	}
	return t[e.Address]
}

// liveWatcher keeps a block of running stages at the bottom of the terminal.
type liveWatcher struct {
	a       *app
	display *live.Display
	verbose bool
	started time.Time

	mu          sync.Mutex // guards what follows
	total, done int
	running     int
	tails       tails
}

func (a *app) newLiveWatcher(total int, verbose bool) *liveWatcher {
	size := func() (int, int) {
		if f, ok := a.out.(*os.File); ok {
			if columns, rows, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
				return columns, rows
			}
		}
		return 80, 24
	}
	w := &liveWatcher{a: a, verbose: verbose, total: total, started: time.Now(), tails: tails{}}
	w.display = live.New(a.out, live.Options{Color: a.colored(a.out), Size: size})
	return w
}

func (w *liveWatcher) event(e engine.Event) {
	w.mu.Lock()
	switch e.Event {
	case engine.EventStageStarted:
		w.running++
		w.display.Start(e.Address)
	case engine.EventStageFinished, engine.EventStageFailed:
		w.running--
		w.done++
		w.display.End(e.Address)
	case engine.EventStageReused, engine.EventStageSkipped:
		w.done++
	}
	counts := fmt.Sprintf("%d of %d stages done, %d running", w.done, w.total, w.running)
	w.display.Footer(func() string { return w.a.paint(w.a.out, dim, counts+", "+live.Clock(time.Since(w.started))) })
	w.tails.add(e)
	tail := w.tails.of(e, w.verbose)
	w.mu.Unlock()
	if e.Event == engine.EventStageProgress {
		if e.Progress != nil {
			w.display.Update(e.Address, *e.Progress)
		}
		return
	}
	if lines := append(w.a.eventLines(e, w.verbose), tail...); len(lines) > 0 {
		if e.Event == engine.EventStageFinished { // the values are a hint; `show` has them all
			lines[0] = live.Cut(lines[0], width(w.a.out)-1)
		}
		w.display.Print(lines...)
	}
}

func (w *liveWatcher) close() { w.display.Close() }

// eventLines are the lines that stay of an event; none for most.
func (a *app) eventLines(e engine.Event, verbose bool) []string {
	address := a.paint(a.out, bold, live.Clean(e.Address))
	switch e.Event {
	case engine.EventStageReused:
		return []string{a.paint(a.out, dim, "= ") + address + a.paint(a.out, dim, "  reused")}
	case engine.EventStageStarted:
		if !verbose && isTerminal(a.out) {
			return nil
		}
		return []string{"> " + address + "  " + reasonsText(e.Reasons)}
	case engine.EventStageFinished:
		return []string{a.paint(a.out, green, "✓ ") + address + "  " + secondsText(e.Took) + a.paint(a.out, dim, scalarsText(e.Values))}
	case engine.EventStageFailed:
		return append([]string{a.paint(a.out, red, "✗ ") + address + "  " + a.paint(a.out, red, "failed")}, failureLines(e)...)
	case engine.EventStageSkipped:
		return []string{a.paint(a.out, yellow, "- ") + address + "  not run" + detail(e.Error)}
	case engine.EventStageRetry:
		return []string{a.paint(a.out, yellow, "↻ ") + address + "  tried again" + detail(e.Error)}
	case engine.EventRequirementFailed:
		return append([]string{a.paint(a.out, red, "✗ ") + address + "  " + a.paint(a.out, red, "requirement failed")}, indented(e.Error)...)
	case engine.EventBlobDamaged:
		return []string{a.paint(a.out, yellow, "! ") + address + "  a stored artifact is damaged" + detail(e.Error)}
	case engine.EventWaitingForLease:
		return []string{a.paint(a.out, dim, "… ") + address + a.paint(a.out, dim, "  waits for another run that is making the same result")}
	case engine.EventWaitingForDevice:
		return []string{a.paint(a.out, dim, "… ") + address + a.paint(a.out, dim, "  waits for "+live.Clean(e.Waiting))}
	case engine.EventStageLog:
		if verbose {
			return []string{a.paint(a.out, dim, "| ") + address + a.paint(a.out, dim, "  "+live.Clean(e.Line))}
		}
	}
	return nil
}

func reasonsText(reasons []engine.Reason) string {
	var parts []string
	for _, r := range reasons {
		parts = append(parts, live.Clean(r.String()))
	}
	return strings.Join(parts, "; ")
}

// failureLines say why a stage failed. Problems that the user can mend are summed up here; they are shown at their lines
// when the run has ended.
func failureLines(e engine.Event) []string {
	if len(e.Problems) == 0 {
		return indented(e.Error)
	}
	var lines []string
	for _, p := range e.Problems {
		lines = append(lines, "    "+live.Clean(p.Summary))
	}
	return lines
}
