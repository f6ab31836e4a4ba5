package nas

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

func device(threads int) stages.Device {
	return stages.Device{Backend: "cpu", Version: ort.Version() + ", " + kernel.Class(), ISA: ort.ISA(), Precision: "fp32", Threads: threads}
}

func needLibrary(t testing.TB) {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
}

// writeBars makes images of three classes: bright above, bright below, noise.
func writeBars(t *testing.T, path string, n int, seed uint64) stages.Input {
	t.Helper()
	w, err := dataset.Create(path, dataset.Info{Classes: []string{"above", "below", "noise"}, Height: 12, Width: 12, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s := dataset.NewStream(seed, "image", uint64(i))
		image := make([]byte, 144)
		for p := range image {
			v := s.In(40, 140)
			if i%3 == 0 && p < 72 || i%3 == 1 && p >= 72 {
				v += 90
			}
			image[p] = byte(v)
		}
		if err := w.Add(fmt.Sprint(i), int32(i%3), image); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return stages.Input{Path: path, Ref: artifact.Ref{Type: artifact.Dataset}}
}

func inputs(t *testing.T, dir string) map[string][]stages.Input {
	return map[string][]stages.Input{"data": {writeBars(t, filepath.Join(dir, "data"), 90, 1)}, "validation": {writeBars(t, filepath.Join(dir, "validation"), 30, 2)}}
}

func args(v map[string]any) stages.Args { return stages.Args{Values: v} }

// small is a search of seconds.
func small(trials int, more ...stages.BlockArgs) stages.Args {
	a := args(map[string]any{"trials": float64(trials), "objectives": []any{"accuracy", "flops"}})
	a.Blocks = append([]stages.BlockArgs{
		{Type: "space", Label: "custom", Args: stages.Args{Values: map[string]any{"stems": []any{4.0, 8.0}}, Blocks: []stages.BlockArgs{
			{Type: "stage", Args: args(map[string]any{"operators": []any{"residual", "convolution", "separable"}, "widths": []any{4.0, 8.0}, "depths": []any{1.0, 2.0}, "stride": 2.0})}}}},
		{Type: "budget", Args: args(map[string]any{"epochs": 2.0, "samples": 60.0, "batch": 15.0})}}, more...)
	return a
}

func TestConformance(t *testing.T) {
	needLibrary(t)
	stagetest.Run(t, stagetest.Fixture{Kind: Kind, Seed: 3, Device: device(1), Inputs: inputs, Interrupt: 4,
		Args: small(5, stages.BlockArgs{Type: "strategy", Label: "regularized_evolution", Args: args(map[string]any{"population": 3.0, "sample": 2.0})})})
}

// A search that is killed goes on where it was: each candidate is kept once, however many processes it took, and the processes add to what those before them kept.
func TestKilledSearches(t *testing.T) {
	needLibrary(t)
	kept := stagetest.Killed(t, stagetest.Fixture{Kind: Kind, Seed: 3, Device: device(2), Inputs: inputs,
		Args: small(8, stages.BlockArgs{Type: "strategy", Label: "regularized_evolution", Args: args(map[string]any{"population": 3.0, "sample": 2.0})})}, 4)
	if len(kept) == 0 {
		return // this is one of the killed processes
	}
	if !slices.IsSorted(kept) || kept[len(kept)-1] != 8 || kept[len(kept)-2] == 0 || kept[len(kept)-2] == 8 {
		t.Errorf("of 8 candidates, %v were kept after each process", kept)
	}
}

// said keeps what a stage says and the parts that it makes, as a run's cache would.
type said struct {
	mu     sync.Mutex // guards all
	dir    string     // of the parts
	made   int
	values map[string]any
	lines  []string
}

func (s *said) Progress(stages.Progress) {}
func (s *said) Measure(string, float64)  {}
func (s *said) Log(line string)          { s.mu.Lock(); s.lines = append(s.lines, line); s.mu.Unlock() }
func (s *said) Value(name string, v any) { s.mu.Lock(); s.values[name] = v; s.mu.Unlock() }

// Recall implements stages.Memory.
func (s *said) Recall(_ context.Context, key artifact.Digest, dst string) (bool, error) {
	kept := filepath.Join(s.dir, string(key))
	if _, err := os.Stat(kept); err != nil {
		return false, nil
	}
	return true, os.CopyFS(dst, os.DirFS(kept))
}

// Remember implements stages.Memory.
func (s *said) Remember(_ context.Context, key artifact.Digest, _, src string) error {
	s.mu.Lock()
	s.made++
	s.mu.Unlock()
	return os.CopyFS(filepath.Join(s.dir, string(key)), os.DirFS(src))
}

// run executes the kind with that many threads; parts lie in dir. tables are the files of further ports.
func run(t *testing.T, a stages.Args, threads int, dir string, tables ...map[string]string) (*stages.Job, *said, error) {
	t.Helper()
	needLibrary(t)
	work := t.TempDir()
	in := inputs(t, work)
	for _, list := range tables {
		for port, path := range list {
			in[port] = []stages.Input{{Path: path, Ref: artifact.Ref{Type: artifact.Table}}}
		}
	}
	connected := map[string]bool{}
	for port, list := range in {
		digest, size, err := artifact.DigestFile(list[0].Path)
		if err != nil {
			t.Fatal(err)
		}
		in[port][0].Ref.Digest, in[port][0].Ref.Size = digest, size
		connected[port] = true
	}
	s := Kind.New()
	if _, problems := stages.Decode(s, a, connected); stages.HasErrors(problems) {
		t.Fatal(problems)
	}
	r := &said{dir: dir, values: map[string]any{}}
	job := &stages.Job{Kind: "nas", Version: 1, Args: a, Inputs: in, OutDir: filepath.Join(work, "out"), ScratchDir: filepath.Join(work, "scratch"), Seed: 5, Device: device(threads)}
	for _, d := range []string{job.OutDir, job.ScratchDir} {
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return job, r, s.Run(t.Context(), job.WithReporter(r))
}

func rowsOf(t *testing.T, job *stages.Job) [][]string {
	t.Helper()
	b, err := os.ReadFile(job.Output("candidates"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(b))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows[1:]
}

// One candidate at a time or two, the same bytes; and a longer search over the same space trains only what is new.
func TestSearchesShareCandidates(t *testing.T) {
	dir := t.TempDir()
	first, said1, err := run(t, small(4, stages.BlockArgs{Type: "strategy", Label: "random"}), 1, dir)
	if err != nil {
		t.Fatal(err)
	}
	if said1.made != 4 {
		t.Errorf("%d candidates were trained, want 4", said1.made)
	}
	apart, _, err := run(t, small(4, stages.BlockArgs{Type: "strategy", Label: "random"}), 2, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{"model", "trained", "candidates", "report"} {
		a, err := os.ReadFile(first.Output(out))
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(apart.Output(out)); string(a) != string(b) {
			t.Errorf("%s differs between one thread and two", out)
		}
	}
	longer, said2, err := run(t, small(7, stages.BlockArgs{Type: "strategy", Label: "random"}), 2, dir)
	if err != nil {
		t.Fatal(err)
	}
	if said2.made != 3 {
		t.Errorf("%d candidates were trained anew, want 3", said2.made)
	}
	if rows := rowsOf(t, longer); len(rows) != 7 || !reflect.DeepEqual(rows[0][:5], rowsOf(t, first)[0][:5]) {
		t.Errorf("%d candidates", len(rows))
	}
	m, err := onnx.Load(longer.Output("trained"))
	if err != nil || len(m.Meta().Classes) != 3 {
		t.Errorf("the trained network: %v", err)
	}
	if said2.values["accuracy"].(float64) < 0.6 {
		t.Errorf("values %v", said2.values)
	}
}

func TestEveryStrategyAndRanking(t *testing.T) {
	for _, blocks := range [][]stages.BlockArgs{
		{{Type: "strategy", Label: "successive_halving", Args: args(map[string]any{"eta": 2.0, "rounds": 2.0})}},
		{{Type: "rank", Args: args(map[string]any{"score": "synflow", "pool": 3.0, "images": 8.0})}},
		{{Type: "rank", Args: args(map[string]any{"score": "naswot", "pool": 3.0, "images": 8.0})}, {Type: "strategy", Label: "random"}},
		{{Type: "rank", Args: args(map[string]any{"score": "snip", "pool": 2.0, "images": 8.0})}, {Type: "strategy", Label: "random"}},
		{{Type: "limit", Args: args(map[string]any{"parameters": 1500.0})}, {Type: "strategy", Label: "random"}},
	} {
		job, got, err := run(t, small(3, blocks...), 1, t.TempDir())
		if err != nil {
			t.Fatalf("%+v: %v", blocks, err)
		}
		if blocks[0].Type == "limit" {
			for _, row := range rowsOf(t, job) {
				if len(row[4]) > 4 || len(row[4]) == 4 && row[4] > "1500" {
					t.Errorf("a candidate has %s parameters, the limit is 1500", row[4])
				}
			}
		}
		if blocks[0].Label == "successive_halving" {
			if rows := rowsOf(t, job); len(rows) != 4 || rows[0][6] != "1" || rows[3][6] != "2" {
				t.Errorf("3 candidates and the best of them with twice the epochs: %v", rows)
			}
		}
		if got.values["evaluated"] == 0 {
			t.Errorf("%+v: nothing was evaluated", blocks)
		}
	}
}

func TestMistakes(t *testing.T) {
	_, _, err := run(t, small(3, stages.BlockArgs{Type: "limit", Args: args(map[string]any{"flops": 10.0})}), 1, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "keeps the limit of flops. The nearest one, stem 4") {
		t.Errorf("a limit that nothing meets: %v", err)
	}
	a := small(3)
	a.Blocks[0].Args.Values["shrinks"] = []any{64.0}
	if _, _, err := run(t, a, 1, t.TempDir()); err == nil || !strings.Contains(err.Error(), "No member of the space can be built") {
		t.Errorf("a space without a member: %v", err)
	}
	for _, c := range []struct {
		args stages.Args
		want string
	}{
		{args(map[string]any{"objectives": []any{"flops"}}), "Without \"accuracy\""},
		{args(map[string]any{"objectives": []any{"accuracy", "accuracy"}}), "stands twice"},
		{args(map[string]any{"mean": []any{0.5}}), "1 numbers in \"mean\" and 0"},
		{stages.Args{Blocks: []stages.BlockArgs{{Type: "space", Label: "custom"}}}, "no block \"stage\""},
		{stages.Args{Blocks: []stages.BlockArgs{{Type: "strategy", Label: "regularized_evolution", Args: args(map[string]any{"population": 3.0, "sample": 4.0})}}}, "more than the population"},
	} {
		_, problems := stages.Decode(Kind.New(), c.args, map[string]bool{"data": true, "validation": true})
		if len(problems) != 1 || !strings.Contains(problems[0].Detail, c.want) {
			t.Errorf("%+v: %v, want %q", c.args, problems, c.want)
		}
	}
}
