package main

import (
	"errors"
	"fmt"

	"github.com/darkroom-dev/darkroom/cache"
)

// findExperiment resolves the first digits of a hash, or @N, the N-th newest experiment.
func findExperiment(c *cache.Cache, name string) (*cache.Experiment, error) {
	var n int
	if _, err := fmt.Sscanf(name, "@%d", &n); err == nil && n > 0 {
		all, err := c.Experiments()
		if n <= len(all) {
			return all[n-1], nil
		}
		if err != nil {
			return nil, lackingf("reading the experiments: %w", err)
		}
		return nil, wrongf("there is no experiment %s: the cache holds %d", name, len(all))
	}
	x, err := c.Experiment(name)
	if errors.Is(err, cache.ErrMissing) || errors.Is(err, cache.ErrAmbiguous) {
		return nil, wrongf("%w", err)
	}
	if err != nil {
		return nil, lackingf("%w", err)
	}
	return x, nil
}
