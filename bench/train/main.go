// Command train measures a full training step, loading and augmentation included, against PyTorch on the same machine. It
// is run by `make bench-train`, which installs the peer first. Both read the same stored images and do the same work: crop
// with padding 4, horizontal flip, normalisation, SGD with momentum 0.9 and weight decay 5e-4, with the same number of
// threads. They alternate, one process for each round; the medians are compared.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

// benchCase is a model with a size of images and a batch.
type benchCase struct {
	name  string
	model string // in our zoo
	peer  string // in peer.py
	size  int    // pixels
	batch int    // images
	asked float64
}

var cases = []benchCase{
	{"mobilenet_v3_small", "mobilenet_v3_small", "mobilenet_v3_small", 96, 64, 1.3},
	{"resnet18", "resnet18", "resnet18", 64, 32, 1.0},
	{"vit_tiny", "vit_tiny", "vit_tiny", 64, 32, 1.0},
	{"resnet20", "resnet20", "resnet20", 32, 128, 0.7},
}

// variants of the peer: memory format and loader. All are tried once, and those that come near the best in every round.
var variants = []string{"default+tensors", "channels_last+tensors", "default+workers", "channels_last+workers"}

type options struct {
	python, peer, out string
	rounds, threads   int
	warmup            int
	seconds           float64
}

func main() {
	var o options
	only := flag.String("cases", "", "cases to run, separated by commas (default: all)")
	flag.StringVar(&o.python, "python", "python3", "the Python that has torch, torchvision and timm")
	flag.StringVar(&o.peer, "peer", "bench/train/peer.py", "the peer's script")
	flag.StringVar(&o.out, "out", "", "file whose section on training is rewritten, such as bench/RESULTS.md (default: none)")
	flag.IntVar(&o.rounds, "rounds", 3, "processes of each side for a case")
	flag.IntVar(&o.threads, "threads", 2, "threads of each side")
	flag.IntVar(&o.warmup, "warmup", 4, "steps before the clock starts")
	flag.Float64Var(&o.seconds, "seconds", 10, "length of a measurement")
	data := flag.String("child", "", "internal: train the case on the images in this folder and print the result")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	chosen, err := choose(*only)
	switch {
	case err != nil:
	case o.rounds < 1 || o.threads < 1 || o.warmup < 1 || !(o.seconds > 0):
		err = errors.New("-rounds, -threads, -warmup and -seconds must be above 0")
	case *data != "":
		err = child(chosen[0], *data, o.threads, o.warmup, o.seconds)
	default:
		err = bench(ctx, o, chosen)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/train:", err)
		os.Exit(1)
	}
}

// choose returns the cases that a list names; the empty list names all.
func choose(list string) ([]benchCase, error) {
	if list == "" {
		return cases, nil
	}
	var out []benchCase
	for _, name := range strings.Split(list, ",") {
		i := slices.IndexFunc(cases, func(c benchCase) bool { return c.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no case %q; there are mobilenet_v3_small, resnet18, vit_tiny, resnet20", name)
		}
		out = append(out, cases[i])
	}
	return out, nil
}

func bench(ctx context.Context, o options, chosen []benchCase) error {
	var results []result
	var failures []error
	for _, c := range chosen {
		r, err := measure(ctx, o, c)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failures = append(failures, err)
			r.Note = "failed: " + firstLine(err.Error())
		}
		results = append(results, r)
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	fmt.Print("\n" + table(results))
	if o.out != "" {
		failures = append(failures, writeSection(o.out, o, results))
	}
	return errors.Join(failures...)
}

// measure alternates ours and the peer's variants.
func measure(ctx context.Context, o options, c benchCase) (result, error) {
	r := result{Case: fmt.Sprintf("%s %d×%d batch %d", c.name, c.size, c.size, c.batch), Unit: "images/s", Asked: c.asked, Threads: o.threads, Rounds: o.rounds}
	if !slices.Contains(zoo.Names(), c.model) {
		r.Note = "not in the zoo yet"
		return r, nil
	}
	dir, err := os.MkdirTemp("", "darkroom-bench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	if err := store(dir, c.size); err != nil {
		return r, fmt.Errorf("storing the images: %w", err)
	}
	ours, peers := []trained{}, map[string][]trained{}
	for round := range o.rounds {
		t, err := start(ctx, ourCommand(o, c, dir))
		if err != nil {
			return r, err
		}
		ours = append(ours, t)
		for _, v := range contenders(peers, round) {
			if t, err = start(ctx, o.peerCommand(c, dir, v)); err != nil {
				return r, err
			}
			peers[v] = append(peers[v], t)
		}
	}
	r.fill(ours, peers)
	return r, nil
}

// contenders are the variants that a round measures: all in the first, then those within 15 % of the best.
func contenders(peers map[string][]trained, round int) []string {
	if round == 0 {
		return variants
	}
	best, _ := fastest(peers)
	var out []string
	for _, v := range variants {
		if rate(peers[v]) >= 0.85*rate(peers[best]) {
			out = append(out, v)
		}
	}
	return out
}

func ourCommand(o options, c benchCase, dir string) []string {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return []string{self, "-child", dir, "-cases", c.name, "-threads", fmt.Sprint(o.threads), "-seconds", fmt.Sprint(o.seconds), "-warmup", fmt.Sprint(o.warmup)}
}

func (o options) peerCommand(c benchCase, dir, variant string) []string {
	return []string{o.python, o.peer, "--data", dir, "--model", c.peer, "--size", fmt.Sprint(c.size), "--batch", fmt.Sprint(c.batch),
		"--threads", fmt.Sprint(o.threads), "--seconds", fmt.Sprint(o.seconds), "--warmup", fmt.Sprint(o.warmup), "--variant", variant}
}

// start runs one process of one side to its end.
func start(ctx context.Context, command []string) (trained, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	threads := command[slices.Index(command, threadsFlag(command))+1]
	cmd.Env = append(os.Environ(), "OMP_NUM_THREADS="+threads, "MKL_NUM_THREADS="+threads)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	var t trained
	if err == nil {
		err = json.Unmarshal(out, &t)
	}
	if err != nil {
		return t, fmt.Errorf("%s: %w\n%s", filepath.Base(command[0]), err, strings.TrimSpace(said.String()))
	}
	return t, nil
}

func threadsFlag(command []string) string {
	if slices.Contains(command, "--threads") {
		return "--threads"
	}
	return "-threads"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func machine() string {
	model := runtime.GOARCH
	b, _ := os.ReadFile("/proc/cpuinfo") // without it the architecture must do
	for _, line := range strings.Split(string(b), "\n") {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			model = strings.TrimLeft(name, "\t :")
			break
		}
	}
	return fmt.Sprintf("%d cores of %s", runtime.NumCPU(), model)
}
