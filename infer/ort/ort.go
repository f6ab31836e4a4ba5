// Package ort holds the process's one ONNX Runtime environment: where its library lies, what version it is, which
// instruction class its kernels are chosen by, and its start.
//
// Rules of the room: ONNX Runtime has one environment per process, so everybody who runs a session calls Init first and
// nobody calls onnxruntime_go's own InitializeEnvironment or DestroyEnvironment. The library is checked as a file before
// it is loaded, because the dynamic loader answers a truncated library with SIGBUS, not with an error. The environment
// lives until the process ends.
package ort

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	onnxruntime "github.com/yalue/onnxruntime_go"
)

// Release is the ONNX Runtime release that darkroom is built and tested with, and that `make setup` installs.
const Release = "1.30.0"

// PathVariable names the environment variable that says where the library lies, before any other place.
const PathVariable = "DARKROOM_ONNXRUNTIME"

// environment is the process-wide state; mu guards loaded.
var environment struct {
	mu     sync.Mutex
	loaded string // path of the library once it is loaded, else ""
}

// Find returns the path of the ONNX Runtime library: the file that $DARKROOM_ONNXRUNTIME names, else the one that
// `make setup` puts into the user's cache folder, else the first in the system's library folders. The variable is
// final: when it names a file that is not there, Find does not look elsewhere.
func Find() (string, error) {
	if path := os.Getenv(PathVariable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("the ONNX Runtime library that %s names is not there: %w; unset it, or set it to the path of %s", PathVariable, err, libraryName())
		}
		return path, nil
	}
	places := places()
	for _, path := range places {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("no ONNX Runtime library found: run `make setup`, or set %s to the path of %s (looked for %s)",
		PathVariable, libraryName(), strings.Join(places, ", "))
}

// InstallPath returns where `make setup` puts the library: in the user's cache folder, under the release's number.
func InstallPath() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("the user's cache folder: %w", err)
	}
	return filepath.Join(cache, "darkroom", "onnxruntime", Release, libraryName()), nil
}

// places lists the files that Find tries, in order.
func places() []string {
	var list []string
	if path, err := InstallPath(); err == nil {
		list = append(list, path)
	}
	folders := []string{"/usr/local/lib", "/usr/lib", "/usr/lib64"}
	if triple := multiarch[runtime.GOARCH]; triple != "" && runtime.GOOS == "linux" {
		folders = append(folders, "/usr/lib/"+triple)
	}
	if runtime.GOOS == "darwin" {
		folders = append(folders, "/opt/homebrew/lib")
	}
	for _, folder := range folders {
		list = append(list, filepath.Join(folder, libraryName()))
	}
	return list
}

// multiarch maps GOARCH to the name of Debian's library folder.
var multiarch = map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}

func libraryName() string {
	if runtime.GOOS == "darwin" {
		return "libonnxruntime.dylib"
	}
	return "libonnxruntime.so"
}

// Init loads the library that Find names and makes the process's environment: errors only in its log, no telemetry.
// It does so once; later and concurrent calls return when that is done. A failed Init may be tried again.
func Init() error {
	environment.mu.Lock()
	defer environment.mu.Unlock()
	if environment.loaded != "" {
		return nil
	}
	path, err := Find()
	if err != nil {
		return err
	}
	if err := checkLibrary(path); err != nil {
		return fmt.Errorf("ONNX Runtime library %s: %w", path, err)
	}
	onnxruntime.SetSharedLibraryPath(path)
	if err := onnxruntime.InitializeEnvironment(onnxruntime.WithLogLevelError()); err != nil {
		return fmt.Errorf("loading the ONNX Runtime library %s (release %s is needed: `make setup` installs it): %w", path, Release, err)
	}
	if err := onnxruntime.DisableTelemetry(); err != nil {
		return fmt.Errorf("ONNX Runtime library %s: turning telemetry off: %w", path, err)
	}
	environment.loaded = path
	return nil
}

// Version returns the library's name and version for a device class, "onnxruntime 1.30.0+3595fddb": of the loaded
// library, else of the file that Init would load, read without loading it; "onnxruntime" when there is none or it does
// not say. What follows the plus sign is the beginning of the build's own identity: the same release from two package
// registries is two builds, whose kernels may give other bits.
func Version() string {
	environment.mu.Lock()
	path := environment.loaded
	environment.mu.Unlock()
	if path == "" {
		found, err := Find()
		if err != nil {
			return "onnxruntime"
		}
		path = found
	}
	version := fileVersion(path)
	if version == "" {
		return "onnxruntime"
	}
	if id := buildID(path); id != "" {
		version += "+" + id
	}
	return "onnxruntime " + version
}

// IsRelease reports whether Version's text is of the release that darkroom is built and tested with.
func IsRelease(version string) bool {
	release, _, _ := strings.Cut(version, "+")
	return release == "onnxruntime "+Release
}
