package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/engine"
)

// planJSON is `plan --json`.
type planJSON struct {
	Pipeline   string      `json:"pipeline"`
	Experiment *string     `json:"experiment"`
	Stages     []stageJSON `json:"stages"`
}

type stageJSON struct {
	Address string          `json:"address"`
	Kind    string          `json:"kind"`
	Action  string          `json:"action"`
	Key     *string         `json:"key"`
	Reasons []engine.Reason `json:"reasons"`
}

func (a *app) planCommand() *cobra.Command {
	var targets, force []string
	cmd := &cobra.Command{
		Use:   "plan [PIPELINE]",
		Short: "Says what would run, what is reused, and why, before anything runs",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := a.open(args)
			if err != nil {
				return err
			}
			defer w.close()
			if err := knownStages(w.pipeline, targets, force); err != nil {
				return err
			}
			w.options.Targets, w.options.Force = targets, force
			plan, err := engine.NewPlan(cmd.Context(), w.pipeline, w.options)
			if err != nil {
				return a.engineFailure(w.pipeline, err)
			}
			if a.json {
				return a.printJSON(planDocument(w.pipeline, plan))
			}
			a.printPlan(plan)
			return nil
		},
	}
	a.variableFlags(cmd)
	a.selectionFlags(cmd, &targets, &force)
	return cmd
}

// selectionFlags adds the flags that choose stages.
func (a *app) selectionFlags(cmd *cobra.Command, targets, force *[]string) {
	cmd.Flags().StringArrayVarP(targets, "target", "t", nil, "only the stage of this `ADDRESS` and what it needs; may be repeated")
	cmd.Flags().StringArrayVar(force, "force", nil, "run the stage of this `ADDRESS` even if its result is known; may be repeated")
	for _, name := range []string{"target", "force"} {
		_ = cmd.RegisterFlagCompletionFunc(name, a.completeAddress)
	}
}

// completeAddress offers the pipeline's stages.
func (a *app) completeAddress(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	p := a.loadQuietly()
	if p == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, n := range p.Nodes {
		names = append(names, n.ID)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeOutput offers the pipeline's outputs, as far as they are known before anything runs.
func (a *app) completeOutput(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	p := a.loadQuietly()
	if p == nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	for _, n := range p.Nodes {
		if n.Schema == nil {
			continue
		}
		for _, output := range n.Schema.Outputs {
			names = append(names, n.ID+"."+output.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func planDocument(p *engine.Pipeline, plan *engine.Plan) planJSON {
	doc := planJSON{Pipeline: p.Name, Experiment: textOrNull(string(plan.Experiment)), Stages: []stageJSON{}}
	for _, s := range plan.Steps {
		doc.Stages = append(doc.Stages, stageJSON{s.Node.ID, s.Node.Kind.Name, string(s.Action), textOrNull(string(s.Key)), reasonsJSON(s.Reasons)})
	}
	return doc
}

func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// reasonsJSON is never null.
func reasonsJSON(reasons []engine.Reason) []engine.Reason {
	if reasons == nil {
		return []engine.Reason{}
	}
	return reasons
}

// printPlan prints a stage a line, in the order in which they would run, with the reasons below those that run.
func (a *app) printPlan(plan *engine.Plan) {
	count := map[string]int{}
	for _, s := range plan.Steps {
		action := string(s.Action)
		count[action]++
		switch action {
		case "reuse":
			fmt.Fprintln(a.out, a.paint(a.out, dim, "= ")+s.Node.ID+a.paint(a.out, dim, "  reuse"))
		case "run":
			fmt.Fprintln(a.out, a.paint(a.out, green, "> ")+a.paint(a.out, bold, s.Node.ID)+"  run")
		default:
			fmt.Fprintln(a.out, a.paint(a.out, yellow, "? ")+a.paint(a.out, bold, s.Node.ID)+"  undecided")
		}
		if action != "reuse" {
			for _, r := range s.Reasons {
				fmt.Fprintln(a.out, "    "+r.String())
			}
		}
	}
	fmt.Fprintf(a.out, "\nPlan: %d to run, %d to reuse, %d decided on the way.\n", count["run"], count["reuse"], count["undecided"])
}
