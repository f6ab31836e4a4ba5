package gpu

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const answer = "GPU-0a1b, NVIDIA H200, 570.86.15, 9.0, 143771, 143000\nGPU-2c3d, NVIDIA GB10, 580.95, [N/A], [N/A], [N/A]\n"

var devices = []Device{
	{"GPU-0a1b", "NVIDIA H200", "570.86.15", "9.0", 143771 << 20, 143000 << 20},
	{"GPU-2c3d", "NVIDIA GB10", "580.95", "", 0, 0},
}

func TestParse(t *testing.T) {
	got, err := parse(answer)
	if err != nil || !reflect.DeepEqual(got, devices) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := parse(""); err != nil || len(got) != 0 {
		t.Errorf("no device: %v, %v", got, err)
	}
	for _, text := range []string{"No devices were found\n", "0, a, b, 1, 1, 1\n", "GPU-1, a, b, 1, many, 1\n", "GPU-1, a, b, 1, -5, 1\n", "GPU-1, a, b, 1, 99999999999999999, 1\n", "GPU-1, a\n"} {
		if got, err := parse(text); err == nil {
			t.Errorf("%q became %v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(answer)
	f.Add("GPU-1, \"a\", b, 1, 1, [N/A]\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parse(text)
		for _, d := range list {
			if err != nil || d.UUID == "" || d.Memory < 0 || d.Free < 0 {
				t.Errorf("%+v, %v", d, err)
			}
		}
	})
}

// program puts an nvidia-smi of the test's own on the path.
func program(t *testing.T, script string) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

func TestList(t *testing.T) {
	program(t, "cat <<E\n"+answer+"E\n")
	if got, err := List(t.Context()); err != nil || !reflect.DeepEqual(got, devices) {
		t.Errorf("%+v, %v", got, err)
	}
	program(t, "echo Failed to initialize NVML: Driver/library version mismatch; exit 18\n")
	if got, err := List(t.Context()); err == nil || !strings.Contains(err.Error(), "version mismatch") {
		t.Errorf("%v, %v", got, err)
	}
	t.Setenv("PATH", t.TempDir())
	if got, err := List(t.Context()); !errors.Is(err, ErrNoDriver) {
		t.Errorf("%v, %v", got, err)
	}
}
