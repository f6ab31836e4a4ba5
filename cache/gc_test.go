package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
)

const day = 24 * time.Hour

// grown is a cache with two finished runs of one pipeline: an old one with the stages a and both, a new one with b and
// both. The records a and b name a blob of their own and one that they share.
type grown struct {
	*Cache
	shared     artifact.Ref
	old, young artifact.Digest // experiments
}

func grow(t *testing.T) *grown {
	t.Helper()
	// The path holds what a pattern would give a meaning to: nothing may be looked up by pattern.
	g := &grown{Cache: openCache(t, filepath.Join(t.TempDir(), "a[1]*", "cache")), old: key("old"), young: key("young")}
	var err error
	if g.shared, err = g.PutBytes([]byte(strings.Repeat("shared", 100)), artifact.File); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	g.stage(t, "a", now.Add(-10*day))
	g.stage(t, "both", now.Add(-10*day))
	g.stage(t, "b", now)
	g.run(t, g.old, now.Add(-10*day), "a", "both")
	g.run(t, g.young, now, "b", "both")
	return g
}

// stage puts the record of a stage with an output of 1000 bytes of its own, and a tree that holds the shared blob.
func (g *grown) stage(t *testing.T, name string, at time.Time) {
	t.Helper()
	own, err := g.PutBytes([]byte(strings.Repeat(name+".........", 1000)[:1000]), artifact.Model)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := artifact.NewTree([]artifact.Entry{{Path: "in/" + name, Digest: g.shared.Digest, Size: g.shared.Size}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.PutBytes(tree.Text(), artifact.File); err != nil {
		t.Fatal(err)
	}
	r := &Record{Key: key(name), Address: "s." + name, Pipeline: "p", Started: at,
		Outputs: map[string]artifact.Ref{"own": own, "tree": tree.Ref(artifact.Folder)}}
	if err := g.PutRecord(r); err != nil {
		t.Fatal(err)
	}
}

func (g *grown) run(t *testing.T, hash artifact.Digest, at time.Time, names ...string) {
	t.Helper()
	e := &Experiment{Hash: hash, Pipeline: "p", Created: at}
	run := Run{Pipeline: "p", Started: at, OK: true, Experiment: hash}
	for _, name := range names {
		r, err := g.Claim(key(name))
		if err != nil || r == nil {
			t.Fatal(r, err)
		}
		e.Stages = append(e.Stages, ExperimentStage{Address: r.Address, Key: r.Key, Outputs: r.Outputs})
		run.Stages = append(run.Stages, RunStage{Address: r.Address, State: "done", Key: r.Key})
	}
	if err := g.PutExperiment(e); err != nil {
		t.Fatal(err)
	}
	l, err := g.BeginRun(run)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Finish(func(*Run) {}); err != nil {
		t.Fatal(err)
	}
}

// whole returns the names of the records that can be used.
func (g *grown) whole(t *testing.T) string {
	t.Helper()
	var names []string
	for _, name := range []string{"a", "b", "both"} {
		r, err := g.Record(key(name))
		if err != nil {
			t.Errorf("record %s: %v", name, err)
		}
		if r != nil {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

func TestGCKeepsWhatThePolicySays(t *testing.T) {
	for name, test := range map[string]struct {
		policy      Policy
		whole       string
		experiments int
		runs        int
	}{
		"age":           {Policy{KeepAge: day}, "b both", 1, 1},
		"a longer age":  {Policy{KeepAge: 30 * day}, "a b both", 2, 2},
		"runs":          {Policy{KeepRuns: 1}, "b both", 1, 1},
		"two runs":      {Policy{KeepRuns: 2}, "a b both", 2, 2},
		"pinned":        {Policy{Pinned: []artifact.Digest{key("old")}}, "a both", 1, 0},
		"nothing":       {Policy{}, "", 0, 0},
		"size":          {Policy{KeepAge: 30 * day, MaxBytes: 3000}, "b both", 1, 2},
		"size of none":  {Policy{KeepAge: 30 * day, MaxBytes: 1}, "", 0, 2},
		"size, pinned":  {Policy{KeepAge: 30 * day, MaxBytes: 1, Pinned: []artifact.Digest{key("old")}}, "a both", 1, 2},
		"ample in size": {Policy{KeepAge: 30 * day, MaxBytes: 1 << 20}, "a b both", 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			g := grow(t)
			dry := test.policy
			dry.DryRun = true
			said, err := g.GC(t.Context(), dry)
			if err != nil {
				t.Fatal(err)
			}
			if got := g.whole(t); got != "a b both" {
				t.Fatalf("a dry run left %q", got)
			}
			did, err := g.GC(t.Context(), test.policy)
			if err != nil {
				t.Fatal(err)
			}
			if said.DryRun = false; *said != *did {
				t.Errorf("the dry run said %+v, GC did %+v", *said, *did)
			}
			if got := g.whole(t); got != test.whole {
				t.Errorf("left %q, want %q", got, test.whole)
			}
			v, err := g.VerifyAll(t.Context(), nil)
			if err != nil || !v.OK() {
				t.Fatalf("afterwards: %+v, %v", v, err)
			}
			if v.Experiments != test.experiments || v.Runs != test.runs || v.Blobs != did.Kept.Files || v.Bytes != did.Kept.Bytes {
				t.Errorf("afterwards %+v, GC said %+v", v, did)
			}
			if again, err := g.GC(t.Context(), test.policy); err != nil || again.Freed != 0 {
				t.Errorf("a second GC freed %+v, %v", again, err)
			}
		})
	}
}

func TestGCLeavesRunningRunsAlone(t *testing.T) {
	g := grow(t)
	use, err := g.Share(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.GC(t.Context(), Policy{}); !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v", err)
	}
	if got := g.whole(t); got != "a b both" {
		t.Fatalf("left %q", got)
	}
	use.Release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.GC(ctx, Policy{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if got := g.whole(t); got != "a b both" {
		t.Errorf("a cancelled GC left %q", got)
	}
}

func TestGCClearsLeavings(t *testing.T) {
	g := grow(t)
	torn := writeFile(t, g.path("tmp", "put-torn"), "half")
	scratch := map[string]bool{"a": false, "unfinished": true, "abandoned": false} // stage → whether its checkpoint stays
	for name := range scratch {
		dir, err := g.Scratch(key(name))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, "checkpoint"), name)
	}
	long := time.Now().Add(-3 * day)
	abandoned := g.path("scratch", string(key("abandoned")))
	for _, path := range []string{filepath.Join(abandoned, "checkpoint"), abandoned} {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	lease, err := g.Lease(t.Context(), key("held"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	out, err := g.GC(t.Context(), Policy{KeepAge: day})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(torn); err == nil || out.Temporary.Files != 1 {
		t.Errorf("what a crash left is still there: %+v", out.Temporary)
	}
	for name, stays := range scratch {
		if _, err := os.Stat(g.path("scratch", string(key(name)))); (err == nil) != stays {
			t.Errorf("checkpoint of %s: %v", name, err)
		}
	}
	if l, err := g.tryLock(string(key("held")), exclusive); l != nil || err != nil {
		t.Errorf("a held lease was taken away: %v, %v", l, err)
	}
}

func TestVerifyAllNamesEveryDamage(t *testing.T) {
	g := grow(t)
	a, err := g.Claim(key("a"))
	if err != nil {
		t.Fatal(err)
	}
	spoil := func(path, text string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, text)
	}
	own := a.Outputs["own"].Digest
	spoil(g.blobPath(own), "something else")
	spoil(g.recordPath(key("b")), `{"digest":"`)
	spoil(g.path("experiments", string(g.old)+".json"), "")
	writeFile(t, g.path("blobs", "aa", "stray"), "stray")
	calls := 0
	v, err := g.VerifyAll(t.Context(), func(done, total int) {
		if calls++; done != calls || total < done {
			t.Errorf("progress %d of %d at call %d", done, total, calls)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{ // path → quarantined
		filepath.Join("blobs", "aa", "stray"):                 false,
		filepath.Join("blobs", string(own[:2]), string(own)):  true,
		filepath.Join("experiments", string(g.old)+".json"):   true,
		strings.TrimPrefix(g.recordPath(key("a")), g.dir+"/"): false, // sound itself, but an output is gone
		strings.TrimPrefix(g.recordPath(key("b")), g.dir+"/"): true,
	}
	for _, f := range v.Findings {
		quarantined, ok := want[f.Path]
		if !ok || quarantined != f.Quarantined {
			t.Errorf("unexpected: %+v", f)
		}
		delete(want, f.Path)
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}
	if s, err := g.Stat(); err != nil || s.Quarantine.Files != 3 {
		t.Errorf("quarantine: %+v, %v", s, err)
	}
}

func TestStatCounts(t *testing.T) {
	g := grow(t)
	s, err := g.Stat()
	if err != nil {
		t.Fatal(err)
	}
	// Three outputs, three manifests, the shared blob.
	if s.Blobs.Files != 7 || s.Records.Files != 3 || s.Experiments.Files != 2 || s.Runs.Files != 2 || s.Running != 0 {
		t.Errorf("%+v", s)
	}
	if !s.IndexHere {
		t.Error("the only process does not have the index")
	}
	second, err := Open(g.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if s, err := second.Stat(); err != nil || s.IndexHere {
		t.Errorf("the second opener says that it has the index: %+v, %v", s, err)
	}
	l, err := g.BeginRun(Run{Pipeline: "p", Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := second.Stat(); err != nil || s.Running != 1 {
		t.Errorf("a running run is not counted: %+v, %v", s, err)
	}
	if err := l.Finish(func(r *Run) { r.OK = true }); err != nil {
		t.Fatal(err)
	}
}

// A file that is there but cannot be read may name what is still wanted.
func TestGCRemovesNothingWhenAClaimCannotBeRead(t *testing.T) {
	for _, claim := range []struct {
		what string
		path func(g *grown) string
	}{
		{"record", func(g *grown) string { return g.recordPath(key("both")) }},
		{"experiment", func(g *grown) string { return g.path("experiments", string(g.young)+".json") }},
	} {
		g := grow(t)
		// Reading a folder fails for root too, whom modes do not stop.
		if err := os.Remove(claim.path(g)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(claim.path(g), 0o777); err != nil {
			t.Fatal(err)
		}
		before, err := g.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.GC(context.Background(), Policy{}); err == nil || !strings.Contains(err.Error(), "nothing was removed") {
			t.Errorf("with an unreadable %s: %v", claim.what, err)
		}
		if after, err := g.Stat(); err != nil || after.Blobs != before.Blobs {
			t.Errorf("with an unreadable %s: %v blobs are left of %v (%v)", claim.what, after.Blobs, before.Blobs, err)
		}
	}
}
