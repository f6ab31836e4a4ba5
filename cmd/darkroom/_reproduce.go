package main

import (
	"fmt"
	"os"

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
				if dir, err = os.MkdirTemp("", "darkroom-reproduce-"); err != nil {
					return lackingf("making a clean folder: %w", err)
				}
				defer os.RemoveAll(dir)
			}
			o, err := engineOptions(c)
			if err != nil {
				return err
			}
			watch := a.reproduceWatcher(len(x.Stages))
			o.Events = watch.event
			result, err := engine.Reproduce(cmd.Context(), x, a.loadSources, dir, o)
			watch.close()
			if err != nil {
				return a.engineFailure(nil, err)
			}
			return a.printReproduction(result)
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

var _ = fmt.Sprint
