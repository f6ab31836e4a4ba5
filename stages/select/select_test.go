package choose

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

func candidates(names ...string) func(*testing.T, string) map[string][]stages.Input {
	return func(t *testing.T, dir string) map[string][]stages.Input {
		var ins []stages.Input
		for i, n := range names {
			path := filepath.Join(dir, fmt.Sprint("candidate", i))
			if err := os.WriteFile(path, []byte("model "+fmt.Sprint(i)), 0o444); err != nil {
				t.Fatal(err)
			}
			ins = append(ins, stages.Input{Name: n, Path: path, Ref: artifact.Ref{Type: artifact.Model}})
		}
		return map[string][]stages.Input{"from": ins}
	}
}

func TestConformance(t *testing.T) {
	stagetest.Run(t, stagetest.Fixture{
		Kind:   Kind,
		Args:   stages.Args{Values: map[string]any{"by": []any{0.5, 0.75}}},
		Inputs: candidates("", ""),
	})
}

func TestSelection(t *testing.T) {
	list := func(v ...any) []any { return v }
	for _, c := range []struct {
		about  string
		names  []string
		args   map[string]any
		chosen string // content of the output
		name   string
		err    string
	}{
		{about: "largest of a list", names: []string{"", "", ""}, args: map[string]any{"by": list(1.0, 3.0, 2.0)}, chosen: "model 1", name: "1"},
		{about: "smallest of a map", names: []string{"a", "b"}, args: map[string]any{"by": map[string]any{"a": 2.0, "b": 1.0}, "order": "min"}, chosen: "model 1", name: "b"},
		{about: "the first of equals", names: []string{"a", "b"}, args: map[string]any{"by": list(2.0, 2.0)}, chosen: "model 0", name: "a"},
		{about: "by name", names: []string{"a", "b"}, args: map[string]any{"name": "b"}, chosen: "model 1", name: "b"},
		{about: "unknown name", names: []string{"a", "b"}, args: map[string]any{"name": "c"}, err: "The candidates are a, b."},
		{about: "too few numbers", names: []string{"a", "b"}, args: map[string]any{"by": list(2.0)}, err: "2 candidates and 1 numbers"},
		{about: "map without a candidate", names: []string{"a", "b"}, args: map[string]any{"by": map[string]any{"a": 1.0, "x": 2.0}}, err: `"b" has no number`},
		{about: "map with another candidate", names: []string{"a"}, args: map[string]any{"by": map[string]any{"a": 1.0, "x": 2.0}}, err: "1 candidates and 2 numbers"},
		{about: "no rule", names: []string{"a"}, args: map[string]any{}, err: "No rule to select by"},
		{about: "two rules", names: []string{"a"}, args: map[string]any{"name": "a", "by": list(1.0)}, err: "Two rules"},
		{about: "not numbers", names: []string{"a"}, args: map[string]any{"by": list("x")}, err: "element 0 is not a number"},
		{about: "no candidates", names: nil, args: map[string]any{"by": list()}, err: "Nothing to select from"},
	} {
		t.Run(c.about, func(t *testing.T) {
			dir := t.TempDir()
			job := &stages.Job{Inputs: candidates(c.names...)(t, dir), OutDir: t.TempDir()}
			st := Kind.New()
			_, problems := stages.Decode(st, stages.Args{Values: c.args}, map[string]bool{"from": true})
			var err error
			values := map[string]any{}
			if len(problems) > 0 {
				err = problems[0]
			} else {
				err = st.Run(context.Background(), job.WithReporter(reporter(values)))
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error is %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(job.Output("chosen"))
			if err != nil || string(b) != c.chosen || values["name"] != c.name {
				t.Errorf("chose %q (%v), name %v; want %q, %q", b, err, values["name"], c.chosen, c.name)
			}
		})
	}
}

type reporter map[string]any

func (reporter) Progress(stages.Progress)   {}
func (reporter) Log(string)                 {}
func (r reporter) Value(name string, v any) { r[name] = v }
func (reporter) Measure(string, float64)    {}
