// Package profile is the profile kind: it measures how long a model takes on this machine, as a whole and node by node.
//
// Rules of the room: what it writes is measured, once, and then an artifact like any other: the kind is stages.Kind.Measured, and a stage that
// decides by latency takes the table as an input. Every number stands beside its spread and the number of runs.
package profile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/stages"
)

// Kind is the profile kind.
var Kind = &stages.Kind{
	Name:    "profile",
	Version: 3,
	Doc: "Measures how long a model takes on this machine, with ONNX Runtime: a run as a whole, and every node of the graph as ONNX Runtime executes it, fused nodes as one. " +
		"Each combination of `batches` and `thread_counts` is warmed up and run many times. The table is a measured artifact: it is made once for a model and a class of device, kept, and " +
		"taken as an input by whatever decides by latency; `darkroom run --force` measures again.\n\n" +
		"With `widths` the model is also timed with a share of its channels, a multiple of `round_to` in each layer, so that `prune` can tell from the table how long a smaller model takes. " +
		"Whether channels that are no multiple of 8 or 16 are slower is a matter of the machine's kernels, and the table shows it: give both stages the same `round_to`.\n\n" +
		"`latency` is a CSV table with the columns scope (model or node), batch, threads, width, index (place in the order of execution), node, layer (of the model, that the node is or holds), operator, " +
		"shape (of the node's output), macs (multiply-accumulates of the layer for one image, or of all), runs, median_ms, p10_ms and p90_ms. The rows of the model are measured without the profiler, and those of nodes with it, which takes time of its own: compare nodes with nodes. " +
		"Nodes are timed in steps of 0.001 ms.",
	Example: `profile "machine" {
  model   = train.net.model
  batches = [1, 8, 32]

  require {
    condition = self.latency_batch1 <= 5
    message   = "One image takes longer than 5 ms."
  }
}`,
	Computes: true,
	Measured: true,
	New:      func() stages.Stage { return &profile{} },
}

type profile struct {
	batches, threads        []int
	warmup, runs            int
	seconds                 float64
	widths                  []float64
	round                   int
	channels, height, width int
}

func (p *profile) Declare(s *stages.Schema) {
	s.In("model", artifact.Model, "The model to time: an ONNX model with one image input, (N, C, H, W), float32; quantized ones too.")
	s.In("data", artifact.Dataset, "Images whose size the model is timed with, where it leaves that open.").OrNone()
	s.Ints(&p.batches, "batches", []int{1}, "Numbers of images a run.").In(1, 4096).NonEmpty()
	s.Ints(&p.threads, "thread_counts", nil, "Numbers of threads of the compute library; without it that of the stage.").In(1, 256)
	s.Int(&p.warmup, "warmup", 10, "Runs before the clock starts.").In(1, 10000)
	s.Int(&p.runs, "runs", 100, "Runs of each combination that are timed.").In(5, 100000)
	s.Float(&p.seconds, "seconds", 10, "When timing a combination takes longer than this, it ends early, after 5 runs at least.").Above(0).InUnit("seconds")
	s.Floats(&p.widths, "widths", nil, "Shares of the channels with which the model is timed as well, such as [0.75, 0.5, 0.25]; `prune` decides by them.").Above(0).Below(1)
	s.Int(&p.round, "round_to", 1, "With `widths`: keep a multiple of so many channels in each layer.").In(1, 64)
	s.Int(&p.channels, "channels", 0, "Channels of the images, for a model that leaves them open and without `data`.").In(1, 3).NoDefault()
	s.Int(&p.height, "height", 0, "Height of the images, likewise.").In(1, dataset.MaxSide).NoDefault().InUnit("pixels")
	s.Int(&p.width, "width", 0, "Width of the images, likewise.").In(1, dataset.MaxSide).NoDefault().InUnit("pixels")
	s.Out("latency", artifact.Table, "The measured times, of the whole model and of every node, by batch and threads.")
	s.Out("report", artifact.Report, "Where the time goes.")
	s.Measures("latency", "ms", "Median time of a run of the first of `batches`, on the first of `thread_counts`.")
	s.Measures("latency_p90", "ms", "The time that nine of ten such runs stay below.")
	s.Measures("images_per_second", "images/s", "Images a second at the median of such a run.")
	s.Reports("nodes", stages.Integer, "Number of nodes of the graph as ONNX Runtime executes it.")
}

// Check implements stages.Checker.
func (p *profile) Check() []stages.Problem {
	for _, list := range []struct {
		arg    string
		values []int
	}{{"batches", p.batches}, {"thread_counts", p.threads}} {
		seen := map[int]bool{}
		for _, n := range list.values {
			if seen[n] {
				return []stages.Problem{stages.Problemf(list.arg, "Repeated number", "The argument %q holds %d twice. Each number has measurements of its own; keep it once.", list.arg, n)}
			}
			seen[n] = true
		}
	}
	for i, w := range p.widths {
		if slices.Contains(p.widths[:i], w) {
			return []stages.Problem{stages.Problemf("widths", "Repeated number", "The argument \"widths\" holds %g twice. Keep it once.", w)}
		}
	}
	if p.round > 1 && len(p.widths) == 0 {
		return []stages.Problem{stages.Problemf("round_to", "Argument without effect", "\"round_to\" is about the channels of narrower models, and \"widths\" names none. Add widths = [0.75, 0.5, 0.25], or remove \"round_to\".")}
	}
	return nil
}

// suffix ends the names of a combination's measurements; threads is 0 for those of the stage.
func suffix(batch, threads int) string {
	if threads == 0 {
		return fmt.Sprintf("_batch%d", batch)
	}
	return fmt.Sprintf("_batch%d_threads%d", batch, threads)
}

func (p *profile) combinations(visit func(batch, threads int)) {
	counts := p.threads
	if len(counts) == 0 {
		counts = []int{0}
	}
	for _, t := range counts {
		for _, b := range p.batches {
			visit(b, t)
		}
	}
}

// Shape implements stages.Shaper: every combination has measurements of its own.
func (p *profile) Shape(s *stages.Schema) {
	p.combinations(func(batch, threads int) {
		of := fmt.Sprintf("a run of %d images", batch)
		if threads > 0 {
			of += fmt.Sprintf(" on %d threads", threads)
		}
		s.Measures("latency"+suffix(batch, threads), "ms", "Median time of "+of+".")
		s.Measures("latency_p90"+suffix(batch, threads), "ms", "90th percentile of "+of+".")
		s.Measures("images_per_second"+suffix(batch, threads), "images/s", "Images a second at the median of "+of+".")
	})
}

// Run implements stages.Stage.
func (p *profile) Run(ctx context.Context, job *stages.Job) error {
	size, err := p.size(job)
	if err != nil {
		return err
	}
	subjects, err := p.subjects(job)
	if err != nil {
		return err
	}
	var rows []infer.Latency
	done, total := 0, len(subjects)*len(p.batches)*max(1, len(p.threads))
	for _, subject := range subjects {
		p.combinations(func(batch, threads int) {
			if err != nil {
				return
			}
			job.Progress(stages.Progress{Phase: "timing", Done: int64(done), Total: int64(total), Unit: "combinations"})
			var part []infer.Latency
			part, err = p.measure(ctx, job, subject, size, batch, threads, done == 0)
			rows = append(rows, part...)
			done++
		})
		if err := errors.Join(err, subject.close()); err != nil {
			return err
		}
	}
	infer.SortLatencies(rows)
	if err := writeTable(job.Output("latency"), rows); err != nil {
		return err
	}
	if err := writeReport(job.Output("report"), rows); err != nil {
		return err
	}
	nodes := 0
	for _, l := range rows {
		if l.Width == 1 {
			nodes = max(nodes, l.Index+1)
		}
	}
	job.Value("nodes", nodes)
	return nil
}

// size returns the images' size as options: what the arguments say, or the dataset, or nothing.
func (p *profile) size(job *stages.Job) (infer.Options, error) {
	o := infer.Options{Channels: p.channels, Height: p.height, Width: p.width}
	in, ok := job.Input("data")
	if !ok {
		return o, nil
	}
	data, err := dataset.Open(in.Path)
	if err != nil {
		return o, err
	}
	defer data.Close()
	info := data.Info()
	o.Channels, o.Height, o.Width = info.Channels, info.Height, info.Width
	return o, nil
}

// leastRuns is how many runs are timed however long they take.
const leastRuns = 5

// noisy is the spread of the middle 80 % of runs, by their median, from which on the log says that the machine was busy.
const noisy = 0.5

// measure times one combination, the whole model, then its nodes. The first one's measurements have short names too; those of narrower models have none.
func (p *profile) measure(ctx context.Context, job *stages.Job, subject *subject, o infer.Options, batch, threads int, first bool) ([]infer.Latency, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ends := []string{suffix(batch, threads)}
	if first {
		ends = append(ends, "")
	}
	if subject.width < 1 {
		ends = nil
	}
	if threads == 0 {
		threads = job.Device.Threads
	}
	o.Batch, o.Threads = batch, threads
	timing := infer.TimingOptions{Warmup: p.warmup, Runs: p.runs, Budget: time.Duration(p.seconds * float64(time.Second)), Least: leastRuns}
	session, err := infer.Open(subject.path, o)
	if err != nil {
		return nil, modelProblem(err)
	}
	defer session.Close()
	if fixed := session.Info().Batch; fixed != batch {
		return nil, stages.Problemf("batches", "Batch is fixed", "The model takes %d images a run and no other number, so it cannot be timed with %d.", fixed, batch)
	}
	whole, err := infer.Time(ctx, session, threads, timing)
	if err != nil {
		return nil, modelProblem(err)
	}
	l := infer.NewLatency(whole.Took, batch, threads)
	l.Width, l.MACs = subject.width, subject.costs.Total.MACs
	rows := []infer.Latency{l}
	job.Logf("%sbatch %d, %d threads: median %.3f ms, p10 %.3f, p90 %.3f over %d runs", subject.text(), batch, threads, l.Median, l.P10, l.P90, l.Runs)
	if l.Spread() > noisy {
		job.Logf("Warning: the middle 80 %% of these runs are %.0f %% of the median apart. Something else used the processor; measure again on a quiet machine (--force)", 100*l.Spread())
	}
	for _, end := range ends {
		job.Measure("latency"+end, l.Median)
		job.Measure("latency_p90"+end, l.P90)
		job.Measure("images_per_second"+end, whole.Rate())
	}
	nodes, err := infer.TimeNodes(ctx, subject.path, o, timing, job.ScratchDir)
	if err != nil {
		return nil, modelProblem(err)
	}
	for _, n := range nodes {
		row := infer.NewLatency(n.Took, batch, threads)
		row.Width = subject.width
		if layer := subject.costs.LayerOf(n.Name, n.Operator); layer != nil {
			row.Layer, row.MACs = layer.Name(), layer.MACs
		}
		row.Index, row.Node, row.Operator, row.Shape = n.Index, n.Name, n.Operator, n.Shape
		rows = append(rows, row)
	}
	return rows, nil
}

func modelProblem(err error) error {
	var broken *infer.ModelError
	if errors.As(err, &broken) {
		return stages.Problemf("model", "Model cannot be timed", "The model cannot be run: %s.", broken.Detail)
	}
	return err
}

func writeTable(path string, rows []infer.Latency) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing the latency table: %w", err)
	}
	w := bufio.NewWriter(f)
	return errors.Join(infer.WriteLatencies(w, rows), w.Flush(), f.Close())
}
