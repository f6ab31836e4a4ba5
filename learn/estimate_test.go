package learn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/learn/cpu"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

// childTraining is the training of which a test process measures the memory: a model, the images' side and the batch.
const childTraining = "DARKROOM_TEST_MEMORY_OF"

// TestEstimatesOfMemory compares what is said before a training with the peak of the resident memory of a process that trains.
func TestEstimatesOfMemory(t *testing.T) {
	if text := os.Getenv(childTraining); text != "" {
		trainMeasured(t, text)
		return
	}
	needLibrary(t)
	if runtime.GOOS != "linux" {
		t.Skip("the peak of the resident memory is read from /proc")
	}
	for _, training := range []string{"resnet20 32 128 1", "mobilenet_v3_small 96 64 1", "vit_tiny 64 32 1", "resnet20 32 128 4"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestEstimatesOfMemory$", "-test.v")
		cmd.Env = append(os.Environ(), childTraining+"="+training)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", training, err, out)
		}
		var m measuredMemory
		_, after, _ := bytes.Cut(out, []byte("measured "))
		if err := json.NewDecoder(bytes.NewReader(after)).Decode(&m); err != nil {
			t.Fatalf("%s: %v\n%s", training, err, out)
		}
		ratio := float64(m.Estimate.Total()) / float64(m.Peak)
		t.Logf("%-28s estimate %4d MiB, peak %4d MiB, ratio %.2f: %s", training, m.Estimate.Total()>>20, m.Peak>>20, ratio, m.Estimate)
		if ratio < 0.75 || ratio > 1.25 {
			t.Errorf("%s: the estimate is %.2f of the peak", training, ratio)
		}
	}
}

// measuredMemory is what a test process says of its training.
type measuredMemory struct {
	Estimate Memory
	Peak     int64
}

// trainMeasured trains for a few steps and an epoch's judgement, and prints what that took.
func trainMeasured(t *testing.T, text string) {
	f := strings.Fields(text)
	size, batch, accumulate := digits(t, f[1]), digits(t, f[2]), digits(t, f[3])
	backend, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	runtime.GOMAXPROCS(1) // as the train kind does
	c := Config{Backend: backend, Data: colours(t, 3*batch, size), Validation: colours(t, batch, size), Epochs: 1, Batch: batch, Accumulate: accumulate, LearningRate: 0.01,
		Optimizer: SGD{Momentum: 0.9}, Seed: 1, Workers: 2, MemoryLimit: 1 << 40, Checkpoints: t.TempDir()}
	o := zoo.Options{Classes: c.Data.Info().Classes, Channels: 3, Height: size, Width: size, Mean: []float64{0.5, 0.5, 0.5}, Std: []float64{0.25, 0.25, 0.25}, Seed: 1}
	if c.Model, err = zoo.Build(f[0], o); err != nil {
		t.Fatal(err)
	}
	r, err := Train(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	answer, err := json.Marshal(measuredMemory{*r.Memory, int64(digits(t, strings.Fields(peak)[0])) << 10})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("measured %s\n", answer)
}

func digits(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// colours makes a dataset of n images of size×size in three channels and two classes.
func colours(t *testing.T, n, size int) *dataset.Dataset {
	t.Helper()
	path := t.TempDir() + "/colours"
	w, err := dataset.Create(path, dataset.Info{Classes: []string{"a", "b"}, Height: size, Width: size, Channels: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		image := bytes.Repeat([]byte{byte(40 * (i % 5)), byte(i), byte(100 * (i % 2))}, size*size)
		if err := w.Add(strconv.Itoa(i), int32(i%2), image); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := dataset.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// What cannot fit is refused before the first step, with the most images that do by the same estimate.
func TestTooMuchMemoryIsRefused(t *testing.T) {
	c := config(t)
	c.Data, c.Validation, c.Batch, c.Accumulate = colours(t, 64, 64), nil, 64, 2
	o := zoo.Options{Classes: c.Data.Info().Classes, Channels: 3, Height: 64, Width: 64, Mean: []float64{0, 0, 0}, Std: []float64{1, 1, 1}, Seed: 1}
	var err error
	if c.Model, err = zoo.Build("resnet20", o); err != nil {
		t.Fatal(err)
	}
	total := func(batch, accumulate int) int64 {
		c := c
		c.Batch, c.Accumulate = batch, accumulate
		m, ok, err := EstimateMemory(c)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		return m.Total()
	}
	whole := total(64, 2)
	c.MemoryLimit = whole * 2 / 3
	steps := 0
	c.Progress = func(Progress) { steps++ }
	_, err = Train(context.Background(), c)
	var m *MemoryError
	if !errors.As(err, &m) || m.Batch != 32 || m.Needs != whole || m.Limit != c.MemoryLimit || m.Err != nil || steps > 0 {
		t.Fatalf("%+v, %v, after %d steps", m, err, steps)
	}
	if m.Fits < 4 || total(m.Fits, 1) > c.MemoryLimit || total(m.Fits+1, 1) <= c.MemoryLimit {
		t.Errorf("%d images are said to fit into %d MiB: %d MiB, and one more %d MiB", m.Fits, c.MemoryLimit>>20, total(m.Fits, 1)>>20, total(m.Fits+1, 1)>>20)
	}
	c.MemoryLimit = 1 << 20
	if _, err = Train(context.Background(), c); !errors.As(err, &m) || m.Fits != 0 {
		t.Errorf("in a megabyte: %v", err)
	}
}

// childLimit is set in a test process that may not take as much memory as its training wants.
const childLimit = "DARKROOM_TEST_LIMITED"

// A device that does not get its memory in the middle of a training ends it with a batch that was tried and fits.
func TestMemoryThatRunsOut(t *testing.T) {
	if os.Getenv(childLimit) != "" {
		trainLimited(t)
		return
	}
	needLibrary(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryThatRunsOut$", "-test.v")
	cmd.Env = append(os.Environ(), childLimit+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func trainLimited(t *testing.T) {
	c := config(t)
	c.Data, c.Validation, c.Batch = colours(t, 128, 64), nil, 128
	o := zoo.Options{Classes: c.Data.Info().Classes, Channels: 3, Height: 64, Width: 64, Mean: []float64{0, 0, 0}, Std: []float64{1, 1, 1}, Seed: 1}
	var err error
	if c.Model, err = zoo.Build("resnet20", o); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	_, size, _ := strings.Cut(string(status), "VmSize:")
	limit := uint64(digits(t, strings.Fields(size)[0]))<<10 + 400<<20
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Skip(err)
	}
	_, err = Train(t.Context(), c)
	var m *MemoryError
	if !errors.As(err, &m) || m.Batch != 128 || m.Err == nil || m.Fits < 8 || m.Fits > 64 {
		t.Errorf("%+v, %v", m, err)
	}
}
