// Package device chooses what a computation runs on.
//
// Rules of the room: it is the one place that knows all devices of learn. It never falls back: who asks for a GPU gets one or an
// error. What has to be known before a process starts, such as where libraries lie, comes from the environment (learn/xla).
package device

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/darkroom-dev/darkroom/learn/cpu"
	"github.com/darkroom-dev/darkroom/learn/mixed"
	"github.com/darkroom-dev/darkroom/learn/xla"
)

// Class is what a stage asks for.
type Class struct {
	Backend   string // "cpu", "cuda"; "": cpu
	Precision string // "fp32", "bf16", "fp16"; "": fp32
	Threads   int    // of the processor's device; at least 1
}

// narrow are the types that products are computed in.
var narrow = map[string]dtypes.DType{"bf16": dtypes.BFloat16, "fp16": dtypes.Float16}

// Open starts the device. The caller finalizes it.
func Open(c Class) (compute.Backend, error) {
	b, err := open(c)
	if err != nil || c.Precision == "" || c.Precision == "fp32" {
		return b, err
	}
	m, err := Narrow(b, c.Precision)
	if err != nil {
		b.Finalize()
		return nil, err
	}
	return m, nil
}

func open(c Class) (compute.Backend, error) {
	switch c.Backend {
	case "", "cpu":
		if c.Precision != "" && c.Precision != "fp32" {
			return nil, fmt.Errorf("the processor computes in fp32 only, not in %s", c.Precision)
		}
		return cpu.New(cpu.Options{Threads: max(c.Threads, 1)})
	case "cuda":
		in, err := xla.FindCUDA()
		if err != nil {
			return nil, err
		}
		return xla.New(xla.Options{Plugin: in.Plugin, Platform: "cuda"})
	}
	return nil, fmt.Errorf("there is no device %q; the devices are cpu and cuda", c.Backend)
}

// Narrow computes products on the device in a narrow precision.
func Narrow(b compute.Backend, precision string) (compute.Backend, error) {
	d, ok := narrow[precision]
	if !ok {
		return nil, fmt.Errorf("there is no precision %q; the precisions are fp32, bf16 and fp16", precision)
	}
	return mixed.New(b, d)
}
