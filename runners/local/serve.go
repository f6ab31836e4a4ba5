package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/darkroom-dev/darkroom/stages"
)

// roleVariable tells the two processes of a worker apart.
const roleVariable = "DARKROOM_WORKER"

// Serve is the worker's side. A worker is two processes of the same program: a small keeper, which Serve is first, and
// the one that executes the stage, which is Serve again. The keeper outlives a stage that is killed, say by the kernel
// for its memory, ends all that it left behind and tells how it died; the other does the same if the keeper is killed.
//
// The job is one line of JSON on in, which stays open: answers about parts follow, and its end means that the run has died, and ends
// the worker with its whole descent at once. Messages go to events. The exit code is 0 when an answer was written, whatever it says.
func Serve(ctx context.Context, catalog *stages.Catalog, in io.Reader, events io.Writer) int {
	syscall.Umask(0o022) // the modes of what stages write do not depend on the caller
	// Orphans among the descent become children of this process, so that daemons are found whatever they did.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	if f, ok := events.(*os.File); ok {
		syscall.CloseOnExec(int(f.Fd()))
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if f, ok := events.(*os.File); ok && os.Getenv(roleVariable) != "stage" {
		return guard(ctx, in, f)
	}
	return serveJob(ctx, catalog, in, &reporter{enc: json.NewEncoder(events)})
}

// serveJob reads the job and executes it.
func serveJob(ctx context.Context, catalog *stages.Catalog, in io.Reader, out *reporter) int {
	dec := json.NewDecoder(in)
	var job stages.Job
	if err := dec.Decode(&job); err != nil {
		out.send(message{Done: &answer{Error: fmt.Sprintf("the job cannot be read: %v", err)}})
		return 2
	}
	out.parts = &parts{send: out.send, waiting: map[int]chan partAnswer{}}
	go func() {
		out.hear(dec)
		_, _ = io.Copy(io.Discard, in) // an answer that cannot be read is not the end of the run
		endDescent()
		os.Exit(3) // nobody is left to hear an answer
	}()
	out.send(message{Done: execute(ctx, catalog, &job, out)})
	return 0
}

// execute runs the stage; a panic of its own goroutine becomes an answer, those of others end the process.
func execute(ctx context.Context, catalog *stages.Catalog, job *stages.Job, out *reporter) (a *answer) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n%s", p, debug.Stack())
			a = &answer{Died: "stopped at a defect in the stage: " + fmt.Sprint(p)}
		}
	}()
	err := perform(ctx, catalog, job, out)
	if err == nil {
		return &answer{}
	}
	a = &answer{Error: err.Error()}
	var problem stages.Problem
	if errors.As(err, &problem) {
		a.Problem = &problem
	}
	return a
}

func perform(ctx context.Context, catalog *stages.Catalog, job *stages.Job, out *reporter) error {
	kind := catalog.Lookup(job.Kind)
	switch {
	case kind == nil:
		return fmt.Errorf("this worker knows no kind %q", job.Kind)
	case kind.Version != job.Version:
		return fmt.Errorf("this worker has version %d of kind %s, the job asks for version %d", kind.Version, job.Kind, job.Version)
	}
	connected := map[string]bool{}
	for port := range job.Inputs {
		connected[port] = true
	}
	stage := kind.New()
	_, problems := stages.Decode(stage, job.Args, connected)
	for _, p := range problems {
		if !p.Warning {
			return p
		}
	}
	return stage.Run(ctx, job.WithReporter(out))
}

// reporter implements stages.Reporter, and stages.Memory where it is served, by writing messages; its lock keeps the lines whole.
type reporter struct {
	*parts
	mu  sync.Mutex
	enc *json.Encoder
}

func (r *reporter) send(m message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// When nobody reads any more, the run has died and the end of the job's pipe ends this process.
	_ = r.enc.Encode(m)
}

func (r *reporter) Progress(p stages.Progress) { r.send(message{Progress: &p}) }

func (r *reporter) Log(line string) { r.send(message{Log: &line}) }

// Value panics on what JSON cannot hold: that is a defect of the kind.
func (r *reporter) Value(name string, v any) {
	normal, err := stages.NormalValue(v)
	if err != nil {
		panic(fmt.Sprintf("value %s: %v", name, err))
	}
	r.send(message{Value: &namedValue{name, normal}})
}

// Measure leaves out what is not finite: a measurement is no result.
func (r *reporter) Measure(name string, v float64) {
	if v-v != 0 {
		return
	}
	r.send(message{Measure: &namedMeasure{name, v}})
}
