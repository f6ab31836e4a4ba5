// Package choose is the select kind: it picks one of many artifacts by a value. (select is a word of the Go language,
// so the package has another name than its folder.)
package choose

import (
	"context"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the select kind.
var Kind = &stages.Kind{
	Name:    "select",
	Version: 1,
	Doc: "Picks one of many artifacts: the one whose number in `by` is the largest (or the smallest), or the one called `name`. " +
		"What follows depends on the artifact that was chosen alone, so a further candidate that loses reruns nothing behind the selection.",
	Example: `select "best" {
  from = values(train.sweep)[*].model
  by   = values(train.sweep)[*].accuracy
}`,
	New: func() stages.Stage { return &choose{} },
}

type choose struct {
	by    any
	order string
	name  string
}

func (c *choose) Declare(s *stages.Schema) {
	s.In("from", "", "The candidates, all of one type: a list, or a map by name.").Many()
	s.Any(&c.by, "by", "A number for each candidate: a list in the order of `from`, or a map by the same names.")
	s.String(&c.order, "order", "max", "Whether the largest or the smallest number wins. Of equal numbers the first candidate wins.").OneOf("max", "min")
	s.String(&c.name, "name", "", "The candidate to take, by its name or its place in the list from 0, instead of `by`.").NoDefault()
	s.Out("chosen", "", "The candidate that was chosen.").As("from")
	s.Reports("name", stages.String, "The name of the chosen candidate, or its place in the list from 0.")
}

// Check implements stages.Checker.
func (c *choose) Check() []stages.Problem {
	switch {
	case c.by == nil && c.name == "":
		return []stages.Problem{stages.Problemf("", "No rule to select by", "Write `by` with a number for each candidate, or `name` with the candidate to take.")}
	case c.by != nil && c.name != "":
		return []stages.Problem{stages.Problemf("name", "Two rules to select by", "Both `by` and `name` are given. Keep one of them.")}
	}
	var problems []stages.Problem
	number := func(at string, v any) {
		if _, ok := v.(float64); !ok {
			problems = append(problems, stages.Problemf("by", "Wrong type of argument", "The argument \"by\" takes numbers, but element %s is not a number. Give a list or a map of numbers.", at))
		}
	}
	switch by := c.by.(type) {
	case nil:
	case []any:
		for i, v := range by {
			number(strconv.Itoa(i), v)
		}
	case map[string]any:
		for _, k := range sortedNames(by) {
			number(strconv.Quote(k), by[k])
		}
	default:
		problems = append(problems, stages.Problemf("by", "Wrong type of argument", "The argument \"by\" takes a list or a map of numbers, one for each candidate."))
	}
	return problems
}

func sortedNames(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	sort.Strings(names)
	return names
}

// Run implements stages.Stage.
func (c *choose) Run(ctx context.Context, job *stages.Job) error {
	from := job.Inputs["from"]
	if len(from) == 0 {
		return stages.Problemf("from", "Nothing to select from", "There is no candidate. Check the condition that makes the list.")
	}
	i, err := c.pick(from)
	if err != nil {
		return err
	}
	job.Logf("chose %s of %d candidates", name(from, i), len(from))
	job.Value("name", name(from, i))
	return copyArtifact(ctx, from[i], job.Output("chosen"))
}

func name(from []stages.Input, i int) string {
	if from[i].Name != "" {
		return from[i].Name
	}
	return strconv.Itoa(i)
}

// pick returns the index of the chosen candidate.
func (c *choose) pick(from []stages.Input) (int, error) {
	if c.name != "" {
		var names []string
		for i := range from {
			if name(from, i) == c.name {
				return i, nil
			}
			names = append(names, name(from, i))
		}
		p := stages.Problemf("name", "Unknown candidate", "There is no candidate %q. The candidates are %s.", c.name, strings.Join(names, ", "))
		p.Given, p.Options = c.name, names
		return 0, p
	}
	numbers, err := c.numbers(from)
	if err != nil {
		return 0, err
	}
	best := 0
	for i, n := range numbers {
		if c.order == "max" && n > numbers[best] || c.order == "min" && n < numbers[best] {
			best = i
		}
	}
	return best, nil
}

// numbers returns by's numbers in the order of the candidates.
func (c *choose) numbers(from []stages.Input) ([]float64, error) {
	out := make([]float64, len(from))
	switch by := c.by.(type) {
	case []any:
		if len(by) != len(from) {
			return nil, stages.Problemf("by", "Numbers and candidates do not match", "There are %d candidates and %d numbers. Give one number for each candidate.", len(from), len(by))
		}
		for i := range from {
			out[i] = by[i].(float64)
		}
	case map[string]any:
		for i := range from {
			v, ok := by[name(from, i)]
			if !ok {
				return nil, stages.Problemf("by", "Numbers and candidates do not match", "The candidate %q has no number. The names in `by` are %s.", name(from, i), strings.Join(sortedNames(by), ", "))
			}
			out[i] = v.(float64)
		}
		if len(by) != len(from) {
			return nil, stages.Problemf("by", "Numbers and candidates do not match", "There are %d candidates and %d numbers. Give one number for each candidate.", len(from), len(by))
		}
	}
	return out, nil
}

// copyArtifact copies in to path: a link where the file system allows one would let the output's mode change the
// input's, so the bytes are copied; the store keeps equal contents once.
func copyArtifact(ctx context.Context, in stages.Input, path string) error {
	if in.Ref.Tree {
		if err := os.CopyFS(path, os.DirFS(in.Path)); err != nil {
			return fmt.Errorf("copying the chosen folder: %w", err)
		}
		return ctx.Err()
	}
	src, err := os.Open(in.Path)
	if err != nil {
		return fmt.Errorf("opening the chosen artifact: %w", err)
	}
	defer src.Close()
	dst, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing the chosen artifact: %w", err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := dst.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return ctx.Err()
}
