package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/dsl"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
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
			w.options.Targets, w.options.Force, w.options.Jobs, w.options.KeepGoing = targets, force, jobs, keepGoing
			return a.run(cmd.Context(), w, verbose)
		},
	}
	a.variableFlags(cmd)
	a.selectionFlags(cmd, &targets, &force)
	cmd.Flags().IntVarP(&jobs, "jobs", "j", 0, "at most this many stages at once (default: as the resources allow)")
	cmd.Flags().BoolVarP(&keepGoing, "keep-going", "k", false, "start other stages although one has failed")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show what the stages log")
	return cmd
}

func (a *app) run(ctx context.Context, w *workspace, verbose bool) error {
	start := time.Now()
	watch := a.newWatcher(len(w.pipeline.Nodes), verbose)
	w.options.Events = watch.event
	result, err := engine.Run(ctx, w.pipeline, w.options)
	watch.close()
	if result != nil && !a.json {
		a.printProblems(w.pipeline, result)
		a.printResult(w, result, time.Since(start))
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return a.engineFailure(w.pipeline, err)
	case !result.OK:
		return told(exitFailed)
	}
	return nil
}
