// Package cache keeps every artifact by its content, and what is remembered of every execution: blobs, records,
// experiments, runs, leases, scratch folders, and an index that can be rebuilt from them.
//
// Rules of the room: files on disk are the truth, Badger is a shortcut. What a record names is durable before the
// record is (blob: temporary file, fsync, rename, fsync of the folder; record last), so that a crash leaves garbage and
// never a lie. What is read is verified. No reader ever waits for a writer, and no process fails because another one
// has the index open: it does without.
//
// The folder:
//
//	VERSION, .gitignore
//	blobs/ab/ab34…          files by digest, read only
//	records/ab/ab34….json   by key
//	experiments/HASH.json   by hash
//	runs/ID.json            by time
//	leases/KEY              locks of the kernel; the files mean nothing by themselves
//	scratch/KEY/            checkpoints; belong to a key and survive attempts
//	tmp/, quarantine/
//	index/                  Badger
//	index.behind            there are runs that it does not know of
package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/darkroom-dev/darkroom/artifact"
)

const formatVersion = "darkroom cache 1\n"

// Cache is an open cache folder. It is safe for concurrent use, by several processes too.
type Cache struct {
	dir   string
	index *index // nil fields inside when another process has it

	mu    sync.Mutex      // guards dirty
	dirty map[string]bool // folders with renames that are not durable yet
}

// ErrCorrupt says that stored bytes no longer match their digest; they have been moved to the quarantine.
var ErrCorrupt = errors.New("stored bytes do not match their digest")

// ErrMissing says that a blob is not in the store.
var ErrMissing = errors.New("not in the cache")

// Open opens the cache folder, and makes it when it is not there.
func Open(dir string) (*Cache, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the cache: %w", err)
	}
	c := &Cache{dir: dir, dirty: map[string]bool{}}
	if err := c.create(); err != nil {
		return nil, fmt.Errorf("opening the cache %s: %w", dir, err)
	}
	c.index = openIndex(filepath.Join(dir, "index"))
	c.catchUp()
	return c, nil
}

// parts are the folders of a cache, blobs first: its presence says that the cache is ours.
var parts = []string{"blobs", "records", "experiments", "runs", "leases", "scratch", "tmp", "quarantine", "sources"}

// complete makes the folders again that somebody removed to make room, or that a copy left out because they were empty:
// what was in them is made anew when it is needed.
func (c *Cache) complete() error {
	for _, d := range parts {
		if _, err := os.Lstat(c.path(d)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.Mkdir(c.path(d), 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		c.renamedIn(c.dir)
	}
	return nil
}

func (c *Cache) create() error {
	version := c.path("VERSION")
	b, err := os.ReadFile(version)
	switch {
	case err == nil && string(b) == formatVersion:
		return c.complete()
	case err == nil:
		return fmt.Errorf("it has the format %q, this darkroom reads %q; use another folder (--cache)", strings.TrimSpace(string(b)), strings.TrimSpace(formatVersion))
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if entries, err := os.ReadDir(c.dir); err == nil && len(entries) > 0 && !c.looksOurs() {
		return errors.New("the folder holds other files; a cache wants a folder of its own")
	}
	for _, d := range parts {
		if err := os.MkdirAll(c.path(d), 0o777); err != nil {
			return err
		}
	}
	for _, d := range []string{"blobs", "records", "."} {
		if err := syncDir(c.path(d)); err != nil {
			return err
		}
	}
	if err := c.writeFile(c.path(".gitignore"), []byte("*\n")); err != nil {
		return err
	}
	if err := c.writeFile(version, []byte(formatVersion)); err != nil { // last: its presence says that the rest stands
		return err
	}
	return c.Sync()
}

// looksOurs reports whether an earlier process was interrupted while it made the folder.
func (c *Cache) looksOurs() bool {
	_, err := os.Stat(c.path("blobs"))
	return err == nil
}

// Close gives the index up. Leases are given up by their own Release.
func (c *Cache) Close() error { return c.index.close() }

// Dir returns the cache's folder.
func (c *Cache) Dir() string { return c.dir }

func (c *Cache) path(parts ...string) string {
	return filepath.Join(append([]string{c.dir}, parts...)...)
}

func (c *Cache) blobPath(d artifact.Digest) string { return c.path("blobs", string(d[:2]), string(d)) }

// TempDir makes a fresh folder on the cache's file system, so that what is made in it can be adopted by renaming. The
// caller removes it.
func (c *Cache) TempDir(pattern string) (string, error) {
	dir, err := os.MkdirTemp(c.path("tmp"), pattern)
	if err != nil {
		return "", fmt.Errorf("making a temporary folder in the cache: %w", err)
	}
	return dir, nil
}

// writeFile writes a small file durably once Sync has run: temporary file, fsync, rename.
func (c *Cache) writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(c.path("tmp"), "write-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = c.renameTo(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	c.renamedIn(filepath.Dir(path))
	return nil
}

// renameTo renames from to a place in the cache. The folders of blobs and records by first digits are made when they are
// first needed, since making all of them would be most of the time that a new cache takes.
func (c *Cache) renameTo(from, to string) error {
	c.renamedIn(filepath.Dir(filepath.Dir(to))) // another process may have made the folder, and died before it was durable
	err := os.Rename(from, to)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Mkdir(filepath.Dir(to), 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(from, to)
}

func (c *Cache) renamedIn(dir string) {
	c.mu.Lock()
	c.dirty[dir] = true
	c.mu.Unlock()
}

// Sync makes everything that was put durable: one fsync for each folder that changed.
func (c *Cache) Sync() error {
	c.mu.Lock()
	dirs := c.dirty
	c.dirty = map[string]bool{}
	c.mu.Unlock()
	for d := range dirs {
		if err := syncDir(d); err != nil {
			c.mu.Lock()
			for d := range dirs { // not durable yet: the next Sync tries again
				c.dirty[d] = true
			}
			c.mu.Unlock()
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("making %s durable: %w", dir, err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("making %s durable: %w", dir, err)
	}
	return nil
}
