package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
)

// Source is a file or folder of the user's project as it was when it was digested.
type Source struct {
	Path string
	Ref  artifact.Ref // of type file or folder

	tree   artifact.Tree
	stamps map[string]stamp // by path relative to Path; "" for a file
}

// HashSource digests the file or folder at path. Files that are as they were when they were last digested are not
// read.
func (c *Cache) HashSource(path string) (*Source, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("digesting the source: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("digesting the source: %w", err)
	}
	s := &Source{Path: path, stamps: map[string]stamp{}}
	if !info.IsDir() {
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("the source %s is not a file or folder", path)
		}
		e, st, err := c.hashOne(path)
		if err != nil {
			return nil, err
		}
		s.stamps[""] = st
		s.Ref = artifact.Ref{Type: artifact.File, Digest: e.Digest, Size: e.Size}
		return s, nil
	}
	if rel, err := filepath.Rel(path, c.dir); err == nil && filepath.IsLocal(rel) && !strings.Contains("/"+filepath.ToSlash(rel)+"/", "/"+artifact.CacheFolder+"/") {
		return nil, fmt.Errorf("the source %s holds the cache, %s, so it would change with each run; name the cache's folder %s, which sources leave out, or put it elsewhere", path, c.dir, artifact.CacheFolder)
	}
	var rels []string
	var executable []bool
	err = artifact.Walk(path, func(rel string, info fs.FileInfo) error {
		rels, executable = append(rels, rel), append(executable, info.Mode()&0o111 != 0)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("digesting the source %s: %w", path, err)
	}
	entries, stamps, err := c.hashMany(path, rels)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		entries[i].Path, entries[i].Executable = rels[i], executable[i]
		s.stamps[rels[i]] = stamps[i]
	}
	if s.tree, err = artifact.NewTree(entries); err != nil {
		return nil, fmt.Errorf("digesting the source %s: %w", path, err)
	}
	s.Ref = s.tree.Ref(artifact.Folder)
	return s, nil
}

// hashMany digests files side by side, in order of the result.
func (c *Cache) hashMany(dir string, rels []string) ([]artifact.Entry, []stamp, error) {
	entries := make([]artifact.Entry, len(rels))
	stamps := make([]stamp, len(rels))
	errs := make([]error, len(rels))
	var wg sync.WaitGroup
	next := make(chan int)
	for range max(2, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := range next {
				entries[i], stamps[i], errs[i] = c.hashOne(filepath.Join(dir, filepath.FromSlash(rels[i])))
			}
		})
	}
	for i := range rels {
		next <- i
	}
	close(next)
	wg.Wait()
	return entries, stamps, errors.Join(errs...)
}

// seen is what the stat cache holds of a file.
type seen struct {
	Stamp  stamp           `json:"stamp"`
	Digest artifact.Digest `json:"digest"`
}

// hashOne digests a file, or finds its digest in the stat cache. A file that changes while it is read is an error.
func (c *Cache) hashOne(path string) (artifact.Entry, stamp, error) {
	begin := time.Now()
	before, err := stampOf(path)
	if err != nil {
		return artifact.Entry{}, before, fmt.Errorf("digesting %s: %w", path, err)
	}
	var known seen
	if v := c.index.get("source/" + path); v != nil && json.Unmarshal(v, &known) == nil && known.Stamp == before && known.Digest.Valid() {
		return artifact.Entry{Digest: known.Digest, Size: before.Size}, before, nil
	}
	d, n, err := artifact.DigestFile(path)
	if err != nil {
		return artifact.Entry{}, before, fmt.Errorf("digesting the source: %w", err)
	}
	after, err := stampOf(path)
	if err != nil || after != before || n != before.Size {
		return artifact.Entry{}, before, fmt.Errorf("the source %s changed while it was being read", path)
	}
	if before.settled(begin) {
		b, _ := json.Marshal(seen{before, d}) // plain numbers and texts
		c.index.put("source/"+path, b)
	}
	return artifact.Entry{Digest: d, Size: n}, before, nil
}

// Unchanged reports whether the source is still as it was digested, by looking at its files' stamps; files whose
// stamps differ are read.
func (c *Cache) Unchanged(s *Source) (bool, error) {
	now, err := c.HashSource(s.Path)
	if err != nil {
		return false, err
	}
	return now.Ref == s.Ref, nil
}

// StoreSource copies the source into the store, so that it can be restored when the project has moved on. What
// changed since it was digested is an error.
func (c *Cache) StoreSource(s *Source) error {
	if !s.Ref.Tree {
		return c.storeFile(s.Path, s.Ref.Digest, s.Ref.Size)
	}
	for _, e := range s.tree.Entries() {
		if err := c.storeFile(filepath.Join(s.Path, filepath.FromSlash(e.Path)), e.Digest, e.Size); err != nil {
			return err
		}
	}
	_, err := c.PutBytes(s.tree.Text(), artifact.File)
	return err
}

// Files returns the number of files of the source.
func (s *Source) Files() int { return len(s.stamps) }

func (c *Cache) storeFile(path string, d artifact.Digest, size int64) error {
	if c.check(d, size) == nil {
		return nil
	}
	if err := c.copyIn(path, d); err != nil {
		return fmt.Errorf("storing the source %s: %w", path, err)
	}
	return nil
}
