// Package tensorrt is the kind that builds a TensorRT engine of a model, with trtexec or with ONNX Runtime's TensorRT provider (provider.go).
//
// Rules of the room: what trtexec is told and what it answers is text, in command.go and output.go, and is tested against a strict stand-in
// that only the tests have. An engine does not travel: what it is tied to (TensorRT, GPU, driver) is the stage's device class, in its key. Where
// TensorRT is absent the stage says so and what it would have done; it never passes for built.
package tensorrt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/qdq"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the catalog's entry.
var Kind = &stages.Kind{
	Name:     "tensorrt",
	Version:  3,
	Computes: true,
	Doc: "Builds a TensorRT engine (a plan) of a model, with the program trtexec of TensorRT 10 or 11, and measures it. An engine works on the kind of GPU and with the " +
		"version of TensorRT that built it, so these are part of the stage's identity.\n\n" +
		"The precision is that of the model: its types and its pairs of QuantizeLinear and DequantizeLinear, as `quantize` writes them with `target = \"tensorrt\"`. " +
		"TensorRT 10 can also be allowed to choose half precision (`precision = \"fp16\"`); for TensorRT 11 the model itself must be in half precision. " +
		"`report` lists the layers of the engine and every place where a pair stands so that TensorRT would not fuse it.\n\n" +
		"`batch = [1, 8, 32]` builds an engine for batches from 1 to 32, at its best with 8; one number, or three equal ones, builds a static engine, which a " +
		"deep learning accelerator (`dla_core`) needs.\n\n" +
		"`provider = \"onnxruntime\"` lets ONNX Runtime's TensorRT provider build the engine instead, which needs a build of ONNX Runtime for GPUs (DARKROOM_ONNXRUNTIME names its library): the engine is kept like any other " +
		"artifact, by its content and what it is tied to, and `evaluate` runs it. An engine of trtexec gets such an ONNX file too, which refers to the plan. Both ways have been tested without a GPU only: the options against " +
		"the provider's own names, the refusals, and what is written; on a GPU they have not run yet.\n\n" +
		"On a machine without TensorRT the stage fails with exit code 3, after it has told the exact command that it would have run; `on_missing = \"skip\"` " +
		"records it as skipped instead. The program is found by DARKROOM_TRTEXEC, on PATH, or in /usr/src/tensorrt/bin.",
	Example: "tensorrt \"jetson\" {\n" +
		"  model        = quantize.int8.model\n" +
		"  batch        = [8]\n" +
		"  precision    = \"fp16\"\n" +
		"  dla_core     = 0\n" +
		"  gpu_fallback = true\n" +
		"}",
	New: func() stages.Stage { return &tensorrt{} },
}

// modelPrecision takes the precision from the model's own types and pairs.
const modelPrecision = "model"

// hardwareLevels are trtexec's words for our names.
var hardwareLevels = map[string]string{"none": "", "ampere_plus": "ampere+", "same_compute_capability": "sameComputeCapability"}

type tensorrt struct {
	provider  string
	batch     []int
	precision string
	dla       int
	fallback  bool
	workspace int
	level     int
	versions  bool
	hardware  string
	sparse    bool

	measure          bool
	warmup, duration int
	graph, transfers bool
	onMissing        string
}

func (t *tensorrt) Declare(s *stages.Schema) {
	s.Compute = &stages.Compute{Device: stages.TensorRT, Precision: stages.ModelPrecision}
	s.In("model", artifact.Model, "The model to build an engine of.")
	s.In("timing_cache", artifact.Engine, "An engine that was built before: its timings of kernels are used again, which makes the build faster and its choices the same.").OrNone()
	s.String(&t.provider, "provider", byTrtexec, "Who builds the engine: TensorRT's own program, or ONNX Runtime's TensorRT provider, whose measured times count the copies to and from the GPU.").OneOf(byTrtexec, byONNXRuntime)
	s.Ints(&t.batch, "batch", []int{1}, "Batch sizes: one number, or the smallest, the one to be fastest at, and the largest.").NonEmpty().In(1, 65536)
	s.String(&t.precision, "precision", modelPrecision, "Which precisions the builder may use: those of the model, or also a lower one (TensorRT 10 only).").OneOf(modelPrecision, "fp16", "bf16", "int8")
	s.Int(&t.dla, "dla_core", -1, "The deep learning accelerator to build for; -1 builds for the GPU.").In(-1, 7)
	s.Bool(&t.fallback, "gpu_fallback", false, "Run layers that the accelerator cannot run on the GPU.")
	s.Int(&t.workspace, "workspace", 0, "Most GPU memory that a layer may use while it runs; 0 allows all.").In(0, 1<<20).InUnit("MiB")
	s.Int(&t.level, "builder_level", 3, "How long the builder searches for fast kernels: 0 is quick, 5 thorough.").In(0, 5)
	s.Bool(&t.versions, "version_compatible", false, "Build an engine that later minor versions of TensorRT run too.")
	s.String(&t.hardware, "hardware_compatible", "none", "Which other GPUs are to run the engine, at the price of speed.").OneOf("none", "ampere_plus", "same_compute_capability")
	s.Bool(&t.sparse, "sparsity", false, "Use kernels for 2:4 sparse weights where the weights allow it.")
	s.Bool(&t.measure, "measure", true, "Measure latency and throughput after the build.")
	s.Int(&t.warmup, "warmup", 500, "Time to run before measuring.").In(0, 600_000).InUnit("milliseconds").NotInKey()
	s.Int(&t.duration, "duration", 3, "Least time to measure for.").In(0, 3600).InUnit("seconds").NotInKey()
	s.Bool(&t.graph, "cuda_graph", true, "Measure with CUDA graphs.").NotInKey()
	s.Bool(&t.transfers, "data_transfers", false, "Count the copies to and from the GPU in what is measured.").NotInKey()
	s.String(&t.onMissing, "on_missing", "fail", "What to do on a machine without TensorRT.").OneOf("fail", "skip")
	s.Out("engine", artifact.Engine, "A folder: engine.plan, timing.cache, layers.json (what each layer became), engine.onnx (for ONNX Runtime, referring to the plan), and build.json (the command and what the engine is tied to); of ONNX Runtime's provider engine.onnx with the engine in it, timings, and build.json with its options. When the build was skipped, build.json alone.")
	s.Out("report", artifact.Report, "The build, the engine's layers, and what the linter found in the model.")
	s.Reports("built", stages.Bool, "Whether there is an engine; false when the build was skipped.")
	s.Reports("findings", stages.Integer, "How many places the linter found where TensorRT would refuse or not fuse a pair.")
	s.Measures("throughput", "images/s", "Images a second at the batch size to be fastest at.")
	s.Measures("latency_p50", "ms", "Median time of one batch.")
	s.Measures("latency_p90", "ms", "Time within which 90 % of the batches were done.")
	s.Measures("latency_p99", "ms", "Time within which 99 % of the batches were done.")
	s.Measures("build_time", "s", "How long the build took.")
}

// batches returns the smallest, the best and the largest batch.
func (t *tensorrt) batches() (least, best, most int) {
	if len(t.batch) == 1 {
		return t.batch[0], t.batch[0], t.batch[0]
	}
	return t.batch[0], t.batch[1], t.batch[2]
}

// Check implements stages.Checker.
func (t *tensorrt) Check() []stages.Problem {
	var out []stages.Problem
	add := func(arg, summary, detail string, args ...any) {
		out = append(out, stages.Problemf(arg, summary, detail, args...))
	}
	if len(t.batch) != 1 && len(t.batch) != 3 {
		add("batch", "Malformed batch sizes", "There are %d numbers. Give one, or three: the smallest batch, the one to be fastest at, and the largest.", len(t.batch))
		return out
	}
	least, best, most := t.batches()
	if least > best || best > most {
		add("batch", "Malformed batch sizes", "%d, %d, %d do not rise. Give the smallest batch, the one to be fastest at, and the largest.", least, best, most)
	}
	switch {
	case t.dla < 0 && t.fallback:
		add("gpu_fallback", "Argument without effect", "\"gpu_fallback\" is about layers that an accelerator cannot run, but the engine is built for the GPU. Set \"dla_core\", or remove it.")
	case t.dla >= 0 && least != most:
		add("batch", "Accelerator with changing batch sizes", "A deep learning accelerator runs one batch size, which is fixed when the engine is built. Write batch = [%d].", best)
	case t.dla >= 0 && t.precision != "fp16" && t.precision != "int8":
		add("precision", "Precision that the accelerator lacks", "A deep learning accelerator computes in fp16 or int8 only. Write precision = \"fp16\" or \"int8\".")
	}
	if t.dla >= 0 && t.hardware != "none" {
		add("hardware_compatible", "Arguments that exclude each other", "An engine for a deep learning accelerator runs on that accelerator only. Remove \"hardware_compatible\".")
	}
	return append(out, t.checkProvider()...)
}

// build is what build.json holds: how the engine was made and what it is tied to. Nothing in it depends on the moment.
type build struct {
	Skipped  string            `json:"skipped,omitempty"`  // why there is no engine
	Command  []string          `json:"command,omitempty"`  // of trtexec
	Provider string            `json:"provider,omitempty"` // of ONNX Runtime, with its version
	Options  map[string]string `json:"options,omitempty"`  // of that provider
	TensorRT string            `json:"tensorrt,omitempty"` // version
	Device   stages.Device     `json:"device"`
	Batch    [3]int            `json:"batch"` // smallest, best, largest
	Findings []qdq.Finding     `json:"findings"`
}

// Run implements stages.Stage.
func (t *tensorrt) Run(ctx context.Context, job *stages.Job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	in, _ := job.Input("model")
	model, err := onnx.Load(in.Path)
	if err != nil {
		return stages.Problemf("model", "Model cannot be read", "%v.", err)
	}
	if model, err = t.shaped(model); err != nil {
		return err
	}
	b := &build{Device: job.Device, Findings: qdq.Lint(model)}
	b.Batch[0], b.Batch[1], b.Batch[2] = t.batches()
	for _, f := range b.Findings {
		job.Logf("%s: %s", f.Node, f.Text)
	}
	if t.provider == byONNXRuntime {
		return t.runProvider(ctx, job, model, b)
	}
	program, version, err := t.program(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return t.missing(job, model, b, err)
	}
	d, err := version.dialect()
	if err != nil {
		return t.missing(job, model, b, err)
	}
	if p := t.fits(version, qdq.TypesOf(model), b.Findings); p != nil {
		return *p
	}
	b.TensorRT, b.Command = version.String(), append([]string{"trtexec"}, t.commandLine(d, model.Input())...)
	return t.build(ctx, job, model, program, b)
}

// shaped checks that the model's input is known as far as an engine needs it, and fixes its batch for a static one.
func (t *tensorrt) shaped(model *onnx.Model) (*onnx.Model, error) {
	in := model.Input()
	if in.Channels == 0 || in.Height == 0 || in.Width == 0 {
		return nil, stages.Problemf("model", "Model with open image sizes", "The model leaves the size of its images open (%d channels, %d×%d; 0 is open), but an engine is built for one size. Export it with a fixed size.", in.Channels, in.Width, in.Height)
	}
	least, best, most := t.batches()
	if least != most {
		if in.Batch != 0 {
			return nil, stages.Problemf("batch", "Model with a fixed batch", "The model takes batches of %d images and no others. Write batch = [%d], or export it with an open batch.", in.Batch, in.Batch)
		}
		return model, nil
	}
	fixed, err := model.WithBatch(best)
	if err != nil {
		return nil, stages.Problemf("batch", "Model with a fixed batch", "%v. Write batch = [%d], or export it with an open batch.", err, in.Batch)
	}
	return fixed, nil
}

func (t *tensorrt) program(ctx context.Context) (string, release, error) {
	program, err := findProgram()
	if err != nil {
		return "", release{}, err
	}
	r, err := askRelease(ctx, program)
	return program, r, err
}

// missing ends a stage that cannot build: it tells the command that would have been run, and fails or writes outputs that say so.
func (t *tensorrt) missing(job *stages.Job, model *onnx.Model, b *build, why error) error {
	b.Command = append([]string{"trtexec"}, t.commandLine(dialect10, model.Input())...)
	job.Logf("with TensorRT 10 the engine would be built by the command:")
	job.Logf("%s", shellWords(b.Command))
	if t.onMissing != "skip" {
		p := stages.Problemf("", "TensorRT is missing", "The engine cannot be built on this machine: %v. Install TensorRT 10 or 11 and put trtexec on PATH, or set %s to it; or write on_missing = \"skip\" to go on without an engine. "+
			"The log holds the command that would have built it.", why, programVariable)
		p.Lacking = true
		return p
	}
	return t.skipped(job, b, why)
}

// skipped writes outputs that say that nothing was built.
func (t *tensorrt) skipped(job *stages.Job, b *build, why error) error {
	b.Skipped = why.Error()
	job.Logf("skipped: %v", why)
	if err := writeBuild(job.Output("engine"), b); err != nil {
		return err
	}
	job.Value("built", false)
	job.Value("findings", len(b.Findings))
	return t.page(b, nil).WriteFile(job.Output("report"))
}

func writeBuild(dir string, b *build) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("making the engine's folder: %w", err)
	}
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "build.json"), append(text, '\n'), 0o666)
}

// fits refuses what this version of TensorRT would refuse after minutes, or silently build otherwise.
func (t *tensorrt) fits(v release, types qdq.Types, findings []qdq.Finding) *stages.Problem {
	refuse := func(arg, summary, detail string, args ...any) *stages.Problem {
		p := stages.Problemf(arg, summary, detail, args...)
		return &p
	}
	if i := slices.IndexFunc(findings, func(f qdq.Finding) bool { return f.Refused }); i >= 0 {
		return refuse("model", "Model that TensorRT refuses", "%s: %s", findings[i].Node, findings[i].Text)
	}
	if v.major < 11 {
		if t.precision == "int8" && !types.Int8 {
			return refuse("precision", "Model without quantization", "precision = \"int8\" needs a model with QuantizeLinear and DequantizeLinear pairs, and this one has none. Put a quantize stage with target = \"tensorrt\" before this one.")
		}
		return nil
	}
	if t.dla >= 0 && v.major == 11 && v.minor < 4 {
		return refuse("dla_core", "Accelerator that this TensorRT lacks", "TensorRT %s does not support deep learning accelerators. Use 10.x, or 11.4 and later on AGX Orin.", v)
	}
	has := map[string]bool{modelPrecision: true, "fp16": types.Float16, "bf16": types.BFloat16, "int8": types.Int8}
	if !has[t.precision] {
		return refuse("precision", "Precision that the model lacks", "TensorRT %s takes the precision from the model, and this one has nothing in %s. Put a quantize stage with method = %q before this one, or use TensorRT 10.", v, t.precision,
			map[string]string{"fp16": "fp16", "bf16": "bf16", "int8": "ptq"}[t.precision])
	}
	return nil
}

// build runs trtexec in a folder of its own and takes what it made.
func (t *tensorrt) build(ctx context.Context, job *stages.Job, model *onnx.Model, program string, b *build) error {
	dir := filepath.Join(job.ScratchDir, "build")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o777)); err != nil {
		return fmt.Errorf("making the folder of the build: %w", err)
	}
	if err := model.Save(filepath.Join(dir, modelFile)); err != nil {
		return err
	}
	if in, ok := job.Input("timing_cache"); ok {
		if err := t.takeTimings(in.Path, filepath.Join(dir, timingFile)); err != nil {
			return err
		}
	}
	job.Progress(stages.Progress{Phase: "building the engine"})
	job.Logf("$ %s", shellWords(b.Command))
	started := time.Now()
	output, err := runProgram(ctx, job, program, b.Command[1:], dir)
	if err != nil {
		return err
	}
	job.Measure("build_time", time.Since(started).Seconds())
	made, err := t.collect(job, dir, output)
	if err != nil {
		return err
	}
	text, err := model.EngineContext(planFile)
	if err != nil {
		return err
	}
	if err := os.WriteFile(infer.EngineModel(job.Output("engine")), text, 0o666); err != nil {
		return fmt.Errorf("writing the engine's model: %w", err)
	}
	if err := writeBuild(job.Output("engine"), b); err != nil {
		return err
	}
	job.Value("built", true)
	job.Value("findings", len(b.Findings))
	return t.page(b, made).WriteFile(job.Output("report"))
}

func (t *tensorrt) takeTimings(engine, to string) error {
	text, err := os.ReadFile(filepath.Join(engine, timingFile))
	if err != nil {
		return stages.Problemf("timing_cache", "No timings", "The engine on \"timing_cache\" has no file %s: its build was skipped, or it is not one of darkroom's.", timingFile)
	}
	return os.WriteFile(to, text, 0o666)
}

// collect moves the engine to its output and reports what was measured.
func (t *tensorrt) collect(job *stages.Job, dir string, output []byte) ([]layer, error) {
	text, err := os.ReadFile(filepath.Join(dir, layersFile))
	if err != nil {
		return nil, fmt.Errorf("trtexec ended well but wrote no layer information: %w", err)
	}
	layers, _, err := parseLayers(text)
	if err != nil {
		return nil, fmt.Errorf("reading what trtexec wrote: %w", err)
	}
	if err := os.MkdirAll(job.Output("engine"), 0o777); err != nil {
		return nil, fmt.Errorf("making the engine's folder: %w", err)
	}
	for _, name := range []string{planFile, timingFile, layersFile} {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(job.Output("engine"), name)); err != nil {
			return nil, fmt.Errorf("taking what trtexec wrote: %w", err)
		}
	}
	if !t.measure {
		return layers, nil
	}
	s, err := parseSummary(output)
	if err != nil {
		return nil, fmt.Errorf("reading what trtexec printed: %w", err)
	}
	_, best, _ := t.batches()
	job.Measure("throughput", s.Throughput*float64(best))
	job.Measure("latency_p50", s.Median)
	for _, p := range []int{90, 99} {
		if v, ok := s.Percentiles[p]; ok {
			job.Measure(fmt.Sprintf("latency_p%d", p), v)
		}
	}
	return layers, nil
}
