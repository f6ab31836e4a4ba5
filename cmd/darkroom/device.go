package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
	"github.com/darkroom-dev/darkroom/learn/xla"
	"github.com/darkroom-dev/darkroom/runners/gpu"
	"github.com/darkroom-dev/darkroom/runners/local"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/tensorrt"
)

// runners are what stages run on: the local one, and one for each block runner "gpu" that a stage of p asks for.
func runners(p *engine.Pipeline) (map[string]engine.Runner, error) {
	here, err := local.New(local.Options{Device: processor, TensorRT: engineHere})
	if err != nil {
		return nil, lackingf("the local runner: %w", err)
	}
	gpus := func(settings map[string]any) engine.Runner {
		return gpu.New(gpu.Options{Local: here, Settings: settings, Device: cudaDevice, Environment: cudaEnvironment})
	}
	out := map[string]engine.Runner{"local": here, "gpu": gpus(nil)}
	if p == nil {
		return out, nil
	}
	for _, n := range p.Nodes {
		name := n.Runner.Type + "." + n.Runner.Name
		if n.Runner.Type == "gpu" && out[name] == nil {
			out[name] = gpus(n.Runner.Args)
		}
	}
	return out, nil
}

// computeLibrary finds the ONNX Runtime library once, and returns its version without loading it.
var computeLibrary = sync.OnceValues(func() (string, error) {
	path, err := ort.Find()
	if err != nil {
		return "", lackingf("%w", err)
	}
	version := ort.Version()
	if version == "onnxruntime" {
		return "", lackingf("%s is not the ONNX Runtime library, or it is damaged: run `make setup`, or set %s to the path of the library", path, ort.PathVariable)
	}
	return version, nil
})

// processor is the device class of this machine's processor.
func processor(threads int) (stages.Device, error) {
	version, err := computeLibrary()
	if err != nil {
		return stages.Device{}, err
	}
	return stages.Device{Backend: stages.CPU, Version: version + ", " + kernel.Class(), ISA: ort.ISA(), Precision: stages.FP32, Threads: threads}, nil
}

// checkDevice finds out before anything runs that a stage will lack what it computes with.
func checkDevice(p *engine.Pipeline) error {
	for _, n := range p.Nodes {
		if n.Kind.Computes && (n.Schema == nil || n.Schema.Compute == nil || n.Schema.Compute.Device != stages.TensorRT) {
			_, err := computeLibrary()
			return err
		}
	}
	return nil
}

// cuda finds the plugin for CUDA once.
var cuda = sync.OnceValues(xla.FindCUDA)

// cudaDevice is the device class of a GPU. The number of threads is 1: those of the processor do not compute.
func cudaDevice(want stages.Device, on gpu.Device) (stages.Device, error) {
	if want.Backend == stages.TensorRT {
		return engineDevice(&on), nil
	}
	in, remedy, err := usableCUDA(on)
	if err != nil {
		return stages.Device{}, stages.Problemf("device", "GPU cannot be computed on", "%s. The way out: %s.", sentence(err.Error()), remedy)
	}
	if want.Precision == stages.BF16 && on.Class != "" && olderThan(on.Class, 8) {
		return stages.Device{}, stages.Problemf("precision", "Precision that the device lacks", "The GPU %s has compute capability %s, and GPUs compute in bf16 from 8.0 on. Use precision = \"fp16\" or \"fp32\".", on.Name, on.Class)
	}
	return stages.Device{Backend: stages.CUDA, Version: in.Version() + ", driver " + on.Driver, ISA: strings.TrimSpace(on.Name + " " + on.Class), Precision: want.Precision, Threads: 1}, nil
}

// engineHere is what engines of this machine's first GPU are tied to. Without TensorRT or a GPU the plan still tells what would run: the stage itself
// says what is missing.
func engineHere() (stages.Device, error) {
	devices, err := gpu.List(context.Background())
	if err != nil || len(devices) == 0 {
		return engineDevice(nil), nil
	}
	return engineDevice(&devices[0]), nil
}

// engineDevice is the device class of TensorRT engines for a GPU; nil: there is none.
func engineDevice(on *gpu.Device) stages.Device {
	d := stages.Device{Backend: stages.TensorRT, Version: "no TensorRT", ISA: "no GPU", Precision: stages.ModelPrecision, Threads: 1}
	if version, err := tensorrt.Installed(context.Background()); err == nil {
		d.Version = "TensorRT " + version
	} else if version := ort.TensorRTLibrary(); version != "" {
		d.Version = "TensorRT " + version
	}
	if _, err := ort.TensorRTProvider(); err == nil { // it builds engines too
		d.Version += ", onnxruntime " + ort.Version()
	}
	if on != nil {
		d.Version += ", driver " + on.Driver
		d.ISA = strings.TrimSpace(on.Name + " " + on.Class)
	}
	return d
}

// usableCUDA returns the plugin when it can compute on the GPU, as far as files and versions tell; else why not, and the way out.
func usableCUDA(on gpu.Device) (in xla.Installation, remedy string, err error) {
	const install = "run `make setup-xla`, or set " + xla.PathVariable + " to the path of a plugin, or " + xla.PythonVariable + " to a Python that has JAX for CUDA"
	in, err = cuda()
	if err != nil {
		return in, install, err
	}
	if err := xla.Check(in.Plugin); err != nil {
		return in, install, fmt.Errorf("the PJRT plugin %s cannot be loaded: %w", in.Plugin, err)
	}
	if missing := in.Missing(); len(missing) > 0 {
		return in, "install the CUDA libraries beside the plugin (`make setup-xla` does), or put their folders on LD_LIBRARY_PATH",
			fmt.Errorf("the PJRT plugin %s is there, but libraries that it needs are missing: %s", in.Plugin, strings.Join(missing, ", "))
	}
	if oldest := in.NeedsDriver(on.Driver); oldest > 0 {
		return in, "update the driver, or install JAX's plugin for an older CUDA",
			fmt.Errorf("the PJRT plugin %s is built for CUDA %d, which needs an NVIDIA driver from %d on, but this machine has %s", in.Plugin, in.CUDA, oldest, on.Driver)
	}
	return in, "", nil
}

// olderThan compares the first number of a compute capability, "7.5".
func olderThan(class string, major int) bool {
	first, _, _ := strings.Cut(class, ".")
	n, err := strconv.Atoi(first)
	return err == nil && n < major
}

// sentence begins with a capital letter.
func sentence(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// cudaEnvironment is what the worker of a job on a GPU gets.
func cudaEnvironment(*stages.Job) ([]string, error) {
	in, err := cuda()
	if err != nil {
		return nil, err
	}
	return in.Environment(), nil
}

// checkCUDA says whether stages can compute on the GPUs.
func checkCUDA(devices []gpu.Device) finding {
	f := finding{Name: "CUDA"}
	in, remedy, err := usableCUDA(devices[0])
	if err != nil {
		f.Detail, f.Remedy = "no stage can compute on the GPU: "+err.Error(), remedy
		return f
	}
	f.OK, f.Detail = true, fmt.Sprintf("%s at %s; stages with device = \"cuda\" compute on the GPU", in.Version(), in.Plugin)
	return f
}
