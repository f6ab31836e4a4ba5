package tensorrt

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/onnx"
)

// The files of a build, below the folder in which trtexec runs, so that no path of the machine is in the command line.
const (
	modelFile  = "model.onnx"
	planFile   = "engine.plan"
	timingFile = "timing.cache"
	layersFile = "layers.json"
)

// commandLine returns the arguments of trtexec for a model with that input.
func (t *tensorrt) commandLine(d dialect, in onnx.Input) []string {
	args := []string{"--onnx=" + modelFile, "--saveEngine=" + planFile, "--timingCacheFile=" + timingFile,
		"--builderOptimizationLevel=" + strconv.Itoa(t.level), "--profilingVerbosity=detailed", "--exportLayerInfo=" + layersFile}
	if t.workspace > 0 {
		args = append(args, fmt.Sprintf("--memPoolSize=workspace:%dM", t.workspace))
	}
	args = append(args, t.precisionFlags(d)...)
	if min, opt, max := t.batches(); min != max {
		for _, p := range []struct {
			flag string
			n    int
		}{{"minShapes", min}, {"optShapes", opt}, {"maxShapes", max}} {
			args = append(args, fmt.Sprintf("--%s=%s:%dx%dx%dx%d", p.flag, in.Name, p.n, in.Channels, in.Height, in.Width))
		}
	}
	if t.dla >= 0 {
		args = append(args, "--useDLACore="+strconv.Itoa(t.dla))
		if t.fallback {
			args = append(args, "--allowGPUFallback")
		}
	}
	if t.versions {
		args = append(args, "--versionCompatible")
	}
	if level := hardwareLevels[t.hardware]; level != "" {
		args = append(args, "--hardwareCompatibilityLevel="+level)
	}
	if t.sparse {
		args = append(args, "--sparsity=enable")
	}
	if !t.measure {
		return append(args, "--skipInference")
	}
	return append(args, t.timingFlags(d)...)
}

// precisionFlags says which precisions the builder may use. From 11.x on there is nothing to say: the model's types are the precision.
func (t *tensorrt) precisionFlags(d dialect) []string {
	switch {
	case d != dialect10:
		return nil
	case t.precision == modelPrecision && t.dla < 0:
		return []string{"--stronglyTyped"}
	case t.precision == "int8":
		return []string{"--int8", "--fp16"} // what has no Q/DQ pair runs in half precision rather than in single
	case t.precision == modelPrecision:
		return nil
	}
	return []string{"--" + t.precision}
}

// timingFlags pin what is measured, since 11.x uses CUDA graphs and leaves transfers out by default and 10.x does neither. With
// dynamic shapes trtexec measures at the opt shapes.
func (t *tensorrt) timingFlags(d dialect) []string {
	args := []string{fmt.Sprintf("--warmUp=%d", t.warmup), fmt.Sprintf("--duration=%d", t.duration), "--percentile=50,90,99", "--useSpinWait"}
	switch {
	case d == dialect10 && t.graph:
		args = append(args, "--useCudaGraph")
	case d != dialect10 && !t.graph:
		args = append(args, "--noCudaGraph")
	}
	switch {
	case d == dialect10 && !t.transfers:
		args = append(args, "--noDataTransfers")
	case d != dialect10 && t.transfers:
		args = append(args, "--includeDataTransfers")
	}
	return args
}

// shellWords writes a command line as a person would type it.
func shellWords(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if strings.ContainsAny(w, " \t\n\"'$`\\*?[]{}()<>|&;#~!") || w == "" {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}
