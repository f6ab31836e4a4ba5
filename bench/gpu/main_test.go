package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/dsl"
	"github.com/darkroom-dev/darkroom/stages/all"
)

func TestWithoutAGPUItSaysSo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := bench(t.Context(), options{}); !errors.Is(err, errNoGPU) || !strings.Contains(err.Error(), "nvidia-smi") {
		t.Errorf("%v", err)
	}
}

func TestThePipelineIsValid(t *testing.T) {
	p, diagnostics := dsl.Load("cifar10.hcl", dsl.Options{Catalog: all.Catalog(), Environ: []string{"DARKROOM_VAR_data=" + t.TempDir()}})
	if diagnostics.HasErrors() || len(p.Nodes) != 5 {
		t.Fatalf("%v", diagnostics)
	}
}

// Our side, on a plugin for the processor and at a size that it can do.
func TestSteps(t *testing.T) {
	path := os.Getenv("DARKROOM_PJRT_CPU")
	if cache, err := os.UserCacheDir(); err == nil && path == "" {
		if found, _ := filepath.Glob(filepath.Join(cache, "darkroom", "xla-cpu", "lib", "python3*", "site-packages", "xla_plugins", "xla_cpu_pjrt", "xla_cpu_pjrt.so")); len(found) > 0 {
			path = found[0]
		}
	}
	if path == "" {
		t.Skip("no PJRT plugin for the processor: run `make setup-xla KIND=cpu`, or set DARKROOM_PJRT_CPU to the path of one")
	}
	got, err := steps{model: "resnet8", size: 8, batch: 2, precision: "bf16", warmup: 1, count: 2}.run(path, "cpu")
	if err != nil || got.Rate <= 0 || !strings.Contains(got.Version, "BFloat16") {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := (steps{model: "resnet8", size: 8, batch: 2, precision: "bf16", count: 1}).run(path, "cuda"); err == nil || !strings.Contains(err.Error(), `drives "cpu", not "cuda"`) {
		t.Errorf("a plugin for the processor was taken for one of CUDA: %v", err)
	}
}

func TestTheEnvironmentOfThePeer(t *testing.T) {
	got := without([]string{"A=1", "LD_LIBRARY_PATH=x", "B=2"}, "LD_LIBRARY_PATH")
	if !slices.Equal(got, []string{"A=1", "B=2"}) {
		t.Errorf("%v", got)
	}
}
