package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
)

// Source is a file or folder of the user's project as it was when it was digested.
type Source struct {
	Path string
	Ref  artifact.Ref // of type file or folder

	files int
	tree  func() (artifact.Tree, error) // of a folder; it may have to be made
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
	if !info.IsDir() {
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("the source %s is not a file or folder", path)
		}
		e, _, err := c.hashOne(path)
		if err != nil {
			return nil, err
		}
		return &Source{Path: path, Ref: artifact.Ref{Type: artifact.File, Digest: e.Digest, Size: e.Size}, files: 1}, nil
	}
	if rel, err := filepath.Rel(path, c.dir); err == nil && filepath.IsLocal(rel) && !strings.Contains("/"+filepath.ToSlash(rel)+"/", "/"+artifact.CacheFolder+"/") {
		return nil, fmt.Errorf("the source %s holds the cache, %s, so it would change with each run; name the cache's folder %s, which sources leave out, or put it elsewhere", path, c.dir, artifact.CacheFolder)
	}
	s, err := c.hashFolder(path)
	if err != nil {
		return nil, fmt.Errorf("digesting the source %s: %w", path, err)
	}
	return s, nil
}

// hashFolder digests a folder, and reads only those of its files that are not as they were when it was last digested.
func (c *Cache) hashFolder(path string) (*Source, error) {
	begin := time.Now()
	now, err := scanFolder(path)
	if err != nil {
		return nil, err
	}
	state := now.state()
	s := &Source{Path: path, files: now.count()}
	if head, ok := c.snapshotHead(path); ok && head.state == state {
		s.Ref = head.ref
		s.tree = sync.OnceValues(func() (artifact.Tree, error) {
			// The files of the snapshot are those of the state, for both are written together.
			t, err := treeOf(c.snapshotFiles(path))
			if err == nil && t.Ref(artifact.Folder) != s.Ref {
				err = fmt.Errorf("the source %s has changed", path)
			}
			return t, err
		})
		return s, nil
	}
	files := now.sorted()
	unknown := known(files, c.snapshotFiles(path))
	if err := c.hashMany(path, files, unknown); err != nil {
		return nil, err
	}
	t, err := treeOf(files)
	if err != nil {
		return nil, err
	}
	s.Ref, s.tree = t.Ref(artifact.Folder), func() (artifact.Tree, error) { return t, nil }
	snap := &snapshot{ref: s.Ref, files: files}
	if now.settled(begin) {
		snap.state = state
	}
	forget(files, unknown, begin)
	c.remember(path, snap)
	return s, nil
}

func treeOf(files []scanned) (artifact.Tree, error) {
	entries := make([]artifact.Entry, len(files))
	for i, f := range files {
		entries[i] = artifact.Entry{Path: f.path, Digest: f.digest, Size: f.Size, Executable: f.executable}
	}
	return artifact.NewTree(entries)
}

// hashMany digests those of the files that are unknown, side by side.
func (c *Cache) hashMany(dir string, files []scanned, unknown []int) error {
	errs := make([]error, len(unknown))
	var wg sync.WaitGroup
	var next atomic.Int64
	for range max(2, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for {
				k := int(next.Add(1)) - 1
				if k >= len(unknown) {
					return
				}
				f := &files[unknown[k]]
				f.digest, errs[k] = hashUnchanged(filepath.Join(dir, filepath.FromSlash(f.path)), f.stamp)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// hashUnchanged digests a file that must have the stamp before and after.
func hashUnchanged(path string, before stamp) (artifact.Digest, error) {
	d, n, err := artifact.DigestFile(path)
	if err != nil {
		return "", err
	}
	after, err := stampOf(path)
	if err != nil || after != before || n != before.Size {
		return "", fmt.Errorf("the source %s changed while it was being read", path)
	}
	return d, nil
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
	d, err := hashUnchanged(path, before)
	if err != nil {
		return artifact.Entry{}, before, fmt.Errorf("digesting the source: %w", err)
	}
	if before.settled(begin) {
		b, _ := json.Marshal(seen{before, d}) // plain numbers and texts
		c.index.put("source/"+path, b)
	}
	return artifact.Entry{Digest: d, Size: before.Size}, before, nil
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
	tree, err := s.tree()
	if err != nil {
		return fmt.Errorf("storing the source: %w", err)
	}
	for _, e := range tree.Entries() {
		if err := c.storeFile(filepath.Join(s.Path, filepath.FromSlash(e.Path)), e.Digest, e.Size); err != nil {
			return err
		}
	}
	_, err = c.PutBytes(tree.Text(), artifact.File)
	return err
}

// Files returns the number of files of the source.
func (s *Source) Files() int { return s.files }

func (c *Cache) storeFile(path string, d artifact.Digest, size int64) error {
	if c.check(d, size) == nil {
		return nil
	}
	if err := c.copyIn(path, d); err != nil {
		return fmt.Errorf("storing the source %s: %w", path, err)
	}
	return nil
}
