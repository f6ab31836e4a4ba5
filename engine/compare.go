package engine

import (
	"fmt"
	"strings"

	"github.com/darkroom-dev/darkroom/cache"
)

// Difference is one way in which two experiments differ.
type Difference struct {
	Address string `json:"address"` // "" for the pipeline as a whole
	// Area is stage (only one has it), kind, argument, input, seed, device, value, output or variable.
	Area string `json:"area"`
	Path string `json:"path"`
	Old  string `json:"old"` // of a; "" where it has none
	New  string `json:"new"` // of b
}

// Compare returns how b differs from a: by address in the order of a's stages, then those that only b has; in each
// first what went in, then what came out.
func Compare(a, b *cache.Experiment) []Difference {
	out := compareVariables(a, b)
	inB := map[string]cache.ExperimentStage{}
	for _, s := range b.Stages {
		inB[s.Address] = s
	}
	inA := map[string]bool{}
	for _, s := range a.Stages {
		inA[s.Address] = true
		t, ok := inB[s.Address]
		if !ok {
			out = append(out, Difference{Address: s.Address, Area: "stage", Path: s.Address, Old: s.Kind})
			continue
		}
		out = append(out, compareStage(s, t)...)
	}
	for _, t := range b.Stages {
		if !inA[t.Address] {
			out = append(out, Difference{Address: t.Address, Area: "stage", Path: t.Address, New: t.Kind})
		}
	}
	return out
}

func compareVariables(a, b *cache.Experiment) (out []Difference) {
	names := map[string]bool{}
	for n := range a.Variables {
		names[n] = true
	}
	for n := range b.Variables {
		names[n] = true
	}
	for _, n := range sortedNames(names) {
		if x, y := a.Variables[n], b.Variables[n]; !sameValue(x, y) {
			out = append(out, Difference{Area: "variable", Path: n, Old: valueText(x), New: valueText(y)})
		}
	}
	return out
}

func compareStage(s, t cache.ExperimentStage) (out []Difference) {
	old, err1 := ParseManifest(s.Manifest)
	now, err2 := ParseManifest(t.Manifest)
	if err1 == nil && err2 == nil && s.Key != t.Key {
		for _, r := range now.Diff(old) {
			out = append(out, Difference{Address: s.Address, Area: now.area(old, r.Path), Path: r.Path, Old: r.Old, New: r.New})
		}
	}
	names := map[string]bool{}
	for n := range s.Values {
		names[n] = true
	}
	for n := range t.Values {
		names[n] = true
	}
	for _, n := range sortedNames(names) {
		out = append(out, compareValue(s.Address, n, s.Values[n], t.Values[n])...)
	}
	outputs := map[string]bool{}
	for n := range s.Outputs {
		outputs[n] = true
	}
	for n := range t.Outputs {
		outputs[n] = true
	}
	for _, n := range sortedNames(outputs) {
		if x, y := s.Outputs[n], t.Outputs[n]; x.Digest != y.Digest {
			out = append(out, Difference{Address: s.Address, Area: "output", Path: n, Old: x.Digest.Short(), New: y.Digest.Short()})
		}
	}
	return out
}

// compareValue goes into objects, so that a difference is that of one number: per_class.scratch.recall.
func compareValue(address, path string, x, y any) (out []Difference) {
	a, isObject := x.(map[string]any)
	b, areObjects := y.(map[string]any)
	if !isObject || !areObjects {
		if !sameValue(x, y) {
			out = append(out, Difference{Address: address, Area: "value", Path: path, Old: valueText(x), New: valueText(y)})
		}
		return out
	}
	names := map[string]bool{}
	for n := range a {
		names[n] = true
	}
	for n := range b {
		names[n] = true
	}
	for _, n := range sortedNames(names) {
		out = append(out, compareValue(address, path+"."+n, a[n], b[n])...)
	}
	return out
}

// area says what part of a manifest a path of Diff belongs to.
func (m *Manifest) area(old *Manifest, path string) string {
	for _, in := range append(append([]ManifestInput(nil), m.Inputs...), old.Inputs...) {
		if in.path() == path {
			return "input"
		}
	}
	switch {
	case path == "kind" || path == "kind version":
		return "kind"
	case path == "seed":
		return "seed"
	case strings.HasPrefix(path, "device."):
		return "device"
	}
	return "argument"
}

func valueText(v any) string {
	if v == nil {
		return ""
	}
	b, err := marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
