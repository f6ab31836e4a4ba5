package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/engine"
)

func (a *app) diffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff A B",
		Short: "Compares two experiments: arguments, inputs, values",
		Long:  "Compares two experiments, named by the first digits of their hashes (`darkroom log` lists them), or by @1 for the newest, @2 for the one before, and so on.",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := a.openExisting()
			if err != nil {
				return err
			}
			defer c.Close()
			x, err := findExperiment(c, args[0])
			if err != nil {
				return err
			}
			y, err := findExperiment(c, args[1])
			if err != nil {
				return err
			}
			differences := engine.Compare(x, y)
			if a.json {
				if differences == nil {
					differences = []engine.Difference{}
				}
				return a.printJSON(map[string]any{"a": x.Hash, "b": y.Hash, "differences": differences})
			}
			a.printDifferences(differences)
			return nil
		},
	}
}

// findExperiment resolves the first digits of a hash, or @N, the N-th newest experiment.
func findExperiment(c *cache.Cache, name string) (*cache.Experiment, error) {
	var n int
	if _, err := fmt.Sscanf(name, "@%d", &n); err == nil && n > 0 {
		all, err := c.Experiments()
		if n > len(all) {
			if err != nil {
				return nil, lackingf("reading the experiments: %w", err)
			}
			return nil, wrongf("there is no experiment %s: the cache holds %d", name, len(all))
		}
		return all[n-1], nil
	}
	x, err := c.Experiment(name)
	if errors.Is(err, cache.ErrMissing) || errors.Is(err, cache.ErrAmbiguous) {
		return nil, wrongf("%w", err)
	}
	if err != nil {
		return nil, lackingf("%w", err)
	}
	return x, nil
}
