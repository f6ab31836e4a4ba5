package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
	"github.com/darkroom-dev/darkroom/runners/gpu"
)

// finding is one line of doctor.
type finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"` // nothing runs without it
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Checks what darkroom needs from this machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings := append([]finding{checkProcessor(), checkLibrary(), a.checkCache(), a.checkLinks()}, checkGPUs(cmd.Context())...)
			code := exitDone
			for _, f := range findings {
				if f.Needed && !f.OK {
					code = exitEnvironment
				}
			}
			if a.json {
				if err := a.printJSON(map[string]any{"ok": code == exitDone, "checks": findings}); err != nil {
					return err
				}
			} else {
				a.printFindings(findings)
			}
			if code != exitDone {
				return told(code)
			}
			return nil
		},
	}
}

func (a *app) printFindings(findings []finding) {
	var rows [][]string
	for _, f := range findings {
		mark := a.paint(a.out, green, "ok")
		switch {
		case !f.OK && f.Needed:
			mark = a.paint(a.out, red, "missing")
		case !f.OK:
			mark = a.paint(a.out, yellow, "note")
		}
		rows = append(rows, []string{mark, f.Name, f.Detail})
		if f.Remedy != "" && !f.OK {
			rows = append(rows, []string{"", "", "→ " + f.Remedy})
		}
	}
	table(a.out, "", rows)
}

func checkProcessor() finding {
	return finding{Name: "processor", OK: true, Needed: true,
		Detail: fmt.Sprintf("%s/%s, %d threads, instruction class %s, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), ort.ISA(), kernel.Class())}
}

func checkLibrary() finding {
	f := finding{Name: "ONNX Runtime", Needed: true, Remedy: "run `make setup`, or set " + ort.PathVariable + " to the path of the library"}
	path, err := ort.Find()
	if err == nil {
		err = ort.Init()
	}
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	f.OK, f.Detail = true, ort.Version()+" at "+path
	if want := "onnxruntime " + ort.Release; !ort.IsRelease(ort.Version()) {
		f.OK, f.Needed, f.Detail = false, false, f.Detail+"; darkroom is tested with "+want
	}
	return f
}

// cacheFolderForDoctor finds the cache without a pipeline having to be there.
func (a *app) cacheFolderForDoctor() string {
	start := a.pipeline
	if start == "" {
		start = "."
	}
	return a.cacheFolder(start)
}

func (a *app) checkCache() finding {
	folder := a.cacheFolderForDoctor()
	f := finding{Name: "cache", Needed: true, Remedy: "choose another folder with --cache or DARKROOM_CACHE"}
	existing := folder
	for {
		if _, err := os.Stat(existing); err == nil || !errors.Is(err, os.ErrNotExist) {
			break
		}
		existing = filepath.Dir(existing)
	}
	if err := unix.Access(existing, unix.W_OK|unix.X_OK); err != nil {
		f.Detail = fmt.Sprintf("%s: %s is not writable: %v", folder, existing, err)
		return f
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(existing, &fs); err != nil {
		f.Detail = fmt.Sprintf("%s: %v", folder, err)
		return f
	}
	free := int64(fs.Bavail) * int64(fs.Bsize)
	f.OK, f.Detail = true, fmt.Sprintf("%s, %s free", folder, bytesText(free))
	if free < 1e9 {
		f.OK, f.Needed, f.Remedy = false, false, "free some space: darkroom cache gc"
	}
	return f
}

// checkLinks looks whether files can be linked in the cache's folder, which saves copying every artifact.
func (a *app) checkLinks() finding {
	f := finding{Name: "hard links", Remedy: "put the cache on a local file system; artifacts are copied until then"}
	folder := a.cacheFolderForDoctor()
	if _, err := os.Stat(folder); err != nil {
		f.OK, f.Detail = true, "not tried: the cache does not exist yet"
		return f
	}
	dir, err := os.MkdirTemp(folder, ".doctor-")
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	defer os.RemoveAll(dir)
	from := filepath.Join(dir, "a")
	if err := errors.Join(os.WriteFile(from, nil, 0o600), os.Link(from, filepath.Join(dir, "b"))); err != nil {
		f.Detail = err.Error()
		return f
	}
	f.OK, f.Detail = true, "the cache's file system takes them"
	return f
}

// checkGPUs lists the GPUs, and says whether stages can compute on them. They are never needed, so none is no fault.
func checkGPUs(ctx context.Context) []finding {
	devices, err := gpu.List(ctx)
	switch {
	case errors.Is(err, gpu.ErrNoDriver):
		return []finding{{Name: "GPU", OK: true, Detail: "none: " + err.Error() + "; stages compute on the processor"}}
	case err != nil:
		return []finding{{Name: "GPU", Detail: err.Error(), Remedy: "run nvidia-smi and mend what it reports; a restart helps where the driver was just updated"}}
	case len(devices) == 0:
		return []finding{{Name: "GPU", OK: true, Detail: "none: the NVIDIA driver knows no device; stages compute on the processor"}}
	}
	var out []finding
	for i, d := range devices {
		memory := "memory not told"
		if d.Memory > 0 {
			memory = fmt.Sprintf("%s, %s free", bytesText(d.Memory), bytesText(d.Free))
		}
		out = append(out, finding{Name: fmt.Sprintf("GPU %d", i), OK: true,
			Detail: fmt.Sprintf("%s, %s, driver %s, %s", d.Name, memory, d.Driver, d.UUID)})
	}
	return append(out, checkCUDA(devices))
}
