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
	parts   int
	foreign bool
}

func (s *text) Declare(d *stages.Schema) {
	d.String(&s.add, "add", "", "Appended.")
	d.String(&s.do, "do", "", "Behaviour, not in the key.").NotInKey()
	d.Int(&s.keep, "keep", 1000, "How much is kept.").Min(0)
	d.Int(&s.steps, "steps", 0, "How many steps it takes, with a checkpoint after each.")
	d.Int(&s.parts, "parts", 0, "How many parts it makes, each of which other stages use too.")
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
	for i := range s.parts {
		if s.do == "die at part 2" && i == 2 {
			os.Exit(9)
		}
		dir, err := job.Memo(ctx, stages.Part{Text: fmt.Sprint(i)}, func(_ context.Context, dir string) error {
			note(fmt.Sprint("part ", i))
			time.Sleep(20 * time.Millisecond) // work
			return os.WriteFile(filepath.Join(dir, "part"), fmt.Append(nil, i), 0o666)
		})
		if err != nil {
			return err
		}
		if text, err := os.ReadFile(filepath.Join(dir, "part")); err != nil || string(text) != fmt.Sprint(i) {
			return fmt.Errorf("part %d holds %q, %v", i, text, err)
		}
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
