package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/engine"
)

func (a *app) whyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "why ADDRESS",
		Short:             "Says why a stage ran, or would run: arguments, inputs and versions, old → new",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeAddress,
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := a.open(nil)
			if err != nil {
				return err
			}
			defer w.close()
			if err := knownStage(w.pipeline, args[0]); err != nil {
				return err
			}
			x, err := engine.Why(cmd.Context(), w.pipeline, w.options, args[0])
			if err != nil {
				return a.engineFailure(w.pipeline, err)
			}
			if a.json {
				return a.printJSON(map[string]any{"address": args[0], "action": x.Action, "reasons": reasonsJSON(x.Reasons)})
			}
			a.printExplanation(x)
			return nil
		},
	}
	a.variableFlags(cmd)
	return cmd
}

// knownStage fails, with a suggestion, unless the pipeline has the stage.
func knownStage(p *engine.Pipeline, address string) error {
	var names []string
	for _, n := range p.Nodes {
		if n.ID == address {
			return nil
		}
		names = append(names, n.ID)
	}
	return wrongf("the pipeline has no stage %s%s", address, closest(address, names))
}

// knownStages fails unless the pipeline has every stage that the lists name.
func knownStages(p *engine.Pipeline, lists ...[]string) error {
	for _, list := range lists {
		for _, address := range list {
			if err := knownStage(p, address); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *app) printExplanation(x *engine.Explanation) {
	address := a.paint(a.out, bold, x.Address)
	switch x.Action {
	case engine.Reuse:
		fmt.Fprintf(a.out, "%s would be reused", address)
		if x.Record != nil {
			fmt.Fprintf(a.out, ": its result is of %s", agoText(x.Record.Started, time.Now()))
		}
		fmt.Fprintln(a.out, ".")
		if len(x.Reasons) > 0 {
			fmt.Fprintln(a.out, "It ran then because of")
		}
	case engine.Undecided:
		fmt.Fprintf(a.out, "Whether %s would run is not decided yet:\n", address)
	default:
		fmt.Fprintf(a.out, "%s would run because of\n", address)
	}
	for _, r := range x.Reasons {
		fmt.Fprintln(a.out, "  "+r.String())
	}
}
