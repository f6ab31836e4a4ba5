package train

import (
	"runtime"

	devices "github.com/darkroom-dev/darkroom/learn/device"
	"github.com/darkroom-dev/darkroom/stages"
)

// class is the job's device as the trainer's devices are chosen by.
func class(d stages.Device) devices.Class {
	return devices.Class{Backend: d.Backend, Precision: d.Precision, Threads: d.Threads}
}

// quiet leaves the cores to what computes on them, and returns what takes that back: the spinning threads of Go's scheduler and those of ONNX
// Runtime fight for them, so one of Go's is faster. For a GPU the processor has nothing to do but prepare batches, on all cores.
func quiet(d stages.Device) (restore func()) {
	if d.Backend == stages.CUDA {
		return func() {}
	}
	before := runtime.GOMAXPROCS(1)
	return func() { runtime.GOMAXPROCS(before) }
}
