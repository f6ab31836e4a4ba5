package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/engine"
)

// publishReports puts the reports of the stages into a folder with names that stay, as files of their own that nothing
// else depends on, with the measurements beside them. It returns the paths of those that the pipeline ends in.
func publishReports(w *workspace, o *outcome) ([]string, error) {
	var ends []string
	for _, n := range w.pipeline.Nodes {
		dir := filepath.Join(w.cache.Dir(), "reports", safeName(w.pipeline.Name), safeName(n.ID))
		any := false
		for _, name := range sortedKeys(o.outputs[n.ID]) {
			ref := o.outputs[n.ID][name]
			if ref.Type != artifact.Report || ref.Tree {
				continue
			}
			path := filepath.Join(dir, safeName(name)+".html")
			if err := publish(w.cache, ref, path); err != nil {
				return ends, fmt.Errorf("writing the report of %s: %w", n.ID, err)
			}
			any = true
			if isEnd(w.pipeline, n) {
				ends = append(ends, relative(path))
			}
		}
		if any && len(o.measured[n.ID]) > 0 {
			if err := publishMeasurements(dir, o.measured[n.ID]); err != nil {
				return ends, fmt.Errorf("writing the measurements of %s: %w", n.ID, err)
			}
		}
	}
	return ends, nil
}

// isEnd reports whether no other stage takes anything from the stage.
func isEnd(p *engine.Pipeline, node *engine.Node) bool {
	for _, n := range p.Nodes {
		for _, e := range n.Inputs {
			if e.From.Node == node.ID {
				return false
			}
		}
	}
	return true
}

// publish makes path a read-only copy of the artifact, at once, unless it is one already.
func publish(c *cache.Cache, ref artifact.Ref, path string) error {
	if digest, _, err := artifact.DigestFile(path); err == nil && digest == ref.Digest {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	part, err := os.MkdirTemp(filepath.Dir(path), ".part-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part)
	file := filepath.Join(part, "report")
	if err := c.Materialize(ref, file, cache.Copy); err != nil {
		return err
	}
	if err := os.Chmod(file, 0o444); err != nil {
		return err
	}
	return os.Rename(file, path)
}

func publishMeasurements(dir string, measured map[string]float64) error {
	text, err := json.MarshalIndent(measured, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	path := filepath.Join(dir, "measurements.json")
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	part := filepath.Join(dir, ".measurements.json")
	if err := os.WriteFile(part, text, 0o666); err != nil {
		return err
	}
	return os.Rename(part, path)
}

var unsafe = regexp.MustCompile(`[^A-Za-z0-9._=,+-]+`)

// safeName makes a name usable as a file's. Names that had to be changed get some digits, so that two never meet.
func safeName(name string) string {
	safe := unsafe.ReplaceAllString(name, "_")
	if safe == name && safe != "" && safe[0] != '.' {
		return safe
	}
	return safe + "-" + string(artifact.DigestBytes([]byte(name))[:6])
}
