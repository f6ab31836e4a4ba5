// Package lint holds the rules of who may import whom, and the test that applies them to every package of the module.
// The rules are few and say why; a new room adds a line to Rules.
package lint

import "strings"

// Module is the module's own import path.
const Module = "github.com/darkroom-dev/darkroom"

// Rule restricts the imports of some packages, by path patterns: "cache" is that package alone, "onnx/..." that one and
// all below it. Patterns without a dot in their first element are paths inside the module.
type Rule struct {
	Why string // in a full sentence, printed when the rule is broken

	// In, when set, are the packages that the rule restricts: they may import of Of only what Allow lists.
	// When In is empty, the rule restricts everybody but Except.
	In, Except []string
	Of         []string // the imports that the rule is about
	Allow      []string // those of them that are allowed all the same
}

// Rules returns who may import whom, as the design says.
func Rules() []Rule {
	ours := []string{"..."}
	return []Rule{
		{Why: "artifact is the ground everything stands on: it knows nothing else of ours.",
			In: []string{"artifact"}, Of: ours},
		{Why: "stages says what a stage is; it knows artifacts and nothing that runs them.",
			In: []string{"stages", "stages/stagetest"}, Of: ours, Allow: []string{"artifact", "stages"}},
		{Why: "cache stores artifacts and records; it must not know who makes or schedules them.",
			In: []string{"cache/..."}, Of: ours, Allow: []string{"artifact", "stages", "cache/..."}},
		{Why: "engine schedules stages without knowing the language, a kind or a runner; those come in through its interfaces.",
			In: []string{"engine/..."}, Of: ours, Allow: []string{"artifact", "stages", "cache/...", "engine/..."}},
		{Why: "dsl turns text into an engine.Pipeline and knows nothing that executes it.",
			In: []string{"dsl/..."}, Of: ours, Allow: []string{"artifact", "stages", "engine", "dsl/..."}},
		{Why: "runners and web know the engine's interfaces only.",
			In: []string{"runners/...", "web/..."}, Of: ours, Allow: []string{"artifact", "stages", "engine", "runners/...", "web/...", "infer/ort"}},
		{Why: "a kind knows what a stage is and the libraries; it never sees the engine, the language, the cache or another kind.",
			In: []string{"stages/ingest/...", "stages/split/...", "stages/augment/...", "stages/pretrain/...", "stages/nas/...", "stages/train/...",
				"stages/distill/...", "stages/prune/...", "stages/quantize/...", "stages/tensorrt/...", "stages/evaluate/...", "stages/profile/...",
				"stages/select/...", "stages/exec/...", "stages/summary/..."},
			Of: ours, Allow: []string{"artifact", "stages", "stages/recipe", "dataset/...", "onnx/...", "learn/...", "infer/...", "report/..."}},
		{Why: "what kinds that train have in common is no kind: it knows what a stage is, how to train, and how that is reported.",
			In: []string{"stages/recipe"}, Of: ours, Allow: []string{"artifact", "stages", "dataset/...", "onnx/...", "learn/...", "report/..."}},
		{Why: "learn/device chooses what a computation runs on: a stage names a class of device and no device.",
			In: []string{"stages/..."}, Of: []string{"learn/cpu", "learn/mixed", "learn/xla"}},
		{Why: "a library knows artifacts and other libraries; what a stage, a pipeline or a cache is, is not its business.",
			In: []string{"dataset/...", "onnx/...", "learn/...", "infer/...", "report/..."}, Of: ours,
			Allow: []string{"artifact", "dataset/...", "onnx/...", "learn/...", "infer/...", "report/..."}},
		{Why: "the catalog of kinds is the edge's choice: only the command line, benchmarks and tests import it.",
			Of: []string{"stages/all"}, Except: []string{"cmd/...", "bench/...", "stages/all"}},
		{Why: "HCL and its values stop at the language: everybody else sees stages.Args.",
			Of: []string{"github.com/hashicorp/hcl/...", "github.com/zclconf/go-cty/..."}, Except: []string{"dsl/..."}},
		{Why: "training is the only room that differentiates graphs; onnx may take the message types alone.",
			Of: []string{"github.com/gomlx/..."}, Except: []string{"learn/..."}, Allow: []string{"github.com/gomlx/compute-onnx/support/protos"}},
		{Why: "of the ONNX message types there is one reader and writer, onnx, and the trainer that lowers graphs; infertest writes broken models that onnx would refuse to.",
			Of: []string{"github.com/gomlx/compute-onnx/support/protos"}, Except: []string{"onnx/...", "learn/...", "infer/infertest"}},
		{Why: "ONNX Runtime has one environment per process, and its threads change bits: infer and the trainer's device own it.",
			Of: []string{"github.com/yalue/onnxruntime_go"}, Except: []string{"infer/...", "learn/cpu/..."}},
		{Why: "one process holds the index; everybody asks the cache.",
			Of: []string{"github.com/dgraph-io/badger/..."}, Except: []string{"cache/..."}},
		{Why: "the command line is wiring at the edge; nothing may depend on it.",
			Of: []string{"cmd/..."}, Except: []string{"cmd/..."}},
	}
}

// Forbids reports whether the rule forbids the package at path pkg to import imported; both are full import paths.
func (r Rule) Forbids(pkg, imported string) bool {
	if len(r.In) > 0 && !matchAny(r.In, pkg) || matchAny(r.Except, pkg) {
		return false
	}
	return pkg != imported && matchAny(r.Of, imported) && !matchAny(r.Allow, imported)
}

func matchAny(patterns []string, path string) bool {
	for _, p := range patterns {
		if match(p, path) {
			return true
		}
	}
	return false
}

func match(pattern, path string) bool {
	if first, _, _ := strings.Cut(pattern, "/"); !strings.Contains(first, ".") || pattern == "..." {
		pattern = Module + "/" + pattern
	}
	if base, below := strings.CutSuffix(pattern, "/..."); below {
		return path == base || strings.HasPrefix(path, base+"/")
	}
	return path == pattern
}
