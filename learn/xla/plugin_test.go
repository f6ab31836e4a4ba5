package xla

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is no plugin is refused as a file, before the loader could crash on it.
func TestCheckRefusesWhatIsNoPlugin(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, want string }{
		{"plugin.so", "absolute"},
		{filepath.Join(dir, "none.so"), "no such file"},
		{dir, "not a file"},
		{file("text.so", []byte("hello")), "not a shared library"},
		{file("empty.so", nil), "not a shared library"},
		{file("cut.so", program[:len(program)/2]), "trunca"},
		{file("program.so", program), "PJRT plugin"},
		{file("a,b.so", program), "comma"},
	} {
		err := Check(c.path)
		if err == nil || !strings.Contains(err.Error(), c.want) && !strings.Contains(err.Error(), "shared library") {
			t.Errorf("%s: %v, want %q in it", c.path, err, c.want)
		}
		if _, err := New(Options{Plugin: c.path}); err == nil {
			t.Errorf("%s was loaded", c.path)
		}
	}
}

func TestIdentityIsOfTheContent(t *testing.T) {
	dir := t.TempDir()
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	for path, content := range map[string][]byte{a: []byte("one"), b: []byte("one"), c: []byte("two")} {
		if err := os.WriteFile(path, bytes.Repeat(content, 3), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if Identity(a) != Identity(b) || Identity(a) == Identity(c) || !strings.HasPrefix(Identity(a), "pjrt ") {
		t.Errorf("%q, %q, %q", Identity(a), Identity(b), Identity(c))
	}
}
