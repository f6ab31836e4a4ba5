package main

import (
	"errors"
	"os"

	"github.com/darkroom-dev/darkroom/cache"
)

// openCache opens the cache for a pipeline; path is where the pipeline lies, or where to look from.
func (a *app) openCache(path string) (*cache.Cache, error) {
	dir := a.cacheFolder(path)
	c, err := cache.Open(dir)
	if err != nil {
		return nil, lackingf("%w; choose another folder with --cache or %s", err, cacheVariable)
	}
	return c, nil
}

// openExisting opens the cache for a verb that only reads, which does not make a new one.
func (a *app) openExisting() (*cache.Cache, error) {
	path := a.pipeline
	if path == "" {
		path = "."
	}
	dir := a.cacheFolder(path)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, wrongf("there is no cache at %s: nothing has run yet. Name the pipeline (--pipeline) or the cache (--cache) if it lies elsewhere", relative(dir))
	}
	return a.openCache(path)
}
