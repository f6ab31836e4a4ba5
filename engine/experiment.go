package engine

import (
	"errors"
	"fmt"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
)

// storeExperiment keeps everything from which the pipeline can be executed again, unless it is known already.
func (r *run) storeExperiment(hash artifact.Digest) error {
	if _, err := r.o.Cache.Experiment(string(hash)); err == nil {
		return nil
	} else if !errors.Is(err, cache.ErrMissing) && !errors.Is(err, cache.ErrCorrupt) {
		return fmt.Errorf("looking for the experiment: %w", err)
	}
	e := &cache.Experiment{Hash: hash, Pipeline: r.p.Name, Seed: r.p.Seed, Dir: r.p.Dir, Sources: map[string]string{}, Variables: r.p.Variables,
		Inputs: map[string]artifact.Ref{}, Created: r.start.UTC()}
	for name, text := range r.p.Sources {
		e.Sources[name] = string(text)
	}
	for _, i := range r.g.order { // each stage after those that it needs
		s := r.stages[i]
		for _, in := range s.res.inputs {
			if in.source != nil {
				e.Inputs[in.written] = in.ref
			}
		}
		e.Stages = append(e.Stages, cache.ExperimentStage{Address: s.Node.ID, Kind: s.Node.Kind.Name, Version: s.Node.Kind.Version, Key: s.Key,
			Manifest: s.res.manifest.Text(), Device: s.res.device, Outputs: s.Outputs, Values: s.Values})
	}
	return r.o.Cache.PutExperiment(e)
}
