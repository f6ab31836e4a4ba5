package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
)

// Finding is something that VerifyAll found wrong.
type Finding struct {
	Path    string `json:"path"`    // relative to the cache's folder, as it was
	Problem string `json:"problem"` // what is wrong and what it means, in a sentence
	// Quarantined says that the file was moved to quarantine/.
	Quarantined bool `json:"quarantined"`
}

// Verification is what VerifyAll looked at and found.
type Verification struct {
	Blobs       int       `json:"blobs"`
	Bytes       int64     `json:"bytes"`
	Records     int       `json:"records"`
	Experiments int       `json:"experiments"`
	Runs        int       `json:"runs"`
	Findings    []Finding `json:"findings,omitempty"` // sorted by path
}

// OK reports whether nothing was found wrong.
func (v *Verification) OK() bool { return len(v.Findings) == 0 }

// VerifyAll reads every byte of every blob, and every record, experiment and run. What is damaged is moved to
// quarantine; the stages that made it run again when they are next needed. It may go on while others write. progress,
// when not nil, is called with the number of blobs read so far and in all.
func (c *Cache) VerifyAll(ctx context.Context, progress func(done, total int)) (*Verification, error) {
	v := new(Verification)
	blobs, err := c.files("blobs")
	if err != nil {
		return nil, err
	}
	for i, f := range blobs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := v.blob(c, f); err != nil {
			return nil, err
		}
		if progress != nil {
			progress(i+1, len(blobs))
		}
	}
	for _, part := range []struct {
		dir   string
		count *int
		check func(path string) error
	}{
		{"records", &v.Records, c.checkRecord},
		{"experiments", &v.Experiments, func(path string) error { return c.readSealed(path, new(Experiment)) }},
		{"runs", &v.Runs, func(path string) error { return c.readSealed(path, new(Run)) }},
	} {
		files, err := c.files(part.dir)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			err := part.check(f.path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			*part.count++
			if err != nil {
				v.found(c, f.path, err.Error())
			}
		}
	}
	sort.SliceStable(v.Findings, func(i, j int) bool { return v.Findings[i].Path < v.Findings[j].Path })
	return v, nil
}

func (v *Verification) blob(c *Cache, f file) error {
	d := artifact.Digest(filepath.Base(f.path))
	if !d.Valid() || f.path != c.blobPath(d) {
		v.found(c, f.path, "This is not a blob: its name is not a digest in the folder of its first two digits.")
		return nil
	}
	err := c.verifyBlob(d)
	switch {
	case errors.Is(err, ErrMissing):
		return nil // removed meanwhile
	case errors.Is(err, ErrCorrupt):
		v.found(c, f.path, "Its bytes do not match its name. The stage that made it runs again when it is needed.")
	case err != nil:
		return err
	}
	v.Blobs++
	v.Bytes += f.size
	return nil
}

func (v *Verification) found(c *Cache, path, problem string) {
	rel, err := filepath.Rel(c.dir, path)
	if err != nil {
		rel = path
	}
	_, err = os.Lstat(path)
	v.Findings = append(v.Findings, Finding{rel, problem, errors.Is(err, fs.ErrNotExist)})
}

// checkRecord reads a record and looks whether what it names is there.
func (c *Cache) checkRecord(path string) error {
	key := artifact.Digest(strings.TrimSuffix(filepath.Base(path), ".json"))
	if !key.Valid() || path != c.recordPath(key) {
		return errors.New("this is not a record: its name is not a key in the folder of its first two digits")
	}
	r, err := c.Record(key)
	if err == nil && r == nil {
		return fs.ErrNotExist
	}
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("the record is not whole (%w); its stage runs again when it is needed", err)
	}
	return err
}

// file is a file of the store.
type file struct {
	path string
	size int64
}

// files lists the regular files below a folder of the cache, sorted by path. Files that vanish meanwhile are left out.
func (c *Cache) files(dir string) ([]file, error) {
	var out []file
	err := filepath.WalkDir(c.path(dir), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			out = append(out, file{path, info.Size()})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the cache: %w", err)
	}
	return out, nil
}
