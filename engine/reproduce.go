package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/stages"
)

// Verdict compares one output or one stage's values with those of the experiment.
type Verdict string

// The verdicts. WithinTolerance is for devices that do not promise equal bytes; none of those that exist so far.
const (
	Identical       Verdict = "identical"
	WithinTolerance Verdict = "within_tolerance"
	Different       Verdict = "different"
	NotReached      Verdict = "not_reached" // its stage, or one before it, failed
	// Measured is an output of a kind that measures, made again because its inputs came out otherwise: it cannot be compared.
	Measured Verdict = "measured"
)

// Reproduction is what came of executing an experiment again.
type Reproduction struct {
	Experiment artifact.Digest
	Outputs    []ReproducedOutput // by address, then name
	Values     []ReproducedValue  // those that are not identical
	// Notes say what was not as it was recorded, such as another device class.
	Notes  []string
	Result *Result
	Same   bool // every output is identical, or taken over since it was measured
}

// ReproducedOutput is the verdict on one output.
type ReproducedOutput struct {
	Address  string          `json:"address"`
	Output   string          `json:"output"`
	Verdict  Verdict         `json:"verdict"`
	Digest   artifact.Digest `json:"digest"` // what came out now; "" when not reached
	Expected artifact.Digest `json:"expected"`
}

// ReproducedValue is a value that came out otherwise.
type ReproducedValue struct {
	Address, Name string
	Value         any
	Expected      any
}

// Loader loads a pipeline from its texts by file name, and the values of its variables; its relative paths are
// relative to dir.
type Loader func(sources map[string][]byte, variables map[string]any, dir string) (*Pipeline, error)

// Reproduce executes e again in the folder dir, which must be empty or absent, with an empty cache of its own and the
// recorded numbers of threads, and compares every output. o.Cache is where e and the sources that it kept come from.
func Reproduce(ctx context.Context, e *cache.Experiment, load Loader, dir string, o Options) (*Reproduction, error) {
	// GC would take away the sources that are about to be copied, and the folder when it lies in the cache.
	share, err := o.Cache.Share(ctx)
	if err != nil {
		return nil, err
	}
	defer share.Release()
	clean, err := cleanFolder(dir)
	if err != nil {
		return nil, err
	}
	texts := map[string][]byte{}
	for name, text := range e.Sources {
		texts[name] = []byte(text)
	}
	p, err := load(texts, e.Variables, clean)
	if err != nil {
		return nil, fmt.Errorf("loading the pipeline of the experiment: %w", err)
	}
	rep := &Reproduction{Experiment: e.Hash}
	if p, err = restoreSources(p, e, o.Cache, clean, rep); err != nil {
		return nil, err
	}
	from := o.Cache
	own, err := cache.Open(filepath.Join(clean, ".darkroom"))
	if err != nil {
		return nil, err
	}
	defer own.Close()
	o.KeepGoing = true // a requirement that failed then, fails again, and stops nothing from being compared
	o.Cache, o.Targets, o.Force, o.pinned = own, nil, nil, map[string]stages.Device{}
	measured := map[string]bool{}
	for _, n := range p.Nodes {
		measured[n.ID] = n.Kind.Measured
	}
	for _, s := range e.Stages {
		o.pinned[s.Address] = s.Device
		if !measured[s.Address] {
			continue
		}
		if err := takeOver(s, from, own); err != nil {
			return nil, fmt.Errorf("taking over what %s measured: %w", s.Address, err)
		}
		rep.Notes = append(rep.Notes, s.Address+" is what was measured then: it was not run again")
	}
	if rep.Result, err = Run(ctx, p, o); err != nil {
		return nil, err
	}
	rep.compare(e, measured)
	return rep, nil
}

// takeOver copies a stage's record with its outputs and its log from one cache into another.
func takeOver(s cache.ExperimentStage, from, to *cache.Cache) error {
	r, err := from.Claim(s.Key)
	if err != nil {
		return err
	}
	if r == nil {
		return fmt.Errorf("its record %s is no longer in the cache", s.Key.Short())
	}
	refs := []artifact.Ref{}
	for _, ref := range r.Outputs {
		refs = append(refs, ref)
	}
	if !r.Log.IsZero() {
		refs = append(refs, r.Log)
	}
	for _, ref := range refs {
		if err := takeOverArtifact(ref, from, to); err != nil {
			return err
		}
	}
	return to.PutRecord(r)
}

func takeOverArtifact(ref artifact.Ref, from, to *cache.Cache) error {
	dir, err := to.TempDir("taken-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "artifact")
	if err := from.Materialize(ref, path, cache.Copy); err != nil {
		return err
	}
	if ref.Tree {
		_, err = to.PutTree(path, ref.Type)
	} else {
		_, err = to.PutFile(path, ref.Type)
	}
	return err
}

func cleanFolder(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", fmt.Errorf("making the folder to reproduce in: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("looking at the folder to reproduce in: %w", err)
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("the folder %s is not empty: an experiment is reproduced in a clean one", dir)
	}
	return dir, nil
}

// restoreSources gives every source edge of p a path at which the recorded bytes lie: what the cache kept, below
// dir/sources, else the original when it still has the recorded digest.
func restoreSources(p *Pipeline, e *cache.Experiment, from *cache.Cache, dir string, rep *Reproduction) (*Pipeline, error) {
	var written []string
	for w := range e.Inputs {
		written = append(written, w)
	}
	sort.Strings(written)
	paths := map[string]string{}
	var errs []error
	for i, w := range written {
		path := filepath.Join(dir, "sources", fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return nil, fmt.Errorf("making the folder for the sources: %w", err)
		}
		err := from.Materialize(e.Inputs[w], path, cache.Copy)
		if err != nil {
			removeAll(path)
			path, err = original(w, e, from)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		paths[w] = path
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	q := *p
	q.Nodes = make([]*Node, len(p.Nodes))
	for i, n := range p.Nodes {
		m := *n
		m.Inputs = append([]Edge(nil), n.Inputs...)
		for k := range m.Inputs {
			if path := paths[m.Inputs[k].Source]; m.Inputs[k].IsSource() && path != "" {
				m.Inputs[k].Source = path
			}
		}
		q.Nodes[i] = &m
	}
	return &q, nil
}

// original returns where a source that the cache did not keep lies, when it still is what it was.
func original(written string, e *cache.Experiment, c *cache.Cache) (string, error) {
	path := (&Pipeline{Dir: e.Dir}).path(written)
	s, err := c.HashSource(path)
	if err != nil {
		return "", fmt.Errorf("the source %s is not kept in the cache and cannot be read where it lay: %w", written, err)
	}
	if s.Ref.Digest != e.Inputs[written].Digest {
		return "", fmt.Errorf("the source %s is not kept in the cache, and %s is no longer what it was (%s, it was %s)", written, path, s.Ref.Digest.Short(), e.Inputs[written].Digest.Short())
	}
	return path, nil
}

// compare fills the verdicts. measured are the addresses of stages that measure.
func (rep *Reproduction) compare(e *cache.Experiment, measured map[string]bool) {
	now := map[string]StageResult{}
	for _, s := range rep.Result.Stages {
		now[s.Node.ID] = s
	}
	rep.Same = true
	for _, want := range e.Stages {
		got := now[want.Address]
		for _, name := range sortedNames(want.Outputs) {
			v := ReproducedOutput{want.Address, name, NotReached, got.Outputs[name].Digest, want.Outputs[name].Digest}
			switch {
			case v.Digest == v.Expected:
				v.Verdict = Identical
			case v.Digest != "" && measured[want.Address]:
				v.Verdict = Measured
			case v.Digest != "":
				v.Verdict = Different
			}
			rep.Same = rep.Same && (v.Verdict == Identical || v.Verdict == Measured)
			rep.Outputs = append(rep.Outputs, v)
		}
		for _, name := range sortedNames(want.Values) {
			if got.Record != nil && !sameValue(got.Values[name], want.Values[name]) {
				rep.Same = false
				rep.Values = append(rep.Values, ReproducedValue{want.Address, name, got.Values[name], want.Values[name]})
			}
		}
		rep.note(want, got)
	}
}

// note says how a stage's circumstances differ from those recorded.
func (rep *Reproduction) note(want cache.ExperimentStage, got StageResult) {
	if got.Err != nil {
		rep.Notes = append(rep.Notes, fmt.Sprintf("%s %s: %v", want.Address, got.State, got.Err))
	}
	if got.Record == nil || got.Key == want.Key {
		return
	}
	old, err1 := ParseManifest(want.Manifest)
	m, err2 := ParseManifest(got.Record.Manifest)
	if err1 != nil || err2 != nil {
		return
	}
	var parts []string
	for _, r := range m.Diff(old) {
		parts = append(parts, r.String())
	}
	rep.Notes = append(rep.Notes, fmt.Sprintf("%s ran with another key (%s)", want.Address, strings.Join(parts, ", ")))
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// sameValue compares two values in their stored form.
func sameValue(a, b any) bool {
	x, err1 := marshal(a) // maps are sorted
	y, err2 := marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}
