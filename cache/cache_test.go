package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
)

func openCache(t testing.TB, dir string) *Cache {
	t.Helper()
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func writeFile(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPutAndRestore(t *testing.T) {
	c := openCache(t, filepath.Join(t.TempDir(), "cache"))
	dir := t.TempDir()
	file, err := c.PutFile(writeFile(t, filepath.Join(dir, "a"), "alpha"), artifact.Model)
	if err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(dir, "tree")
	writeFile(t, filepath.Join(tree, "sub", "b"), "beta")
	writeFile(t, filepath.Join(tree, "run.sh"), "#!")
	if err := os.Chmod(filepath.Join(tree, "run.sh"), 0o700); err != nil {
		t.Fatal(err)
	}
	folder, err := c.PutTree(tree, artifact.Folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []Mode{Link, Copy} {
		to := t.TempDir()
		if err := c.Materialize(file, filepath.Join(to, "a"), mode); err != nil {
			t.Fatal(err)
		}
		if err := c.Materialize(folder, filepath.Join(to, "tree"), mode); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"a": "alpha", "tree/sub/b": "beta", "tree/run.sh": "#!"} {
			b, err := os.ReadFile(filepath.Join(to, name))
			if err != nil || string(b) != want {
				t.Errorf("%s holds %q (%v)", name, b, err)
			}
			info, _ := os.Stat(filepath.Join(to, name))
			if writable := info.Mode()&0o200 != 0; writable != (mode == Copy) {
				t.Errorf("%s has the mode %v", name, info.Mode())
			}
			if executable := info.Mode()&0o100 != 0; executable != strings.HasSuffix(name, ".sh") {
				t.Errorf("%s has the mode %v", name, info.Mode())
			}
		}
		if mode == Copy {
			writeFile(t, filepath.Join(to, "a"), "spoilt")
			writeFile(t, filepath.Join(to, "tree", "sub", "b"), "spoilt")
		}
	}
	if err := errors.Join(c.Verify(file), c.Verify(folder)); err != nil {
		t.Errorf("after writing into copies: %v", err)
	}
}

func key(text string) artifact.Digest { return artifact.DigestBytes([]byte(text)) }

func record(t testing.TB, c *Cache, k artifact.Digest, content string) *Record {
	t.Helper()
	ref, err := c.PutBytes([]byte(content), artifact.File)
	if err != nil {
		t.Fatal(err)
	}
	r := &Record{Key: k, Pipeline: "p", Address: "exec.a", Outputs: map[string]artifact.Ref{"out": ref}, Values: map[string]any{"n": 1.0}}
	if err := c.PutRecord(r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDamageIsNoticed(t *testing.T) {
	c := openCache(t, filepath.Join(t.TempDir(), "cache"))
	r := record(t, c, key("k"), "some bytes")
	if got, err := c.Record(r.Key); got == nil || err != nil {
		t.Fatal(got, err)
	}
	blob := c.blobPath(r.Outputs["out"].Digest)
	flip := func(keepTimes bool) {
		info, err := os.Stat(blob)
		if err != nil {
			t.Fatal(err)
		}
		os.Chmod(blob, 0o644)
		writeFile(t, blob, "some bytez")
		if keepTimes {
			os.Chtimes(blob, info.ModTime(), info.ModTime())
		} else {
			os.Chtimes(blob, time.Now(), time.Now().Add(time.Second))
		}
	}
	flip(false)
	if got, err := c.Record(r.Key); got != nil || !errors.Is(err, ErrCorrupt) {
		t.Errorf("a record with a damaged blob is believed: %v", err)
	}
	if _, err := c.Record(r.Key); !errors.Is(err, ErrMissing) {
		t.Errorf("after the quarantine: %v", err)
	}
	if entries, _ := os.ReadDir(c.path("quarantine")); len(entries) != 1 {
		t.Errorf("the quarantine holds %d files", len(entries))
	}
	record(t, c, r.Key, "some bytes") // repaired by putting it again
	flip(true)                        // even with the times set back, use reads the bytes
	if err := c.Materialize(r.Outputs["out"], filepath.Join(t.TempDir(), "x"), Link); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged blob was restored: %v", err)
	}
}

func TestTornRecordIsNotBelieved(t *testing.T) {
	c := openCache(t, filepath.Join(t.TempDir(), "cache"))
	r := record(t, c, key("k"), "x")
	path := c.recordPath(r.Key)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", string(b[:len(b)/2]), strings.Replace(string(b), `"n":1`, `"n":2`, 1)} {
		writeFile(t, path, bad)
		if got, err := c.Record(r.Key); got != nil || err == nil {
			t.Errorf("a record with the text %.40q is believed", bad)
		}
		if got, err := c.Record(r.Key); got != nil || err != nil {
			t.Errorf("after the quarantine: %v, %v", got, err)
		}
	}
}

func TestSourceIsDigestedOnce(t *testing.T) {
	c := openCache(t, filepath.Join(t.TempDir(), "cache"))
	path := writeFile(t, filepath.Join(t.TempDir(), "words"), "one")
	old := time.Now().Add(-time.Hour)
	os.Chtimes(path, old, old)
	s, err := c.HashSource(path)
	if err != nil || s.Ref.Digest != key("one") {
		t.Fatal(s, err)
	}
	if ok, err := c.Unchanged(s); !ok || err != nil {
		t.Errorf("unchanged: %v, %v", ok, err)
	}
	writeFile(t, path, "two")
	os.Chtimes(path, old, old) // same size, same time: the change of the inode gives it away
	if ok, err := c.Unchanged(s); ok || err != nil {
		t.Errorf("a changed source is unchanged (%v)", err)
	}
	folder := filepath.Dir(path)
	if s, err = c.HashSource(folder); err != nil || !s.Ref.Tree {
		t.Fatal(s, err)
	}
	if err := c.StoreSource(s); err != nil || !c.Has(s.Ref) {
		t.Errorf("storing the folder: %v", err)
	}
	writeFile(t, filepath.Join(folder, "more"), "x")
	if ok, _ := c.Unchanged(s); ok {
		t.Error("a folder with one more file is unchanged")
	}
}

func TestLeaseIsHeldByOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	a, b := openCache(t, dir), openCache(t, dir)
	l, err := a.Lease(context.Background(), key("k"), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := b.Lease(ctx, key("k"), cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a held lease ended with %v", err)
	}
	got := make(chan error)
	go func() {
		_, err := b.Lease(context.Background(), key("k"), l.Release)
		got <- err
	}()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestTwoProcessesOnOneCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	a := openCache(t, dir)
	b := openCache(t, dir) // Badger is held by a
	if a.index.db == nil || b.index.db != nil {
		t.Fatal("both or neither have the index open")
	}
	r := record(t, b, key("k"), "from b")
	if got, err := a.Record(r.Key); got == nil || err != nil {
		t.Errorf("a does not see what b stored: %v", err)
	}
	run, err := b.BeginRun(Run{Pipeline: "p", Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if runs, err := a.Runs(); err != nil || len(runs) != 1 || runs[0].State != "running" {
		t.Errorf("a sees the runs %+v (%v)", runs, err)
	}
	if err := run.Finish(func(r *Run) { r.OK = true; r.Stages = []RunStage{{Address: "exec.a", State: "done", Key: key("k")}} }); err != nil {
		t.Fatal(err)
	}
	if got := b.LastRecord("p", "exec.a"); got == nil || got.Key != r.Key {
		t.Errorf("b's last record is %v", got)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	os.RemoveAll(filepath.Join(dir, "index"))
	if got := openCache(t, dir).LastRecord("p", "exec.a"); got == nil || got.Key != r.Key {
		t.Errorf("the rebuilt index says %v", got)
	}
}

func TestDamagedIndexIsMadeAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	openCache(t, dir).Close()
	writeFile(t, filepath.Join(dir, "index", "MANIFEST"), "nonsense")
	if c := openCache(t, dir); c.index.db == nil {
		t.Error("the index was not made anew")
	}
}

func TestOpenRefusals(t *testing.T) {
	other := t.TempDir()
	writeFile(t, filepath.Join(other, "thesis.txt"), "x")
	if _, err := Open(other); err == nil || !strings.Contains(err.Error(), "other files") {
		t.Errorf("a folder with other files: %v", err)
	}
	future := filepath.Join(t.TempDir(), "cache")
	openCache(t, future).Close()
	writeFile(t, filepath.Join(future, "VERSION"), "darkroom cache 99\n")
	if _, err := Open(future); err == nil || !strings.Contains(err.Error(), "darkroom cache 99") {
		t.Errorf("another format: %v", err)
	}
}

// Badger tries for ever to write its last table, so that closing would hang if it were asked to.
func TestARemovedFolderIsNamedAndLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c := openCache(t, dir)
	log, err := c.BeginRun(Run{Pipeline: "p", Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	c.noteLast("p", "s.a", key("a"), time.Now())
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := log.Finish(func(*Run) {}); err == nil || !strings.Contains(err.Error(), dir+" was removed while the run was going on") {
		t.Errorf("finishing the run: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

// Badger writes through memory maps, which end the process by a signal when the disk is full.
func TestTheIndexIsLeftAloneWhereRoomIsShort(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=20m"); err != nil {
		t.Skip("no file system of its own here:", err)
	}
	defer syscall.Unmount(disk, syscall.MNT_DETACH)
	c, err := Open(filepath.Join(disk, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	if c.index.here() {
		t.Error("the index was opened")
	}
	k := key("a")
	record(t, c, k, "content")
	if r, err := c.Record(k); r == nil || err != nil {
		t.Errorf("without the index: %v, %v", r, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestASourceLeavesTheCacheOut(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a"), "a")
	c := openCache(t, filepath.Join(dir, artifact.CacheFolder))
	s, err := c.HashSource(dir)
	if err != nil || s.Files() != 1 {
		t.Errorf("%d files, %v", s.Files(), err)
	}
	if _, err := openCache(t, filepath.Join(dir, "store")).HashSource(dir); err == nil || !strings.Contains(err.Error(), "holds the cache") {
		t.Errorf("a cache of another name: %v", err)
	}
}

// LastRecord is what explanations compare with, whoever had the index when, and however it was lost.
func TestTheLastRecordIsThatOfTheLastRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	first := openCache(t, dir)
	start := time.Now()
	run := func(c *Cache, name, state string) {
		start = start.Add(time.Second)
		l, err := c.BeginRun(Run{Pipeline: "p", Started: start})
		if err == nil {
			err = l.Finish(func(r *Run) { r.Stages = []RunStage{{Address: "s.a", Key: key(name), State: state}} })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	last := func(when, want string) {
		t.Helper()
		c := openCache(t, dir)
		defer c.Close()
		if r := c.LastRecord("p", "s.a"); !c.index.here() || r == nil || r.Key != key(want) {
			t.Errorf("%s: %v", when, r)
		}
	}
	record(t, first, key("old"), "old")
	record(t, first, key("new"), "new")
	run(first, "old", "done")
	second := openCache(t, dir) // the first one has the index
	run(second, "new", "done")
	run(second, "broken", "failed")
	if err := errors.Join(second.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	last("after a run without the index", "new")
	if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
		t.Fatal(err)
	}
	last("after the index was lost", "new")
}

func TestRemovedPartsAreMadeAgain(t *testing.T) {
	for _, part := range parts {
		dir := filepath.Join(t.TempDir(), "cache")
		c := openCache(t, dir)
		record(t, c, key("a"), "content")
		if err := errors.Join(c.Close(), os.RemoveAll(filepath.Join(dir, part))); err != nil {
			t.Fatal(err)
		}
		c = openCache(t, dir)
		record(t, c, key("a"), "content")
		if r, err := c.Record(key("a")); r == nil || err != nil {
			t.Errorf("without %s: %v, %v", part, r, err)
		}
		l, err := c.BeginRun(Run{Pipeline: "p", Started: time.Now()})
		if err == nil {
			err = l.Finish(func(*Run) {})
		}
		if err != nil {
			t.Errorf("without %s: %v", part, err)
		}
	}
}
