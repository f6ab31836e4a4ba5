package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/bench/section"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
)

// model is one ONNX file and what was found out about it.
type model struct {
	by, variant, path  string
	accuracy           float64 // mean over the seeds
	macs, flops        int
	size               int64
	seconds, processor float64 // of the fine-tuning, mean over the seeds
	one, many          float64 // milliseconds for a batch of 1 and of manyImages
}

const manyImages = 32

// judge counts a model's operations and lets it answer the test images.
func judge(ctx context.Context, o options, path string) (model, error) {
	m := model{path: path}
	stat, err := os.Stat(path)
	if err != nil {
		return m, err
	}
	m.size = stat.Size()
	graph, err := onnx.Load(path)
	if err != nil {
		return m, err
	}
	g := surgery.Edit(graph)
	if err := g.Simplify(); err != nil {
		return m, err
	}
	if _, err := g.FoldNormalization(); err != nil { // PyTorch's exporter has folded them already
		return m, err
	}
	costs, err := g.Costs()
	if err != nil {
		return m, err
	}
	m.macs, m.flops = costs.Total.MACs, costs.Total.FLOPs
	test, err := dataset.Open(o.test)
	if err != nil {
		return m, err
	}
	defer test.Close()
	info := test.Info()
	s, err := infer.Open(path, infer.Options{Threads: o.threads, Batch: 100, Channels: info.Channels, Height: info.Height, Width: info.Width})
	if err != nil {
		return m, err
	}
	defer s.Close()
	a, err := infer.Answer(ctx, s, test, 0, nil)
	if err != nil {
		return m, err
	}
	m.accuracy = a.Accuracy()
	return m, nil
}

// time runs all models in turns, round after round.
func (b *bench) time(ctx context.Context) error {
	all := []*model{&b.whole}
	for i := range b.pruned {
		all = append(all, &b.pruned[i])
	}
	for _, batch := range []int{1, manyImages} {
		took := make([][]float64, len(all))
		var sessions []*infer.Session
		for _, m := range all {
			s, err := infer.Open(m.path, infer.Options{Threads: b.threads, Batch: batch, Channels: 3, Height: 32, Width: 32})
			if err != nil {
				return err
			}
			defer s.Close()
			sessions = append(sessions, s)
		}
		for range b.rounds {
			for i, s := range sessions {
				t, err := infer.Time(ctx, s, b.threads, infer.TimingOptions{Warmup: 2, Runs: 5})
				if err != nil {
					return err
				}
				took[i] = append(took[i], t.At(0.5))
			}
		}
		for i, m := range all {
			if batch == 1 {
				m.one = section.Median(took[i])
			} else {
				m.many = section.Median(took[i])
			}
		}
	}
	return nil
}

var marks = section.Marks{Begin: "<!-- pruning against Torch-Pruning: written by `make bench-prune` -->", End: "<!-- end of pruning against Torch-Pruning -->"}

// table has one line a model; what is cheaper or faster is so by as many times than the whole one.
func (b *bench) table() string {
	var t strings.Builder
	t.WriteString("| channels chosen | by | FLOPs | accuracy | drop, points | batch 1 | faster | batch 32 | faster | fine-tuning |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	fmt.Fprintf(&t, "| all | | 1 | %.2f %% | | %.3f ms | | %.2f ms | | |\n", 100*b.whole.accuracy, b.whole.one, b.whole.many)
	for _, m := range b.pruned {
		fmt.Fprintf(&t, "| %s | %s | %.3f | %.2f %% | %.2f | %.3f ms | %.2f× | %.2f ms | %.2f× | %.0f s, %.0f s of processor |\n", m.variant, m.by, float64(m.flops)/float64(b.whole.flops), 100*m.accuracy,
			100*(b.whole.accuracy-m.accuracy), m.one, b.whole.one/m.one, m.many, b.whole.many/m.many, m.seconds, m.processor)
	}
	return t.String()
}

// write replaces the section of an earlier run.
func (b *bench) write() error {
	if b.out == "" {
		return nil
	}
	old, err := os.ReadFile(b.out)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("## Pruning against Torch-Pruning\n\n%s, %s, %s, %s, %s. Command: `make bench-prune`, with -seeds %d. One resnet20, trained on CIFAR-10 by this project; its ONNX weights in PyTorch answer the test images "+
		"alike. At most %.3f of the FLOPs are kept by the L1 norm; equal fine-tuning: %d epochs, SGD with Nesterov's momentum, peak %g along half a cosine, batch %d, %d threads. Accuracies on all test images, by the same ONNX Runtime, mean of %d seeds; times of the pruned models in turns.\n\n%s",
		time.Now().UTC().Format("2006-01-02"), section.Machine(), runtime.Version(), ort.Version(), b.version, b.seeds, b.keep, b.epochs, b.rate, b.batch, b.threads, b.seeds, b.table())
	return os.WriteFile(b.out, []byte(section.Replace(string(old), marks, text)), 0o666)
}
