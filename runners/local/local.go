// Package local runs stages on this machine, one worker process a stage, the same binary.
//
// Rules of the room: a worker belongs to its run. Its job comes over a pipe that stays open; the end of that pipe is
// the death of the run and ends the worker with everything below it. The worker leads a session of its own and
// is the subreaper of its descent, so that daemons which left group and session are found too; they are ended before
// the runner returns, and so before the engine takes the digests of outputs. This package imports engine, stages and
// artifact, no kind and no library.
package local

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// Options say how workers are started and what this machine has.
type Options struct {
	Command []string // program and arguments of a worker; default: this binary with the argument "worker"
	CPUs    int      // default: the machine's
	Memory  int64    // bytes; default: the machine's
	Grace   time.Duration
	// Device returns the device class of this machine's processor for a number of compute threads; nil: there is none, and kinds
	// that compute fail.
	Device func(threads int) (stages.Device, error)
	// TensorRT returns what engines that are built on this machine are tied to; nil: kinds that build engines fail.
	TensorRT func() (stages.Device, error)
	Env      []string // added to a worker's environment; later entries win
}

// Runner implements engine.Runner. It is immutable.
type Runner struct{ o Options }

// New returns a runner; Grace, the time between asking a worker to end and killing it, is 5 s unless set.
func New(o Options) (*Runner, error) {
	if len(o.Command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("finding the program that workers are made of: %w", err)
		}
		o.Command = []string{self, "worker"}
	}
	if o.CPUs < 1 {
		o.CPUs = runtime.NumCPU()
	}
	if o.Memory < 1 {
		var info syscall.Sysinfo_t
		if err := syscall.Sysinfo(&info); err != nil {
			return nil, fmt.Errorf("reading the size of the memory: %w", err)
		}
		o.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	if o.Grace <= 0 {
		o.Grace = 5 * time.Second
	}
	return &Runner{o}, nil
}

// Name implements engine.Runner.
func (r *Runner) Name() string { return "local" }

// Capacity implements engine.Runner.
func (r *Runner) Capacity() stages.Resources {
	return stages.Resources{CPUs: r.o.CPUs, Memory: r.o.Memory}
}

// Backend implements engine.Runner.
func (r *Runner) Backend() string { return stages.CPU }

// Device implements engine.Runner: the processor, in fp32.
func (r *Runner) Device(want stages.Device) (stages.Device, error) {
	switch {
	case want.Backend == stages.TensorRT && r.o.TensorRT != nil:
		return r.o.TensorRT()
	case want.Backend != stages.CPU:
		return stages.Device{}, stages.Problemf("device", "Device not available", "The local runner lends no GPU, since nobody would then know whose it is. Leave \"runner\" out, or name one of the type \"gpu\".")
	case want.Precision != stages.FP32:
		return stages.Device{}, stages.NarrowOnCPU(want.Precision)
	case r.o.Device == nil:
		return stages.Device{}, errors.New("the local runner has no compute device")
	}
	return r.o.Device(want.Threads)
}

// Run implements engine.Runner.
func (r *Runner) Run(ctx context.Context, job *stages.Job, rep stages.Reporter) error {
	return r.RunWith(ctx, job, rep, Extra{})
}

// Extra is what another runner gives a worker besides its job.
type Extra struct {
	Env []string // added to its environment; later entries win
	// Files stay open in the worker and in everything it starts, until all of that has ended: what they lock is locked so long.
	Files []*os.File
}

// RunWith is Run with something more for the worker.
func (r *Runner) RunWith(ctx context.Context, job *stages.Job, rep stages.Reporter, extra Extra) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w, err := r.start(job, extra)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { w.end(r.o.Grace, ended) })
	defer stop()

	printed := make(chan struct{})
	log := newTail(rep)
	go func() { log.read(w.output); close(printed) }()
	answered := make(chan *answer, 1)
	parted, forget := context.WithCancel(ctx)
	server := &partServer{ctx: parted, to: w.job}
	server.memory, _ = rep.(stages.Memory)
	go func() { answered <- readMessages(w.events, rep, server) }()
	defer server.asked.Wait()
	defer forget()

	// The worker's death closes both pipes, unless a process of its descent holds them: then they are cut below.
	state := w.wait()
	close(ended)
	if state == nil || !state.Exited() {
		w.endGroup()
	}
	a := collect(w, printed, answered)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return verdict(a, state, log.text())
}

// collect waits for what the dead worker has said. A process that outlived it may hold the pipes open for ever; what a
// dead worker wrote is in the pipe already, so a short time is enough.
func collect(w *worker, printed chan struct{}, answered chan *answer) *answer {
	deadline := time.Now().Add(2 * time.Second)
	_ = w.output.SetReadDeadline(deadline)
	_ = w.events.SetReadDeadline(deadline)
	<-printed
	a := <-answered
	w.close()
	return a
}

// verdict turns how a worker ended into Run's error.
func verdict(a *answer, state *os.ProcessState, log string) error {
	switch {
	case a == nil:
		return &engine.WorkerError{Reason: endWords(state), Log: log}
	case a.Died != "":
		return &engine.WorkerError{Reason: a.Died, Log: log}
	case a.Problem != nil:
		if a.Error == a.Problem.Error() {
			return *a.Problem
		}
		return &problemError{a.Error, *a.Problem}
	case a.Error != "":
		return errors.New(a.Error)
	}
	return nil
}

// problemError keeps the words around a problem that came over the pipe.
type problemError struct {
	text    string
	problem stages.Problem
}

func (e *problemError) Error() string { return e.text }
func (e *problemError) Unwrap() error { return e.problem }

// worker is a started process with its three pipes.
type worker struct {
	cmd    *exec.Cmd
	job    *os.File // stays open while the run lives
	events *os.File
	output *os.File // stdout and stderr
}

func (r *Runner) start(job *stages.Job, extra Extra) (*worker, error) {
	text, err := json.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("writing the job of %s as JSON: %w", job.Address, err)
	}
	var files [6]*os.File
	for i := 0; i < len(files); i += 2 {
		if files[i], files[i+1], err = os.Pipe(); err != nil {
			closeAll(files[:i]...)
			return nil, fmt.Errorf("making a pipe for a worker: %w", err)
		}
	}
	cmd := exec.Command(r.o.Command[0], r.o.Command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = files[0], files[5], files[5], append([]*os.File{files[3]}, extra.Files...)
	cmd.Dir, cmd.Env = job.ScratchDir, slices.Concat(environment(job), r.o.Env, extra.Env)
	// A session of its own keeps the terminal's Ctrl-C from it: the run decides. It has no terminal either: a program that
	// asks there for a password fails, where in a background group of the run's session it would be stopped for ever. The
	// death signal of the parent is left out: it follows the death of a thread, not of the process; the pipe's end is
	// what is relied on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	closeAll(files[0], files[3], files[5])
	w := &worker{cmd: cmd, job: files[1], events: files[2], output: files[4]}
	if err != nil {
		w.close()
		return nil, &engine.WorkerError{Reason: fmt.Sprintf("could not be started: %v", err)}
	}
	go func() {
		// A worker that dies before it reads its job is reported by its end, not by this error.
		_, _ = w.job.Write(append(text, '\n'))
	}()
	return w, nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

func (w *worker) close() { closeAll(w.job, w.events, w.output) }

// wait returns how the process ended, nil when even that is not known.
func (w *worker) wait() *os.ProcessState {
	_ = w.cmd.Wait()
	return w.cmd.ProcessState
}

// endGroup is for a keeper that was killed. The stage notices by the end of its job and ends its descent, which only it
// can find; what is left of the group after that is killed.
func (w *worker) endGroup() {
	group := -w.cmd.Process.Pid
	for limit := time.Now().Add(2 * time.Second); time.Now().Before(limit) && syscall.Kill(group, 0) == nil; {
		time.Sleep(2 * time.Millisecond)
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
}

// end asks the worker to end, and after the grace closes its pipe, at which it ends its descent and itself; a worker
// that does not even do that is killed, with all that is below it by then.
func (w *worker) end(grace time.Duration, ended <-chan struct{}) {
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	if waits(ended, grace) {
		return
	}
	_ = w.job.Close()
	if waits(ended, time.Second) {
		return
	}
	below := descent(w.cmd.Process.Pid)
	_ = w.cmd.Process.Kill()
	for _, pid := range below {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func waits(ended <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ended:
		return true
	case <-t.C:
		return false
	}
}

// environment is what a worker sees: the caller's, since exec may hand variables on by name, but with fixed answers to
// whatever could change a result.
func environment(job *stages.Job) []string {
	env := []string{"TZ=UTC", "LC_ALL=C.UTF-8", roleVariable + "=keeper"}
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if !fixed(name) {
			env = append(env, e)
		}
	}
	threads := max(job.Device.Threads, job.Resources.CPUs, 1)
	env = append(env, "GOMAXPROCS="+strconv.Itoa(threads), "OMP_NUM_THREADS="+strconv.Itoa(threads))
	if m := job.Resources.Memory; m > 0 && m < math.MaxInt64/8 {
		env = append(env, "GOMEMLIMIT="+strconv.FormatInt(m/8*7, 10))
	}
	return env
}

// fixed reports whether a variable of the caller is withheld.
func fixed(name string) bool {
	for _, prefix := range []string{"LC_", "OMP_", "MKL_", "OPENBLAS_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return map[string]bool{"TZ": true, "LANG": true, "LANGUAGE": true, "GOMAXPROCS": true, "GOMEMLIMIT": true, "GOGC": true, "GODEBUG": true, roleVariable: true}[name]
}

// maxMessage bounds a message in bytes; what is longer is dropped, so that no worker can fill the memory of the run.
const maxMessage = 16 << 20

// readLine returns the next line, without what goes beyond maxMessage.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line) < maxMessage {
			line = append(line, part...)
		}
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

// readMessages hands on what the worker reports and returns its answer, or nil when it left none. A stage that ended well
// but of which a value was lost did not end well: its record would lie.
func readMessages(events io.Reader, rep stages.Reporter, server *partServer) *answer {
	in := bufio.NewReader(events)
	lost := false
	for {
		line, err := readLine(in)
		if err != nil {
			return nil
		}
		var m message
		if json.Unmarshal(line, &m) != nil { // torn by the death of its writer, or too long
			lost = lost || bytes.HasPrefix(line, []byte(`{"value"`))
			continue
		}
		switch {
		case m.Progress != nil:
			rep.Progress(*m.Progress)
		case m.Log != nil:
			rep.Log(*m.Log)
		case m.Value != nil:
			rep.Value(m.Value.Name, m.Value.Value)
		case m.Measure != nil:
			rep.Measure(m.Measure.Name, m.Measure.Value)
		case m.Part != nil:
			server.answer(*m.Part)
		case m.Done != nil:
			if lost && *m.Done == (answer{}) {
				return &answer{Error: fmt.Sprintf("the stage reported a value of more than %d MiB, which a record cannot hold; write it to an output", maxMessage>>20)}
			}
			return m.Done
		}
	}
}
