package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/engine"
)

// experiment runs a pipeline over a source and returns what was stored of it.
func experiment(b *bench, add string) *cache.Experiment {
	b.t.Helper()
	res, _ := b.run(sourced(b.dir, add))
	e, err := b.options.Cache.Experiment(string(res.Experiment))
	if err != nil {
		b.t.Fatal(err)
	}
	return e
}

func sourced(dir, add string) *engine.Pipeline {
	p := pipeline(dir, node("text.a", arg{"add": add}, "@source.txt"), node("text.b", arg{"keep": 2.0}, "text.a"))
	p.Sources = map[string][]byte{"p.hcl": []byte(add)}
	p.Variables = map[string]any{"add": add}
	return p
}

func loadSourced(sources map[string][]byte, _ map[string]any, dir string) (*engine.Pipeline, error) {
	return sourced(dir, string(sources["p.hcl"])), nil
}

func TestReproduce(t *testing.T) {
	b := newBench(t)
	source := filepath.Join(b.dir, "source.txt")
	if err := os.WriteFile(source, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	e := experiment(b, "abc")
	if err := os.Remove(source); err != nil { // the cache has kept it
		t.Fatal(err)
	}
	b.options.Events = func(engine.Event) {
		if _, err := b.options.Cache.GC(t.Context(), cache.Policy{DryRun: true}); !errors.Is(err, cache.ErrInUse) {
			t.Errorf("gc may collect what is being reproduced: %v", err)
		}
	}
	rep, err := engine.Reproduce(t.Context(), e, loadSourced, filepath.Join(b.dir, "again"), b.options)
	if err != nil {
		t.Fatal(err)
	}
	if !rep.Same || len(rep.Outputs) != 2 || rep.Outputs[0].Verdict != engine.Identical || len(rep.Notes) != 0 || rep.Result.Ran != 2 {
		t.Errorf("%+v", rep)
	}
	e.Stages[0].Outputs["out"] = e.Stages[1].Outputs["out"]
	e.Stages[1].Values["length"] = 7.0
	rep, err = engine.Reproduce(t.Context(), e, loadSourced, filepath.Join(b.dir, "once more"), b.options)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Same || rep.Outputs[0].Verdict != engine.Different || rep.Outputs[1].Verdict != engine.Identical || len(rep.Values) != 1 {
		t.Errorf("%+v", rep)
	}
	if _, err := engine.Reproduce(t.Context(), e, loadSourced, filepath.Join(b.dir, "again"), b.options); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a folder that is not clean: %v", err)
	}
}

func TestCompare(t *testing.T) {
	b := newBench(t)
	if err := os.WriteFile(filepath.Join(b.dir, "source.txt"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	x, y := experiment(b, "abc"), experiment(b, "bcde")
	var got []string
	for _, d := range engine.Compare(x, y) {
		if d.Area != "output" && d.Area != "input" {
			got = append(got, d.Address+" "+d.Area+" "+d.Path+" "+d.Old+" "+d.New)
		}
	}
	want := ` variable add "abc" "bcde"` + "\n" + `text.a argument add "abc" "bcde"` + "\n" + "text.a value length 4 5"
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got:\n%s\nwant:\n%s", s, want)
	}
	// An object differs member by member.
	x.Stages[0].Values = map[string]any{"per_class": map[string]any{"a": map[string]any{"f1": 0.5, "recall": 1.0}, "b": 1.0}}
	y.Stages[0].Values = map[string]any{"per_class": map[string]any{"a": map[string]any{"f1": 0.25, "recall": 1.0}}}
	got = nil
	for _, d := range engine.Compare(x, y) {
		if d.Area == "value" {
			got = append(got, d.Path+" "+d.Old+" "+d.New)
		}
	}
	if s := strings.Join(got, "\n"); s != "per_class.a.f1 0.5 0.25\nper_class.b 1 " {
		t.Errorf("members:\n%s", s)
	}
	if d := engine.Compare(x, x); len(d) != 0 {
		t.Errorf("an experiment differs from itself: %v", d)
	}
	more := *x
	more.Stages = append([]cache.ExperimentStage(nil), x.Stages...)
	more.Stages[0].Outputs = map[string]artifact.Ref{"out": x.Stages[0].Outputs["out"], "more": {Digest: "abc"}}
	if d := engine.Compare(x, &more); len(d) != 1 || d[0].Path != "more" || d[0].New != "abc" {
		t.Errorf("an output that only the second one has: %v", d)
	}
}

// An experiment of which a requirement failed is one like any other.
func TestReproduceGoesOnAfterAFailedRequirement(t *testing.T) {
	b := newBench(t)
	load := func(_ map[string][]byte, _ map[string]any, dir string) (*engine.Pipeline, error) {
		p := chain(dir, "hello", 3)
		p.Nodes[0].Requires = []engine.Requirement{rule{least: 100}}
		return p, nil
	}
	p, err := load(nil, nil, b.dir)
	if err != nil {
		t.Fatal(err)
	}
	b.options.KeepGoing = true
	res, _ := b.run(p)
	e, err := b.options.Cache.Experiment(string(res.Experiment))
	if err != nil {
		t.Fatal(err)
	}
	b.options.KeepGoing = false
	rep, err := engine.Reproduce(t.Context(), e, load, filepath.Join(b.dir, "again"), b.options)
	if err != nil || !rep.Same || len(rep.Outputs) != 3 {
		t.Errorf("%+v, %v", rep, err)
	}
}
