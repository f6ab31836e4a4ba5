package infer

import (
	"encoding/json"
	"fmt"
	"math"
)

// Metadata is what a model's metadata properties say about its classes and its training. Models from elsewhere have
// none of it: then every field is empty.
type Metadata struct {
	Classes []string  // darkroom.classes: names in order of the logits
	Task    string    // darkroom.task: "classification"
	Mean    []float64 // darkroom.mean: per channel; the graph itself subtracts it
	Std     []float64 // darkroom.std: per channel; the graph itself divides by it
}

// The names of the metadata properties. Each holds JSON.
const (
	classesProperty = "darkroom.classes"
	taskProperty    = "darkroom.task"
	meanProperty    = "darkroom.mean"
	stdProperty     = "darkroom.std"
)

// parseMetadata reads the properties that lookup finds and refuses what cannot be meant.
func parseMetadata(lookup func(name string) (text string, ok bool)) (Metadata, error) {
	var m Metadata
	for _, property := range []struct {
		name string
		to   any
	}{{classesProperty, &m.Classes}, {taskProperty, &m.Task}, {meanProperty, &m.Mean}, {stdProperty, &m.Std}} {
		text, ok := lookup(property.name)
		if !ok {
			continue
		}
		if err := json.Unmarshal([]byte(text), property.to); err != nil {
			return Metadata{}, fmt.Errorf("its property %s is not the JSON that darkroom writes: %w", property.name, err)
		}
	}
	seen := map[string]bool{}
	for _, c := range m.Classes {
		if seen[c] {
			return Metadata{}, fmt.Errorf("its property %s names the class %q twice", classesProperty, c)
		}
		seen[c] = true
	}
	if len(m.Mean) != len(m.Std) {
		return Metadata{}, fmt.Errorf("its properties %s and %s have %d and %d numbers", meanProperty, stdProperty, len(m.Mean), len(m.Std))
	}
	for _, s := range m.Std {
		if s <= 0 || math.IsInf(s, 0) {
			return Metadata{}, fmt.Errorf("its property %s holds %v: deviations are above 0", stdProperty, s)
		}
	}
	return m, nil
}
