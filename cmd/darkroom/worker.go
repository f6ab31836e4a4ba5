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
			events := os.NewFile(3, "events")
			if info, err := events.Stat(); err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
				return wrongf("worker executes one job that a runner hands it through pipes, and there are none; `darkroom run` runs a pipeline")
			}
			if code := local.Serve(cmd.Context(), all.Catalog(), os.Stdin, events); code != 0 {
				return told(code)
			}
			return nil
		},
	}
}
