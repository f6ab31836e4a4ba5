package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/learn/cpu"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

// trained is what one process prints, ours or the peer's.
type trained struct {
	Rate    float64 `json:"rate"`   // images/s after the warm-up
	Memory  int64   `json:"memory"` // bytes, the peak of the resident memory
	Steps   int     `json:"steps"`  // that were timed
	Version string  `json:"version"`
}

// images is how many the stored dataset holds.
const images = 1024

// store writes the synthetic images twice, the same bytes: as a dataset of ours and raw, (N, H, W, 3), for the peer.
func store(dir string, size int) error {
	policy, err := dataset.NewPolicy([]dataset.Operation{
		{Name: "random_crop", Args: map[string]any{"padding": 4.0}},
		{Name: "horizontal_flip"},
	}, 0)
	if err != nil {
		return err
	}
	classes := make([]string, 10)
	for i := range classes {
		classes[i] = strconv.Itoa(i)
	}
	w, err := dataset.Create(filepath.Join(dir, "data"), dataset.Info{Classes: classes, Height: size, Width: size, Channels: 3, Policy: policy})
	if err != nil {
		return err
	}
	var pixels, labels []byte
	for i := range images {
		s := dataset.NewStream(1, "bench", uint64(i))
		image := make([]byte, size*size*3)
		for p := range image {
			image[p] = byte(s.Uint64() >> 56)
		}
		if err := w.Add(strconv.Itoa(i), int32(i%10), image); err != nil {
			return err
		}
		pixels, labels = append(pixels, image...), append(labels, byte(i%10))
	}
	return errors.Join(w.Close(), os.WriteFile(filepath.Join(dir, "images.u8"), pixels, 0o600),
		os.WriteFile(filepath.Join(dir, "labels.u8"), labels, 0o600))
}

// train is our process: it trains as the train kind does and stops after the time.
func train(dir, model string, batch, threads, warmup int, seconds float64) (trained, error) {
	runtime.GOMAXPROCS(1) // as the train kind does
	data, err := dataset.Open(filepath.Join(dir, "data"))
	if err != nil {
		return trained{}, err
	}
	defer data.Close()
	info := data.Info()
	mean, std := []float64{0.5, 0.5, 0.5}, []float64{0.25, 0.25, 0.25}
	c := learn.Config{Data: data, Epochs: 10_000, Batch: batch, LearningRate: 0.01, Optimizer: learn.SGD{Momentum: 0.9, WeightDecay: 5e-4}, Seed: 1, Workers: threads}
	if c.Model, err = zoo.Build(model, zoo.Options{Classes: info.Classes, Channels: 3, Height: info.Height, Width: info.Width, Mean: mean, Std: std, Seed: 1}); err != nil {
		return trained{}, err
	}
	if c.Backend, err = cpu.New(cpu.Options{Threads: threads}); err != nil {
		return trained{}, err
	}
	defer c.Backend.Finalize()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := trained{Version: ort.Version()}
	var start time.Time
	steps := -warmup
	c.Progress = func(learn.Progress) {
		steps++
		if steps == 0 {
			start = time.Now()
		}
		if took := time.Since(start).Seconds(); steps > 0 && took >= seconds && out.Rate == 0 {
			out.Rate, out.Steps = float64(steps*batch)/took, steps
			cancel()
		}
	}
	if _, err := learn.Train(ctx, c); err != nil && !errors.Is(err, context.Canceled) {
		return trained{}, err
	}
	out.Memory, err = peak()
	return out, err
}

// peak returns the most resident memory that this process had, in bytes. The figure that wait gives to a parent is no
// use here: it counts the parent's own memory from before exec.
func peak() (int64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("/proc/self/status has no VmHWM")
}

// child prints what train came to, for the process that started this one.
func child(c benchCase, dir string, threads, warmup int, seconds float64) error {
	out, err := train(dir, c.model, c.batch, threads, warmup, seconds)
	if err != nil {
		return fmt.Errorf("training %s: %w", c.name, err)
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
