package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// small is a pipeline of seconds that has every kind of the main job; the checks that run it many times change its text.
const small = `pipeline {
  name = "small"
  seed = 7
}

variable "epochs" {
  type    = number
  default = 3
}

variable "workers" {
  type    = number
  default = 1
}

ingest "surfaces" {
  generator = "surfaces"
  count     = 800
  size      = 32
}

split "holdout" {
  data  = ingest.surfaces.dataset
  ratio = [6, 2, 2]
}

augment "policy" {
  data = split.holdout.train
  horizontal_flip {}
  shift {
    limit = 0.1
    p     = 1
  }
  preview { columns = 4 }
}

train "net" {
  data       = augment.policy.dataset
  validation = split.holdout.validation
  model      = "resnet8"
  batch      = 32
  epochs     = var.epochs
  workers    = var.workers
}

evaluate "test" {
  model = train.net.model
  data  = split.holdout.test
}
`

// reordered is the same pipeline with its blocks in another order, comments and other formatting.
func reordered() string {
	blocks := strings.Split(strings.TrimSpace(small), "\n\n")
	var b strings.Builder
	for i := len(blocks) - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "# block %d\n%s\n\n\n", i, strings.ReplaceAll(blocks[i], "  ", "\t"))
	}
	return b.String()
}

// project writes text as pipeline.hcl into a fresh folder and returns the folder.
func (e *environment) project(name, text string) (string, error) {
	dir, err := e.folder(name)
	if err != nil {
		return "", err
	}
	return dir, writePipeline(dir, text)
}

func writePipeline(dir, text string) error {
	return os.WriteFile(filepath.Join(dir, "pipeline.hcl"), []byte(text), 0o666)
}

// runSmall writes text into dir and runs it.
func (e *environment) runSmall(ctx context.Context, dir, text string, args ...string) (ran, error) {
	if err := writePipeline(dir, text); err != nil {
		return ran{}, err
	}
	return e.run(ctx, command{dir: dir, args: append([]string{"pipeline.hcl"}, args...)})
}

// expectStages fails unless exactly the named stages ran.
func expectStages(what string, r ran, want string) error {
	if got := r.started(); got != want {
		return fmt.Errorf("%s: ran [%s], should run [%s]", what, got, want)
	}
	return nil
}
