// Package gpu runs stages on the GPUs of this machine, one stage a GPU: it knows the GPUs, leases them among all processes of the
// machine, and has runners/local execute the stage with nothing but its own in sight.
//
// Rules of the room: it asks the driver's own program, so that the one binary runs where nothing of CUDA is installed. A lease is a
// file lock that the worker inherits, so it ends with the last process that could use the GPU, however that dies; nothing is ever
// cleaned up by hand. It imports engine, stages and runners/local, no kind and no library; how a stage computes on a GPU is told by
// the edge.
package gpu

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Device is one GPU.
type Device struct {
	UUID   string `json:"uuid"` // what CUDA_VISIBLE_DEVICES takes: it does not change with the order of the devices
	Name   string `json:"name"`
	Driver string `json:"driver"` // version
	Class  string `json:"class"`  // compute capability, "9.0"; "" where the driver does not tell
	Memory int64  `json:"memory"` // bytes in all
	Free   int64  `json:"free"`   // bytes that no process uses at the moment
}

// ErrNoDriver says that the driver's program is not installed.
var ErrNoDriver = errors.New("nvidia-smi is not installed, so there is no NVIDIA driver to ask")

// List returns the GPUs that the driver knows, in its order. Without a driver the error is ErrNoDriver.
func List(ctx context.Context) ([]Device, error) {
	path, err := exec.LookPath("nvidia-smi")
	if err != nil {
		return nil, ErrNoDriver
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // a driver in trouble lets its program hang
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--query-gpu=uuid,name,driver_version,compute_cap,memory.total,memory.free", "--format=csv,noheader,nounits")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: no answer: %w", path, ctx.Err())
	}
	if err != nil {
		// It tells on stdout what is wrong, such as a driver that does not match its library.
		said, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return nil, fmt.Errorf("%s: %w: %s", path, err, said)
	}
	devices, err := parse(string(out))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", path, err)
	}
	return devices, nil
}

// parse reads lines of UUID, name, driver, compute capability, memory and free memory; memory is in MiB. What a device does not tell, such as
// the memory of one that shares the machine's, is [N/A] there and 0 here.
func parse(text string) ([]Device, error) {
	in := csv.NewReader(strings.NewReader(text))
	in.FieldsPerRecord, in.TrimLeadingSpace = 6, true
	rows, err := in.ReadAll()
	if err != nil {
		return nil, err
	}
	var out []Device
	for _, row := range rows {
		if !strings.HasPrefix(row[0], "GPU-") && !strings.HasPrefix(row[0], "MIG-") {
			return nil, fmt.Errorf("%q is not the UUID of a GPU", row[0])
		}
		d := Device{UUID: row[0], Name: row[1], Driver: row[2], Class: row[3]}
		if strings.HasPrefix(d.Class, "[") {
			d.Class = ""
		}
		for i, into := range []*int64{&d.Memory, &d.Free} {
			if *into, err = mebibytes(row[4+i]); err != nil {
				return nil, fmt.Errorf("%s: %w", d.UUID, err)
			}
		}
		out = append(out, d)
	}
	return out, nil
}

func mebibytes(text string) (int64, error) {
	if strings.HasPrefix(text, "[") {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 43)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no amount of memory in MiB", text)
	}
	return n << 20, nil
}
