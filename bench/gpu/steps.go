package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/learn/device"
	"github.com/darkroom-dev/darkroom/learn/xla"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

// steps are training steps of a model of the zoo on one batch of synthetic images, which is sent to the device anew for each step.
type steps struct {
	model         string
	size, batch   int
	precision     string
	warmup, count int
}

// timed is what one process prints, ours or the peer's.
type timed struct {
	Rate    float64 `json:"rate"` // images/s, of the median step
	Version string  `json:"version"`
}

func (s *steps) flags(f *flag.FlagSet) {
	f.StringVar(&s.model, "model", "resnet50", "architecture, named alike in our zoo and in torchvision")
	f.IntVar(&s.size, "size", 224, "pixels of a side")
	f.IntVar(&s.batch, "batch", 256, "images in a step")
	f.StringVar(&s.precision, "precision", "bf16", "fp32, bf16 or fp16")
	f.IntVar(&s.warmup, "warmup", 20, "steps before the clock starts")
	f.IntVar(&s.count, "steps", 60, "steps that are timed")
}

// arguments are the steps as a child or the peer reads them.
func (s steps) arguments(dash string) []string {
	return []string{dash + "model", s.model, dash + "size", strconv.Itoa(s.size), dash + "batch", strconv.Itoa(s.batch), dash + "precision", s.precision,
		dash + "warmup", strconv.Itoa(s.warmup), dash + "steps", strconv.Itoa(s.count)}
}

// print times the steps and prints what came of them.
func (s steps) print(w io.Writer, plugin, platform string) error {
	t, err := s.run(plugin, platform)
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(t)
}

func (s steps) run(plugin, platform string) (timed, error) {
	if s.size < 1 || s.batch < 1 || s.count < 1 || s.warmup < 0 {
		return timed{}, fmt.Errorf("%d steps after %d of %d images of %d pixels", s.count, s.warmup, s.batch, s.size)
	}
	backend, err := xla.New(xla.Options{Plugin: plugin, Platform: platform})
	if err != nil {
		return timed{}, err
	}
	defer backend.Finalize()
	if s.precision != "fp32" {
		if backend, err = device.Narrow(backend, s.precision); err != nil {
			return timed{}, err
		}
	}
	classes := make([]string, 1000)
	for i := range classes {
		classes[i] = strconv.Itoa(i)
	}
	mean, std := []float64{0.5, 0.5, 0.5}, []float64{0.25, 0.25, 0.25}
	model, err := zoo.Build(s.model, zoo.Options{Classes: classes, Channels: 3, Height: s.size, Width: s.size, Mean: mean, Std: std, Seed: 1})
	if err != nil {
		return timed{}, err
	}
	m, err := learn.NewMachine(learn.MachineOptions{Backend: backend, Model: model, Channels: 3, Height: s.size, Width: s.size, Batch: s.batch,
		Objective: learn.CrossEntropy{}, Optimizer: learn.SGD{Momentum: 0.9, WeightDecay: 5e-5}})
	if err != nil {
		return timed{}, err
	}
	defer m.Close()
	b := &learn.Batch{Images: make([]float32, 3*s.size*s.size*s.batch), Ints: map[string][]int32{learn.LabelsInput: make([]int32, s.batch)}, Indexes: make([]int, s.batch)}
	for i := range b.Images {
		b.Images[i] = float32(i%251) / 250
	}
	for i := range b.Indexes {
		b.Indexes[i], b.Ints[learn.LabelsInput][i] = i, int32(i%len(classes))
	}
	var times []float64
	for i := range s.warmup + s.count {
		began := time.Now()
		if _, err := m.Step(b, 0.1); err != nil {
			return timed{}, err
		}
		if i >= s.warmup {
			times = append(times, time.Since(began).Seconds())
		}
	}
	return timed{Rate: float64(s.batch) / median(times), Version: backend.Description()}, nil
}
