package ort

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// TensorRTProvider returns the path of ONNX Runtime's TensorRT provider, a library that the builds for GPUs have beside ONNX Runtime's own and that `make setup`
// does not install. Whether the libraries of CUDA and TensorRT that it needs in turn are there, the loader says when a session asks for it.
func TensorRTProvider() (string, error) {
	library, err := Find()
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(library); err == nil {
		library = real // the loader looks beside the file itself
	}
	for _, name := range []string{"libonnxruntime_providers_shared.so", "libonnxruntime_providers_tensorrt.so"} {
		path := filepath.Join(filepath.Dir(library), name)
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("ONNX Runtime has no TensorRT provider here: %s is missing; it comes with the builds of ONNX Runtime for GPUs (onnxruntime-gpu), whose library %s may name", path, PathVariable)
		}
	}
	return filepath.Join(filepath.Dir(library), "libonnxruntime_providers_tensorrt.so"), nil
}

// TensorRTLibrary returns the version of the TensorRT library that the loader would find, as its file name tells it (libnvinfer.so.10.9.0); "" where there is none
// or its name does not tell.
func TensorRTLibrary() string {
	folders := append(filepath.SplitList(os.Getenv("LD_LIBRARY_PATH")), "/usr/local/lib", "/usr/lib/"+multiarch[runtime.GOARCH], "/usr/lib64", "/usr/lib")
	for _, folder := range folders {
		list, err := filepath.Glob(filepath.Join(folder, "libnvinfer.so.*"))
		if err != nil || folder == "" {
			continue
		}
		for _, path := range list {
			real, err := filepath.EvalSymlinks(path)
			if version, ok := strings.CutPrefix(filepath.Base(real), "libnvinfer.so."); err == nil && ok && strings.Count(version, ".") >= 2 {
				return version
			}
		}
	}
	return ""
}
