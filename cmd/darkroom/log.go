package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
)

// runJSON is a run in `log --json` and `status --json`.
type runJSON struct {
	*cache.Run
	State string  `json:"state"` // running, done, failed, interrupted
	TookS float64 `json:"took_s"`
}

func (a *app) logCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Lists past runs, the newest first",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if limit < 0 {
				return wrongf("--limit is %d; it must be at least 0", limit)
			}
			runs, closeCache, err := a.pastRuns()
			if err != nil {
				return err
			}
			defer closeCache()
			if limit > 0 && len(runs) > limit {
				runs = runs[:limit]
			}
			if a.json {
				return a.printJSON(map[string]any{"runs": runDocuments(runs)})
			}
			a.printRuns(runs)
			return nil
		},
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", 20, "the `N` newest; 0 for all")
	return cmd
}

// pastRuns reads the runs of the cache; one that cannot be read is a warning, the others are shown all the same.
func (a *app) pastRuns() (runs []*cache.Run, closeCache func(), err error) {
	c, err := a.openExisting()
	if err != nil {
		return nil, nil, err
	}
	runs, err = c.Runs()
	if err != nil {
		fmt.Fprintf(a.err, "%s %v\n", a.paint(a.err, bold+yellow, "Warning:"), err)
	}
	for _, r := range runs {
		countSoFar(r)
		// A run that the user interrupted ended in order, but nobody would call that a failure.
		if r.State == "failed" && r.Error == "interrupted" {
			r.State = "interrupted"
		}
	}
	return a.ofPipeline(runs), func() { _ = c.Close() }, nil
}

// countSoFar fills in the counts of a run that did not come to its end, from its stages.
func countSoFar(r *cache.Run) {
	if !r.Finished.IsZero() {
		return
	}
	r.Ran, r.Reused, r.Failed = 0, 0, 0
	for _, s := range r.Stages {
		switch s.State {
		case "done":
			r.Ran++
		case "reused":
			r.Reused++
		case "failed":
			r.Failed++
		}
	}
}

// ofPipeline keeps the runs of the pipeline that --pipeline names, all of them without it.
func (a *app) ofPipeline(runs []*cache.Run) []*cache.Run {
	if a.pipeline == "" {
		return runs
	}
	p := a.loadQuietly()
	if p == nil {
		return runs
	}
	var kept []*cache.Run
	for _, r := range runs {
		if r.Pipeline == p.Name {
			kept = append(kept, r)
		}
	}
	return kept
}

func runDocuments(runs []*cache.Run) []runJSON {
	docs := []runJSON{}
	for _, r := range runs {
		docs = append(docs, runJSON{r, r.State, runTook(r, time.Now())})
	}
	return docs
}

func runTook(r *cache.Run, now time.Time) float64 {
	switch {
	case !r.Finished.IsZero():
		return r.Finished.Sub(r.Started).Seconds()
	case r.State == "running":
		return now.Sub(r.Started).Seconds()
	}
	return 0
}

func (a *app) printRuns(runs []*cache.Run) {
	if len(runs) == 0 {
		fmt.Fprintln(a.out, "Nothing has run yet.")
		return
	}
	now := time.Now()
	var rows [][]string
	for _, r := range runs {
		took := secondsText(runTook(r, now))
		if r.Finished.IsZero() && r.State != "running" {
			took = ""
		}
		rows = append(rows, []string{agoText(r.Started, now), a.stateText(r.State), r.Pipeline, a.paint(a.out, dim, orDash(r.Experiment)),
			countsText(r.Ran, r.Reused, r.Failed, 0), took})
	}
	table(a.out, "", rows)
}

func orDash(d artifact.Digest) string {
	if d == "" {
		return "-"
	}
	return d.Short()
}

// stateText colours the state of a run or a stage.
func (a *app) stateText(state string) string {
	colour := map[string]string{"done": green, "reused": green, "failed": red, "interrupted": yellow, "running": blue, "skipped": yellow}[state]
	if colour == "" {
		return state
	}
	return a.paint(a.out, colour, state)
}
