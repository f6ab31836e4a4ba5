// Command darkroom develops image-recognition models in stages, in order, each one reproducible.
//
// Rules of the room: one verb a file, wiring only; what a verb decides lives in the rooms. Every verb that prints for
// people takes --json. Messages go through fail.go, so that exit codes and wording are the same everywhere. Results go
// to stdout, complaints to stderr; colour and control codes only to a terminal.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is the commit, set by the linker.
var version = "unknown"

func main() { os.Exit(realMain()) }

// realMain is main as a function, so that tests can run the command in their own binary.
func realMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// The first signal ends the run in order; once it is noticed, a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	return a.execute(ctx, os.Args[1:])
}
