package gpu

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/stages"
)

// settings are the arguments of a block runner "gpu" "NAME" { … }.
type settings struct {
	devices int      // that a stage gets whose resources do not say; at least 1
	memory  int64    // bytes that each of them must have
	uuids   []string // only these; nil: all
}

// settingNames are what parseSettings knows.
var settingNames = []string{"devices", "memory", "uuids"}

// parseSettings reads plain values: float64, string, []any. The error is a stages.Problem.
func parseSettings(args map[string]any) (settings, error) {
	s := settings{devices: 1}
	problem := func(detail string, with ...any) error {
		return stages.Problemf("runner", "Wrong setting of a runner", detail, with...)
	}
	for name, v := range args {
		switch name {
		case "devices":
			n, ok := v.(float64)
			if !ok || n != math.Trunc(n) || n < 1 || n > 1024 {
				return s, problem("\"devices\" of a runner \"gpu\" is how many GPUs a stage gets: a whole number from 1 to 1024. It is %s.", shown(v))
			}
			s.devices = int(n)
		case "memory":
			text, ok := v.(string)
			size, err := stages.ParseSize(text)
			if !ok || err != nil {
				return s, problem("\"memory\" of a runner \"gpu\" is what a GPU must have, a text such as \"40GB\" or \"40GiB\". It is %s.", shown(v))
			}
			s.memory = size
		case "uuids":
			list, ok := v.([]any)
			for _, e := range list {
				text, isText := e.(string)
				ok = ok && isText && (strings.HasPrefix(text, "GPU-") || strings.HasPrefix(text, "MIG-"))
				s.uuids = append(s.uuids, text)
			}
			if !ok || len(list) == 0 {
				return s, problem("\"uuids\" of a runner \"gpu\" is a list of the GPUs that it may use, such as [\"GPU-0a1b…\"]; `darkroom doctor` shows them. It is %s.", shown(v))
			}
		default:
			return s, problem("A runner \"gpu\" has no setting %q. Its settings are %s.", name, strings.Join(settingNames, ", "))
		}
	}
	return s, nil
}

// eligible returns those of the devices that the settings allow.
func (s settings) eligible(devices []Device) []Device {
	var out []Device
	for _, d := range devices {
		if (s.uuids == nil || slices.Contains(s.uuids, d.UUID)) && (s.memory == 0 || d.Memory >= s.memory) {
			out = append(out, d)
		}
	}
	return out
}

// misfit says why fewer than count of the devices are eligible; nil when there are enough.
func (s settings) misfit(count int, devices []Device) error {
	if len(s.eligible(devices)) >= count {
		return nil
	}
	const summary = "More than the machine has"
	if count > len(devices) {
		return stages.Problemf("runner", summary, "The stage asks for %s, but this machine has %s, so it would wait for ever.", gpus(count), gpus(len(devices)))
	}
	for _, uuid := range s.uuids {
		if !slices.ContainsFunc(devices, func(d Device) bool { return d.UUID == uuid }) {
			return stages.Problemf("runner", summary, "The runner may use the GPU %s, which this machine does not have. It has %s.", uuid, strings.Join(names(devices), ", "))
		}
	}
	var largest int64
	for _, d := range devices {
		largest = max(largest, d.Memory)
	}
	if s.memory > largest {
		return stages.Problemf("runner", summary, "The runner asks for GPUs with %s of memory, but the largest of this machine has %s, so the stage would wait for ever.", gib(s.memory), gib(largest))
	}
	return stages.Problemf("runner", summary, "The stage asks for %s, but only %d of this machine's are what the runner's \"memory\" and \"uuids\" allow, so it would wait for ever.",
		gpus(count), len(s.eligible(devices)))
}

func gpus(n int) string {
	if n == 1 {
		return "1 GPU"
	}
	return strconv.Itoa(n) + " GPUs"
}

func gib(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

func names(devices []Device) []string {
	var out []string
	for _, d := range devices {
		out = append(out, d.UUID)
	}
	return out
}

// visible returns the devices that CUDA_VISIBLE_DEVICES leaves, as CUDA reads it: numbers or UUIDs, which may be cut short, up to the
// first that names none. A batch system hands out a machine's GPUs this way. Without the variable all are visible.
func visible(devices []Device, variable string, set bool) []Device {
	if !set {
		return devices
	}
	var out []Device
	for _, item := range strings.Split(variable, ",") {
		item = strings.TrimSpace(item)
		i := slices.IndexFunc(devices, func(d Device) bool { return len(item) > len("GPU-") && strings.HasPrefix(d.UUID, item) })
		if n, err := strconv.Atoi(item); err == nil && n >= 0 && n < len(devices) {
			i = n
		}
		if i < 0 || slices.Contains(out, devices[i]) {
			break
		}
		out = append(out, devices[i])
	}
	return out
}

// shown writes a plain value as people do.
func shown(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}
