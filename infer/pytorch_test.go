package infer

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

// peerPython is the Python with PyTorch, torchvision and timm that `make bench-train` sets up.
func peerPython(t *testing.T) string {
	t.Helper()
	path := os.Getenv("DARKROOM_PEER_PYTHON")
	if path == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skip(err)
		}
		path = filepath.Join(cache, "darkroom", "peer", "bin", "python")
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no Python with PyTorch (%v): make bench-train installs one, DARKROOM_PEER_PYTHON names one", err)
	}
	return path
}

// pyTorchSizes are the sides of the images for the models that are compared always, one for each kind of layer.
var pyTorchSizes = map[string]int{"resnet18": 64, "mobilenet_v3_small": 64, "vit_tiny": 112, "swin_t": 96}

// Weights of torchvision's and timm's models, loaded by name, give PyTorch's answers: the architectures are the same, and so are their names.
// With DARKROOM_ALL_MODELS=1 every architecture is compared, which takes minutes.
func TestAgreesWithPyTorch(t *testing.T) {
	needLibrary(t)
	if testing.Short() {
		t.Skip("it starts PyTorch")
	}
	sizes := maps.Clone(pyTorchSizes)
	if os.Getenv("DARKROOM_ALL_MODELS") != "" {
		for _, name := range zoo.Names() {
			if sizes[name] == 0 {
				sizes[name] = 64
			}
			if strings.HasPrefix(name, "vit") {
				sizes[name] = 112
			}
		}
	}
	dir := t.TempDir()
	command := []string{filepath.Join("..", "onnx", "zoo", "testdata", "reference.py"), dir}
	names := slices.Sorted(maps.Keys(sizes))
	for _, name := range names {
		command = append(command, fmt.Sprintf("%s=%d", name, sizes[name]))
	}
	if out, err := exec.CommandContext(t.Context(), peerPython(t), command...).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "ModuleNotFoundError") {
			t.Skipf("%s", out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) { agreesWithPyTorch(t, filepath.Join(dir, name), name, sizes[name]) })
	}
}

// agreesWithPyTorch compares a model's answers with those that the script wrote into the folder.
func agreesWithPyTorch(t *testing.T, dir, name string, size int) {
	o := zoo.Options{Channels: 3, Height: size, Width: size, Seed: 1}
	for i := range 10 {
		o.Classes = append(o.Classes, strconv.Itoa(i))
	}
	if strings.HasPrefix(name, "vit") {
		o.Patch = 16
	}
	m, err := zoo.Build(name, o)
	if err != nil {
		t.Fatal(err)
	}
	match, err := onnx.LoadWeights(m, filepath.Join(dir, "weights.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	for _, unused := range match.Unused { // counters and indices, which are no weights
		if !strings.HasSuffix(unused, "num_batches_tracked") && !strings.HasSuffix(unused, "relative_position_index") {
			t.Errorf("not used: %s", unused)
		}
	}
	if len(match.Missing) > 0 || len(match.Different) > 0 {
		t.Fatalf("missing %v, different %v", match.Missing, match.Different)
	}
	path := filepath.Join(dir, "m.onnx")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, Options{Threads: 2, Batch: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := s.Logits(t.Context(), floatsOf(t, filepath.Join(dir, "images.f32")), 2)
	if err != nil {
		t.Fatal(err)
	}
	want := floatsOf(t, filepath.Join(dir, "logits.f32"))
	scale := 0.0
	for _, v := range want {
		scale = math.Max(scale, math.Abs(float64(v)))
	}
	if scale < 1e-2 || math.IsNaN(scale) {
		t.Fatalf("PyTorch's largest logit is %g: nothing would be compared", scale)
	}
	for i := range want {
		if d := math.Abs(float64(got[i] - want[i])); !(d <= 1e-4*math.Max(1, scale)) {
			t.Errorf("logit %d: %g here, %g in PyTorch", i, got[i], want[i])
		}
	}
}

func floatsOf(t *testing.T, path string) []float32 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]float32, len(b)/4)
	for i := range list {
		list[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return list
}
