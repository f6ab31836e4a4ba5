package tensorrt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/qdq"
	"github.com/darkroom-dev/darkroom/stages"
)

// The values of provider.
const (
	byTrtexec     = "trtexec"
	byONNXRuntime = "onnxruntime"
)

// checkProvider finds arguments that ONNX Runtime's provider has no option for.
func (t *tensorrt) checkProvider() []stages.Problem {
	if t.provider != byONNXRuntime {
		return nil
	}
	var out []stages.Problem
	add := func(arg, detail string) {
		out = append(out, stages.Problemf(arg, "Argument that the provider lacks", "%s Change it, or build with provider = \"trtexec\".", detail))
	}
	if t.versions {
		add("version_compatible", "ONNX Runtime's provider builds engines for the version of TensorRT that it runs with, and no other.")
	}
	if t.hardware == "same_compute_capability" {
		add("hardware_compatible", "ONNX Runtime's provider knows \"none\" and \"ampere_plus\" only.")
	}
	if t.dla >= 0 && !t.fallback {
		add("gpu_fallback", "ONNX Runtime's provider always lets the GPU run what the accelerator cannot. Write gpu_fallback = true.")
	}
	return out
}

// providerOptions are those of ONNX Runtime's TensorRT provider (https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html), less the files that it writes.
// It has no strongly typed networks: what types and pairs the model has must be allowed.
func (t *tensorrt) providerOptions(in onnx.Input, types qdq.Types) map[string]string {
	o := map[string]string{"device_id": "0", "trt_builder_optimization_level": strconv.Itoa(t.level)}
	allow := func(name string, yes bool) {
		if yes {
			o[name] = "1"
		}
	}
	allow("trt_fp16_enable", types.Float16 || t.precision == "fp16" || t.precision == "int8")
	allow("trt_bf16_enable", types.BFloat16 || t.precision == "bf16")
	allow("trt_int8_enable", types.Int8 || t.precision == "int8")
	allow("trt_sparsity_enable", t.sparse)
	allow("trt_engine_hw_compatible", t.hardware == "ampere_plus")
	allow("trt_cuda_graph_enable", t.measure && t.graph)
	if t.workspace > 0 {
		o["trt_max_workspace_size"] = strconv.Itoa(t.workspace << 20)
	}
	if t.dla >= 0 {
		o["trt_dla_enable"], o["trt_dla_core"] = "1", strconv.Itoa(t.dla)
	}
	if least, best, most := t.batches(); least != most {
		for name, n := range map[string]int{"min": least, "opt": best, "max": most} {
			o["trt_profile_"+name+"_shapes"] = fmt.Sprintf("%s:%dx%dx%dx%d", in.Name, n, in.Channels, in.Height, in.Width)
		}
	}
	return o
}

// runProvider is Run with ONNX Runtime's provider.
func (t *tensorrt) runProvider(ctx context.Context, job *stages.Job, model *onnx.Model, b *build) error {
	types := qdq.TypesOf(model)
	b.Provider, b.Options = "onnxruntime "+ort.Version(), t.providerOptions(model.Input(), types)
	for _, f := range b.Findings {
		if f.Refused {
			return stages.Problemf("model", "Model that TensorRT refuses", "%s: %s", f.Node, f.Text)
		}
	}
	if t.precision == "int8" && !types.Int8 {
		return stages.Problemf("precision", "Model without quantization", "precision = \"int8\" needs a model with QuantizeLinear and DequantizeLinear pairs, and this one has none. Put a quantize stage with target = \"tensorrt\" before this one.")
	}
	dir := filepath.Join(job.ScratchDir, "build")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o777)); err != nil {
		return fmt.Errorf("making the folder of the build: %w", err)
	}
	path := filepath.Join(dir, modelFile)
	if err := model.Save(path); err != nil {
		return err
	}
	if in, ok := job.Input("timing_cache"); ok {
		if err := copyTimings(in.Path, dir); err != nil {
			return err
		}
	}
	files := map[string]string{"trt_dump_ep_context_model": "1", "trt_ep_context_file_path": infer.EngineModel(dir), "trt_ep_context_embed_mode": "1",
		"trt_timing_cache_enable": "1", "trt_timing_cache_path": dir}
	for name, value := range b.Options {
		files[name] = value
	}
	job.Progress(stages.Progress{Phase: "building the engine"})
	started := time.Now()
	err := infer.BuildEngine(ctx, path, model.Input().Name, model.Output().Name, files)
	var missing *infer.MissingError
	var broken *infer.ModelError
	switch {
	case errors.As(err, &missing):
		return t.missingProvider(job, b, missing)
	case errors.As(err, &broken):
		return stages.Problemf("model", "Engine cannot be built", "%s.", broken.Detail)
	case err != nil:
		return err
	}
	job.Measure("build_time", time.Since(started).Seconds())
	if err := t.collectProvider(job, dir); err != nil {
		return err
	}
	if err := writeBuild(job.Output("engine"), b); err != nil {
		return err
	}
	job.Value("built", true)
	job.Value("findings", len(b.Findings))
	if err := t.timeProvider(ctx, job, model.Input()); err != nil {
		return err
	}
	return t.page(b, nil).WriteFile(job.Output("report"))
}

// missingProvider ends a stage that cannot build: it fails, or writes outputs that say so.
func (t *tensorrt) missingProvider(job *stages.Job, b *build, why error) error {
	job.Logf("the engine would be built with these options of ONNX Runtime's TensorRT provider:")
	for _, line := range b.optionLines() {
		job.Logf("%s", line)
	}
	if t.onMissing != "skip" {
		p := stages.Problemf("", "TensorRT is missing", "The engine cannot be built on this machine: %v. Install a build of ONNX Runtime with its TensorRT provider, and TensorRT; or write on_missing = \"skip\" to go on without an engine. "+
			"The log holds the options that it would have been built with.", why)
		p.Lacking = true
		return p
	}
	return t.skipped(job, b, why)
}

// copyTimings takes the timings of kernels of an engine that the provider built before.
func copyTimings(engine, to string) error {
	list, err := filepath.Glob(filepath.Join(engine, "*.timing"))
	if err != nil || len(list) == 0 {
		return stages.Problemf("timing_cache", "No timings", "The engine on \"timing_cache\" has no timings of ONNX Runtime's provider: its build was skipped, or trtexec made it.")
	}
	for _, path := range list {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(path)), b, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// collectProvider moves what the provider wrote to the output: the engine in its ONNX file, and the timings.
func (t *tensorrt) collectProvider(job *stages.Job, dir string) error {
	made := []string{infer.EngineModel(dir)}
	timings, err := filepath.Glob(filepath.Join(dir, "*.timing"))
	if err := errors.Join(err, os.MkdirAll(job.Output("engine"), 0o777)); err != nil {
		return fmt.Errorf("making the engine's folder: %w", err)
	}
	for _, path := range append(made, timings...) {
		if err := os.Rename(path, filepath.Join(job.Output("engine"), filepath.Base(path))); err != nil {
			return fmt.Errorf("taking what ONNX Runtime wrote: %w", err)
		}
	}
	return nil
}

// timeProvider measures the engine as ONNX Runtime runs it, copies to and from the GPU included.
func (t *tensorrt) timeProvider(ctx context.Context, job *stages.Job, in onnx.Input) error {
	if !t.measure {
		return nil
	}
	_, best, _ := t.batches()
	s, err := infer.Open(infer.EngineModel(job.Output("engine")), infer.Options{TensorRT: true, Batch: best, Channels: in.Channels, Height: in.Height, Width: in.Width})
	if err != nil {
		return fmt.Errorf("opening the engine that was built: %w", err)
	}
	defer s.Close()
	timing, err := infer.Time(ctx, s, 1, infer.TimingOptions{Warmup: 20, Runs: 1 << 20, Budget: time.Duration(max(t.duration, 1)) * time.Second, Least: 20})
	if err != nil {
		return err
	}
	job.Measure("throughput", timing.Rate())
	for _, p := range []int{50, 90, 99} {
		job.Measure(fmt.Sprintf("latency_p%d", p), timing.At(float64(p)/100))
	}
	return nil
}
