package cache

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/darkroom-dev/darkroom/artifact"
)

// Mode says how an artifact is brought to a place.
type Mode int

// Link shares the stored bytes, read only, and is for programs that are ours; Copy gives private bytes that may be
// written to.
const (
	Link Mode = iota
	Copy
)

// Materialize puts the artifact at dst, which must not exist. Every byte is verified: what is stored is read before it
// is linked, and a copy is digested. Where links are refused, copies are made. When it fails, nothing is left at dst.
func (c *Cache) Materialize(ref artifact.Ref, dst string, mode Mode) error {
	if _, err := os.Lstat(dst); err == nil {
		return fmt.Errorf("restoring %s: %w", dst, os.ErrExist)
	}
	err := c.restore(ref, dst, mode)
	if err != nil {
		_ = removeAll(dst) // the first error is the one to report
	}
	return err
}

func (c *Cache) restore(ref artifact.Ref, dst string, mode Mode) error {
	if !ref.Tree {
		return c.place(ref.Digest, dst, mode, false)
	}
	tree, err := c.Tree(ref)
	if err != nil {
		return fmt.Errorf("restoring %s: %w", dst, err)
	}
	if err := os.Mkdir(dst, 0o777); err != nil {
		return fmt.Errorf("restoring %s: %w", dst, err)
	}
	for _, e := range tree.Entries() {
		path := filepath.Join(dst, filepath.FromSlash(e.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return fmt.Errorf("restoring %s: %w", dst, err)
		}
		if err := c.place(e.Digest, path, mode, e.Executable); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache) place(d artifact.Digest, dst string, mode Mode, executable bool) error {
	if err := c.verifyBlob(d); err != nil {
		return fmt.Errorf("restoring %s: %w", dst, err)
	}
	// A link has the blob's mode, so an executable file is always a copy.
	if mode == Link && !executable && os.Link(c.blobPath(d), dst) == nil {
		return nil
	}
	perm := os.FileMode(0o444)
	if mode == Copy {
		perm = 0o644
	}
	if executable {
		perm |= 0o111
	}
	if err := copyFile(c.blobPath(d), dst, perm); err != nil {
		return fmt.Errorf("restoring %s: %w", dst, err)
	}
	if got, _, err := artifact.DigestFile(dst); err != nil || got != d {
		os.Remove(dst)
		return fmt.Errorf("restoring %s: blob %s: %w", dst, d.Short(), ErrCorrupt)
	}
	return nil
}
