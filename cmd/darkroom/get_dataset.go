package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/exporter"
)

// exportDataset writes a stored dataset to a new folder as other tools read it.
func (a *app) exportDataset(ctx context.Context, f *found, format string, path []string, force bool) error {
	switch {
	case !slices.Contains(exporter.Formats, format):
		return wrongf("--as is %q; it takes one of %s", format, strings.Join(exporter.Formats, ", "))
	case f.ref.Type != artifact.Dataset || f.ref.Tree:
		return wrongf("%s is a %s, and --as writes datasets", f.name, f.ref.Type)
	}
	dir := strings.TrimSuffix(f.fileName(), suffixes[artifact.Dataset])
	if len(path) > 0 {
		dir = filepath.Clean(path[0])
	}
	if dir == "-" {
		return wrongf("a folder cannot be written to standard output; name the folder to make")
	}
	a.noteStale(f)
	var written *exporter.Written
	err := f.withDataset(func(d *dataset.Dataset) error {
		return f.replace(dir, force, func(whole string) (err error) {
			written, err = exporter.Write(ctx, d, whole, format)
			var refused *exporter.FormatError
			if errors.As(err, &refused) {
				return wrongf("%s cannot be written as %s: %s", f.name, format, refused.Detail)
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"path": dir, "format": format, "images": written.Images, "lost": written.Lost, "digest": f.ref.Digest, "current": !f.stale})
	}
	fmt.Fprintf(a.out, "%s (%s) → %s as %s\n", f.name, plural(written.Images, "image"), dir, format)
	for _, what := range written.Lost {
		fmt.Fprintf(a.err, "%s %s\n", a.paint(a.err, bold+yellow, "Not written:"), what)
	}
	return nil
}
