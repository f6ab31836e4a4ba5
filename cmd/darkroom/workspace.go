package main

import (
	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/engine"
)

// workspace is a pipeline with its cache, ready to be planned or run.
type workspace struct {
	pipeline *engine.Pipeline
	cache    *cache.Cache
	options  engine.Options
}

func (w *workspace) close() { _ = w.cache.Close() }

// open loads the pipeline and opens its cache.
func (a *app) open(args []string) (*workspace, error) {
	path, err := a.findPipeline(args)
	if err != nil {
		return nil, err
	}
	p, err := a.load(args)
	if err != nil {
		return nil, err
	}
	if err := checkDevice(p); err != nil {
		return nil, err
	}
	c, err := a.openCache(path)
	if err != nil {
		return nil, err
	}
	o, err := engineOptions(c, p)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return &workspace{p, c, o}, nil
}

// engineOptions are those for a pipeline; without one, there are the runners that need no block.
func engineOptions(c *cache.Cache, p *engine.Pipeline) (engine.Options, error) {
	r, err := runners(p)
	if err != nil {
		return engine.Options{}, err
	}
	return engine.Options{Cache: c, Runners: r, Threads: machineThreads()}, nil
}
