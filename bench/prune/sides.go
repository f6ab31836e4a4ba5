package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/prune"
)

// tuned is what one side says of its run.
type tuned struct {
	Version   string  `json:"version"`
	Whole     float64 `json:"whole"` // accuracy of the imported weights
	Seconds   float64 `json:"seconds"`
	Processor float64 `json:"processor_seconds"`
}

// listener is a reporter that says nothing.
type listener struct{}

func (listener) Progress(stages.Progress) {}
func (listener) Log(string)               {}
func (listener) Value(string, any)        {}
func (listener) Measure(string, float64)  {}

// ours prunes and tunes with the kind, as a pipeline would. The time is that of the whole stage.
func (b *bench) ours(ctx context.Context, v variant, seed int, keep float64, folder string) (tuned, error) {
	args := stages.Args{Values: map[string]any{"global": v.global, "round_to": float64(v.round), "sensitivity_images": 0.0}, Blocks: []stages.BlockArgs{
		{Type: "target", Args: stages.Args{Values: map[string]any{"flops": keep}}},
		{Type: "fine_tune", Args: stages.Args{Values: map[string]any{"epochs": float64(b.epochs), "learning_rate": b.rate, "batch": float64(b.batch)}}},
	}}
	input := func(path string, typ artifact.Type) []stages.Input {
		return []stages.Input{{Ref: artifact.Ref{Type: typ}, Path: path}}
	}
	job := (&stages.Job{Kind: "prune", Version: prune.Kind.Version, Args: args, OutDir: folder, ScratchDir: filepath.Join(folder, "scratch"), Seed: uint64(seed), Resources: stages.Resources{CPUs: b.threads},
		Device: stages.Device{Backend: "cpu", Version: ort.Version() + ", " + kernel.Class(), ISA: ort.ISA(), Precision: "fp32", Threads: b.threads},
		Inputs: map[string][]stages.Input{"model": input(b.model, artifact.Model), "data": input(b.train, artifact.Dataset)}}).WithReporter(listener{})
	stage := prune.Kind.New()
	if _, problems := stages.Decode(stage, args, map[string]bool{"model": true, "data": true}); stages.HasErrors(problems) {
		return tuned{}, problems[0]
	}
	started, before := time.Now(), processorTime()
	err := stage.Run(ctx, job)
	return tuned{Seconds: time.Since(started).Seconds(), Processor: (processorTime() - before).Seconds()}, err
}

// processorTime is what this process has used of all cores.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (b *bench) peerArgs(v variant, seed int) []string {
	args := []string{"--keep", fmt.Sprint(b.keep), "--epochs", fmt.Sprint(b.epochs), "--rate", fmt.Sprint(b.rate), "--batch", fmt.Sprint(b.batch), "--seed", fmt.Sprint(seed)}
	if v.global {
		args = append(args, "--global-pruning")
	}
	if v.round > 1 {
		args = append(args, "--round-to", fmt.Sprint(v.round))
	}
	return args
}

// askPeer runs the peer's script, which writes peer.onnx into the folder where it is to prune.
func (b *bench) askPeer(ctx context.Context, folder string, args ...string) (tuned, error) {
	cmd := exec.CommandContext(ctx, b.python, append([]string{b.peer, folder, b.model, "--threads", fmt.Sprint(b.threads)}, args...)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("OMP_NUM_THREADS=%d", b.threads), fmt.Sprintf("MKL_NUM_THREADS=%d", b.threads))
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	var t tuned
	if err == nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n") // libraries may greet first
		err = json.Unmarshal([]byte(lines[len(lines)-1]), &t)
	}
	if err != nil {
		return t, fmt.Errorf("the peer: %w\n%s", err, strings.TrimSpace(said.String()))
	}
	return t, nil
}

// writeRaw writes a dataset for the peer: NAME.u8, (N, H, W, 3), and NAME.labels.u8.
func writeRaw(folder, name, path string) error {
	d, err := dataset.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	info := d.Info()
	if info.Channels != 3 || info.Height != info.Width || len(info.Classes) > 256 {
		return fmt.Errorf("%s: the peer reads square images with 3 channels of at most 256 classes", path)
	}
	f, err := os.Create(filepath.Join(folder, name+".u8"))
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	buffer := make([]byte, info.ImageSize())
	labels := make([]byte, d.Len())
	for i := range labels {
		labels[i] = byte(d.Label(i))
		pixels, err := d.Pixels(i, buffer)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		if _, err := w.Write(pixels); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Flush(), f.Close(), os.WriteFile(filepath.Join(folder, name+".labels.u8"), labels, 0o666))
}
