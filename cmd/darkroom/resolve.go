package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/engine"
)

// found is what a name on the command line stands for: a stage's record, one of its outputs, or an artifact.
type found struct {
	cache  *cache.Cache
	name   string        // as people read it
	record *cache.Record // nil for an artifact that no record here names
	output string        // "" when the record as a whole is meant
	ref    artifact.Ref  // of the output or the artifact
	// stale says that the record is of an earlier run: the pipeline has changed since.
	stale bool
}

var hexadecimal = regexp.MustCompile(`^[0-9a-f]{4,64}$`)

// findStage resolves ADDRESS or ADDRESS.OUTPUT in the pipeline: to the record of the stage as it is written now, else
// to the record that it had last. The caller closes the cache.
func (a *app) findStage(ctx context.Context, what string) (*found, error) {
	w, err := a.open(nil)
	if err != nil {
		return nil, err
	}
	f, err := a.findInWorkspace(ctx, w, what)
	if err != nil {
		w.close()
		return nil, err
	}
	return f, nil
}

func (a *app) findInWorkspace(ctx context.Context, w *workspace, what string) (*found, error) {
	node, output := splitAddress(w.pipeline, what)
	if node == nil {
		return nil, knownStage(w.pipeline, what)
	}
	record, stale, err := a.recordOf(ctx, w, node)
	if err != nil {
		return nil, err
	}
	f := &found{cache: w.cache, name: what, record: record, output: output, stale: stale}
	if output == "" {
		return f, nil
	}
	ref, ok := record.Outputs[output]
	if !ok {
		return nil, wrongf("%s has no output %s%s", node.ID, output, closest(output, sortedKeys(record.Outputs)))
	}
	f.ref = ref
	return f, nil
}

// splitAddress finds the stage that what names, in full or followed by one of its outputs.
func splitAddress(p *engine.Pipeline, what string) (*engine.Node, string) {
	var best *engine.Node
	for _, n := range p.Nodes {
		if (what == n.ID || strings.HasPrefix(what, n.ID+".")) && (best == nil || len(n.ID) > len(best.ID)) {
			best = n
		}
	}
	if best == nil {
		return nil, ""
	}
	return best, strings.TrimPrefix(strings.TrimPrefix(what, best.ID), ".")
}

// recordOf returns the record of a stage as it is written now, or the last one it had.
func (a *app) recordOf(ctx context.Context, w *workspace, node *engine.Node) (r *cache.Record, stale bool, err error) {
	o := w.options
	o.Targets = []string{node.ID}
	plan, err := engine.NewPlan(ctx, w.pipeline, o)
	if err != nil {
		return nil, false, a.engineFailure(w.pipeline, err)
	}
	for _, s := range plan.Steps {
		if s.Node.ID == node.ID && s.Action == engine.Reuse {
			r, err = w.cache.Claim(s.Key)
			if err == nil && r != nil {
				return r, false, nil
			}
		}
	}
	if r = w.cache.LastRecord(w.pipeline.Name, node.ID); r == nil {
		return nil, false, wrongf("%s has not run yet: `darkroom run` makes its results", node.ID)
	}
	return r, true, nil
}

// findDigest resolves the first digits of a key or of an artifact's digest; nil when nothing begins with them.
func (a *app) findDigest(c *cache.Cache, prefix string) (*found, error) {
	keys, err := c.Keys()
	if err != nil {
		return nil, lackingf("reading the cache: %w", err)
	}
	matches := map[string]*found{} // by what it is, so that equal artifacts of several records count once
	for _, key := range keys {
		r, err := c.Claim(key)
		if err != nil || r == nil {
			continue // `cache verify` is who complains of damaged records
		}
		if strings.HasPrefix(string(key), prefix) {
			name := "record " + key.Short()
			matches[name] = &found{cache: c, name: name, record: r}
		}
		for _, output := range sortedKeys(r.Outputs) {
			if ref := r.Outputs[output]; strings.HasPrefix(string(ref.Digest), prefix) {
				id := "artifact " + ref.Digest.Short()
				if old := matches[id]; old == nil || old.record.Started.After(r.Started) {
					matches[id] = &found{cache: c, name: fmt.Sprintf("%s %s", ref.Type, ref.Digest.Short()), record: r, output: output, ref: ref}
				}
			}
		}
	}
	names := sortedKeys(matches)
	switch len(names) {
	case 0:
		return nil, nil
	case 1:
		return matches[names[0]], nil
	}
	return nil, wrongf("%q is not enough: %s begin with it", prefix, strings.Join(names, " and "))
}

// findArtifact resolves ADDRESS.OUTPUT or a digest to one artifact. The caller closes the cache.
func (a *app) findArtifact(ctx context.Context, what string) (*found, error) {
	if !hexadecimal.MatchString(what) {
		f, err := a.findStage(ctx, what)
		if err != nil {
			return nil, err
		}
		return f, f.single()
	}
	c, err := a.openExisting()
	if err != nil {
		return nil, err
	}
	f, err := a.findDigest(c, what)
	if err == nil && f == nil {
		err = wrongf("nothing here has a digest that begins with %s", what)
	}
	if err == nil {
		err = f.single()
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return f, nil
}

// single makes a stage that has one output stand for that output.
func (f *found) single() error {
	if !f.ref.IsZero() {
		return nil
	}
	names := sortedKeys(f.record.Outputs)
	if len(names) != 1 {
		return wrongf("%s has several outputs: say which one of %s", f.name, strings.Join(names, ", "))
	}
	f.output, f.ref = names[0], f.record.Outputs[names[0]]
	return nil
}

var suffixes = map[artifact.Type]string{
	artifact.Dataset: ".arrow", artifact.Model: ".onnx", artifact.Engine: ".plan", artifact.Metrics: ".json", artifact.Table: ".csv",
	artifact.Report: ".html", artifact.Image: ".png",
}

// fileName is what the artifact is called when the user does not say.
func (f *found) fileName() string {
	name := strings.NewReplacer("/", "-", "\\", "-").Replace(f.output)
	if f.ref.Tree {
		return name
	}
	return name + suffixes[f.ref.Type]
}
