package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/dsl"
)

func (a *app) validateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate [PIPELINE]",
		Short: "Checks a pipeline and shows every problem at once",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := a.findPipeline(args)
			if err != nil {
				return err
			}
			p, diagnostics := a.loadPath(path)
			if a.json {
				if diagnostics == nil {
					diagnostics = dsl.Diagnostics{}
				}
				if err := a.printJSON(map[string]any{"valid": !diagnostics.HasErrors(), "diagnostics": diagnostics}); err != nil {
					return err
				}
			} else {
				a.printDiagnostics(diagnostics)
			}
			if diagnostics.HasErrors() {
				return told(exitWrong)
			}
			if !a.json {
				fmt.Fprintf(a.out, "%s is valid: %s.\n", path, plural(len(p.Nodes), "stage"))
			}
			return nil
		},
	}
	a.variableFlags(cmd)
	return cmd
}
