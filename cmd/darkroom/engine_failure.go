package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/darkroom-dev/darkroom/dsl"
	"github.com/darkroom-dev/darkroom/engine"
)

// engineFailure tells what the engine found wrong before or instead of running: problems of stages at their lines,
// everything else as one line each. p may be nil when there is no text to point at.
func (a *app) engineFailure(p *engine.Pipeline, err error) error {
	if errors.Is(err, context.Canceled) {
		return err // the user's signal, not a failure
	}
	var found []*engine.StageError
	rest := stageErrors(err, &found)
	var diagnostics dsl.Diagnostics
	code := exitFailed
	for _, se := range found {
		node := (*engine.Node)(nil)
		if p != nil {
			node = nodeOf(p, se.Address)
		}
		for _, problem := range se.Problems {
			if node == nil {
				rest = append(rest, fmt.Errorf("%s: %w", se.Address, problem))
				continue
			}
			diagnostics = append(diagnostics, dsl.Locate(p, node, problem))
			code = exitWrong
		}
		if se.Err != nil {
			rest = append(rest, fmt.Errorf("%s: %w", se.Address, se.Err))
		}
	}
	var lacking *failure
	if errors.As(err, &lacking) {
		code = lacking.code
	}
	if len(diagnostics) == 0 {
		return &failure{code, joined(rest)}
	}
	a.printDiagnostics(diagnostics)
	for _, e := range rest {
		fmt.Fprintf(a.err, "%s %s\n", a.paint(a.err, bold+red, "Error:"), e)
	}
	return told(code)
}

// joined keeps a single error as it is, so that its message stays one line.
func joined(list []error) error {
	if len(list) == 1 {
		return list[0]
	}
	return errors.Join(list...)
}

// stageErrors takes joined errors apart: what belongs to stages goes to found, the rest is returned.
func stageErrors(err error, found *[]*engine.StageError) []error {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		var rest []error
		for _, e := range list.Unwrap() {
			rest = append(rest, stageErrors(e, found)...)
		}
		return rest
	}
	var se *engine.StageError
	if errors.As(err, &se) {
		*found = append(*found, se)
		return nil
	}
	return []error{err}
}
