// Command prune compares our pruned models with those of Torch-Pruning: the same trained resnet20, the same share of FLOPs to keep, the L1 norm on both
// sides, and equal fine-tuning (epochs, schedule, batch, images, threads). It is run by `make bench-prune`, which installs the peer first.
//
// Both results are judged by the same ONNX Runtime on the same test images, their FLOPs are counted by the same counter, and they are timed in turns.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

type options struct {
	python, peer, out  string
	model, train, test string
	keep, rate         float64
	epochs, batch      int
	threads, seeds     int
	rounds             int
	only               string
}

// variant is a way to choose the channels that both sides know.
type variant struct {
	name   string
	global bool
	round  int
}

// variants: compared globally in multiples of 16 channels, Torch-Pruning 1.6 removes nothing from this net at any ratio, so that there is nothing to compare.
var variants = []variant{
	{"every layer the same share", false, 1},
	{"global", true, 1},
}

func main() {
	var o options
	flag.StringVar(&o.model, "model", "", "the trained resnet20, an ONNX file of darkroom's")
	flag.StringVar(&o.train, "train", "", "the images to fine-tune with, a dataset with its policy")
	flag.StringVar(&o.test, "test", "", "the labelled images to judge with, a dataset")
	flag.StringVar(&o.python, "python", "python3", "the Python that has torch, torch_pruning and onnx")
	flag.StringVar(&o.peer, "peer", "bench/prune/peer.py", "the peer's script")
	flag.StringVar(&o.out, "out", "", "file whose section on pruning is rewritten, such as bench/RESULTS.md (default: none)")
	flag.Float64Var(&o.keep, "keep", 1/2.1, "share of the FLOPs to keep")
	flag.Float64Var(&o.rate, "rate", 0.05, "peak learning rate of the fine-tuning")
	flag.IntVar(&o.epochs, "epochs", 3, "epochs of fine-tuning")
	flag.IntVar(&o.batch, "batch", 128, "images a step of fine-tuning")
	flag.IntVar(&o.threads, "threads", 2, "threads of each side")
	flag.IntVar(&o.seeds, "seeds", 1, "runs of each side with seeds 1, 2, …; accuracies are their means")
	flag.IntVar(&o.rounds, "rounds", 15, "timed runs of each model, in turns")
	flag.StringVar(&o.only, "variants", "", "which ways to choose channels, by their numbers from 1, separated by commas (default: all)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench/prune:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.model == "" || o.train == "" || o.test == "" {
		return errors.New("-model, -train and -test are needed: a resnet20 trained by darkroom, its training images with their policy, and the test images; `darkroom get` writes them")
	}
	if o.epochs < 1 || o.batch < 1 || o.threads < 1 || o.seeds < 1 || o.rounds < 1 || !(o.keep > 0 && o.keep < 1) {
		return errors.New("-epochs, -batch, -threads, -seeds and -rounds must be above 0, and -keep between 0 and 1")
	}
	work, err := os.MkdirTemp("", "bench-prune-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := errors.Join(writeRaw(work, "train", o.train), writeRaw(work, "test", o.test)); err != nil {
		return err
	}
	whole, err := judge(ctx, o, o.model)
	if err != nil {
		return err
	}
	b := &bench{options: o, whole: whole}
	imported, err := b.askPeer(ctx, work)
	if err != nil {
		return err
	}
	b.version = imported.Version
	if d := imported.Whole - whole.accuracy; d > 0.0005 || d < -0.0005 {
		return fmt.Errorf("the peer has %.4f with the imported weights and ONNX Runtime %.4f: the import is wrong", imported.Whole, whole.accuracy)
	}
	for i, v := range variants {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), fmt.Sprint(i+1)) {
			continue
		}
		if err := b.compare(ctx, v, work); err != nil {
			return err
		}
	}
	if err := b.time(ctx); err != nil {
		return err
	}
	fmt.Print(b.table())
	return b.write()
}

// bench is everything that one run of the command finds out.
type bench struct {
	options
	whole   model
	version string // of the peer
	pruned  []model
}

// compare prunes and tunes on both sides, seed after seed, alternating. The peer goes first, as it removes channels in coarser steps: ours then keeps no more of
// the FLOPs than it does.
func (b *bench) compare(ctx context.Context, v variant, work string) error {
	ours, peer := model{by: "darkroom", variant: v.name}, model{by: "Torch-Pruning", variant: v.name}
	for seed := 1; seed <= b.seeds; seed++ {
		folder, err := os.MkdirTemp(work, "ours-")
		if err != nil {
			return err
		}
		path := filepath.Join(work, "peer.onnx")
		if err := b.measureInto(ctx, &peer, work, func() (tuned, error) { return b.askPeer(ctx, work, b.peerArgs(v, seed)...) }, path); err != nil {
			return err
		}
		kept := filepath.Join(folder, "peer.onnx") // the next run writes over it
		if err := os.Rename(path, kept); err != nil {
			return err
		}
		peer.path = kept
		keep := min(b.keep, float64(peer.flops)/float64(b.whole.flops))
		if err := b.measureInto(ctx, &ours, folder, func() (tuned, error) { return b.ours(ctx, v, seed, keep, folder) }, filepath.Join(folder, "model")); err != nil {
			return err
		}
	}
	b.pruned = append(b.pruned, ours, peer)
	return nil
}

// measureInto adds one run to a side's figures.
func (b *bench) measureInto(ctx context.Context, m *model, folder string, train func() (tuned, error), path string) error {
	t, err := train()
	if err != nil {
		return fmt.Errorf("%s, %s: %w", m.by, m.variant, err)
	}
	judged, err := judge(ctx, b.options, path)
	if err != nil {
		return err
	}
	m.path, m.macs, m.flops, m.size = judged.path, judged.macs, judged.flops, judged.size
	m.accuracy += judged.accuracy / float64(b.seeds)
	m.seconds += t.Seconds / float64(b.seeds)
	m.processor += t.Processor / float64(b.seeds)
	fmt.Fprintf(os.Stderr, "%s, %s: %.2f %% with %.3f of the FLOPs, fine-tuned in %.0f s (%.0f s of processor)\n", m.by, m.variant, 100*judged.accuracy,
		float64(judged.flops)/float64(b.whole.flops), t.Seconds, t.Processor)
	return nil
}
