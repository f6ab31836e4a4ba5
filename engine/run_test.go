package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/runners/local"
	"github.com/darkroom-dev/darkroom/stages"
)

// TestMain lets this binary be a worker, and a whole run that a test kills.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		os.Exit(local.Serve(context.Background(), catalog(), os.Stdin, os.NewFile(3, "events")))
	}
	if len(os.Args) > 1 && os.Args[1] == "run" {
		os.Exit(runHere(os.Args[2], os.Args[3]))
	}
	os.Exit(m.Run())
}

// journal is the variable that names the file in which stages note that they ran.
const journal = "DARKROOM_TEST_JOURNAL"

func catalog() *stages.Catalog {
	c, err := stages.NewCatalog(textKind, programKind)
	if err != nil {
		panic(err)
	}
	return c
}

// textKind joins its inputs and its argument, keeps the first characters, and behaves badly as told.
var textKind = &stages.Kind{Name: "text", Version: 1, Doc: "Text.", New: func() stages.Stage { return &text{} }}

// programKind is text for a program that is not ours: it writes into its inputs.
var programKind = &stages.Kind{Name: "program", Version: 1, Doc: "Text.", Foreign: true, New: func() stages.Stage { return &text{foreign: true} }}

type text struct {
	add, do string
	keep    int
	steps   int
	foreign bool
}

func (s *text) Declare(d *stages.Schema) {
	d.String(&s.add, "add", "", "Appended.")
	d.String(&s.do, "do", "", "Behaviour, not in the key.").NotInKey()
	d.Int(&s.keep, "keep", 1000, "How much is kept.").Min(0)
	d.Int(&s.steps, "steps", 0, "How many steps it takes, with a checkpoint after each.")
	d.Source("file", "A file.").OrNone()
	d.In("from", artifact.File, "More text.").OrNone().Many()
	d.Out("out", artifact.File, "The text.")
	d.Reports("length", stages.Number, "Its length.")
}

func (s *text) Run(ctx context.Context, job *stages.Job) error {
	note(job.Address)
	switch s.do {
	case "fail":
		return stages.Problemf("add", "Bad text", "It is bad.")
	case "fail once":
		mark := filepath.Join(job.ScratchDir, "mark")
		if _, err := os.Stat(mark); err != nil {
			_ = os.WriteFile(mark, nil, 0o666)
			return errors.New("the first attempt fails")
		}
	case "wait":
		job.Logf("waiting")
		<-ctx.Done()
		return ctx.Err()
	case "die":
		fmt.Println("famous last words")
		os.Exit(9)
	case "undeclared":
		_ = os.WriteFile(job.Output("other"), nil, 0o666)
	case "silent":
		return nil
	}
	var all []byte
	for _, port := range []string{"file", "from"} {
		for _, in := range job.Inputs[port] {
			b, err := os.ReadFile(in.Path)
			if err != nil {
				return err
			}
			all = append(all, b...)
			if s.foreign {
				if err := os.WriteFile(in.Path, []byte("spoilt"), 0o666); err != nil {
					return err
				}
			}
		}
	}
	if s.do == "touch source" {
		_ = os.WriteFile(os.Getenv(journal)+".source", []byte("changed meanwhile"), 0o666)
	}
	mark := filepath.Join(job.ScratchDir, "step")
	at, _ := os.ReadFile(mark)
	for i := len(at); i < s.steps; i++ {
		time.Sleep(2 * time.Millisecond) // work
		at = append(at, '.')
		_ = os.WriteFile(mark+".new", at, 0o666)
		_ = os.Rename(mark+".new", mark)
	}
	all = append(all, s.add...)
	all = all[:min(s.keep, len(all))]
	job.Value("length", len(all))
	return os.WriteFile(job.Output("out"), all, 0o666)
}

func note(line string) {
	f, err := os.OpenFile(os.Getenv(journal), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err == nil {
		fmt.Fprintln(f, line)
		f.Close()
	}
}

// node makes a text stage; from names the stages whose output it takes.
func node(id string, values map[string]any, from ...string) *engine.Node {
	n := &engine.Node{ID: id, Kind: textKind, Args: stages.Args{Values: values}}
	return wire(n, from...)
}

func wire(n *engine.Node, from ...string) *engine.Node {
	connected := map[string]bool{}
	for i, f := range from {
		if file, ok := strings.CutPrefix(f, "@"); ok {
			n.Inputs = append(n.Inputs, engine.Edge{Port: "file", Source: file, Type: artifact.File})
			connected["file"] = true
			continue
		}
		n.Inputs = append(n.Inputs, engine.Edge{Port: "from", Name: fmt.Sprint(i), Type: artifact.File, From: engine.OutputRef{Node: f, Output: "out"}})
		connected["from"] = true
	}
	n.Schema, _ = stages.Decode(n.Kind.New(), n.Args, connected)
	return n
}

func pipeline(dir string, nodes ...*engine.Node) *engine.Pipeline {
	sort.Slice(nodes, func(i, j int) bool { return nodes[i].ID < nodes[j].ID })
	return &engine.Pipeline{Name: "test", Seed: 1, Nodes: nodes, Dir: dir, Catalog: catalog()}
}

type arg = map[string]any

// bench is a cache with a runner and an ear for events.
type bench struct {
	t       *testing.T
	dir     string
	options engine.Options
	mu      sync.Mutex // guards events
	events  []engine.Event
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	t.Setenv(journal, filepath.Join(b.dir, "journal"))
	c, err := cache.Open(filepath.Join(b.dir, ".darkroom"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	b.options = options(t, c)
	b.options.Events = func(e engine.Event) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.events = append(b.events, e)
	}
	return b
}

func options(t *testing.T, c *cache.Cache) engine.Options {
	r, err := local.New(local.Options{CPUs: 2, Grace: 200 * time.Millisecond, Device: func(threads int) (stages.Device, error) {
		return stages.Device{Backend: "cpu", Version: "test", ISA: "test", Precision: "fp32", Threads: threads}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return engine.Options{Cache: c, Runners: map[string]engine.Runner{"local": r}}
}

// run runs p and returns what each stage came to, as `a reused, b done`.
func (b *bench) run(p *engine.Pipeline) (*engine.Result, string) {
	b.t.Helper()
	b.mu.Lock()
	b.events = nil
	b.mu.Unlock()
	res, err := engine.Run(b.t.Context(), p, b.options)
	if err != nil {
		b.t.Fatal(err)
	}
	var states []string
	for _, s := range res.Stages {
		states = append(states, s.Node.ID+" "+string(s.State))
	}
	return res, strings.Join(states, ", ")
}

func (b *bench) expect(p *engine.Pipeline, want string) *engine.Result {
	b.t.Helper()
	res, got := b.run(p)
	if got != want {
		b.t.Errorf("got %s, want %s", got, want)
		for _, s := range res.Stages {
			if s.Err != nil {
				b.t.Log(s.Err)
			}
		}
	}
	return res
}

func (b *bench) heard(event, address string) *engine.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, e := range b.events {
		if e.Event == event && e.Address == address {
			return &b.events[i]
		}
	}
	return nil
}

func (b *bench) journal() string {
	text, _ := os.ReadFile(filepath.Join(b.dir, "journal"))
	return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", " ")
}

func (b *bench) content(res *engine.Result, id string) string {
	b.t.Helper()
	for _, s := range res.Stages {
		if s.Node.ID == id {
			text, err := b.options.Cache.ReadBlob(s.Outputs["out"].Digest)
			if err != nil {
				b.t.Fatal(err)
			}
			return string(text)
		}
	}
	b.t.Fatalf("no stage %s", id)
	return ""
}

func chain(dir, add string, keep float64) *engine.Pipeline {
	return pipeline(dir, node("text.a", arg{"add": add}), node("text.b", arg{"keep": keep}, "text.a"), node("text.c", arg{"add": "!"}, "text.b"))
}

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

// runHere is the process of a run: it executes the chain in dir and writes the digests of its outputs to result.
func runHere(dir, result string) int {
	c, err := cache.Open(filepath.Join(dir, ".darkroom"))
	if err != nil {
		return 1
	}
	r, err := local.New(local.Options{CPUs: 2})
	if err != nil {
		return 1
	}
	res, err := engine.Run(context.Background(), slowChain(dir), engine.Options{Cache: c, Runners: map[string]engine.Runner{"local": r}})
	if err != nil || !res.OK {
		fmt.Fprintln(os.Stderr, err, res)
		return 1
	}
	outputs := map[string]artifact.Digest{}
	for _, s := range res.Stages {
		outputs[s.Node.ID] = s.Outputs["out"].Digest
	}
	text, _ := json.Marshal(outputs)
	if err := os.WriteFile(result, text, 0o666); err != nil {
		return 1
	}
	return 0
}

func slowChain(dir string) *engine.Pipeline {
	return pipeline(dir, node("text.a", arg{"add": "one", "steps": 20.0}), node("text.b", arg{"add": "two", "steps": 20.0}, "text.a"),
		node("text.c", arg{"add": "three", "steps": 20.0}, "text.a"), node("text.d", arg{"add": "four"}, "text.b", "text.c"))
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
