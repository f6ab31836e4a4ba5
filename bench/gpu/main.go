// Command gpu measures training on a GPU: steps of ResNet-50 on synthetic images against PyTorch with channels_last, automatic mixed precision
// and torch.compile on the same card, alternating, and CIFAR-10 to 94 % with the darkroom binary. It is run by `make bench-gpu`. Without
// a GPU it says so and exits with 3.
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
	"slices"
	"strings"
	"syscall"

	"github.com/darkroom-dev/darkroom/learn/xla"
	"github.com/darkroom-dev/darkroom/runners/gpu"
)

type options struct {
	python, peer     string
	darkroom, data   string
	rounds           int
	cifar            bool
	steps            steps
	plugin, platform string // of the child
}

// result is one case, printed as a line of JSON.
type result struct {
	Case     string   `json:"case"`
	Unit     string   `json:"unit"`
	Ours     float64  `json:"ours"`
	Peer     float64  `json:"peer,omitempty"`
	Ratio    float64  `json:"ratio,omitempty"`
	Asked    float64  `json:"asked"`
	GPU      string   `json:"gpu"`
	Versions []string `json:"versions"`
	Note     string   `json:"note,omitempty"`
}

// errNoGPU says that there is nothing to measure on.
var errNoGPU = errors.New("there is no GPU that can be computed on, so nothing was measured")

func main() {
	var o options
	child := flag.Bool("child", false, "internal: time steps on the plugin and print the result")
	flag.StringVar(&o.python, "python", "python3", "the Python that has torch with CUDA and torchvision")
	flag.StringVar(&o.peer, "peer", "bench/gpu/peer.py", "the peer's script")
	flag.StringVar(&o.darkroom, "darkroom", "bin/darkroom", "the binary for CIFAR-10")
	flag.StringVar(&o.data, "data", os.Getenv("DARKROOM_DATA"), "folder in which cifar-10 is; without it that case is left out")
	flag.BoolVar(&o.cifar, "cifar", true, "train CIFAR-10 to 94 %")
	flag.IntVar(&o.rounds, "rounds", 3, "processes of each side")
	flag.StringVar(&o.plugin, "plugin", "", "internal: the child's PJRT plugin")
	flag.StringVar(&o.platform, "platform", "cuda", "internal: what the plugin drives")
	o.steps.flags(flag.CommandLine)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *child {
		err = o.steps.print(os.Stdout, o.plugin, o.platform)
	} else {
		err = bench(ctx, o)
	}
	switch {
	case errors.Is(err, errNoGPU):
		fmt.Fprintln(os.Stderr, "bench/gpu:", err)
		os.Exit(3)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench/gpu:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options) error {
	devices, err := gpu.List(ctx)
	if err == nil && len(devices) == 0 {
		err = errors.New("the NVIDIA driver knows no device")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNoGPU, err)
	}
	in, err := xla.FindCUDA()
	if err != nil {
		return fmt.Errorf("%w: %w; `make setup-xla` installs it", errNoGPU, err)
	}
	on := fmt.Sprintf("%s, driver %s", devices[0].Name, devices[0].Driver)
	// One card for both sides, whatever else the machine has.
	env := append(os.Environ(), append(in.Environment(), "CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES="+devices[0].UUID)...)
	var failures []error
	for _, measure := range []func() (result, error){
		func() (result, error) { return o.resnet50(ctx, in.Plugin, env) },
		func() (result, error) { return o.cifar10(ctx) },
	} {
		r, err := measure()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", r.Case, err))
			r.Note = "failed: " + strings.SplitN(err.Error(), "\n", 2)[0]
		}
		r.GPU = on
		if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
			return err
		}
	}
	return errors.Join(failures...)
}

// resnet50 alternates the two sides and compares medians.
func (o options) resnet50(ctx context.Context, plugin string, env []string) (result, error) {
	r := result{Case: fmt.Sprintf("%s %d×%d batch %d %s, synthetic", o.steps.model, o.steps.size, o.steps.size, o.steps.batch, o.steps.precision), Unit: "images/s", Asked: 1}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	var ours, peers []float64
	for range o.rounds {
		mine, err := start(ctx, env, append([]string{self, "-child", "-plugin", plugin}, o.steps.arguments("-")...))
		if err != nil {
			return r, err
		}
		// The peer finds its own libraries; those of the plugin on the loader's path would be taken in their place.
		theirs, err := start(ctx, without(env, "LD_LIBRARY_PATH", "NVIDIA_TF32_OVERRIDE"), append([]string{o.python, o.peer}, o.steps.arguments("--")...))
		if err != nil {
			return r, err
		}
		ours, peers = append(ours, mine.Rate), append(peers, theirs.Rate)
		r.Versions = []string{mine.Version, theirs.Version}
	}
	r.Ours, r.Peer = median(ours), median(peers)
	r.Ratio = r.Ours / r.Peer
	return r, nil
}

// cifar10 runs the pipeline beside this file. Its requirement fails the run where the accuracy is not reached, and the time is told all the same.
func (o options) cifar10(ctx context.Context) (result, error) {
	r := result{Case: "CIFAR-10 to 94 %, compilation included", Unit: "s", Asked: 15}
	folder := filepath.Join(o.data, "cifar-10")
	if _, err := os.Stat(folder); o.data == "" || err != nil || !o.cifar {
		r.Note = "left out: the data is not there (DARKROOM_DATA), or it was not asked for"
		return r, nil
	}
	cache, err := os.MkdirTemp("", "darkroom-bench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(cache)
	command := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, o.darkroom, append(args, "--cache", cache, "--pipeline", "bench/gpu/cifar10.hcl", "--var", "data="+folder)...)
		cmd.Stderr = os.Stderr
		return cmd.Output()
	}
	if _, err := command("run"); err != nil {
		r.Note = "the run failed: " + err.Error()
	}
	var train struct {
		Took   float64                             `json:"took_s"`
		Device struct{ Version, Precision string } `json:"device"`
	}
	var test struct{ Values struct{ Accuracy float64 } }
	for address, into := range map[string]any{"train.net": &train, "evaluate.test": &test} {
		text, err := command("show", address, "--json")
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			return r, fmt.Errorf("reading what %s came to: %w", address, err)
		}
	}
	r.Ours, r.Versions = train.Took, []string{train.Device.Version}
	r.Note = strings.TrimSpace(fmt.Sprintf("%s test accuracy %.2f %%", r.Note, 100*test.Values.Accuracy))
	return r, nil
}

// start runs one process of one side to its end.
func start(ctx context.Context, env, command []string) (timed, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var said strings.Builder
	cmd.Env, cmd.Stderr = env, &said
	out, err := cmd.Output()
	var t timed
	if err == nil {
		err = json.Unmarshal(out, &t)
	}
	if err != nil {
		return t, fmt.Errorf("%s: %w\n%s", filepath.Base(command[0]), err, strings.TrimSpace(said.String()))
	}
	return t, nil
}

// without returns the environment without some variables.
func without(env []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.Contains(names, name)
	})
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
