package tensorrt

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/infer/infertest"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/qdq"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

var device = stages.Device{Backend: "tensorrt", Version: "TensorRT 10.6.0, driver 570.86", ISA: "NVIDIA H200", Precision: "model"}

func model(t *testing.T) *onnx.Model {
	t.Helper()
	m, err := zoo.Build("resnet8", zoo.Options{Classes: []string{"a", "b"}, Channels: 3, Height: 16, Width: 16})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func inputs(t *testing.T, dir string) map[string][]stages.Input {
	t.Helper()
	path := filepath.Join(dir, "model")
	if err := model(t).Save(path); err != nil {
		t.Fatal(err)
	}
	return map[string][]stages.Input{"model": {{Path: path, Ref: artifact.Ref{Type: artifact.Model}}}}
}

func TestConformance(t *testing.T) {
	install(t, "100600")
	stagetest.Run(t, stagetest.Fixture{Kind: Kind, Device: device, Inputs: inputs, Args: stages.Args{Values: map[string]any{"batch": []any{1.0, 2.0, 4.0}}}})
}

// stage decodes the arguments as the language hands them over.
func stage(t *testing.T, args map[string]any) *tensorrt {
	t.Helper()
	s := Kind.New().(*tensorrt)
	if _, problems := stages.Decode(s, stages.Args{Values: args}, map[string]bool{"model": true}); stages.HasErrors(problems) {
		t.Fatal(problems)
	}
	return s
}

func TestCommandLine(t *testing.T) {
	in := model(t).Input()
	for _, c := range []struct {
		about string
		args  map[string]any
		d     dialect
		has   string // flags that must be there, in order
		lacks string // flags that must not
	}{
		{"static in the model's precision", nil, dialect10, "--stronglyTyped --useSpinWait --useCudaGraph --noDataTransfers", "--fp16 --minShapes --noCudaGraph"},
		{"the same in 11", nil, dialect11, "--useSpinWait", "--stronglyTyped --useCudaGraph --noDataTransfers --noCudaGraph"},
		{"half precision in 10", map[string]any{"precision": "fp16"}, dialect10, "--fp16", "--stronglyTyped"},
		{"half precision in 11", map[string]any{"precision": "fp16"}, dialect11, "", "--fp16"},
		{"pairs in 10", map[string]any{"precision": "int8"}, dialect10, "--int8 --fp16", "--stronglyTyped --calib"},
		{"dynamic batches", map[string]any{"batch": []any{1.0, 8.0, 32.0}}, dialect11, "--minShapes=image:1x3x16x16 --optShapes=image:8x3x16x16 --maxShapes=image:32x3x16x16", ""},
		{"equal batches are static", map[string]any{"batch": []any{8.0, 8.0, 8.0}}, dialect10, "", "--minShapes --optShapes"},
		{"Jetson", map[string]any{"batch": []any{8.0}, "precision": "fp16", "dla_core": 0.0, "gpu_fallback": true}, dialect10, "--fp16 --useDLACore=0 --allowGPUFallback", "--minShapes --stronglyTyped"},
		{"workspace, level, compatibility", map[string]any{"workspace": 512.0, "builder_level": 5.0, "version_compatible": true, "hardware_compatible": "ampere_plus", "sparsity": true}, dialect10,
			"--builderOptimizationLevel=5 --memPoolSize=workspace:512M --versionCompatible --hardwareCompatibilityLevel=ampere+ --sparsity=enable", ""},
		{"without measuring", map[string]any{"measure": false}, dialect10, "--skipInference", "--percentile --useCudaGraph --duration"},
		{"transfers and no graphs in 10", map[string]any{"data_transfers": true, "cuda_graph": false}, dialect10, "--useSpinWait", "--useCudaGraph --noDataTransfers --includeDataTransfers"},
		{"transfers and no graphs in 11", map[string]any{"data_transfers": true, "cuda_graph": false}, dialect11, "--noCudaGraph --includeDataTransfers", "--noDataTransfers"},
	} {
		t.Run(c.about, func(t *testing.T) {
			line := stage(t, c.args).commandLine(c.d, in)
			at := 0
			for _, want := range strings.Fields(c.has) {
				for at < len(line) && line[at] != want {
					at++
				}
				if at == len(line) {
					t.Fatalf("%s is not there, or not in this order: %v", want, line)
				}
			}
			for _, unwanted := range strings.Fields(c.lacks) {
				for _, f := range line {
					if f == unwanted || strings.HasPrefix(f, unwanted+"=") {
						t.Errorf("%s is there: %v", unwanted, line)
					}
				}
			}
		})
	}
}

// run executes the stage with the stand-in, or without any TensorRT.
func run(t *testing.T, args map[string]any) (*stages.Job, *said, error) {
	t.Helper()
	dir := t.TempDir()
	job := &stages.Job{Kind: "tensorrt", Args: stages.Args{Values: args}, Inputs: inputs(t, dir), OutDir: filepath.Join(dir, "out"), ScratchDir: filepath.Join(dir, "scratch"), Device: device}
	if err := os.Mkdir(job.OutDir, 0o777); err != nil {
		t.Fatal(err)
	}
	r := &said{values: map[string]any{}, measured: map[string]float64{}}
	return job, r, stage(t, args).Run(t.Context(), job.WithReporter(r))
}

type said struct {
	lines    []string
	values   map[string]any
	measured map[string]float64
}

func (s *said) Progress(stages.Progress)       {}
func (s *said) Log(line string)                { s.lines = append(s.lines, line) }
func (s *said) Value(name string, v any)       { s.values[name] = v }
func (s *said) Measure(name string, v float64) { s.measured[name] = v }
func (s *said) String() string                 { return strings.Join(s.lines, "\n") }
func readBuild(t *testing.T, j *stages.Job) build {
	return readJSON[build](t, filepath.Join(j.Output("engine"), "build.json"))
}

func readJSON[T any](t *testing.T, path string) (v T) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestBuilds(t *testing.T) {
	for _, version := range []string{"100600", "101400", "110000", "110401"} {
		for _, args := range []map[string]any{nil, {"batch": []any{1.0, 8.0, 8.0}}, {"measure": false, "workspace": 64.0}, {"data_transfers": true, "cuda_graph": false}} {
			install(t, version)
			job, r, err := run(t, args)
			if err != nil {
				t.Fatalf("%s %v: %v\n%s", version, args, err, r)
			}
			if b, err := os.ReadFile(filepath.Join(job.Output("engine"), planFile)); err != nil || string(b) != "plan "+version {
				t.Errorf("%s %v: the plan holds %q, %v", version, args, b, err)
			}
			if context, err := onnx.Load(filepath.Join(job.Output("engine"), "engine.onnx")); err != nil || len(context.Graph().Node) != 1 || string(onnx.Text(context.Graph().Node[0], "ep_cache_context", "")) != planFile {
				t.Errorf("%s %v: the engine's model: %v", version, args, err)
			}
			if r.values["built"] != true {
				t.Errorf("%s %v: values %v", version, args, r.values)
			}
			if got := readBuild(t, job); got.Command[0] != "trtexec" || got.Skipped != "" || got.TensorRT == "" {
				t.Errorf("%s %v: build %+v", version, args, got)
			}
			if args["measure"] != false && r.measured["latency_p99"] != 0.569824 {
				t.Errorf("%s %v: measured %v", version, args, r.measured)
			}
		}
	}
	install(t, "100600")
	_, r, err := run(t, map[string]any{"batch": []any{1.0, 8.0, 8.0}})
	if err != nil || math.Abs(r.measured["throughput"]-8*1873.16) > 1e-6 {
		t.Errorf("throughput %v images/s, %v: a query is a batch of 8 images", r.measured["throughput"], err)
	}
}

func TestJetson(t *testing.T) {
	install(t, "100300")
	job, r, err := run(t, map[string]any{"batch": []any{8.0}, "precision": "fp16", "dla_core": 0.0, "gpu_fallback": true})
	if err != nil {
		t.Fatalf("%v\n%s", err, r)
	}
	if got := readBuild(t, job); got.Batch != [3]int{8, 8, 8} {
		t.Errorf("%+v", got)
	}
	install(t, "110000")
	if _, _, err := run(t, map[string]any{"batch": []any{8.0}, "precision": "fp16", "dla_core": 0.0}); err == nil || !strings.Contains(err.Error(), "11.0.0 does not support deep learning accelerators") {
		t.Errorf("an accelerator in 11.0: %v", err)
	}
}

func TestTimingsAreTaken(t *testing.T) {
	install(t, "100600")
	first := t.TempDir()
	if err := os.WriteFile(filepath.Join(first, timingFile), []byte("from before"), 0o666); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	in := inputs(t, dir)
	in["timing_cache"] = []stages.Input{{Path: first, Ref: artifact.Ref{Type: artifact.Engine}}}
	job := &stages.Job{Inputs: in, OutDir: dir, ScratchDir: filepath.Join(dir, "scratch")}
	if err := stage(t, nil).Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(job.Output("engine"), timingFile)); string(b) != "from before" {
		t.Errorf("the timing cache holds %q", b)
	}
}

func TestWithoutTensorRT(t *testing.T) {
	uninstall(t)
	_, r, err := run(t, map[string]any{"batch": []any{1.0, 8.0, 8.0}})
	var p stages.Problem
	if !errors.As(err, &p) || !p.Lacking || !strings.Contains(p.Detail, "is not installed") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(r.String(), "\ntrtexec --onnx=model.onnx") || !strings.Contains(r.String(), "--optShapes=image:8x3x16x16") {
		t.Errorf("the log does not tell the command: %s", r)
	}
	job, r, err := run(t, map[string]any{"on_missing": "skip"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(job.Output("engine"), planFile)); err == nil || r.values["built"] != false || readBuild(t, job).Skipped == "" {
		t.Errorf("a skipped build passes for one: %v, %v", r.values, readBuild(t, job))
	}
	page, err := os.ReadFile(job.Output("report"))
	if err != nil || !strings.Contains(string(page), "not built") {
		t.Errorf("the report does not say that nothing was built: %v", err)
	}
}

func TestFailures(t *testing.T) {
	install(t, "090200")
	if _, _, err := run(t, nil); err == nil || !strings.Contains(err.Error(), "TensorRT 9.2.0 is not among the versions") {
		t.Errorf("version 9: %v", err)
	}
	install(t, "110000")
	if _, _, err := run(t, map[string]any{"precision": "fp16"}); err == nil || !strings.Contains(err.Error(), "takes the precision from the model") {
		t.Errorf("fp16 of a float32 model in 11: %v", err)
	}
	install(t, "100600")
	if _, _, err := run(t, map[string]any{"precision": "int8"}); err == nil || !strings.Contains(err.Error(), "Put a quantize stage") {
		t.Errorf("int8 without pairs: %v", err)
	}
	install(t, "100600")
	s := stage(t, nil)
	dir := t.TempDir()
	if err := model(t).Save(filepath.Join(dir, modelFile)); err != nil { // its batch is open, and no shapes are given
		t.Fatal(err)
	}
	program, _, err := s.program(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = runProgram(t.Context(), &stages.Job{}, program, s.commandLine(dialect10, model(t).Input()), dir)
	if err == nil || !strings.Contains(err.Error(), "Dynamic dimensions required") {
		t.Errorf("what TensorRT says is lost: %v", err)
	}
	if _, err := runProgram(t.Context(), &stages.Job{}, program, []string{"--onnx=model.onnx", "--workspace=64"}, dir); err == nil || !strings.Contains(err.Error(), "Unknown option: --workspace=64") {
		t.Errorf("the stand-in is not strict: %v", err)
	}
}

func TestChecks(t *testing.T) {
	for _, c := range []struct {
		args map[string]any
		want string
	}{
		{map[string]any{"batch": []any{1.0, 8.0}}, "There are 2 numbers"},
		{map[string]any{"batch": []any{8.0, 1.0, 8.0}}, "do not rise"},
		{map[string]any{"batch": []any{1.0, 8.0, 8.0}, "dla_core": 0.0, "precision": "fp16"}, "runs one batch size"},
		{map[string]any{"dla_core": 0.0}, "fp16 or int8 only"},
		{map[string]any{"gpu_fallback": true}, "built for the GPU"},
		{map[string]any{"dla_core": 0.0, "precision": "int8", "hardware_compatible": "ampere_plus"}, "that accelerator only"},
		{map[string]any{"provider": "onnxruntime", "version_compatible": true}, "for the version of TensorRT that it runs with"},
		{map[string]any{"provider": "onnxruntime", "hardware_compatible": "same_compute_capability"}, "and \"ampere_plus\" only"},
		{map[string]any{"provider": "onnxruntime", "dla_core": 0.0, "precision": "fp16"}, "Write gpu_fallback = true"},
	} {
		_, problems := stages.Decode(Kind.New(), stages.Args{Values: c.args}, map[string]bool{"model": true})
		if len(problems) != 1 || !strings.Contains(problems[0].Detail, c.want) {
			t.Errorf("%v: %v, want %q", c.args, problems, c.want)
		}
	}
}

// testdata/provider_options.txt has the names that libonnxruntime_providers_tensorrt.so of onnxruntime-gpu 1.31.1 knows:
//
//	strings -n 5 libonnxruntime_providers_tensorrt.so | grep -E '^trt_[a-z_0-9]+$' | sort -u
func TestProviderOptions(t *testing.T) {
	b, err := os.ReadFile("testdata/provider_options.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"device_id": true}
	for _, name := range strings.Fields(string(b)) {
		known[name] = true
	}
	in := model(t).Input()
	for _, c := range []struct {
		about string
		args  map[string]any
		types qdq.Types
		has   string
		lacks string
	}{
		{"a model in float32", nil, qdq.Types{}, "trt_builder_optimization_level=3 trt_cuda_graph_enable=1", "trt_fp16_enable trt_int8_enable trt_profile_min_shapes trt_dla_enable"},
		{"half precision", map[string]any{"precision": "fp16"}, qdq.Types{}, "trt_fp16_enable=1", "trt_int8_enable"},
		{"a model in half precision", nil, qdq.Types{Float16: true}, "trt_fp16_enable=1", "trt_bf16_enable"},
		{"pairs", nil, qdq.Types{Int8: true}, "trt_int8_enable=1", "trt_fp16_enable"},
		{"bfloat16", map[string]any{"precision": "bf16"}, qdq.Types{}, "trt_bf16_enable=1", "trt_fp16_enable"},
		{"dynamic batches", map[string]any{"batch": []any{1.0, 8.0, 32.0}}, qdq.Types{}, "trt_profile_min_shapes=image:1x3x16x16 trt_profile_opt_shapes=image:8x3x16x16 trt_profile_max_shapes=image:32x3x16x16", ""},
		{"accelerator", map[string]any{"dla_core": 1.0, "gpu_fallback": true, "precision": "int8"}, qdq.Types{Int8: true}, "trt_dla_enable=1 trt_dla_core=1 trt_int8_enable=1 trt_fp16_enable=1", ""},
		{"the rest", map[string]any{"workspace": 64.0, "builder_level": 5.0, "sparsity": true, "hardware_compatible": "ampere_plus", "measure": false}, qdq.Types{},
			"trt_max_workspace_size=67108864 trt_builder_optimization_level=5 trt_sparsity_enable=1 trt_engine_hw_compatible=1", "trt_cuda_graph_enable"},
	} {
		args := map[string]any{"provider": "onnxruntime"}
		maps.Copy(args, c.args)
		got := stage(t, args).providerOptions(in, c.types)
		for _, pair := range strings.Fields(c.has) {
			name, value, _ := strings.Cut(pair, "=")
			if got[name] != value {
				t.Errorf("%s: %s is %q, want %q", c.about, name, got[name], value)
			}
		}
		for _, name := range strings.Fields(c.lacks) {
			if _, ok := got[name]; ok {
				t.Errorf("%s: %s is there: %v", c.about, name, got)
			}
		}
		for name := range got {
			if !known[name] {
				t.Errorf("%s: the provider has no option %s", c.about, name)
			}
		}
	}
	for _, name := range []string{"trt_dump_ep_context_model", "trt_ep_context_file_path", "trt_ep_context_embed_mode", "trt_timing_cache_enable", "trt_timing_cache_path"} {
		if !known[name] {
			t.Errorf("the provider has no option %s", name)
		}
	}
}

func TestProviderIsMissing(t *testing.T) {
	if _, err := ort.TensorRTProvider(); err == nil {
		t.Skip("this machine has ONNX Runtime's TensorRT provider")
	}
	args := map[string]any{"provider": "onnxruntime", "batch": []any{1.0, 8.0, 8.0}}
	_, r, err := run(t, args)
	var p stages.Problem
	if !errors.As(err, &p) || !p.Lacking || !strings.Contains(p.Detail, "no TensorRT provider") && !strings.Contains(p.Detail, "no ONNX Runtime library") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(r.String(), "\ntrt_profile_opt_shapes=image:8x3x16x16") {
		t.Errorf("the log does not tell the options: %s", r)
	}
	args["on_missing"] = "skip"
	job, r, err := run(t, args)
	if err != nil {
		t.Fatal(err)
	}
	b := readBuild(t, job)
	if _, err := os.Stat(filepath.Join(job.Output("engine"), "engine.onnx")); err == nil || r.values["built"] != false || b.Skipped == "" || b.Options["trt_profile_min_shapes"] == "" || b.Command != nil {
		t.Errorf("a skipped build passes for one: %v, %+v", r.values, b)
	}
	page, err := os.ReadFile(job.Output("report"))
	if err != nil || !strings.Contains(string(page), "trt_profile_max_shapes=image:8x3x16x16") {
		t.Errorf("the report does not tell the options: %v", err)
	}
	if _, _, err := run(t, map[string]any{"provider": "onnxruntime", "precision": "int8"}); err == nil || !strings.Contains(err.Error(), "Put a quantize stage") {
		t.Errorf("int8 without pairs: %v", err)
	}
}

// What no engine can be built of is refused before TensorRT is looked for.
func TestBadModels(t *testing.T) {
	uninstall(t)
	dir := t.TempDir()
	whole, err := model(t).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	truncated := filepath.Join(dir, "truncated.onnx")
	if err := os.WriteFile(truncated, whole[:len(whole)/2], 0o666); err != nil {
		t.Fatal(err)
	}
	open, fixed := infertest.Linear{Classes: []string{"a", "b"}, Weights: [][]float32{{1, 0, 0, 0}, {0, 1, 0, 0}}}, infertest.Linear{Channels: 1, Height: 2, Width: 2, Batch: 2, Classes: []string{"a", "b"}, Weights: [][]float32{{1, 0, 0, 0}, {0, 1, 0, 0}}}
	for _, c := range []struct {
		path string
		args map[string]any
		want string
	}{
		{truncated, nil, "Model cannot be read"},
		{open.Write(t, dir, "open.onnx"), nil, "leaves the size of its images open"},
		{fixed.Write(t, dir, "fixed.onnx"), map[string]any{"batch": []any{1.0, 8.0, 8.0}}, "takes batches of 2 images and no others"},
		{filepath.Join(dir, "fixed.onnx"), map[string]any{"batch": []any{8.0}}, "Write batch = [2]"},
	} {
		out := t.TempDir()
		job := &stages.Job{Inputs: map[string][]stages.Input{"model": {{Path: c.path, Ref: artifact.Ref{Type: artifact.Model}}}}, OutDir: out, ScratchDir: filepath.Join(out, "scratch")}
		if err := stage(t, c.args).Run(t.Context(), job); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v, want %q", filepath.Base(c.path), c.args, err, c.want)
		}
	}
}
