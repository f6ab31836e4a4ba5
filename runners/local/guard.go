package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// guard is the keeper's half of Serve: it starts the process that executes the stage, hands it the job, and when it
// has ended ends everything that it left running.
func guard(ctx context.Context, in io.Reader, events *os.File) int {
	say := func(why string) {
		// The line break ends a line that a killed process may have left half written.
		text, err := json.Marshal(message{Done: &answer{Died: why}})
		if err == nil {
			_, _ = events.Write(append(append([]byte("\n"), text...), '\n'))
		}
	}
	self, err := os.Executable()
	if err != nil {
		say(fmt.Sprintf("could not find its own program: %v", err))
		return 2
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), roleVariable+"=stage")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, []*os.File{events}
	job, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		say(fmt.Sprintf("could not be started: %v", err))
		return 2
	}
	go func() {
		if _, err := io.Copy(job, in); err != nil {
			_, _ = io.Copy(io.Discard, in) // the stage has died before it read its job, which is told below; the run lives
		}
		endDescent()
		os.Exit(3) // the run has died: nobody is left to hear an answer
	}()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	_ = cmd.Wait()
	endDescent()
	if !cmd.ProcessState.Success() {
		say(endWords(cmd.ProcessState)) // after an answer of the stage's own, it is not read
	}
	return 0
}

// endWords says how a process without an answer ended.
func endWords(state *os.ProcessState) string {
	if state == nil {
		return "ended without an answer"
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		hint := ""
		if ws.Signal() == syscall.SIGKILL {
			hint = "; the system does that when memory runs out"
		}
		return fmt.Sprintf("was killed by signal %d (%s%s)", int(ws.Signal()), ws.Signal(), hint)
	}
	return fmt.Sprintf("ended without an answer, exit code %d", state.ExitCode())
}
