package learn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/learn/cpu"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

// images makes a dataset of n 8×8 images of two classes: brighter on the left, or on the right.
func images(t *testing.T, n int, purpose string) *dataset.Dataset {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data")
	policy, err := dataset.NewPolicy([]dataset.Operation{{Name: "gaussian_noise", Args: map[string]any{"sigma": 0.1, "p": 1.0}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	w, err := dataset.Create(path, dataset.Info{Classes: []string{"left", "right"}, Height: 8, Width: 8, Channels: 1, Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s := dataset.NewStream(1, purpose, uint64(i))
		image := make([]byte, 64)
		for p := range image {
			v := s.In(0, 150)
			if (p%8 < 4) == (i%2 == 0) {
				v += 60
			}
			image[p] = byte(v)
		}
		if err := w.Add(fmt.Sprint(i), int32(i%2), image); err != nil {
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

func config(t *testing.T) Config {
	t.Helper()
	needLibrary(t)
	backend, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(backend.Finalize)
	c := Config{Backend: backend, Data: images(t, 50, "train"), Validation: images(t, 21, "validation"), Epochs: 3, Batch: 8, LearningRate: 0.05,
		Optimizer: SGD{Momentum: 0.9, WeightDecay: 1e-4}, Schedule: Schedule{Shape: Cosine{}, Warmup: 0.5}, Seed: 9, Workers: 1}
	mean, std := Statistics(c.Data)
	c.Model, err = zoo.Build("resnet8", zoo.Options{Classes: c.Data.Info().Classes, Channels: 1, Height: 8, Width: 8, Mean: mean, Std: std, Seed: 9})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// content is everything that a result says, as bytes.
func content(t *testing.T, r *Result) []byte {
	t.Helper()
	best, err := r.Best.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	last, err := r.Last.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(append(best, last...), "%d %s", r.BestEpoch, Curves{Epochs: r.Epochs}.events())
}

// A training that is stopped again and again, each time after a few steps more, ends in the bytes of one that never was; so does
// one with other workers, and one that starts from a checkpoint that lies in the middle of an epoch.
func TestStoppedTrainingsEndInTheSameBytes(t *testing.T) {
	c := config(t)
	straight, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := content(t, straight)
	if a := straight.Epochs[straight.BestEpoch-1].Validation.Accuracy; a < 0.8 {
		t.Errorf("accuracy %g on an easy task", a)
	}
	c.Workers, c.Checkpoints, c.CheckpointEvery = 3, t.TempDir(), time.Nanosecond
	attempts := 0
	for ; ; attempts++ {
		ctx, cancel := context.WithCancel(context.Background())
		steps := 0
		c.Progress = func(Progress) {
			if steps++; steps == 4 {
				cancel()
			}
		}
		r, err := Train(ctx, c)
		cancel()
		if err == nil {
			if !bytes.Equal(content(t, r), want) {
				t.Error("the stopped training ended in other bytes")
			}
			break
		}
		if !errors.Is(err, context.Canceled) || attempts > 20 {
			t.Fatal(err)
		}
	}
	if attempts < 3 {
		t.Errorf("the training was stopped %d times only", attempts)
	}
}

// A damaged checkpoint is not used: the training starts again.
func TestDamagedCheckpointIsNotUsed(t *testing.T) {
	c := config(t)
	c.Epochs, c.Validation = 1, nil
	straight, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.Checkpoints = t.TempDir()
	if err := os.WriteFile(filepath.Join(c.Checkpoints, checkpointFile), []byte("torn"), 0o666); err != nil {
		t.Fatal(err)
	}
	var lines []string
	c.Log = func(line string) { lines = append(lines, line) }
	again, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content(t, straight), content(t, again)) {
		t.Error("other bytes")
	}
	if len(lines) == 0 || lines[0] != "starting from the beginning: the checkpoint is damaged: it is not a checkpoint" {
		t.Errorf("log %q", lines)
	}
}

func TestSeedChangesTheResult(t *testing.T) {
	c := config(t)
	c.Epochs, c.Validation = 1, nil
	first, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.Seed++
	second, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(content(t, first), content(t, second)) {
		t.Error("another seed, which orders the images otherwise, gave the same weights")
	}
}

func TestStatistics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	w, err := dataset.Create(path, dataset.Info{Classes: []string{"a"}, Height: 1, Width: 2, Channels: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add("x", 0, []byte{0, 255, 7, 255, 255, 7}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := dataset.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	mean, std := Statistics(d)
	if !close64(mean, []float64{0.5, 1, 7.0 / 255}) || !close64(std, []float64{0.5, 1, 1}) {
		t.Errorf("mean %v, deviation %v", mean, std)
	}
}
