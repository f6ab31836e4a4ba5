package xla

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The environment variables that say where the plugin for CUDA lies, before any other place.
const (
	PathVariable   = "DARKROOM_PJRT"   // path of the plugin
	PythonVariable = "DARKROOM_PYTHON" // path of a Python, into which JAX's packages for CUDA are installed
)

// Installation is a PJRT plugin for CUDA with what belongs to it.
type Installation struct {
	Plugin    string   // absolute path
	Packages  []string // names and versions of the packages that it and its libraries come from, sorted; none where they come from elsewhere
	Libraries []string // folders for the dynamic loader's path
	Toolkit   string   // folder of the CUDA toolkit's programs, in which XLA looks for ptxas and libdevice; ""
	CUDA      int      // major version that the plugin is built for; 0: not known
}

// ErrNoPlugin says that there is no plugin in any of the places.
var ErrNoPlugin = errors.New("no PJRT plugin for CUDA found")

// FindCUDA looks for the plugin: the file that $DARKROOM_PJRT names, else the one in JAX's package for CUDA of the Python that
// $DARKROOM_PYTHON names, else of the one that `make setup-xla` makes, of the active virtual environment, of python3 on the path, and of the
// user's own packages. The two variables are final: when what they name is not there, FindCUDA does not look elsewhere. Nothing is loaded
// or executed.
func FindCUDA() (Installation, error) {
	if path := os.Getenv(PathVariable); path != "" {
		abs, err := filepath.Abs(path)
		if err == nil {
			_, err = os.Stat(abs)
		}
		if err != nil {
			return Installation{}, fmt.Errorf("the PJRT plugin that %s names is not there: %w; unset it, or set it to the path of a plugin", PathVariable, err)
		}
		return describe(abs), nil
	}
	folders, final := packageFolders()
	for _, folder := range folders {
		if plugins := pluginsIn(folder); len(plugins) > 0 {
			return describe(plugins[0]), nil
		}
	}
	if final {
		return Installation{}, fmt.Errorf("%w: the Python that %s names, %s, has no JAX package for CUDA (jax-cuda13-pjrt)", ErrNoPlugin, PythonVariable, os.Getenv(PythonVariable))
	}
	if len(folders) == 0 {
		return Installation{}, fmt.Errorf("%w: no Python with packages is in any of the usual places", ErrNoPlugin)
	}
	return Installation{}, fmt.Errorf("%w: there is no JAX package for CUDA (jax-cuda13-pjrt) in %s", ErrNoPlugin, strings.Join(folders, ", "))
}

// pluginsIn returns the plugins in a Python's folder of packages, that for the newest CUDA first.
func pluginsIn(folder string) []string {
	plugins, err := filepath.Glob(filepath.Join(escape(folder), "jax_plugins", "xla_cuda*", "xla_cuda_plugin.so"))
	if err != nil {
		return nil
	}
	slices.SortFunc(plugins, func(a, b string) int { return major(b) - major(a) })
	return plugins
}

var escaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// escape makes a path a pattern that matches it alone.
func escape(path string) string { return escaper.Replace(path) }

var pluginFolder = regexp.MustCompile(`^xla_cuda(\d+)`)

// major returns the CUDA version that the name of a plugin's folder tells, 0 when it tells none.
func major(plugin string) int {
	m := pluginFolder.FindStringSubmatch(filepath.Base(filepath.Dir(plugin)))
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // digits, and too many of them are 0
	return n
}

// packageFolders lists the folders of Python packages to look in; final: they are those of the Python that was named.
func packageFolders() (folders []string, final bool) {
	if python := os.Getenv(PythonVariable); python != "" {
		return foldersOf(python), true
	}
	var list []string
	if cache, err := os.UserCacheDir(); err == nil {
		list = append(list, foldersOf(filepath.Join(cache, "darkroom", "xla-cuda", "bin", "python"))...)
	}
	if env := os.Getenv("VIRTUAL_ENV"); env != "" {
		list = append(list, foldersOf(filepath.Join(env, "bin", "python"))...)
	}
	if python, err := exec.LookPath("python3"); err == nil {
		list = append(list, foldersOf(python)...)
	}
	if home, err := os.UserHomeDir(); err == nil {
		list = append(list, foldersOf(filepath.Join(home, ".local", "bin", "python"))...)
	}
	slices.Sort(list[min(1, len(list)):]) // several Pythons in one place: an order that does not depend on the file system
	return slices.Compact(list), false
}

// foldersOf returns the folders of packages that belong to a Python by its place: PREFIX/bin/python has PREFIX/lib/python3*/site-packages.
func foldersOf(python string) []string {
	prefix := filepath.Dir(filepath.Dir(python))
	var out []string
	for _, pattern := range []string{"lib/python3*/site-packages", "lib/python3*/dist-packages", "local/lib/python3*/dist-packages"} {
		found, err := filepath.Glob(filepath.Join(escape(prefix), pattern))
		if err == nil {
			out = append(out, found...)
		}
	}
	return out
}

// describe finds what belongs to a plugin by its place in a folder of packages.
func describe(plugin string) Installation {
	in := Installation{Plugin: plugin, CUDA: major(plugin)}
	folder := filepath.Dir(filepath.Dir(filepath.Dir(plugin))) // FOLDER/jax_plugins/xla_cuda13/xla_cuda_plugin.so
	if filepath.Base(filepath.Dir(filepath.Dir(plugin))) != "jax_plugins" {
		return in
	}
	libraries, err := filepath.Glob(filepath.Join(escape(folder), "nvidia", "*", "lib"))
	if err == nil {
		in.Libraries = libraries
	}
	for _, place := range []string{"cu" + strconv.Itoa(in.CUDA), "cuda_nvcc"} {
		path := filepath.Join(folder, "nvidia", place)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			in.Toolkit = path
			break
		}
	}
	for _, pattern := range []string{"jax_cuda*_pjrt-*.dist-info", "nvidia_*.dist-info"} {
		found, err := filepath.Glob(filepath.Join(escape(folder), pattern))
		if err != nil {
			continue
		}
		for _, f := range found {
			name, version, _ := strings.Cut(strings.TrimSuffix(filepath.Base(f), ".dist-info"), "-")
			in.Packages = append(in.Packages, strings.ReplaceAll(name, "_", "-")+" "+version)
		}
	}
	slices.Sort(in.Packages)
	return in
}

// numeric are the packages whose kernels compute a training: their versions can change bits.
var numeric = regexp.MustCompile(`^(jax-cuda\d+-pjrt|nvidia-(cublas|cudnn|cuda-nvcc|nvvm)\S*) `)

// Version names the plugin's build and those libraries whose kernels it calls, for a device class.
func (in Installation) Version() string {
	parts := []string{Identity(in.Plugin)}
	for _, p := range in.Packages {
		if numeric.MatchString(p) {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ", ")
}

// libraryNames are what a plugin loads by name, by CUDA's major version.
var libraryNames = map[int][]string{
	13: {"libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libcudnn.so.9", "libcufft.so.12", "libcusolver.so.12", "libcusparse.so.12", "libcupti.so.13", "libnvJitLink.so.13"},
	12: {"libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12", "libcudnn.so.9", "libcufft.so.11", "libcusolver.so.11", "libcusparse.so.12", "libcupti.so.12", "libnvJitLink.so.12"},
}

// Missing returns the names of the libraries that are neither in the installation's folders nor where the dynamic loader looks. A plugin whose
// CUDA version is not known is not judged.
func (in Installation) Missing() []string {
	folders := slices.Clone(in.Libraries)
	folders = append(folders, filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))...)
	folders = append(folders, "/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")
	var out []string
	for _, name := range libraryNames[in.CUDA] {
		if !slices.ContainsFunc(folders, func(f string) bool { _, err := os.Stat(filepath.Join(f, name)); return err == nil }) {
			out = append(out, name)
		}
	}
	return out
}

// drivers are the oldest driver branches that run programs of a CUDA major version, from NVIDIA's table of minor version compatibility.
var drivers = map[int]int{12: 525, 13: 580}

// NeedsDriver returns the oldest driver branch that the plugin works with when the given one, "570.86.15", is older; 0 when it will do or
// nothing is known.
func (in Installation) NeedsDriver(version string) int {
	branch, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(branch)
	if oldest := drivers[in.CUDA]; err == nil && n < oldest {
		return oldest
	}
	return 0
}

// Environment is what a process needs in its environment, from its start, to compute with the plugin: where it is, the loader's path, and
// what makes XLA's results repeat: kernels that add in a fixed order, and products of float32 that are not rounded to TF32.
func (in Installation) Environment() []string {
	flags := []string{"--xla_gpu_deterministic_ops=true"}
	if in.Toolkit != "" {
		flags = append(flags, "--xla_gpu_cuda_data_dir="+in.Toolkit)
	}
	path := in.Libraries
	if own := os.Getenv("LD_LIBRARY_PATH"); own != "" {
		path = append(slices.Clone(path), own)
	}
	return []string{PathVariable + "=" + in.Plugin, "LD_LIBRARY_PATH=" + strings.Join(path, ":"), "XLA_FLAGS=" + strings.Join(flags, " "), "NVIDIA_TF32_OVERRIDE=0"}
}
