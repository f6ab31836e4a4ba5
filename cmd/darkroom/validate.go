package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/dsl"
	"github.com/darkroom-dev/darkroom/engine"
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
			if !diagnostics.HasErrors() {
				runners, err := runnerDiagnostics(p)
				if err != nil {
					return err
				}
				diagnostics = append(diagnostics, runners...)
			}
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

// runnerDiagnostics says which stages ask for a runner that this darkroom does not have; the language does not know them.
func runnerDiagnostics(p *engine.Pipeline) (dsl.Diagnostics, error) {
	o, err := engineOptions(nil, p)
	if err != nil {
		return nil, err
	}
	var out dsl.Diagnostics
	for _, wrong := range o.CheckRunners(p) {
		for _, problem := range wrong.Problems {
			out = append(out, dsl.Locate(p, nodeOf(p, wrong.Address), problem))
		}
	}
	return out, nil
}
