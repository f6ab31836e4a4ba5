package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dsl"
	"github.com/darkroom-dev/darkroom/engine"
)

func (a *app) runCommand() *cobra.Command {
	var targets, force []string
	var jobs int
	var keepGoing, verbose bool
	cmd := &cobra.Command{
		Use:   "run [PIPELINE]",
		Short: "Runs what changed",
		Long: `Runs the stages of the pipeline whose results are not known yet. What failed stops only what depends on it. Ctrl-C
ends the running stages and keeps what is done; the next run goes on from there.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if jobs < 0 {
				return wrongf("--jobs is %d; it must be at least 1", jobs)
			}
			w, err := a.open(args)
			if err != nil {
				return err
			}
			defer w.close()
			if err := knownStages(w.pipeline, targets, force); err != nil {
				return err
			}
			w.options.Targets, w.options.Force, w.options.Jobs, w.options.KeepGoing = targets, force, jobs, keepGoing
			return a.run(cmd.Context(), w, verbose)
		},
	}
	a.variableFlags(cmd)
	a.selectionFlags(cmd, &targets, &force)
	cmd.Flags().IntVarP(&jobs, "jobs", "j", 0, "at most `N` stages at once (default: as the resources allow)")
	cmd.Flags().BoolVarP(&keepGoing, "keep-going", "k", false, "start what depends on a stage although a requirement of that stage failed")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show what the stages log")
	return cmd
}

// outcome gathers from the events what the end of a run tells.
type outcome struct {
	mu       sync.Mutex // guards all
	finished *engine.Finished
	outputs  map[string]map[string]artifact.Ref // by address
	measured map[string]map[string]float64
	failures []engine.Event
}

func (o *outcome) event(e engine.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch e.Event {
	case engine.EventStageFinished, engine.EventStageReused:
		o.outputs[e.Address], o.measured[e.Address] = e.Outputs, e.Measured
	case engine.EventStageFailed:
		o.failures = append(o.failures, e)
	case engine.EventFinished:
		o.finished = e.Finished
	}
}

func (a *app) run(ctx context.Context, w *workspace, verbose bool) error {
	start := time.Now()
	watch := a.newWatcher(len(w.pipeline.Nodes), verbose)
	o := &outcome{outputs: map[string]map[string]artifact.Ref{}, measured: map[string]map[string]float64{}}
	w.options.Events = func(e engine.Event) {
		o.event(e)
		watch.event(e)
	}
	_, err := engine.Run(ctx, w.pipeline, w.options)
	watch.close()
	if ctx.Err() == nil && err != nil && o.finished == nil {
		return a.engineFailure(w.pipeline, err)
	}
	reports, reportErr := publishReports(w, o)
	if !a.json {
		a.printFailures(w.pipeline, o.failures)
		a.printOutcome(o.finished, time.Since(start), reports)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil: // the stages have been told of; that what they did could not be noted has not
		return &failure{exitFailed, err}
	case o.finished == nil || !o.finished.OK:
		return told(failureCode(o.failures))
	}
	return reportErr
}

// failureCode tells a run that lacked something on this machine, and failed of nothing else, from one that failed.
func failureCode(failures []engine.Event) int {
	for _, e := range failures {
		if len(e.Problems) == 0 {
			return exitFailed
		}
		for _, p := range e.Problems {
			if !p.Lacking {
				return exitFailed
			}
		}
	}
	if len(failures) == 0 {
		return exitFailed
	}
	return exitEnvironment
}

// printFailures shows the problems that the user can mend, at their lines.
func (a *app) printFailures(p *engine.Pipeline, failures []engine.Event) {
	var diagnostics dsl.Diagnostics
	for _, e := range failures {
		for _, problem := range e.Problems {
			if node := nodeOf(p, e.Address); node != nil {
				diagnostics = append(diagnostics, dsl.Locate(p, node, problem))
			}
		}
	}
	if len(diagnostics) > 0 {
		fmt.Fprintln(a.err)
		a.printDiagnostics(diagnostics)
	}
}

func nodeOf(p *engine.Pipeline, address string) *engine.Node {
	for _, n := range p.Nodes {
		if n.ID == address {
			return n
		}
	}
	return nil
}

// printOutcome is what a run leaves on the terminal: counts, time, and the reports as files to open.
func (a *app) printOutcome(done *engine.Finished, took time.Duration, reports []string) {
	if done == nil {
		return
	}
	word := a.paint(a.out, bold+green, "Done")
	if !done.OK {
		word = a.paint(a.out, bold+red, "Not done")
	}
	fmt.Fprintf(a.out, "\n%s in %s: %s.\n", word, secondsText(took.Seconds()), countsText(done.Ran, done.Reused, done.Failed, done.Skipped))
	if done.Experiment != "" {
		fmt.Fprintf(a.out, "Experiment %s\n", done.Experiment.Short())
	}
	for _, path := range reports {
		fmt.Fprintf(a.out, "Report: %s\n", path)
	}
}
