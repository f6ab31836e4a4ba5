package main

import (
	"sync"

	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
	"github.com/darkroom-dev/darkroom/runners/local"
	"github.com/darkroom-dev/darkroom/stages"
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
	o, err := engineOptions(c)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return &workspace{p, c, o}, nil
}

func engineOptions(c *cache.Cache) (engine.Options, error) {
	runner, err := local.New(local.Options{Device: device})
	if err != nil {
		return engine.Options{}, lackingf("the local runner: %w", err)
	}
	return engine.Options{Cache: c, Runners: map[string]engine.Runner{"local": runner}, Threads: machineThreads()}, nil
}

// computeLibrary finds the ONNX Runtime library once, and returns its version without loading it.
var computeLibrary = sync.OnceValues(func() (string, error) {
	path, err := ort.Find()
	if err != nil {
		return "", lackingf("%w", err)
	}
	version := ort.Version()
	if version == "onnxruntime" {
		return "", lackingf("%s is not the ONNX Runtime library, or it is damaged: run `make setup`, or set %s to the path of the library", path, ort.PathVariable)
	}
	return version, nil
})

// device is the device class of this machine.
func device(threads int) (stages.Device, error) {
	version, err := computeLibrary()
	if err != nil {
		return stages.Device{}, err
	}
	return stages.Device{Backend: "cpu", Version: version + ", " + kernel.Class(), ISA: ort.ISA(), Precision: "fp32", Threads: threads}, nil
}

// checkDevice finds out before anything runs that a stage will lack what it computes with.
func checkDevice(p *engine.Pipeline) error {
	for _, n := range p.Nodes {
		if n.Kind.Computes {
			_, err := computeLibrary()
			return err
		}
	}
	return nil
}
