package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/runners/local"
	"github.com/darkroom-dev/darkroom/stages/all"
)

func (a *app) workerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "worker",
		Short:  "Executes one job; runners start it, nobody else needs to",
		Hidden: false,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if code := local.Serve(cmd.Context(), all.Catalog(), os.Stdin, os.NewFile(3, "events")); code != 0 {
				return told(code)
			}
			return nil
		},
	}
}
