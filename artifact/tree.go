package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// Entry is one file of a tree. Path is relative, with forward slashes and no "." or ".." elements.
type Entry struct {
	Path       string
	Digest     Digest
	Size       int64
	Executable bool
}

// Tree is the manifest of a folder: its regular files sorted by path. Empty folders, modes other than the execute bit,
// owners and times are not part of it.
type Tree struct{ entries []Entry }

const treeHeader = "darkroom tree 1\n"

// NewTree sorts entries by path and checks that every path is relative, clean and unique, and no file is a folder too.
func NewTree(entries []Entry) (Tree, error) {
	es := append([]Entry(nil), entries...)
	sort.Slice(es, func(i, j int) bool { return es[i].Path < es[j].Path })
	names := make(map[string]bool, len(es))
	for _, e := range es {
		if err := checkPath(e.Path); err != nil {
			return Tree{}, err
		}
		if !e.Digest.Valid() {
			return Tree{}, fmt.Errorf("tree entry %q: digest %q is not 64 hexadecimal digits", e.Path, e.Digest)
		}
		if names[e.Path] {
			return Tree{}, fmt.Errorf("tree entry %q occurs twice", e.Path)
		}
		names[e.Path] = true
	}
	for _, e := range es {
		for dir := e.Path; ; {
			i := strings.LastIndexByte(dir, '/')
			if i < 0 {
				break
			}
			dir = dir[:i]
			if names[dir] {
				return Tree{}, fmt.Errorf("tree entry %q is both a file and a folder", dir)
			}
		}
	}
	return Tree{es}, nil
}

func checkPath(p string) error {
	if p == "" || !fs.ValidPath(p) || p == "." || strings.ContainsAny(p, "\n\x00") {
		return fmt.Errorf("tree entry %q is not a clean relative path", p)
	}
	return nil
}

// Entries returns the files in order of their paths. The caller must not change the slice.
func (t Tree) Entries() []Entry { return t.entries }

// Size returns the sum of the files' sizes in bytes.
func (t Tree) Size() int64 {
	var n int64
	for _, e := range t.entries {
		n += e.Size
	}
	return n
}

// Text returns the canonical manifest, the bytes that name the tree: a header, then one line a file,
// `DIGEST SIZE x|- PATH`.
func (t Tree) Text() []byte {
	var b bytes.Buffer
	b.WriteString(treeHeader)
	for _, e := range t.entries {
		mode := "-"
		if e.Executable {
			mode = "x"
		}
		fmt.Fprintf(&b, "%s %d %s %s\n", e.Digest, e.Size, mode, e.Path)
	}
	return b.Bytes()
}

// Ref returns the reference of the tree as an artifact of type typ.
func (t Tree) Ref(typ Type) Ref {
	return Ref{Type: typ, Digest: DigestBytes(t.Text()), Size: t.Size(), Tree: true}
}

// ParseTree reads a manifest written by Text and refuses everything that Text would not have written.
func ParseTree(text []byte) (Tree, error) {
	rest, ok := bytes.CutPrefix(text, []byte(treeHeader))
	if !ok {
		return Tree{}, errors.New("not a tree manifest: the first line is not " + strconv.Quote(strings.TrimSpace(treeHeader)))
	}
	var entries []Entry
	for n, line := range strings.SplitAfter(string(rest), "\n") {
		if line == "" {
			break
		}
		body, ok := strings.CutSuffix(line, "\n")
		parts := strings.SplitN(body, " ", 4)
		if !ok || len(parts) != 4 {
			return Tree{}, fmt.Errorf("tree manifest line %d is malformed", n+2)
		}
		size, err := strconv.ParseInt(parts[1], 10, 64)
		if err != nil || size < 0 || (parts[2] != "x" && parts[2] != "-") {
			return Tree{}, fmt.Errorf("tree manifest line %d is malformed", n+2)
		}
		entries = append(entries, Entry{Path: parts[3], Digest: Digest(parts[0]), Size: size, Executable: parts[2] == "x"})
	}
	t, err := NewTree(entries)
	if err != nil {
		return Tree{}, err
	}
	if !bytes.Equal(t.Text(), text) {
		return Tree{}, errors.New("tree manifest is not in canonical form")
	}
	return t, nil
}

// CacheFolder is the name of cache folders. Walk leaves them out: a project that is a source of its own pipeline would
// otherwise change with each run.
const CacheFolder = ".darkroom"

// Walk calls visit for every regular file below root in the order of a manifest's paths, with its clean relative path. Symbolic links are
// followed to files; links to folders and special files (sockets, devices) are refused with an error that names them.
func Walk(root string, visit func(rel string, info fs.FileInfo) error) error {
	var paths []string
	infos := map[string]fs.FileInfo{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == CacheFolder && path != root {
				return fs.SkipDir
			}
			return nil
		}
		info, err := os.Stat(path)
		if err != nil && d.Type()&fs.ModeSymlink != 0 {
			// Not wrapped: it is not root that does not exist.
			return fmt.Errorf("%s is a symbolic link that leads nowhere: %v", path, err)
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file: a tree holds regular files only", path)
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		paths = append(paths, rel)
		infos[rel] = info
		return nil
	})
	if err != nil {
		return err
	}
	sort.Strings(paths)
	for _, p := range paths {
		if err := visit(p, infos[p]); err != nil {
			return err
		}
	}
	return nil
}
