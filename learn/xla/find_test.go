package xla

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// packages makes a Python's folders with JAX's package for CUDA and some of NVIDIA's, and returns the Python's path.
func packages(t *testing.T, cuda string, libraries ...string) (python, folder string) {
	t.Helper()
	root := t.TempDir()
	folder = filepath.Join(root, "lib", "python3.13", "site-packages")
	files := []string{"jax_plugins/xla_cuda" + cuda + "/xla_cuda_plugin.so", "jax_cuda" + cuda + "_pjrt-0.12.0.1.dist-info/METADATA",
		"nvidia_cudnn_cu" + cuda + "-9.27.0.42.dist-info/METADATA", "nvidia_cublas-13.10.0.20.dist-info/METADATA", "nvidia_nccl_cu13-2.3.dist-info/METADATA", "nvidia/cu" + cuda + "/bin/ptxas"}
	for _, l := range libraries {
		files = append(files, "nvidia/"+l)
	}
	for _, f := range files {
		path := filepath.Join(folder, f)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(f), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(root, "bin", "python"), folder
}

// nowhere hides whatever this machine has.
func nowhere(t *testing.T) {
	t.Helper()
	for _, name := range []string{PathVariable, PythonVariable, "VIRTUAL_ENV", "LD_LIBRARY_PATH"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("PATH", t.TempDir())
}

func TestFindCUDA(t *testing.T) {
	nowhere(t)
	if _, err := FindCUDA(); !errors.Is(err, ErrNoPlugin) {
		t.Fatalf("found on a machine without one: %v", err)
	}
	python, folder := packages(t, "13", "cudnn/lib/libcudnn.so.9", "cu13/lib/libcublas.so.13")
	t.Setenv(PythonVariable, python)
	in, err := FindCUDA()
	if err != nil {
		t.Fatal(err)
	}
	if in.Plugin != filepath.Join(folder, "jax_plugins/xla_cuda13/xla_cuda_plugin.so") || in.CUDA != 13 || in.Toolkit != filepath.Join(folder, "nvidia/cu13") {
		t.Errorf("%+v", in)
	}
	if want := []string{filepath.Join(folder, "nvidia/cu13/lib"), filepath.Join(folder, "nvidia/cudnn/lib")}; !slices.Equal(in.Libraries, want) {
		t.Errorf("libraries %v", in.Libraries)
	}
	if v := in.Version(); !strings.HasPrefix(v, "pjrt ") || !strings.HasSuffix(v, ", jax-cuda13-pjrt 0.12.0.1, nvidia-cublas 13.10.0.20, nvidia-cudnn-cu13 9.27.0.42") {
		t.Errorf("version %q", v)
	}
	missing := in.Missing()
	if slices.Contains(missing, "libcudnn.so.9") || slices.Contains(missing, "libcublas.so.13") {
		t.Errorf("missing %v", missing)
	}
	env := strings.Join(in.Environment(), "\n")
	for _, want := range []string{PathVariable + "=" + in.Plugin, "LD_LIBRARY_PATH=" + strings.Join(in.Libraries, ":"), "--xla_gpu_deterministic_ops=true --xla_gpu_cuda_data_dir=" + in.Toolkit, "NVIDIA_TF32_OVERRIDE=0"} {
		if !strings.Contains(env, want) {
			t.Errorf("the environment lacks %q:\n%s", want, env)
		}
	}

	// A Python that was named and has none is not passed over for another that has one.
	t.Setenv("VIRTUAL_ENV", filepath.Dir(filepath.Dir(python)))
	t.Setenv(PythonVariable, "/nowhere/bin/python")
	if _, err := FindCUDA(); !errors.Is(err, ErrNoPlugin) || !strings.Contains(err.Error(), PythonVariable) {
		t.Errorf("%v", err)
	}
	t.Setenv(PythonVariable, "")
	if in, err := FindCUDA(); err != nil || in.CUDA != 13 {
		t.Errorf("in the active environment: %+v, %v", in, err)
	}

	// So is a path.
	t.Setenv(PathVariable, filepath.Join(folder, "none.so"))
	if _, err := FindCUDA(); err == nil || !strings.Contains(err.Error(), "is not there") {
		t.Errorf("%v", err)
	}
	other := filepath.Join(t.TempDir(), "plugin.so")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(PathVariable, other)
	if in, err := FindCUDA(); err != nil || in.Plugin != other || in.CUDA != 0 || len(in.Missing()) > 0 || in.NeedsDriver("100.1") != 0 {
		t.Errorf("a plugin of its own: %+v, %v", in, err)
	}
}

func TestTheNewestCUDAIsTaken(t *testing.T) {
	nowhere(t)
	python, folder := packages(t, "12")
	newer := filepath.Join(folder, "jax_plugins", "xla_cuda13", "xla_cuda_plugin.so")
	if err := errors.Join(os.MkdirAll(filepath.Dir(newer), 0o700), os.WriteFile(newer, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv(PythonVariable, python)
	if in, err := FindCUDA(); err != nil || in.Plugin != newer {
		t.Errorf("%+v, %v", in, err)
	}
}

func TestNeedsDriver(t *testing.T) {
	for _, c := range []struct {
		cuda   int
		driver string
		want   int
	}{{13, "570.86.15", 580}, {13, "580.95", 0}, {13, "", 0}, {12, "520.1", 525}, {12, "570.86.15", 0}, {0, "1.0", 0}} {
		if got := (Installation{CUDA: c.cuda}).NeedsDriver(c.driver); got != c.want {
			t.Errorf("CUDA %d on %q: %d, want %d", c.cuda, c.driver, got, c.want)
		}
	}
}
