// Command evaluate measures how many images a second the evaluate kind answers, against a bare loop over ONNX Runtime in Python on images that
// lie ready in memory as floats. It is run by `make bench-evaluate`, which installs the peer first. Both run the same ONNX file with the same
// release of ONNX Runtime and the same number of threads; ours reads a stored dataset and makes floats of its bytes meanwhile. They alternate,
// one process for each batch size and round; of the medians the best batch sizes are compared.
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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/evaluate"
)

// benchCase is a model with a size and a number of images.
type benchCase struct {
	model  string // in our zoo
	size   int    // pixels
	images int
}

var cases = []benchCase{{"resnet20", 32, 6144}, {"mobilenet_v3_small", 224, 768}}

// asked is the least ratio.
const asked = 0.95

type options struct {
	python, peer, out string
	rounds, threads   int
	batches           []int
}

// spoken is what one process prints.
type spoken struct {
	Rate    float64 `json:"rate"` // images/s
	Version string  `json:"version"`
}

func main() {
	var o options
	flag.StringVar(&o.python, "python", "python3", "the Python that has onnxruntime and numpy")
	flag.StringVar(&o.peer, "peer", "bench/evaluate/peer.py", "the peer's script")
	flag.StringVar(&o.out, "out", "", "file whose section on evaluation is rewritten, such as bench/RESULTS.md (default: none)")
	flag.IntVar(&o.rounds, "rounds", 7, "processes of each side for a case and a batch")
	flag.IntVar(&o.threads, "threads", 2, "threads of each side")
	only := flag.String("cases", "", "models to run, separated by commas (default: all)")
	batches := flag.String("batches", "8,16,64", "batch sizes to try")
	child := flag.String("child", "", "internal: evaluate the model in this folder and print the rate")
	batch := flag.Int("batch", 64, "internal: the batch of the child")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := o.parse(*batches)
	switch {
	case err != nil:
	case *child != "":
		err = judge(ctx, *child, *batch, o.threads)
	default:
		err = bench(ctx, o, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/evaluate:", err)
		os.Exit(1)
	}
}

func (o *options) parse(batches string) error {
	for _, text := range strings.Split(batches, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-batches holds %q, which is not a number of images", text)
		}
		o.batches = append(o.batches, n)
	}
	if o.rounds < 1 || o.threads < 1 {
		return errors.New("-rounds and -threads must be above 0")
	}
	return nil
}

// result is one case.
type result struct {
	benchCase
	ours, peer, converting map[int]float64 // medians by batch
	versions               []string
}

// best returns the batch with the highest rate.
func best(rates map[int]float64) (batch int, rate float64) {
	for b, r := range rates {
		if r > rate {
			batch, rate = b, r
		}
	}
	return batch, rate
}

func bench(ctx context.Context, o options, only string) error {
	var results []result
	for _, c := range cases {
		if only != "" && !slices.Contains(strings.Split(only, ","), c.model) {
			continue
		}
		r, err := measure(ctx, o, c)
		if err != nil {
			return err
		}
		results = append(results, r)
	}
	if len(results) == 0 {
		return fmt.Errorf("there is no case %q", only)
	}
	fmt.Print(table(results))
	if o.out == "" {
		return nil
	}
	return writeSection(o, results)
}

// measure alternates ours and the peer's two loops.
func measure(ctx context.Context, o options, c benchCase) (result, error) {
	r := result{benchCase: c, ours: map[int]float64{}, peer: map[int]float64{}, converting: map[int]float64{}}
	dir, err := os.MkdirTemp("", "darkroom-bench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	if err := store(dir, c); err != nil {
		return r, fmt.Errorf("storing %s and its images: %w", c.model, err)
	}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	for _, batch := range o.batches {
		var ours, peer, converting []float64
		for range o.rounds {
			for _, side := range []struct {
				to      *[]float64
				command []string
			}{
				{&ours, []string{self, "-child", dir, "-batch", fmt.Sprint(batch), "-threads", fmt.Sprint(o.threads)}},
				{&peer, []string{o.python, o.peer, dir, fmt.Sprint(batch), fmt.Sprint(o.threads), fmt.Sprint(c.size), "floats"}},
				{&converting, []string{o.python, o.peer, dir, fmt.Sprint(batch), fmt.Sprint(o.threads), fmt.Sprint(c.size), "bytes"}},
			} {
				s, err := start(ctx, side.command)
				if err != nil {
					return r, err
				}
				*side.to = append(*side.to, s.Rate)
				if !slices.Contains(r.versions, s.Version) {
					r.versions = append(r.versions, s.Version)
				}
			}
		}
		r.ours[batch], r.peer[batch], r.converting[batch] = median(ours), median(peer), median(converting)
		fmt.Fprintf(os.Stderr, "%s batch %d: ours %.0f, bare loop %.0f, bare loop over bytes %.0f images/s\n", c.model, batch, r.ours[batch], r.peer[batch], r.converting[batch])
	}
	return r, nil
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func start(ctx context.Context, command []string) (spoken, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	var s spoken
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		return s, fmt.Errorf("%s: %w\n%s", filepath.Base(command[0]), err, strings.TrimSpace(said.String()))
	}
	return s, nil
}

// store writes the model, and the images twice, the same bytes: as a dataset of ours and raw, (N, H, W, 3), for the peer.
func store(dir string, c benchCase) error {
	classes := make([]string, 10)
	for i := range classes {
		classes[i] = strconv.Itoa(i)
	}
	model, err := zoo.Build(c.model, zoo.Options{Classes: classes, Channels: 3, Height: c.size, Width: c.size, Mean: []float64{0.5, 0.5, 0.5}, Std: []float64{0.25, 0.25, 0.25}, Seed: 1})
	if err != nil {
		return err
	}
	w, err := dataset.Create(filepath.Join(dir, "data"), dataset.Info{Classes: classes, Height: c.size, Width: c.size, Channels: 3})
	if err != nil {
		return err
	}
	raw, err := os.Create(filepath.Join(dir, "images.u8"))
	if err != nil {
		return err
	}
	image := make([]byte, c.size*c.size*3)
	for i := range c.images {
		s := dataset.NewStream(1, "bench", uint64(i))
		for p := range image {
			image[p] = byte(s.Uint64() >> 56)
		}
		_, written := raw.Write(image)
		if err := errors.Join(written, w.Add(strconv.Itoa(i), int32(i%10), image)); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), raw.Close(), model.Save(filepath.Join(dir, "model.onnx")))
}

// listener takes the rate of the model's answering from the end of the first batch on, as the bare loop runs one before it looks at the clock. It counts reading
// and preparing the images.
type listener struct {
	mu    sync.Mutex // guards the rest
	first int64      // images of the first batch
	since time.Time
	rate  float64
}

func (l *listener) Progress(p stages.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case p.Phase != "model":
	case l.first == 0:
		l.first, l.since = p.Done, time.Now()
	default:
		l.rate = float64(p.Done-l.first) / time.Since(l.since).Seconds()
	}
}
func (l *listener) Log(string)              {}
func (l *listener) Value(string, any)       {}
func (l *listener) Measure(string, float64) {}

// judge is our process: the evaluate kind, as a worker runs it.
func judge(ctx context.Context, dir string, batch, threads int) error {
	stage := evaluate.Kind.New()
	args := stages.Args{Values: map[string]any{"batch": float64(batch), "resamples": 0.0, "worst": 0.0},
		Blocks: []stages.BlockArgs{{Type: "latency", Args: stages.Args{Values: map[string]any{"runs": 1.0}}}}}
	if _, problems := stages.Decode(stage, args, nil); stages.HasErrors(problems) {
		return problems[0]
	}
	out, err := os.MkdirTemp(dir, "out-")
	if err != nil {
		return err
	}
	l := &listener{}
	job := (&stages.Job{Args: args, OutDir: out, Resources: stages.Resources{CPUs: runtime.NumCPU()},
		Device: stages.Device{Backend: "cpu", Version: ort.Version(), ISA: ort.ISA(), Precision: "fp32", Threads: threads},
		Inputs: map[string][]stages.Input{
			"model": {{Path: filepath.Join(dir, "model.onnx"), Ref: artifact.Ref{Type: artifact.Model}}},
			"data":  {{Path: filepath.Join(dir, "data"), Ref: artifact.Ref{Type: artifact.Dataset}}},
		}}).WithReporter(l)
	if err := stage.Run(ctx, job); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(spoken{l.rate, ort.Version()})
}

func table(results []result) string {
	var b strings.Builder
	b.WriteString("| model | evaluate, images/s (batch) | bare loop over floats (batch) | ratio | asked | bare loop over bytes (batch) |\n| --- | ---: | ---: | ---: | ---: | ---: |\n")
	for _, r := range results {
		ob, ours := best(r.ours)
		pb, peer := best(r.peer)
		cb, converting := best(r.converting)
		fmt.Fprintf(&b, "| %s, %d×%d | %.0f (%d) | %.0f (%d) | %.2f | %.2f | %.0f (%d) |\n", r.model, r.size, r.size, ours, ob, peer, pb, ours/peer, asked, converting, cb)
	}
	return b.String()
}

const (
	begin   = "<!-- evaluation against a bare loop: written by `make bench-evaluate` -->"
	end     = "<!-- end of evaluation against a bare loop -->"
	accepts = "<!-- below: written by `make accept` -->" // everything under it belongs to bench/accept
)

// writeSection replaces the section of an earlier run, or adds it above that of bench/accept.
func writeSection(o options, results []result) error {
	old, err := os.ReadFile(o.out)
	if err != nil {
		return err
	}
	var versions []string
	for _, r := range results {
		for _, v := range r.versions {
			if !slices.Contains(versions, v) {
				versions = append(versions, v)
			}
		}
	}
	section := fmt.Sprintf("%s\n\n## Evaluation against a bare loop over ONNX Runtime\n\n%s, %d cores, %s, %s. Command: `make bench-evaluate`. %d threads each; medians of %d processes of each side for each of the batch sizes %s, alternating; the best batch sizes are compared. The bare loop is Python's, over images that lie in memory as floats; evaluate reads a stored dataset.\n\n%s\n%s\n",
		begin, time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), runtime.Version(), strings.Join(versions, ", "), o.threads, o.rounds, strings.Trim(fmt.Sprint(o.batches), "[]"), table(results), end)
	text := string(old)
	if before, rest, ok := strings.Cut(text, begin); ok {
		if _, after, ok := strings.Cut(rest, end+"\n"); ok {
			return os.WriteFile(o.out, []byte(before+section+after), 0o666)
		}
	}
	if before, after, ok := strings.Cut(text, accepts); ok {
		text = before + section + "\n" + accepts + after
	} else {
		text = strings.TrimRight(text, "\n") + "\n\n" + section
	}
	return os.WriteFile(o.out, []byte(text), 0o666)
}
