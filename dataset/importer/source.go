package importer

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
)

// source is the files of a source, a folder, an archive or one file, by relative path. A compressed file goes by the name that it
// has without its compression's suffix, and is expanded while it is read.
type source struct {
	files   []string // sorted
	entries map[string]entry
	close   func() error // of the archive; nil: nothing to close
}

// entry is one file of a source.
type entry struct {
	stored string // the name that it is stored under, for messages
	size   int64  // bytes of its content; -1 when only reading tells
	open   func() (io.ReadCloser, error)
}

// list finds the files of the source at path. The caller closes it.
func list(path string, o Options) (source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return source{}, fmt.Errorf("reading the source: %w", err)
	}
	if info.IsDir() {
		return listFolder(path)
	}
	s, ok, err := listArchive(path, o)
	if err != nil || ok {
		return s, err
	}
	s = source{entries: map[string]entry{}}
	if err := s.addFile(filepath.Base(path), path, info.Size()); err != nil {
		return s, err
	}
	return s.sorted(), nil
}

func listFolder(root string) (source, error) {
	s := source{entries: map[string]entry{}}
	err := artifact.Walk(root, func(rel string, info os.FileInfo) error {
		return s.addFile(rel, filepath.Join(root, filepath.FromSlash(rel)), info.Size())
	})
	if err != nil {
		return s, fmt.Errorf("reading the source: %w", err)
	}
	return s.sorted(), nil
}

// addFile adds a file of the file system. Beside a plain file its compressed form is left out.
func (s *source) addFile(rel, at string, size int64) error {
	e := entry{stored: rel, size: size, open: func() (io.ReadCloser, error) { return os.Open(at) }}
	if plain, ok := expandedName(rel); ok {
		return s.add(plain, e.expanded())
	}
	return s.add(rel, e)
}

// add adds an entry under a name that is free, or that of the compressed form of the same file.
func (s *source) add(name string, e entry) error {
	old, taken := s.entries[name]
	switch {
	case !taken:
		s.entries[name] = e
	case old.stored == e.stored:
		return sourceErrorf("Two files of one name", "The source holds the file %s twice, so images could not be told apart by their names. Leave one of them out.", e.stored)
	case e.stored == name: // the plain file wins over the compressed one
		s.entries[name] = e
	}
	return nil
}

func (s source) sorted() source {
	s.files = s.files[:0]
	for name := range s.entries {
		s.files = append(s.files, name)
	}
	slices.Sort(s.files)
	return s
}

// Close releases the archive.
func (s source) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

// open opens a file for reading.
func (s source) open(rel string) (io.ReadCloser, error) {
	e, ok := s.entries[rel]
	if !ok {
		return nil, fmt.Errorf("reading %s: %w", rel, os.ErrNotExist)
	}
	r, err := e.open()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.stored, err)
	}
	return r, nil
}

// read returns the content of a file of at most limit bytes.
func (s source) read(rel string, limit int64) ([]byte, error) {
	r, err := s.open(rel)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, noEOF(err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, nil
}

// named returns the files with that base name.
func (s source) named(base string) []string {
	var out []string
	for _, f := range s.files {
		if path.Base(f) == base {
			out = append(out, f)
		}
	}
	return out
}

// readable returns the name with bytes that are no UTF-8 written as %XX, since names of classes and images are text.
func readable(name string) string {
	var b strings.Builder
	for i, r := range name {
		if r == '\uFFFD' && !strings.HasPrefix(name[i:], "\uFFFD") {
			fmt.Fprintf(&b, "%%%02X", name[i])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
