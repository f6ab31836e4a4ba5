package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/quantize"
)

// row is one model of a case.
type row struct {
	subject, model string
	size           int64
	accuracy       float64 // NaN where there is none
	one, many      float64 // milliseconds for a batch of 1 and of 32
	problem        string
}

const many = 32

// compare quantizes a model in every way and measures all of them in turns.
func compare(ctx context.Context, o options, s subject, folder string) ([]row, error) {
	if s.calibration == "" {
		s.calibration = filepath.Join(folder, "noise.arrow")
		if err := noise(s.calibration, 64, 224); err != nil {
			return nil, err
		}
	}
	candidates := []row{{subject: s.name, model: "float32"}}
	paths := []string{s.model}
	for _, calibrator := range []string{"mse", "minmax", "percentile", "entropy"} {
		path := filepath.Join(folder, "ours-"+calibrator+".onnx")
		if err := ours(ctx, o, s, calibrator, folder, path); err != nil {
			return nil, err
		}
		candidates, paths = append(candidates, row{subject: s.name, model: "ours, " + calibrator}), append(paths, path)
	}
	peers, err := theirs(ctx, o, s, folder)
	if err != nil {
		return nil, err
	}
	for _, p := range peers {
		candidates = append(candidates, row{subject: s.name, model: "onnxruntime, " + p.Calibrator, problem: p.Error})
		paths = append(paths, filepath.Join(folder, p.Calibrator+".onnx"))
	}
	if err := measure(ctx, o, s, candidates, paths); err != nil {
		return nil, err
	}
	return candidates, nil
}

// quiet is a reporter that says nothing.
type quiet struct{}

func (quiet) Progress(stages.Progress) {}
func (quiet) Log(string)               {}
func (quiet) Value(string, any)        {}
func (quiet) Measure(string, float64)  {}

// ours quantizes with the kind, as a pipeline would.
func ours(ctx context.Context, o options, s subject, calibrator, folder, path string) error {
	out, err := os.MkdirTemp(folder, "out-")
	if err != nil {
		return err
	}
	args := stages.Args{Values: map[string]any{"calibrator": calibrator, "images": float64(o.images)}}
	input := func(path string, typ artifact.Type) []stages.Input {
		return []stages.Input{{Ref: artifact.Ref{Type: typ}, Path: path}}
	}
	job := (&stages.Job{Kind: "quantize", Version: quantize.Kind.Version, Args: args, OutDir: out, ScratchDir: out, Resources: stages.Resources{CPUs: o.threads},
		Device: stages.Device{Backend: "cpu", Version: ort.Version(), ISA: ort.ISA(), Precision: "fp32", Threads: o.threads},
		Inputs: map[string][]stages.Input{"model": input(s.model, artifact.Model), "calibration": input(s.calibration, artifact.Dataset)}}).WithReporter(quiet{})
	stage := quantize.Kind.New()
	if _, problems := stages.Decode(stage, args, map[string]bool{"model": true, "calibration": true}); len(problems) > 0 {
		return problems[0]
	}
	if err := stage.Run(ctx, job); err != nil {
		return err
	}
	return os.Rename(filepath.Join(out, "model"), path)
}

// peer is what the peer's script says of one calibrator.
type peer struct {
	Calibrator string  `json:"calibrator"`
	Seconds    float64 `json:"seconds"`
	Error      string  `json:"error"`
}

// theirs writes the calibration images, the same that ours takes, and runs the peer.
func theirs(ctx context.Context, o options, s subject, folder string) ([]peer, error) {
	images := filepath.Join(folder, "images.npy")
	if err := writeImages(images, s.calibration, o.images); err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, o.python, o.peer, s.model, images, folder)
	c.Stderr = os.Stderr
	b, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("the peer: %w", err)
	}
	var list []peer
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		var p peer
		if json.Unmarshal(lines.Bytes(), &p) == nil && p.Calibrator != "" {
			list = append(list, p)
		}
	}
	return list, nil
}

// writeImages writes images as a NumPy file, (n, C, H, W) float32.
func writeImages(path, data string, most int) error {
	d, err := dataset.Open(data)
	if err != nil {
		return err
	}
	defer d.Close()
	info := d.Info()
	n := d.Len()
	k := min(n, most)
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d, %d, %d), }", k, info.Channels, info.Height, info.Width)
	for (len(header)+11)%64 != 0 {
		header += " "
	}
	header += "\n"
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	fmt.Fprintf(w, "\x93NUMPY\x01\x00%s%s", binary.LittleEndian.AppendUint16(nil, uint16(len(header))), header)
	buffer := make([]byte, info.ImageSize())
	image := make([]float32, info.ImageSize())
	for i := range k {
		pixels, err := d.Pixels(i*n/k, buffer)
		if err != nil {
			return err
		}
		plane := info.Height * info.Width
		for at, v := range pixels {
			image[at%info.Channels*plane+at/info.Channels] = float32(v) * (1.0 / 255)
		}
		if err := binary.Write(w, binary.LittleEndian, image); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// measure fills in sizes, accuracies and times.
func measure(ctx context.Context, o options, s subject, rows []row, paths []string) error {
	var sessions [2][]*infer.Session
	info := dataset.Info{Height: 224, Width: 224, Channels: 3}
	var test *dataset.Dataset
	if s.test != "" {
		var err error
		if test, err = dataset.Open(s.test); err != nil {
			return err
		}
		defer test.Close()
		info = test.Info()
	}
	for i := range rows {
		rows[i].accuracy = math.NaN()
		stat, err := os.Stat(paths[i])
		if err != nil {
			rows[i].problem += " no file"
			sessions[0], sessions[1] = append(sessions[0], nil), append(sessions[1], nil)
			continue
		}
		rows[i].size = stat.Size()
		for k, batch := range []int{1, many} {
			session, err := infer.Open(paths[i], infer.Options{Threads: o.threads, Batch: batch, Channels: info.Channels, Height: info.Height, Width: info.Width})
			if err != nil {
				return err
			}
			defer session.Close()
			sessions[k] = append(sessions[k], session)
		}
		if test == nil {
			continue
		}
		answers, err := infer.Answer(ctx, sessions[1][i], test, 0, nil)
		if err != nil {
			return err
		}
		rows[i].accuracy = answers.Accuracy()
	}
	for k, batch := range []int{1, many} {
		medians, err := inTurns(ctx, sessions[k], batch, o.rounds)
		if err != nil {
			return err
		}
		for i, m := range medians {
			if k == 0 {
				rows[i].one = m
			} else {
				rows[i].many = m
			}
		}
	}
	return nil
}

// inTurns runs one session after the other, round after round, and returns the median milliseconds of each.
func inTurns(ctx context.Context, sessions []*infer.Session, batch, rounds int) ([]float64, error) {
	times := make([][]float64, len(sessions))
	repeat := 1
	if batch == 1 {
		repeat = 5
	}
	for round := range rounds + 2 { // two to warm up
		for i, s := range sessions {
			if s == nil {
				continue
			}
			info := s.Info()
			images := make([]float32, batch*info.Channels*info.Height*info.Width)
			for k := range images {
				images[k] = float32(k*2654435761%256) / 255
			}
			started := time.Now()
			for range repeat {
				if _, err := s.Logits(ctx, images, batch); err != nil {
					return nil, err
				}
			}
			if round >= 2 {
				times[i] = append(times[i], float64(time.Since(started).Microseconds())/1000/float64(repeat))
			}
		}
	}
	medians := make([]float64, len(sessions))
	for i, t := range times {
		if len(t) > 0 {
			slices.Sort(t)
			medians[i] = t[len(t)/2]
		}
	}
	return medians, nil
}

// noise writes a dataset of made-up images, for speed alone.
func noise(path string, n, side int) error {
	w, err := dataset.Create(path, dataset.Info{Classes: []string{"noise"}, Height: side, Width: side, Channels: 3})
	if err != nil {
		return err
	}
	pixels := make([]byte, side*side*3)
	for i := range n {
		for k := range pixels {
			pixels[k] = byte((k*31+i*17)%251) ^ byte(k/97)
		}
		if err := w.Add(fmt.Sprint(i), 0, pixels); err != nil {
			return err
		}
	}
	return w.Close()
}
