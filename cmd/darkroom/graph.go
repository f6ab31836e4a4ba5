package main

import (
	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/cmd/graph"
)

func (a *app) graphCommand() *cobra.Command {
	var format string
	formats := []string{"dot", "mermaid", "svg", "json"}
	cmd := &cobra.Command{
		Use:   "graph [PIPELINE]",
		Short: "Draws the pipeline as DOT, Mermaid, SVG or JSON",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.load(args)
			if err != nil {
				return err
			}
			g := graph.New(p, nil)
			if a.json {
				format = "json"
			}
			switch format {
			case "dot":
				return g.DOT(a.out)
			case "mermaid":
				return g.Mermaid(a.out)
			case "svg":
				return g.SVG(a.out)
			case "json":
				return a.printJSON(g)
			}
			return wrongf("there is no format %q; the formats are dot, mermaid, svg and json", format)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "dot", "the `FORMAT`: dot, mermaid, svg or json")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	a.variableFlags(cmd)
	return cmd
}
