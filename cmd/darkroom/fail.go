package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// The exit codes that scripts may rely on.
const (
	exitDone        = 0
	exitFailed      = 1   // the pipeline or a requirement failed
	exitWrong       = 2   // the user's text or flags are wrong
	exitEnvironment = 3   // the environment lacks something
	exitInterrupted = 130 // by a signal
)

// failure is an error that knows its exit code. A failure without err has been told to the user already.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// wrongf is a mistake in what the user wrote: flags, names, files that are not there.
func wrongf(format string, args ...any) error {
	return &failure{exitWrong, fmt.Errorf(format, args...)}
}

// lackingf says what the environment lacks.
func lackingf(format string, args ...any) error {
	return &failure{exitEnvironment, fmt.Errorf(format, args...)}
}

// told ends the command with code; its reason has been printed.
func told(code int) error { return &failure{code: code} }

// report prints err as a message, unless it has been told, and returns the exit code.
func (a *app) report(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	var f *failure
	code := exitFailed
	switch {
	case errors.As(err, &f):
		code = f.code
		if f.err == nil {
			return code
		}
	case interrupted(ctx, err):
		fmt.Fprintln(a.err, "Interrupted.")
		return exitInterrupted
	}
	if a.json {
		if text, e := json.Marshal(map[string]any{"error": err.Error(), "exit_code": code}); e == nil {
			fmt.Fprintln(a.out, string(text))
		}
	}
	fmt.Fprintf(a.err, "%s %s\n", a.paint(a.err, bold+red, "Error:"), err)
	return code
}
