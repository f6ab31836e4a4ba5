package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/cache"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Shows what is running and what happened last",
		Long:  "Shows the runs that are going on, and else the last one of each pipeline, stage by stage. It never waits for a run.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			runs, closeCache, err := a.pastRuns()
			if err != nil {
				return err
			}
			defer closeCache()
			runs = current(runs)
			if a.json {
				return a.printJSON(map[string]any{"runs": runDocuments(runs)})
			}
			if len(runs) == 0 {
				fmt.Fprintln(a.out, "Nothing has run yet.")
			}
			for i, r := range runs {
				if i > 0 {
					fmt.Fprintln(a.out)
				}
				a.printRun(r)
			}
			return nil
		},
	}
}

// current picks the runs that are going on, and the newest of each pipeline that has none going on.
func current(runs []*cache.Run) []*cache.Run {
	var picked []*cache.Run
	seen := map[string]bool{}
	for _, r := range runs {
		name := r.File + "\x00" + r.Pipeline
		if r.State == "running" || !seen[name] {
			picked = append(picked, r)
		}
		seen[name] = true
	}
	return picked
}

func (a *app) printRun(r *cache.Run) {
	now := time.Now()
	fmt.Fprintf(a.out, "%s  %s, started %s", a.paint(a.out, bold, r.Pipeline), a.stateText(r.State), agoText(r.Started, now))
	if !r.Finished.IsZero() || r.State == "running" {
		fmt.Fprintf(a.out, ", %s", secondsText(runTook(r, now)))
	}
	if r.Experiment != "" {
		fmt.Fprintf(a.out, ", experiment %s", r.Experiment.Short())
	}
	fmt.Fprintln(a.out)
	var rows [][]string
	for _, s := range r.Stages {
		state := s.State
		if r.State == "interrupted" && (state == "running" || state == "waiting") {
			state = "interrupted"
		}
		if r.Error == "interrupted" && state == "skipped" {
			state = "not finished" // Ctrl-C: it was running, or had not begun
		}
		took := ""
		if s.TookS > 0 {
			took = secondsText(s.TookS)
		}
		if s.Waiting != "" && state == "running" {
			took = "waits for " + s.Waiting
		}
		rows = append(rows, []string{s.Address, a.stateText(state), took})
	}
	table(a.out, "  ", rows)
	for _, s := range r.Stages {
		if s.Error != "" && s.State == "failed" {
			fmt.Fprintf(a.out, "\n  %s\n", a.paint(a.out, bold, s.Address))
			for _, line := range indented(s.Error) {
				fmt.Fprintln(a.out, line)
			}
		}
	}
	if r.Error != "" && r.State == "failed" {
		fmt.Fprintf(a.out, "  %s\n", r.Error)
	}
}
