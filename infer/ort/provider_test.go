package ort

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTensorRTProviderLiesBesideTheLibrary(t *testing.T) {
	dir, links := t.TempDir(), t.TempDir()
	library := filepath.Join(dir, "libonnxruntime.so.1")
	link := filepath.Join(links, "libonnxruntime.so")
	if err := os.WriteFile(library, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(library, link); err != nil {
		t.Fatal(err)
	}
	t.Setenv(PathVariable, link)
	if path, err := TensorRTProvider(); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "libonnxruntime_providers_shared.so")) || !strings.Contains(err.Error(), PathVariable) {
		t.Errorf("without the provider: %q, %v", path, err)
	}
	for _, name := range []string{"libonnxruntime_providers_shared.so", "libonnxruntime_providers_tensorrt.so"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if path, err := TensorRTProvider(); err != nil || path != filepath.Join(dir, "libonnxruntime_providers_tensorrt.so") {
		t.Errorf("beside the library: %q, %v", path, err)
	}
	t.Setenv(PathVariable, filepath.Join(dir, "nowhere.so"))
	if path, err := TensorRTProvider(); err == nil {
		t.Errorf("without ONNX Runtime: %q", path)
	}
}

func TestTensorRTLibraryTellsItsVersion(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("LD_LIBRARY_PATH", dir)
	if err := os.WriteFile(filepath.Join(dir, "libnvinfer.so.10.9.0"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("libnvinfer.so.10.9.0", filepath.Join(dir, "libnvinfer.so.10")); err != nil {
		t.Fatal(err)
	}
	if v := TensorRTLibrary(); v != "10.9.0" {
		t.Errorf("the version is %q", v)
	}
}
