package main

import (
	"os"
	"path/filepath"
	"strings"
)

// cacheVariable names the environment variable that says where the cache lies.
const cacheVariable = "DARKROOM_CACHE"

// cacheFolder returns where the cache lies for a pipeline, a file or a folder: --cache, DARKROOM_CACHE, the nearest
// .darkroom upward from the pipeline, else a new one beside it.
func (a *app) cacheFolder(pipeline string) string {
	if a.cacheDir != "" {
		return a.cacheDir
	}
	if dir := os.Getenv(cacheVariable); dir != "" {
		return dir
	}
	start, err := filepath.Abs(pipeline)
	if err != nil {
		start = pipeline
	}
	if info, err := os.Stat(start); err != nil || !info.IsDir() {
		start = filepath.Dir(start)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		candidate := filepath.Join(dir, ".darkroom")
		if info, err := os.Stat(candidate); err == nil && info.IsDir() {
			return candidate
		}
		if dir == filepath.Dir(dir) {
			return filepath.Join(start, ".darkroom")
		}
	}
}

// findPipeline returns the pipeline that a verb works on: its argument, --pipeline, darkroom.hcl, or the only .hcl file
// of the working folder.
func (a *app) findPipeline(args []string) (string, error) {
	path := a.pipeline
	if len(args) > 0 {
		if path != "" && path != args[0] {
			return "", wrongf("two pipelines are named, %s and --pipeline %s; name one", args[0], path)
		}
		path = args[0]
	}
	if path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", wrongf("there is no pipeline %s: it is neither a file nor a folder", path)
		}
		return path, nil
	}
	if _, err := os.Stat("darkroom.hcl"); err == nil {
		return "darkroom.hcl", nil
	}
	found, err := filepath.Glob("*.hcl")
	switch {
	case err != nil:
		return "", err
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", wrongf("several pipelines are here (%s): say which one, or name the working folder (.) if they are one pipeline", strings.Join(found, ", "))
	}
	return "", wrongf("there is no pipeline here: no darkroom.hcl and no other .hcl file. `darkroom init` writes a first one")
}
