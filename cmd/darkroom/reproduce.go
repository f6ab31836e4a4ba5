package main

import (
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/dsl"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages/all"
)

func (a *app) reproduceCommand() *cobra.Command {
	var keep string
	cmd := &cobra.Command{
		Use:   "reproduce HASH",
		Short: "Executes an experiment again in a clean place and compares every output",
		Long: `Executes an experiment again from its hash, in a clean folder, without the cache, with the recorded number of threads,
and says of every output whether the bytes are identical. HASH may be the first digits, or @1 for the newest experiment.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.openExisting()
			if err != nil {
				return err
			}
			defer c.Close()
			x, err := findExperiment(c, args[0])
			if err != nil {
				return err
			}
			dir := keep
			if dir == "" {
				if dir, err = c.TempDir("reproduce-"); err != nil {
					return lackingf("making a clean folder: %w", err)
				}
				defer os.RemoveAll(dir)
			}
			o, err := engineOptions(c, nil)
			if err != nil {
				return err
			}
			load := func(sources map[string][]byte, variables map[string]any, dir string) (*engine.Pipeline, error) {
				p, err := a.loadSources(sources, variables, dir)
				if err != nil {
					return nil, err
				}
				own, err := runners(p)
				maps.Copy(o.Runners, own)
				return p, err
			}
			watch := a.reproduceWatcher(len(x.Stages))
			o.Events = watch.event
			result, err := engine.Reproduce(cmd.Context(), x, load, dir, o)
			watch.close()
			if err != nil {
				return a.engineFailure(nil, err)
			}
			if a.json {
				err = a.printJSON(reproductionDocument(result))
			} else {
				a.printReproduction(result)
			}
			if err == nil && !result.Same {
				return told(exitFailed)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&keep, "dir", "", "work in this `FOLDER` and keep it")
	return cmd
}

// loadSources loads the pipeline of an experiment again from its stored text.
func (a *app) loadSources(sources map[string][]byte, variables map[string]any, dir string) (*engine.Pipeline, error) {
	p, diagnostics := dsl.LoadSources(sources, variables, dir, all.Catalog())
	if diagnostics.HasErrors() {
		return nil, diagnostics
	}
	return p, nil
}

// reproduceWatcher shows the run, unless its events would be in the way of the document that --json promises.
func (a *app) reproduceWatcher(stageCount int) watcher {
	if a.json {
		return silent{}
	}
	return a.newWatcher(stageCount, false)
}

// silent shows nothing.
type silent struct{}

func (silent) event(engine.Event) {}
func (silent) close()             {}

func reproductionDocument(r *engine.Reproduction) map[string]any {
	doc := map[string]any{"experiment": r.Experiment, "same": r.Same, "outputs": []engine.ReproducedOutput{}, "values": []any{}, "notes": []string{}}
	if r.Outputs != nil {
		doc["outputs"] = r.Outputs
	}
	values := []any{}
	for _, v := range r.Values {
		values = append(values, map[string]any{"address": v.Address, "name": v.Name, "value": v.Value, "expected": v.Expected})
	}
	doc["values"] = values
	if r.Notes != nil {
		doc["notes"] = r.Notes
	}
	return doc
}

func (a *app) printReproduction(r *engine.Reproduction) {
	fmt.Fprintln(a.out)
	colours := map[engine.Verdict]string{engine.Identical: green, engine.WithinTolerance: yellow, engine.Different: red, engine.NotReached: yellow, engine.Measured: yellow}
	var rows [][]string
	identical := 0
	for _, o := range r.Outputs {
		if o.Verdict == engine.Identical {
			identical++
		}
		word := strings.ReplaceAll(string(o.Verdict), "_", " ")
		row := []string{a.paint(a.out, colours[o.Verdict], word), o.Address + "." + o.Output, o.Expected.Short()}
		if o.Verdict != engine.Identical && o.Digest != "" {
			row = append(row, "→ "+o.Digest.Short())
		}
		rows = append(rows, row)
	}
	table(a.out, "", rows)
	for _, v := range r.Values {
		fmt.Fprintf(a.out, "%s of %s: %s → %s\n", v.Name, v.Address, valueText(v.Expected), valueText(v.Value))
	}
	for _, note := range r.Notes {
		fmt.Fprintf(a.out, "%s %s\n", a.paint(a.out, bold+yellow, "Note:"), note)
	}
	fmt.Fprintf(a.out, "\nExperiment %s: %d of %d outputs identical.\n", r.Experiment.Short(), identical, len(r.Outputs))
}
