package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// dataFolder is a folder of real images; the error is a skip where it is not here.
func (e *environment) dataFolder(name string) (string, error) {
	data := os.Getenv("DARKROOM_DATA")
	if data == "" {
		data = filepath.Join(e.root, "..", "shared", "data")
	}
	data, err := filepath.Abs(filepath.Join(data, name))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(data); err != nil {
		return "", skip("the images of " + name + " are not here: " + err.Error())
	}
	return data, nil
}

// numbers runs a pipeline on real images in a cache of its own and returns the values of one of its stages.
func (e *environment) numbers(ctx context.Context, pipeline, images, address string) (shown, error) {
	data, err := e.dataFolder(images)
	if err != nil {
		return shown{}, err
	}
	dir, err := e.folder(images)
	if err != nil {
		return shown{}, err
	}
	pipeline = filepath.Join(e.root, pipeline)
	flags := []string{"--cache", filepath.Join(dir, "cache"), "--var", "data=" + data}
	// A requirement that is not met fails the run and keeps the numbers: they are judged here.
	_, failed := e.run(ctx, command{dir: dir, args: append([]string{pipeline}, flags...)})
	s, err := e.show(ctx, dir, pipeline, address, flags...)
	if err != nil && failed != nil {
		return s, failed
	}
	return s, err
}

// zeroCost checks that a score without training ranks networks as training does.
func zeroCost(ctx context.Context, e *environment) (string, error) {
	s, err := e.numbers(ctx, "bench/accept/pipelines/zerocost.hcl", "fashion-mnist", "nas.ranked")
	if err != nil {
		return "", err
	}
	found, _ := s.Values["correlation"].(map[string]any)
	best := -1.0
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(found)) {
		r, _ := found[name].(float64)
		best = max(best, r)
		parts = append(parts, fmt.Sprintf("%s %.2f", name, r))
	}
	text := strings.Join(parts, ", ")
	if best < 0.5 {
		err = fmt.Errorf("misses the number")
	}
	return text, err
}

// search checks that the winner of a search is better than resnet8, with as many FLOPs at most.
func search(ctx context.Context, e *environment) (string, error) {
	return gained(ctx, e, "pipelines/search.hcl", "fashion-mnist", 0)
}

// distillation checks that a student with a teacher is better than without.
func distillation(ctx context.Context, e *environment) (string, error) {
	return gained(ctx, e, "pipelines/distill.hcl", "cifar-10", 0.005)
}

// gained runs a pipeline whose stage summary.test has drops of accuracy, which are to be gains of at least that much in the mean.
func gained(ctx context.Context, e *environment, pipeline, images string, least float64) (string, error) {
	s, err := e.numbers(ctx, pipeline, images, "summary.test")
	if err != nil {
		return "", err
	}
	of := func(value, name string) float64 {
		all, _ := s.Values[value].(map[string]any)
		v, _ := all[name].(float64)
		return v
	}
	gain, deviation := -of("mean", "drop"), of("deviation", "drop")
	text := fmt.Sprintf("%+.2f ± %.2f points, %.0f seeds", 100*gain, 100*deviation, of("count", "drop"))
	if gain <= 0 || gain < least || of("count", "drop") < 3 {
		err = fmt.Errorf("misses the number")
	}
	return text, err
}

// overhead checks what the kinds that train otherwise cost.
func overhead(ctx context.Context, e *environment) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "run", "./bench/overhead")
	cmd.Dir = e.root
	b, err := cmd.CombinedOutput()
	text := strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", "; ")
	if err != nil {
		return text, fmt.Errorf("go run ./bench/overhead: %w", err)
	}
	return text, nil
}
