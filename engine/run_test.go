package engine_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

func TestEarlyCutoffAndOldResults(t *testing.T) {
	b := newBench(t)
	first := b.expect(chain(b.dir, "hello", 3), "text.a done, text.b done, text.c done")
	if got := b.content(first, "text.c"); got != "hel!" {
		t.Errorf("the result is %q", got)
	}
	if first.Experiment == "" {
		t.Error("no experiment")
	}
	again := b.expect(chain(b.dir, "hello", 3), "text.a reused, text.b reused, text.c reused")
	if again.Experiment != first.Experiment {
		t.Error("another experiment for the same text")
	}
	b.expect(chain(b.dir, "help", 3), "text.a done, text.b done, text.c reused")
	b.expect(chain(b.dir, "help", 4), "text.a reused, text.b done, text.c done")
	b.expect(chain(b.dir, "hello", 3), "text.a reused, text.b reused, text.c reused")
}

func TestPlanReasons(t *testing.T) {
	b := newBench(t)
	plan := func(p *engine.Pipeline, o engine.Options) string {
		t.Helper()
		got, err := engine.NewPlan(t.Context(), p, o)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, s := range got.Steps {
			line := s.Node.ID + " " + string(s.Action)
			for _, r := range s.Reasons {
				line += "; " + r.String()
			}
			lines = append(lines, line)
		}
		return strings.Join(lines, "\n")
	}
	check := func(name, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
		}
	}
	waits := "\ntext.b undecided; text.a: decided when it finishes\ntext.c undecided; text.b: decided when it finishes"
	check("never run", plan(chain(b.dir, "hello", 3), b.options), "text.a run; record: none yet"+waits)
	b.run(chain(b.dir, "hello", 3))
	reuse := "text.a reuse\ntext.b reuse\ntext.c reuse"
	check("known", plan(chain(b.dir, "hello", 3), b.options), reuse)
	check("argument", plan(chain(b.dir, "help", 3), b.options), `text.a run; add: "hello" → "help"`+waits)
	check("middle", plan(chain(b.dir, "hello", 2), b.options), "text.a reuse\ntext.b run; keep: 3 → 2\ntext.c undecided; text.b: decided when it finishes")
	o := b.options
	o.Force = []string{"text.c"}
	check("forced", plan(chain(b.dir, "hello", 3), o), "text.a reuse\ntext.b reuse\ntext.c run; force: asked for")
	o = b.options
	o.Targets = []string{"text.b"}
	check("target", plan(chain(b.dir, "hello", 3), o), "text.a reuse\ntext.b reuse")
	p := chain(b.dir, "hello", 3)
	p.Nodes[1].NoCache = true
	check("cache = false", plan(p, b.options), "text.a reuse\ntext.b run; cache: false\ntext.c undecided; text.b: decided when it finishes")
	p = chain(b.dir, "hello", 3)
	newer := *textKind
	newer.Version = 2
	p.Nodes[0].Kind = &newer
	check("version", plan(p, b.options), "text.a run; kind version: 1 → 2"+waits)

	b.run(chain(b.dir, "hello", 2))
	x, err := engine.Why(t.Context(), chain(b.dir, "hello", 2), b.options, "text.b")
	if err != nil || x.Action != engine.Reuse || len(x.Reasons) != 1 || x.Reasons[0].String() != "keep: 3 → 2" {
		t.Errorf("why says %v (%v)", x, err)
	}
}

func TestSources(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(b.dir, "journal.source")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	p := pipeline(b.dir, node("text.a", arg{}, "@journal.source"))
	if _, err := engine.Run(t.Context(), p, b.options); err == nil || !strings.Contains(err.Error(), "Source not found") {
		t.Errorf("missing source: %v", err)
	}
	write("one")
	b.expect(p, "text.a done")
	now := time.Now().Add(time.Minute)
	if err := os.Chtimes(file, now, now); err != nil {
		t.Fatal(err)
	}
	b.expect(p, "text.a reused")
	write("two")
	b.expect(p, "text.a done")
	write("three")
	res := b.expect(pipeline(b.dir, node("text.a", arg{"do": "touch source"}, "@journal.source")), "text.a failed")
	if err := res.Stages[0].Err; err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("error %v", err)
	}
}

func TestFailureStopsOnlyWhatDependsOnIt(t *testing.T) {
	b := newBench(t)
	res := b.expect(pipeline(b.dir, node("text.a", arg{"do": "fail"}), node("text.b", arg{}, "text.a"), node("text.c", arg{"add": "c"}), node("text.d", arg{"add": "d"}, "text.c")),
		"text.a failed, text.b skipped, text.c done, text.d done")
	if res.OK || res.Failed != 1 || res.Skipped != 1 || res.Ran != 2 || res.Experiment != "" {
		t.Errorf("result %+v", res)
	}
	if e := b.heard(engine.EventStageFailed, "text.a"); e == nil || len(e.Problems) != 1 || e.Problems[0].Summary != "Bad text" {
		t.Errorf("event %+v", e)
	}
	b.expect(pipeline(b.dir, node("text.a", arg{"do": "undeclared"}), node("text.b", arg{"do": "silent", "add": "b"})), "text.a failed, text.b failed")
}

func TestRetry(t *testing.T) {
	b := newBench(t)
	n := node("text.a", arg{"do": "fail once"})
	n.Retry = engine.Retry{Attempts: 2, Backoff: time.Millisecond}
	res := b.expect(pipeline(b.dir, n), "text.a done")
	if b.heard(engine.EventStageRetry, "text.a") == nil || res.Stages[0].Record.Attempts != 2 {
		t.Error("the second attempt is not told")
	}
}

func TestTimeout(t *testing.T) {
	b := newBench(t)
	n := node("text.a", arg{"do": "wait"})
	n.Timeout = 100 * time.Millisecond
	res := b.expect(pipeline(b.dir, n), "text.a failed")
	if err := res.Stages[0].Err; err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("error %v", err)
	}
}

func TestSameKeyRunsOnce(t *testing.T) {
	b := newBench(t)
	b.run(pipeline(b.dir, node("text.a", arg{"add": "x"}), node("text.b", arg{"add": "x"})))
	if got := b.journal(); got != "text.a" {
		t.Errorf("ran: %s", got)
	}
}

func TestForeignProgramSpoilsOnlyItsCopy(t *testing.T) {
	b := newBench(t)
	p := pipeline(b.dir, node("text.a", arg{"add": "x"}), wire(&engine.Node{ID: "program.p", Kind: programKind}, "text.a"), node("text.c", arg{"add": "y"}, "text.a", "program.p"))
	res := b.expect(p, "program.p done, text.a done, text.c done")
	if got := b.content(res, "text.c"); got != "xxy" {
		t.Errorf("the result is %q", got)
	}
}

func TestDamageIsRepaired(t *testing.T) {
	b := newBench(t)
	first := b.expect(chain(b.dir, "hello", 3), "text.a done, text.b done, text.c done")
	d := string(first.Stages[1].Outputs["out"].Digest)
	blob := filepath.Join(b.dir, ".darkroom", "blobs", d[:2], d)
	if err := os.Chmod(blob, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blob, []byte("heL"), 0o666); err != nil {
		t.Fatal(err)
	}
	res := b.expect(chain(b.dir, "hello", 3), "text.a reused, text.b done, text.c reused")
	e := b.heard(engine.EventBlobDamaged, "text.b")
	if e == nil || !strings.Contains(e.Error, "match") {
		t.Errorf("event %+v", e)
	}
	if got := b.content(res, "text.b"); got != "hel" {
		t.Errorf("the result is %q", got)
	}
}

func TestCancelKeepsWhatIsDone(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.options.Events = func(e engine.Event) {
		if e.Event == engine.EventStageLog {
			cancel()
		}
	}
	p := pipeline(b.dir, node("text.a", arg{"add": "x"}), node("text.b", arg{"do": "wait"}, "text.a"), node("text.c", arg{}, "text.b"))
	res, err := engine.Run(ctx, p, b.options)
	if !errors.Is(err, context.Canceled) || res == nil || res.OK || res.Ran != 1 || res.Skipped != 2 || res.Failed != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	b.options.Events = nil
	b.expect(pipeline(b.dir, node("text.a", arg{"add": "x"}), node("text.b", arg{}, "text.a"), node("text.c", arg{}, "text.b")), "text.a reused, text.b done, text.c reused")
}

// rule is a requirement that the length is at least so much.
type rule struct {
	least float64
	needs []string
}

func (r rule) Check(self map[string]any, v engine.Values) (bool, string, error) {
	return self["length"].(float64) >= r.least, "The text is too short.", nil
}
func (r rule) Needs() []string           { return r.needs }
func (r rule) Text() string              { return "self.length >= n" }
func (r rule) Position() engine.Position { return engine.Position{} }

func TestRequirements(t *testing.T) {
	b := newBench(t)
	p := chain(b.dir, "hello", 3)
	p.Nodes[1].Requires = []engine.Requirement{rule{least: 4}}
	for _, want := range []string{"text.a done, text.b done, text.c skipped", "text.a reused, text.b reused, text.c skipped"} {
		res := b.expect(p, want)
		if res.OK || res.Failed != 1 || b.heard(engine.EventRequirementFailed, "text.b") == nil {
			t.Errorf("result %+v", res)
		}
	}
	b.options.KeepGoing = true
	b.expect(p, "text.a reused, text.b reused, text.c done")
	p.Nodes[1].Requires = []engine.Requirement{rule{least: 3, needs: []string{"text.c"}}}
	if res := b.expect(p, "text.a reused, text.b reused, text.c reused"); !res.OK {
		t.Error("a requirement that holds fails the run")
	}
}

// binder takes the length of another stage's text as the argument keep.
type binder struct{}

func (binder) Bind(v engine.Values) (stages.Args, []stages.Problem) {
	return stages.Args{Values: arg{"keep": v["text.a"]["length"].(float64) - 1}}, nil
}

func TestArgumentsFromValues(t *testing.T) {
	b := newBench(t)
	n := node("text.b", nil, "text.a")
	n.Binder, n.Waits = binder{}, []string{"text.a"}
	p := pipeline(b.dir, node("text.a", arg{"add": "hello"}), n)
	if got := b.content(b.expect(p, "text.a done, text.b done"), "text.b"); got != "hell" {
		t.Errorf("the result is %q", got)
	}
	b.expect(p, "text.a reused, text.b reused")
}

func TestDamageDuringTheRunIsRepaired(t *testing.T) {
	b := newBench(t)
	listen := b.options.Events
	spoilt := false
	b.options.Events = func(e engine.Event) {
		listen(e)
		// The scheduler hands this out before it starts what depends on the stage.
		if e.Event == engine.EventStageFinished && e.Address == "text.a" && !spoilt {
			spoilt = true
			d := string(e.Outputs["out"].Digest)
			blob := filepath.Join(b.dir, ".darkroom", "blobs", d[:2], d)
			if err := errors.Join(os.Chmod(blob, 0o666), os.WriteFile(blob, []byte("heLLo"), 0o666)); err != nil {
				t.Error(err)
			}
		}
	}
	res := b.expect(chain(b.dir, "hello", 3), "text.a done, text.b done, text.c done")
	if b.heard(engine.EventBlobDamaged, "text.a") == nil || b.journal() != "text.a text.a text.b text.c" {
		t.Errorf("ran: %s", b.journal())
	}
	if got := b.content(res, "text.c"); got != "hel!" {
		t.Errorf("the result is %q", got)
	}
}

// However many inputs of one stage are damaged, each is made anew; one that is damaged again and again is not.
func TestDamageOfManyInputsIsRepaired(t *testing.T) {
	b := newBench(t)
	ids := []string{"text.a", "text.b", "text.c", "text.d", "text.e"}
	var nodes []*engine.Node
	for _, id := range ids {
		nodes = append(nodes, node(id, arg{"add": id}))
	}
	nodes[0].After = ids[1:] // so that all the blobs are there when it has finished
	p := pipeline(b.dir, append(nodes, node("text.z", nil, ids...))...)
	listen := b.options.Events
	blobs := map[string]string{}
	var spoil func(finished string) []string
	b.options.Events = func(e engine.Event) {
		listen(e)
		if e.Event != engine.EventStageFinished {
			return
		}
		d := string(e.Outputs["out"].Digest)
		blobs[e.Address] = filepath.Join(b.dir, ".darkroom", "blobs", d[:2], d)
		for _, id := range spoil(e.Address) {
			if err := errors.Join(os.Chmod(blobs[id], 0o666), os.WriteFile(blobs[id], []byte("spoilt"), 0o666)); err != nil {
				t.Error(err)
			}
		}
	}
	spoil = func(finished string) []string {
		if finished != "text.a" || b.heard(engine.EventBlobDamaged, "text.a") != nil {
			return nil
		}
		return ids
	}
	res := b.expect(p, "text.a done, text.b done, text.c done, text.d done, text.e done, text.z done")
	if got := b.content(res, "text.z"); got != strings.Join(ids, "") || len(strings.Fields(b.journal())) != 11 {
		t.Errorf("the result is %q of %s", got, b.journal())
	}
	spoil = func(finished string) []string { return []string{finished} }
	b.options.Force = []string{"text.c", "text.z"}
	b.expect(p, "text.a reused, text.b reused, text.c done, text.d reused, text.e reused, text.z failed")
}

func TestDeadWorkerIsReportedWithItsLog(t *testing.T) {
	b := newBench(t)
	b.expect(pipeline(b.dir, node("text.a", arg{"do": "die"})), "text.a failed")
	if e := b.heard(engine.EventStageFailed, "text.a"); e == nil || !strings.Contains(e.Error, "exit code 9") || !strings.Contains(e.Error, "famous last words") {
		t.Errorf("event %+v", e)
	}
}

func TestThreadsAreKeptApart(t *testing.T) {
	b := newBench(t)
	computing := *textKind
	computing.Computes = true
	p := pipeline(b.dir, node("text.a", arg{"add": "x"}))
	p.Nodes[0].Kind = &computing
	key := func(o engine.Options) artifact.Digest {
		plan, err := engine.NewPlan(t.Context(), p, o)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Steps[0].Key
	}
	one, two := b.options, b.options
	one.Threads, two.Threads = 1, 2
	if key(one) == key(two) {
		t.Error("another number of threads has the same key")
	}
	p.Nodes[0].Threads = 1
	if key(one) != key(two) {
		t.Error("a pinned number of threads is not what counts")
	}
}
