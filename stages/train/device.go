package train

import (
	devices "github.com/darkroom-dev/darkroom/learn/device"
	"github.com/darkroom-dev/darkroom/stages"
)

// class is the job's device as the trainer's devices are chosen by.
func class(d stages.Device) devices.Class {
	return devices.Class{Backend: d.Backend, Precision: d.Precision, Threads: d.Threads}
}
