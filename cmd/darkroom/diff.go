package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/cmd/live"
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

// printDifferences groups the differences by stage.
func (a *app) printDifferences(differences []engine.Difference) {
	if len(differences) == 0 {
		fmt.Fprintln(a.out, "The two experiments do not differ.")
		return
	}
	address := "\x00"
	var rows [][]string
	flush := func() {
		table(a.out, "  ", rows)
		rows = nil
	}
	for _, d := range differences {
		if d.Address != address {
			flush()
			address = d.Address
			name := address
			if name == "" {
				name = "pipeline"
			}
			fmt.Fprintln(a.out, a.paint(a.out, bold, name))
		}
		rows = append(rows, []string{a.paint(a.out, dim, d.Area), d.Path, changeText(d)})
	}
	flush()
}

// changeText writes a difference on a line; numbers with up to six digits and, where both are, by how much they differ.
func changeText(d engine.Difference) string {
	x, errX := strconv.ParseFloat(d.Old, 64)
	y, errY := strconv.ParseFloat(d.New, 64)
	// The digits of a digest can look like a number.
	if errX == nil && errY == nil && d.Area != "output" && d.Area != "input" {
		sign := ""
		if y > x {
			sign = "+"
		}
		return fmt.Sprintf("%s → %s  (%s%s)", numberText(x), numberText(y), sign, strconv.FormatFloat(y-x, 'g', 3, 64))
	}
	const most = 60 // columns of a value
	return live.Cut(live.Clean(orNone(d.Old)), most) + " → " + live.Cut(live.Clean(orNone(d.New)), most)
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
