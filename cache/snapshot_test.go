package cache

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
)

// aged writes a file; after settle its stamp vouches for it.
func aged(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}

func settle() { time.Sleep(racy + 30*time.Millisecond) }

func newCache(t *testing.T) *Cache { return openCache(t, t.TempDir()+"/cache") }

func hashed(t *testing.T, c *Cache, path string) artifact.Ref {
	t.Helper()
	s, err := c.HashSource(path)
	if err != nil {
		t.Fatal(err)
	}
	return s.Ref
}

// manyFiles is a folder with files of several levels, more than one thread looks at.
func manyFiles(t *testing.T) string {
	root := t.TempDir()
	for i := range 3 * statsAtOnce {
		aged(t, fmt.Sprintf("%s/flat/%05d", root, i), fmt.Sprint(i))
	}
	for _, name := range []string{"a", "a.b", "a/b/c", "a/b.c", "z/é", ".hidden", "a/.darkroom/left out", "run"} {
		if name == "a" {
			continue
		}
		aged(t, filepath.Join(root, name), name)
	}
	if err := os.Chmod(root+"/run", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../run", root+"/z/link"); err != nil {
		t.Fatal(err)
	}
	settle()
	return root
}

// The scan sees what artifact.Walk sees, and its tree is that of the files' contents.
func TestScanIsWalk(t *testing.T) {
	root := manyFiles(t)
	var entries []artifact.Entry
	err := artifact.Walk(root, func(rel string, info fs.FileInfo) error {
		d, n, err := artifact.DigestFile(filepath.Join(root, rel))
		entries = append(entries, artifact.Entry{Path: rel, Digest: d, Size: n, Executable: info.Mode()&0o111 != 0})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want, err := artifact.NewTree(entries)
	if err != nil {
		t.Fatal(err)
	}
	c := newCache(t)
	for range 2 {
		s, err := c.HashSource(root)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := s.tree()
		if err != nil || s.Ref != want.Ref(artifact.Folder) || !bytes.Equal(tree.Text(), want.Text()) || s.Files() != len(entries) {
			t.Fatalf("%v: %v of %d files is not %v of %d", err, s.Ref, s.Files(), want.Ref(artifact.Folder), len(entries))
		}
	}
}

// forge changes what is remembered, so that a digest that comes from memory can be told from one that was read.
func forge(t *testing.T, c *Cache, root string, change func(*snapshot)) {
	t.Helper()
	head, ok := c.snapshotHead(root)
	if !ok || head.state == "" {
		t.Fatalf("nothing is remembered of %s", root)
	}
	head.files = c.snapshotFiles(root)
	change(&head)
	c.remember(root, &head)
}

var forged = artifact.DigestBytes([]byte("forged"))

func TestUnchangedFilesAreNotRead(t *testing.T) {
	root, c := manyFiles(t), newCache(t)
	first := hashed(t, c, root)
	forge(t, c, root, func(s *snapshot) { s.ref.Digest = forged })
	if got := hashed(t, c, root); got.Digest != forged {
		t.Error("a folder that did not change was read")
	}
	// One file changes, and another's digest is forged: the one is read, the other is not.
	forge(t, c, root, func(s *snapshot) {
		for i := range s.files {
			if s.files[i].path == "a/b.c" {
				s.files[i].digest = forged
			}
		}
	})
	aged(t, root+"/z/é", "other")
	s, err := c.HashSource(root)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := s.tree()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range tree.Entries() {
		switch e.Path {
		case "a/b.c":
			if e.Digest != forged {
				t.Error("an unchanged file was read")
			}
		case "z/é":
			if e.Digest != artifact.DigestBytes([]byte("other")) {
				t.Error("a changed file was not read")
			}
		}
	}
	if s.Ref.Digest == first.Digest {
		t.Error("a change was not seen")
	}
}

// Each change is seen, and undoing it gives the first digest again.
func TestChangesAreSeen(t *testing.T) {
	root, c := manyFiles(t), newCache(t)
	first := hashed(t, c, root)
	at := filepath.Join(root, "a.b")
	old, err := os.Stat(at)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]func() error{
		"content of the same size with the time set back": {
			func() error {
				return joined(os.WriteFile(at, []byte("A.B"), 0o666), os.Chtimes(at, old.ModTime(), old.ModTime()))
			},
			func() error { return os.WriteFile(at, []byte("a.b"), 0o666) },
		},
		"another file of the same size and time in its place": {
			func() error {
				return joined(os.WriteFile(root+".new", []byte("x.y"), 0o666), os.Chtimes(root+".new", old.ModTime(), old.ModTime()), os.Rename(root+".new", at))
			},
			func() error { return os.WriteFile(at, []byte("a.b"), 0o666) },
		},
		"a new file":      {func() error { return os.WriteFile(root+"/new", nil, 0o666) }, func() error { return os.Remove(root + "/new") }},
		"a renamed file":  {func() error { return os.Rename(at, root+"/b.a") }, func() error { return os.Rename(root+"/b.a", at) }},
		"a removed file":  {func() error { return os.Remove(at) }, func() error { return os.WriteFile(at, []byte("a.b"), 0o666) }},
		"the execute bit": {func() error { return os.Chmod(at, 0o755) }, func() error { return os.Chmod(at, 0o644) }},
		"a moved folder":  {func() error { return os.Rename(root+"/z", root+"/y") }, func() error { return os.Rename(root+"/y", root+"/z") }},
	} {
		if err := change[0](); err != nil {
			t.Fatal(err)
		}
		if hashed(t, c, root) == first {
			t.Errorf("%s was not seen", name)
		}
		if err := change[1](); err != nil {
			t.Fatal(err)
		}
		settle()
		for range 2 {
			if hashed(t, c, root) != first {
				t.Errorf("%s: undone, the folder is another one", name)
			}
		}
	}
}

func joined(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// A file that was written a moment ago could be written again within the same tick, so its stamp does not vouch for it.
func TestFreshFilesAreReadAgain(t *testing.T) {
	root, c := t.TempDir(), newCache(t)
	aged(t, root+"/old", "old")
	settle()
	aged(t, root+"/fresh", "fresh")
	hashed(t, c, root)
	head, ok := c.snapshotHead(root)
	if !ok || head.state != "" {
		t.Error("a fresh file vouches for the folder")
	}
	for _, f := range c.snapshotFiles(root) {
		if (f.digest == "") != (f.path == "fresh") {
			t.Errorf("%s has the digest %q", f.path, f.digest)
		}
	}
}

func TestDamagedSnapshotsAreMadeAnew(t *testing.T) {
	root, c := manyFiles(t), newCache(t)
	first := hashed(t, c, root)
	path := c.snapshotPath(root)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	aged(t, root+"/new", "") // so that the files are asked for
	settle()
	want := hashed(t, c, root)
	for _, n := range []int{0, 10, 60, len(snapshotMagic) + 72, len(whole) / 2, len(whole) - 1} {
		if err := os.WriteFile(path, whole[:n], 0o666); err != nil {
			t.Fatal(err)
		}
		if got := hashed(t, c, root); got != want {
			t.Errorf("cut after %d bytes: %v", n, got)
		}
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	if err := os.WriteFile(path, flipped, 0o666); err != nil {
		t.Fatal(err)
	}
	if got := hashed(t, c, root); got != want || got == first {
		t.Errorf("with a wrong byte: %v", got)
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if got := hashed(t, c, root); got != want {
		t.Errorf("without the folder of snapshots: %v", got)
	}
}

func TestSourcesThatAreRefused(t *testing.T) {
	for name, make := range map[string]func(root string) error{
		"leads nowhere":      func(root string) error { return os.Symlink("nothing", root+"/link") },
		"not a regular file": func(root string) error { return os.Symlink(".", root+"/link") },
		"pipe is not":        func(root string) error { return syscall.Mkfifo(root+"/pipe", 0o666) },
		"not a clean":        func(root string) error { return os.WriteFile(root+"/\xff.png", nil, 0o666) },
	} {
		root, c := t.TempDir(), newCache(t)
		if err := make(root); err != nil {
			t.Fatal(err)
		}
		if _, err := c.HashSource(root); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzSnapshot(f *testing.F) {
	dir := f.TempDir()
	file, err := os.Create(dir + "/s")
	if err != nil {
		f.Fatal(err)
	}
	s := &snapshot{state: forged, ref: artifact.Ref{Digest: forged, Size: 3}, files: []scanned{{path: "a", digest: forged}, {path: "b"}}}
	if err := s.write(file); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(dir + "/s")
	if err != nil || len(parseSnapshot(b)) != 2 {
		f.Fatalf("%v, %d files", err, len(parseSnapshot(b)))
	}
	f.Add(b[:len(b)-32])
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := artifact.DigestBytes(body) // the digest is right, so that what is before it is looked at
		for _, e := range parseSnapshot(appendDigest(bytes.Clone(body), sum)) {
			_ = len(e.path)
		}
		parseSnapshot(body)
		parseHead(body)
	})
}
