package main

import (
	"fmt"

	"github.com/spf13/cobra"

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
