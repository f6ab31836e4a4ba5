package tensorrt

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/onnx"
)

// The stand-in for trtexec is the test binary itself, reached through a link that only the tests make. It is strict: a flag that its version
// does not document, a value of the wrong form or a model that it would refuse ends it as the real one does. What it prints has the
// documented form.

const standInVariable = "DARKROOM_TEST_TRTEXEC"

func TestMain(m *testing.M) {
	if version := os.Getenv(standInVariable); version != "" && filepath.Base(os.Args[0]) == "trtexec" {
		os.Exit(standIn(version, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// install makes the stand-in the machine's trtexec, of a version such as 100600.
func install(t *testing.T, version string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "trtexec")
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	t.Setenv(programVariable, path)
	t.Setenv(standInVariable, version)
}

// uninstall makes a machine without TensorRT.
func uninstall(t *testing.T) {
	t.Helper()
	t.Setenv(programVariable, "")
	t.Setenv("PATH", t.TempDir())
	known := wellKnown
	wellKnown = nil
	t.Cleanup(func() { wellKnown = known })
}

// flagsOfBoth are the documented flags that both versions take, with whether they take a value.
var flagsOfBoth = map[string]bool{"--onnx": true, "--saveEngine": true, "--timingCacheFile": true, "--builderOptimizationLevel": true, "--profilingVerbosity": true,
	"--exportLayerInfo": true, "--exportTimes": true, "--exportProfile": true, "--memPoolSize": true, "--minShapes": true, "--optShapes": true, "--maxShapes": true,
	"--useDLACore": true, "--allowGPUFallback": false, "--versionCompatible": false, "--hardwareCompatibilityLevel": true, "--sparsity": true, "--skipInference": false,
	"--warmUp": true, "--duration": true, "--percentile": true, "--useSpinWait": false}

var flagsOf = map[string]map[string]bool{
	"10": {"--fp16": false, "--bf16": false, "--int8": false, "--best": false, "--stronglyTyped": false, "--useCudaGraph": false, "--noDataTransfers": false, "--calib": true},
	"11": {"--noCudaGraph": false, "--includeDataTransfers": false, "--useCudaGraph": false, "--noDataTransfers": false},
}

func standIn(version string, args []string) int {
	fmt.Printf("&&&& RUNNING TensorRT.trtexec [TensorRT v%s] [b26] # trtexec %s\n", version, strings.Join(args, " "))
	if slices.Contains(args, "--help") {
		fmt.Println("=== Model Options ===\n  --onnx=<file>               ONNX model")
		return 0
	}
	fail := func(text string, rest ...any) int {
		fmt.Printf("[11/25/2026-10:00:00] [E] "+text+"\n", rest...)
		fmt.Printf("&&&& FAILED TensorRT.trtexec [TensorRT v%s] [b26] # trtexec\n", version)
		return 1
	}
	given := map[string]string{}
	for _, a := range args {
		name, value, has := strings.Cut(a, "=")
		takes, ok := flagsOfBoth[name]
		if !ok {
			takes, ok = flagsOf[version[:2]][name]
		}
		if _, twice := given[name]; !ok || twice || takes != has || takes && value == "" {
			return fail("Unknown option: %s", a)
		}
		given[name] = value
	}
	model, err := onnx.Load(given["--onnx"])
	if err != nil {
		return fail("Failed to parse onnx file: %v", err)
	}
	if why := refuses(model, given); why != "" {
		return fail("%s", why)
	}
	layers := `{"Layers": [{"Name": "conv + relu", "LayerType": "CaskConvolution", "Inputs": [], "Outputs": [{"Name": "a", "Dimensions": [1], "Format/Datatype": "Half"}]},
{"Name": "pool", "LayerType": "PoolingV2", "Inputs": [], "Outputs": [{"Name": "b", "Dimensions": [1], "Format/Datatype": "Half"}]}], `
	if version[:2] == "10" {
		layers += `"Bindings": ["image", "logits"]}`
	} else {
		layers += `"I/O Tensors": [{"Name": "image"}, {"Name": "logits"}]}`
	}
	timings := "timings\n"
	if old, err := os.ReadFile(given["--timingCacheFile"]); err == nil {
		timings = string(old)
	}
	_ = os.WriteFile(given["--saveEngine"], []byte("plan "+version), 0o666)
	_ = os.WriteFile(given["--timingCacheFile"], []byte(timings), 0o666)
	_ = os.WriteFile(given["--exportLayerInfo"], []byte(layers), 0o666)
	if _, skip := given["--skipInference"]; !skip {
		fmt.Println(summaryText)
	}
	fmt.Printf("&&&& PASSED TensorRT.trtexec [TensorRT v%s] [b26] # trtexec\n", version)
	return 0
}

// refuses says what the real program would not build.
func refuses(m *onnx.Model, given map[string]string) string {
	shapes := 0
	for _, f := range []string{"--minShapes", "--optShapes", "--maxShapes"} {
		spec, ok := given[f]
		if !ok {
			continue
		}
		shapes++
		var n, c, h, w int
		if got, err := fmt.Sscanf(spec, m.Input().Name+":%dx%dx%dx%d", &n, &c, &h, &w); err != nil || got != 4 || c != m.Input().Channels || h != m.Input().Height || w != m.Input().Width {
			return "Invalid shape specification: " + spec
		}
	}
	_, dla := given["--useDLACore"]
	switch {
	case shapes != 0 && shapes != 3:
		return "Incomplete optimization profile"
	case m.Input().Batch == 0 && shapes == 0:
		return "Dynamic dimensions required for input"
	case dla && shapes > 0:
		return "DLA requires static shapes"
	}
	if spec, ok := given["--memPoolSize"]; ok {
		var n int
		if got, err := fmt.Sscanf(spec, "workspace:%dM", &n); err != nil || got != 1 {
			return "Invalid memory pool specification: " + spec
		}
	}
	return ""
}

const summaryText = `[11/25/2026-10:00:05] [I] === Performance summary ===
[11/25/2026-10:00:05] [I] Throughput: 1873.16 qps
[11/25/2026-10:00:05] [I] Latency: min = 0.514648 ms, max = 0.731201 ms, mean = 0.535294 ms, median = 0.533691 ms, percentile(50%) = 0.533691 ms, percentile(90%) = 0.541016 ms, percentile(99%) = 0.569824 ms
[11/25/2026-10:00:05] [I] Enqueue Time: min = 0.003 ms, max = 0.1 ms, mean = 0.004 ms, median = 0.004 ms, percentile(50%) = 0.004 ms, percentile(90%) = 0.005 ms, percentile(99%) = 0.01 ms
[11/25/2026-10:00:05] [I] H2D Latency: min = 0 ms, max = 0 ms, mean = 0 ms, median = 0 ms, percentile(50%) = 0 ms, percentile(90%) = 0 ms, percentile(99%) = 0 ms
[11/25/2026-10:00:05] [I] GPU Compute Time: min = 0.51 ms, max = 0.73 ms, mean = 0.53 ms, median = 0.53 ms, percentile(50%) = 0.53 ms, percentile(90%) = 0.54 ms, percentile(99%) = 0.56 ms`
