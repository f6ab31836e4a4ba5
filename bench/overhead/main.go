// Command overhead measures what the kinds that train otherwise cost over the plain trainer, in processor time: distill with answers that are kept, pretrain beside a training on as many
// augmented images, and nas beside a training of its only candidate. It fails above a tenth. Run from the root of the repository:
//
//	go run ./bench/overhead [-rounds 3] [-images 2560]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/all"
)

// most is the overhead that is allowed.
const most = 0.10

func main() {
	rounds := flag.Int("rounds", 3, "how often each pair is measured; the median ratio counts")
	images := flag.Int("images", 2560, "images in an epoch, a multiple of 256")
	flag.Parse()
	if err := run(context.Background(), *rounds, *images); err != nil {
		fmt.Fprintln(os.Stderr, "overhead:", err)
		os.Exit(1)
	}
}

// side is one execution of a kind.
type side struct {
	kind   string
	args   map[string]any
	blocks []stages.BlockArgs
	inputs map[string][]stages.Input
}

type bench struct {
	dir string
	n   int // folders so far
}

func run(ctx context.Context, rounds, images int) error {
	dir, err := os.MkdirTemp("", "darkroom-overhead-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir}
	pairs, err := b.pairs(ctx, images)
	if err != nil {
		return err
	}
	worst := 0.0
	for _, p := range pairs {
		var ratios []float64
		var plain, other time.Duration
		for range rounds {
			if plain, err = b.measure(ctx, p.plain); err != nil {
				return err
			}
			if other, err = b.measure(ctx, p.other); err != nil {
				return err
			}
			ratios = append(ratios, other.Seconds()/plain.Seconds())
		}
		slices.Sort(ratios)
		ratio := ratios[len(ratios)/2]
		worst = max(worst, ratio-1)
		fmt.Printf("%s: %+.1f %% processor time (%s against %s in the last of %d rounds, ratios %.2f to %.2f)\n", p.what, 100*(ratio-1), other.Round(time.Millisecond), plain.Round(time.Millisecond), rounds, ratios[0], ratios[len(ratios)-1])
	}
	if worst > most {
		return fmt.Errorf("a kind takes %.1f %% more than the plain trainer, where %.0f %% are allowed", 100*worst, 100*most)
	}
	return nil
}

type pair struct {
	what         string
	plain, other side
}

func (b *bench) pairs(ctx context.Context, images int) ([]pair, error) {
	plainData, err := b.data("plain", images, nil)
	if err != nil {
		return nil, err
	}
	// The views of pretrain, as its package makes them.
	policy, err := dataset.NewPolicy([]dataset.Operation{
		{Name: "random_resized_crop", Args: map[string]any{"height": 32.0, "width": 32.0, "scale": []float64{0.2, 1}}},
		{Name: "horizontal_flip", Args: map[string]any{"p": 0.5}},
		{Name: "color_jitter", Args: map[string]any{"p": 0.8, "brightness": []float64{0.6, 1.4}, "contrast": []float64{0.6, 1.4}, "saturation": []float64{0.6, 1.4}, "hue": []float64{-0.1, 0.1}}},
		{Name: "to_gray", Args: map[string]any{"p": 0.2}}}, 0)
	if err != nil {
		return nil, err
	}
	viewed, err := b.data("viewed", images, policy)
	if err != nil {
		return nil, err
	}
	teacher, err := b.output(ctx, side{"train", map[string]any{"model": "resnet8", "epochs": 1.0}, nil, map[string][]stages.Input{"data": {plainData}}}, "model", artifact.Model)
	if err != nil {
		return nil, err
	}
	block := func(typ, label string, args map[string]any, inner ...stages.BlockArgs) stages.BlockArgs {
		return stages.BlockArgs{Type: typ, Label: label, Args: stages.Args{Values: args, Blocks: inner}}
	}
	two := map[string][]stages.Input{"data": {plainData}, "validation": {plainData}}
	search := side{"nas", map[string]any{"trials": 1.0}, []stages.BlockArgs{
		block("space", "custom", map[string]any{"stems": []any{16.0}}, block("stage", "", map[string]any{"widths": []any{32.0}, "stride": 2.0})),
		block("budget", "", map[string]any{"epochs": 4.0, "samples": 0.0, "batch": 128.0})}, two}
	network, err := b.output(ctx, search, "model", artifact.Model)
	if err != nil {
		return nil, err
	}
	return []pair{
		{"distill, answers kept", side{"train", map[string]any{"model": "resnet8", "epochs": 4.0}, nil, map[string][]stages.Input{"data": {plainData}}},
			side{"distill", map[string]any{"model": "resnet8", "epochs": 4.0}, nil, map[string][]stages.Input{"data": {plainData}, "teacher": {teacher}}}},
		{"pretrain, simclr", side{"train", map[string]any{"model": "resnet8", "epochs": 4.0, "batch": 256.0}, nil, map[string][]stages.Input{"data": {viewed}}},
			side{"pretrain", map[string]any{"model": "resnet8", "epochs": 2.0, "batch": 128.0, "projection": []any{128.0, 64.0}}, nil, map[string][]stages.Input{"data": {plainData}}}},
		{"nas, one candidate", side{"train", map[string]any{"epochs": 4.0, "batch": 128.0}, nil, map[string][]stages.Input{"data": {plainData}, "validation": {plainData}, "model": {network}}}, search},
	}, nil
}

// data makes images of noise in ten classes.
func (b *bench) data(name string, n int, policy *dataset.Policy) (stages.Input, error) {
	info := dataset.Info{Height: 32, Width: 32, Channels: 3, Policy: policy}
	for c := range 10 {
		info.Classes = append(info.Classes, fmt.Sprint(c))
	}
	path := filepath.Join(b.dir, name)
	w, err := dataset.Create(path, info)
	if err != nil {
		return stages.Input{}, err
	}
	for i := range n {
		s := dataset.NewStream(1, "image", uint64(i))
		image := make([]byte, info.ImageSize())
		for k := range image {
			image[k] = byte(s.In(0, 200))
		}
		if err := w.Add(fmt.Sprint(i), int32(i%10), image); err != nil {
			return stages.Input{}, err
		}
	}
	if err := w.Close(); err != nil {
		return stages.Input{}, err
	}
	return input(path, artifact.Dataset)
}

func input(path string, typ artifact.Type) (stages.Input, error) {
	digest, size, err := artifact.DigestFile(path)
	return stages.Input{Path: path, Ref: artifact.Ref{Type: typ, Digest: digest, Size: size}}, err
}

// output executes a side and returns one of its outputs.
func (b *bench) output(ctx context.Context, s side, name string, typ artifact.Type) (stages.Input, error) {
	job, err := b.execute(ctx, s)
	if err != nil {
		return stages.Input{}, err
	}
	return input(job.Output(name), typ)
}

// measure is the processor time of a side. What it asks of a teacher is asked before: the parts of a first execution are there for the second.
func (b *bench) measure(ctx context.Context, s side) (time.Duration, error) {
	parts := ""
	if s.kind == "distill" {
		job, err := b.execute(ctx, s)
		if err != nil {
			return 0, err
		}
		parts = filepath.Join(job.ScratchDir, "parts")
	}
	before := processor()
	_, err := b.executeWith(ctx, s, parts)
	return processor() - before, err
}

func (b *bench) execute(ctx context.Context, s side) (*stages.Job, error) {
	return b.executeWith(ctx, s, "")
}

// executeWith executes a side in a fresh folder, with parts that were made before.
func (b *bench) executeWith(ctx context.Context, s side, parts string) (*stages.Job, error) {
	b.n++
	dir := filepath.Join(b.dir, fmt.Sprint("run", b.n))
	kind := all.Catalog().Lookup(s.kind)
	args := stages.Args{Values: s.args, Blocks: s.blocks}
	stage, connected := kind.New(), map[string]bool{}
	for port := range s.inputs {
		connected[port] = true
	}
	if _, problems := stages.Decode(stage, args, connected); stages.HasErrors(problems) {
		return nil, problems[0]
	}
	job := &stages.Job{Kind: s.kind, Version: kind.Version, Args: args, Inputs: s.inputs, OutDir: filepath.Join(dir, "out"), ScratchDir: filepath.Join(dir, "scratch"), Seed: 1,
		Device: stages.Device{Backend: "cpu", Version: ort.Version() + ", " + kernel.Class(), ISA: ort.ISA(), Precision: "fp32", Threads: 1}}
	for _, d := range []string{job.OutDir, job.ScratchDir} {
		if err := os.MkdirAll(d, 0o777); err != nil {
			return nil, err
		}
	}
	if parts != "" {
		if err := os.CopyFS(filepath.Join(job.ScratchDir, "parts"), os.DirFS(parts)); err != nil {
			return nil, err
		}
	}
	return job, stage.Run(ctx, job.WithReporter(silent{}))
}

// processor is the processor time of this process so far.
func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it knows this process
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type silent struct{}

func (silent) Progress(stages.Progress) {}
func (silent) Log(string)               {}
func (silent) Value(string, any)        {}
func (silent) Measure(string, float64)  {}
