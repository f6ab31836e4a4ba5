package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/dataset/exporter"
)

func (a *app) getCommand() *cobra.Command {
	var force bool
	var format string
	cmd := &cobra.Command{
		Use:   "get ADDRESS.OUTPUT [PATH]",
		Short: "Copies an artifact out of the cache: a model, a report, a table",
		Long: `Copies an artifact out of the cache. What to copy is an output of the pipeline, such as train.net.model, or the
digest of an artifact (its first digits are enough). PATH is a file or folder to make, or an existing folder to put it
into; without it, the output's own name in the working folder; - writes a file to standard output.

A dataset is copied as the Arrow file that it is. --as writes it as other tools read it: folder (a folder of pictures for
each class), coco (annotations.json and images) or yolo (data.yaml, images and labels).`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeOutput,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.findArtifact(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer f.cache.Close()
			if format != "" {
				return a.exportDataset(cmd.Context(), f, format, args[1:], force)
			}
			path := f.fileName()
			if len(args) == 2 {
				path = args[1]
			}
			a.noteStale(f)
			if path == "-" {
				return a.writeArtifact(f)
			}
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				path = filepath.Join(path, f.fileName())
			}
			if err := f.copyOut(path, force); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"path": path, "type": f.ref.Type, "digest": f.ref.Digest, "size": f.ref.Size, "current": !f.stale})
			}
			fmt.Fprintf(a.out, "%s (%s, %s) → %s\n", f.name, f.ref.Type, bytesText(f.ref.Size), path)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace what is at PATH")
	cmd.Flags().StringVar(&format, "as", "", "of a dataset: write it as folder, coco or yolo")
	_ = cmd.RegisterFlagCompletionFunc("as", cobra.FixedCompletions(exporter.Formats, cobra.ShellCompDirectiveNoFileComp)) // fails for unknown flags alone
	a.variableFlags(cmd)
	return cmd
}

// noteStale says that what is shown is older than the pipeline.
func (a *app) noteStale(f *found) {
	if f.stale {
		fmt.Fprintf(a.err, "%s %s would run again; this is the result of its last run.\n", a.paint(a.err, bold+yellow, "Note:"), f.record.Address)
	}
}

// writeArtifact writes a file to stdout.
func (a *app) writeArtifact(f *found) error {
	if f.ref.Tree {
		return wrongf("%s is a folder, which cannot be written to standard output", f.name)
	}
	b, err := f.cache.ReadBlob(f.ref.Digest)
	if err != nil {
		return f.unreadable(err)
	}
	_, err = a.out.Write(b)
	return err
}

// unreadable says that an artifact could not be read out of the cache, and what to do when it is damaged or gone.
func (f *found) unreadable(err error) error {
	if errors.Is(err, cache.ErrMissing) || errors.Is(err, cache.ErrCorrupt) {
		return fmt.Errorf("the stored %s of %s is damaged or gone: `darkroom run` makes it again", f.ref.Type, f.record.Address)
	}
	return fmt.Errorf("copying %s out of the cache: %w", f.name, err)
}

// copyOut makes a private, writable copy of the artifact.
func (f *found) copyOut(path string, force bool) error {
	return f.replace(path, force, func(whole string) error {
		if err := f.cache.Materialize(f.ref, whole, cache.Copy); err != nil {
			return f.unreadable(err)
		}
		return nil
	})
}

// replace puts at path what make makes; what is there goes only when that has turned out to be whole.
func (f *found) replace(path string, force bool, make func(whole string) error) error {
	_, err := os.Lstat(path)
	if err == nil && !force {
		return wrongf("%s is there already; --force replaces it", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return lackingf("making the folder for %s: %w", path, err)
	}
	part, err := os.MkdirTemp(filepath.Dir(path), ".darkroom-get-")
	if err != nil {
		return lackingf("making a place beside %s: %w", path, err)
	}
	defer os.RemoveAll(part)
	whole := filepath.Join(part, filepath.Base(path))
	if err := make(whole); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return lackingf("removing what is at %s: %w", path, err)
	}
	if err := os.Rename(whole, path); err != nil {
		return lackingf("putting %s to %s: %w", f.name, path, err)
	}
	return nil
}
