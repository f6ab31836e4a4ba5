package prune

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/dataset/surfaces"
	"github.com/darkroom-dev/darkroom/infer"
	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/onnx/zoo"
	"github.com/darkroom-dev/darkroom/stages"
	"github.com/darkroom-dev/darkroom/stages/stagetest"
)

var device = stages.Device{Backend: "cpu", Version: ort.Version() + ", " + kernel.Class(), ISA: ort.ISA(), Precision: "fp32", Threads: 1}

func needLibrary(t testing.TB) {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
}

func net(t testing.TB, name string) *onnx.Model {
	t.Helper()
	m, err := zoo.Build(name, zoo.Options{Classes: surfaces.Classes(), Channels: 1, Height: 24, Width: 24, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func inputs(t *testing.T, dir string) map[string][]stages.Input {
	t.Helper()
	if err := net(t, "resnet8").Save(filepath.Join(dir, "model")); err != nil {
		t.Fatal(err)
	}
	in := map[string][]stages.Input{"model": {{Path: filepath.Join(dir, "model"), Ref: artifact.Ref{Type: artifact.Model}}}}
	for i, port := range []string{"data", "validation"} {
		path := filepath.Join(dir, port)
		writeSurfaces(t, path, 60, uint64(i))
		in[port] = []stages.Input{{Path: path, Ref: artifact.Ref{Type: artifact.Dataset}}}
	}
	return in
}

func writeSurfaces(t *testing.T, path string, n int, seed uint64) {
	t.Helper()
	g, err := surfaces.New(seed, 24, 0.3)
	if err != nil {
		t.Fatal(err)
	}
	w, err := dataset.Create(path, dataset.Info{Classes: surfaces.Classes(), Height: 24, Width: 24, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	image := make([]byte, 24*24)
	for i := range n {
		label := int32(i % len(surfaces.Classes()))
		g.Image(image, i, label)
		if err := w.Add(string(rune('a'+i%26))+filepath.Base(path)+string(rune('0'+i/26)), label, image); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	needLibrary(t)
	stagetest.Run(t, stagetest.Fixture{Kind: Kind, Seed: 3, Device: device, Inputs: inputs, Interrupt: 12, Args: stages.Args{
		Values: map[string]any{"ratio": 0.4, "sensitivity_images": 20.0, "steps": 2.0},
		Blocks: []stages.BlockArgs{{Type: "fine_tune", Args: stages.Args{Values: map[string]any{"epochs": 1.0, "batch": 20.0}}}},
	}})
}

// groupsOf returns the candidates of a cutter in a model.
func groupsOf(t *testing.T, m *onnx.Model, c *cutter, score importance) (*surgery.Groups, []candidate) {
	t.Helper()
	_, groups, err := grouped(m)
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.candidates(m, groups, score)
	if err != nil {
		t.Fatal(err)
	}
	return groups, list
}

func TestImportance(t *testing.T) {
	m := net(t, "resnet8")
	name := "layer2.0.conv1.weight"
	w, ok := m.Tensor(name)
	if !ok {
		t.Fatal("no such kernel")
	}
	inner := len(w.Data) / w.Dims[0]
	for i := range inner { // filter 5 becomes the smallest, filter 9 a copy of filter 8
		w.Data[5*inner+i] = 1e-4
		w.Data[9*inner+i] = w.Data[8*inner+i]
	}
	if err := m.SetTensor(name, w.Data); err != nil {
		t.Fatal(err)
	}
	of := func(score importance) []float64 {
		_, list := groupsOf(t, m, &cutter{}, score)
		for _, k := range list {
			if k.name == strings.TrimSuffix(name, ".weight") {
				return k.score
			}
		}
		t.Fatal("the layer is in no group")
		return nil
	}
	for kind, score := range map[string]importance{"l1": byNorm(1), "l2": byNorm(2)} {
		s := of(score)
		want := 0.0
		for _, v := range w.Data[7*inner : 8*inner] {
			if kind == "l1" {
				want += math.Abs(float64(v))
			} else {
				want += float64(v) * float64(v)
			}
		}
		if kind == "l2" {
			want = math.Sqrt(want)
		}
		first := 0.0
		for _, v := range w.Data[:inner] {
			if kind == "l1" {
				first += math.Abs(float64(v))
			} else {
				first += float64(v) * float64(v)
			}
		}
		if kind == "l2" {
			first = math.Sqrt(first)
		}
		if weakest(s)[0] != 5 || math.Abs(s[7]/s[0]-want/first) > 1e-6 {
			t.Errorf("%s: filter %d is the weakest; the ratio of two is %g, want %g", kind, weakest(s)[0], s[7]/s[0], want/first)
		}
	}
	// The copies lie nearer to the others than any other filter but the one in the middle, which is near 0.
	order := weakest(of(byGeometricMedian))
	if order[0] != 5 || !slices.Contains(order[1:8], 8) || !slices.Contains(order[1:8], 9) {
		t.Errorf("by geometric median %v", order[:8])
	}
	gradient := make([]float32, len(w.Data))
	for i := range gradient {
		gradient[i] = 1
		if i/inner == 3 {
			gradient[i] = 0
		}
	}
	s := of(byTaylor(map[string][]float32{name: gradient}))
	sum := 0.0
	for _, v := range w.Data[2*inner : 3*inner] {
		sum += float64(v)
	}
	if s[3] != 0 || math.Abs(s[2]-sum*sum) > 1e-6*sum*sum {
		t.Errorf("taylor: %g without a gradient, %g for (Σw)² = %g", s[3], s[2], sum*sum)
	}
	if a, b := of(byChance(1)), of(byChance(2)); reflect.DeepEqual(a, b) || !reflect.DeepEqual(a, of(byChance(1))) {
		t.Error("chance does not follow from the seed")
	}
	scale, _ := m.Tensor("layer2.0.bn1.weight")
	scale.Data[11] = -0.01
	if err := m.SetTensor("layer2.0.bn1.weight", scale.Data); err != nil {
		t.Fatal(err)
	}
	if weakest(of(byScale))[0] != 11 {
		t.Error("the smallest scale is not the weakest channel")
	}
}

// removedOf returns how many channels each group loses.
func removedOf(list []candidate, cuts []surgery.Cut) map[string]int {
	out := map[string]int{}
	for _, c := range cuts {
		for _, k := range list {
			if k.group == c.Group {
				out[k.name] = len(c.Channels)
			}
		}
	}
	return out
}

func TestUniformAndGlobalShares(t *testing.T) {
	m := net(t, "resnet8")
	uniform := &cutter{round: 1, exclude: []string{"layer1.*.conv1"}, ratios: map[string]float64{"layer3.0.conv1": 0.75}}
	_, list := groupsOf(t, m, uniform, byNorm(1))
	removed := removedOf(list, uniform.cuts(list, 0.5))
	if removed["layer1.0.conv1"] != 0 || removed["layer2.0.conv1"] != 16 || removed["layer3.0.conv1"] != 48 {
		t.Errorf("uniform: %v", removed)
	}
	// Half of the filters of one layer count little: a global order takes them.
	w, _ := m.Tensor("layer3.0.conv1.weight")
	inner := len(w.Data) / w.Dims[0]
	for i := range w.Data {
		if i/inner%2 == 0 {
			w.Data[i] *= 0.01
		}
	}
	if err := m.SetTensor("layer3.0.conv1.weight", w.Data); err != nil {
		t.Fatal(err)
	}
	global := &cutter{round: 1, global: true, least: 0.1}
	_, list = groupsOf(t, m, global, byNorm(1))
	total := 0
	for _, k := range list {
		total += k.group.Channels
	}
	cuts := global.cuts(list, 32/float64(total))
	removed = removedOf(list, cuts)
	if removed["layer3.0.conv1"] != 32 || len(removed) != 1 {
		t.Errorf("global: %v", removed)
	}
	for _, k := range removedOf(list, global.cuts(list, 0.97)) {
		if k > 58 { // 0.9 of 64
			t.Errorf("a layer lost %d channels: nine tenths are the most", k)
		}
	}
}

func TestTargets(t *testing.T) {
	m := net(t, "resnet20")
	for _, round := range []int{1, 8} {
		c := &cutter{round: round}
		for _, of := range []cost{flops, parameters} {
			whole, err := of(surgery.Edit(m))
			if err != nil {
				t.Fatal(err)
			}
			ratio, err := c.reach(m, byNorm(1), of, 0.48*whole)
			if err != nil {
				t.Fatal(err)
			}
			at := func(r float64) float64 {
				g, err := c.pruned(m, byNorm(1), r)
				if err != nil {
					t.Fatal(err)
				}
				v, err := of(g)
				if err != nil {
					t.Fatal(err)
				}
				return v / whole
			}
			if got, before := at(ratio), at(ratio-1.0/1024); got > 0.48 || before <= 0.48 {
				t.Errorf("round %d: a ratio of %g keeps %g, one less %g; the smallest that keeps 0.48 was asked for", round, ratio, got, before)
			}
		}
	}
	c := &cutter{round: 1, exclude: []string{"*"}}
	whole, _ := flops(surgery.Edit(m))
	if _, err := c.reach(m, byNorm(1), flops, 0.5*whole); err == nil {
		t.Error("a target was reached though everything is excluded")
	}
}

func TestMasks(t *testing.T) {
	m := net(t, "resnet8")
	_, groups, err := grouped(m)
	if err != nil {
		t.Fatal(err)
	}
	share := func(masks map[string]mask) (zeroes, all int) {
		for _, k := range masks {
			for _, stays := range k {
				all++
				if !stays {
					zeroes++
				}
			}
		}
		return zeroes, all
	}
	for _, global := range []bool{false, true} {
		c := &cutter{global: global}
		if z, n := share(c.masks(m, groups, 0.6)); math.Abs(float64(z)/float64(n)-0.6) > 0.01 {
			t.Errorf("global %v: %d of %d weights are zero, want 0.6", global, z, n)
		}
	}
	masks := (&cutter{}).masks24(m, groups)
	if z, n := share(masks); n == 0 || 2*z != n {
		t.Errorf("2:4: %d of %d weights are zero", z, n)
	}
	name := "layer2.0.conv2.weight"
	w, _ := m.Tensor(name)
	keep := masks[name]
	inner := w.Dims[2] * w.Dims[3]
	for o := range w.Dims[0] {
		for b := 0; b < w.Dims[1]; b += 4 {
			for k := range inner {
				least, most := float32(math.Inf(1)), float32(0)
				for j := range 4 {
					i := (o*w.Dims[1]+b+j)*inner + k
					if keep[i] {
						least = min(least, abs(w.Data[i]))
					} else {
						most = max(most, abs(w.Data[i]))
					}
				}
				if most > least {
					t.Fatalf("filter %d, inputs %d to %d: a smaller weight stays", o, b, b+3)
				}
			}
		}
	}
}

// run executes the kind.
func run(t *testing.T, args stages.Args) (*stages.Job, map[string]any, error) {
	t.Helper()
	return runWith(t, args, nil)
}

// runWith executes the kind with further inputs, or others.
func runWith(t *testing.T, args stages.Args, more map[string][]stages.Input) (*stages.Job, map[string]any, error) {
	t.Helper()
	needLibrary(t)
	dir := t.TempDir()
	in := inputs(t, dir)
	maps.Copy(in, more)
	connected := map[string]bool{}
	for port := range in {
		connected[port] = true
	}
	s := Kind.New()
	if _, problems := stages.Decode(s, args, connected); stages.HasErrors(problems) {
		t.Fatal(problems)
	}
	r := &said{values: map[string]any{}}
	job := &stages.Job{Kind: "prune", Args: args, Inputs: in, OutDir: filepath.Join(dir, "out"), ScratchDir: filepath.Join(dir, "scratch"), Seed: 1, Device: device}
	if err := os.Mkdir(job.OutDir, 0o777); err != nil {
		t.Fatal(err)
	}
	return job, r.values, s.Run(t.Context(), job.WithReporter(r))
}

// said keeps what a stage reports; measurements are under "measured NAME".
type said struct{ values map[string]any }

func (s *said) Progress(stages.Progress)       {}
func (s *said) Log(string)                     {}
func (s *said) Value(name string, v any)       { s.values[name] = v }
func (s *said) Measure(name string, v float64) { s.values["measured "+name] = v }
func values(pairs map[string]any) stages.Args  { return stages.Args{Values: pairs} }

func TestEveryMethodPrunes(t *testing.T) {
	for _, m := range methods {
		args := values(map[string]any{"ratio": 0.5, "sensitivity_images": 0.0})
		args.Blocks = []stages.BlockArgs{{Type: "method", Label: m.Name}}
		if m.Name == "bn_scale" {
			args.Blocks[0].Args = values(map[string]any{"epochs": 1.0, "strength": 0.01})
			args.Blocks = append(args.Blocks, stages.BlockArgs{Type: "fine_tune", Args: values(map[string]any{"epochs": 1.0, "batch": 20.0})})
		}
		job, got, err := run(t, args)
		if err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		if f := got["flops_ratio"].(float64); f > 0.35 || f < 0.15 {
			t.Errorf("%s: half of the channels leave %g of the FLOPs", m.Name, f)
		}
		if c := got["channels_ratio"].(float64); c != 0.5 {
			t.Errorf("%s: a share of %g of the channels is left, want 0.5", m.Name, c)
		}
		if _, err := onnx.Load(job.Output("model")); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
}

func TestTargetIsReached(t *testing.T) {
	args := values(map[string]any{"sensitivity_images": 0.0})
	args.Blocks = []stages.BlockArgs{{Type: "target", Args: values(map[string]any{"flops": 0.4})}}
	_, got, err := run(t, args)
	if err != nil {
		t.Fatal(err)
	}
	if f := got["flops_ratio"].(float64); f > 0.4 || f < 0.37 {
		t.Errorf("%g of the FLOPs are left, 0.4 was asked for", f)
	}
	args.Blocks[0].Args = values(map[string]any{"parameters": 1e-4})
	if _, _, err := run(t, args); err == nil || !strings.Contains(err.Error(), "still has") {
		t.Errorf("a target that nothing reaches: %v", err)
	}
}

func TestZeroesStayZeroWhileFineTuning(t *testing.T) {
	for _, kind := range []string{unstructured, twoOfFour} {
		args := values(map[string]any{"sparsity": kind, "ratio": 0.7})
		args.Blocks = []stages.BlockArgs{{Type: "fine_tune", Args: values(map[string]any{"epochs": 2.0, "batch": 20.0})}}
		job, got, err := run(t, args)
		if err != nil {
			t.Fatal(err)
		}
		m, err := onnx.Load(job.Output("model"))
		if err != nil {
			t.Fatal(err)
		}
		w, _ := m.Tensor("layer2.0.conv2.weight")
		zeroes := 0
		for _, v := range w.Data {
			if v == 0 {
				zeroes++
			}
		}
		want := map[string]float64{unstructured: 0.7, twoOfFour: 0.5}[kind]
		if math.Abs(float64(zeroes)/float64(len(w.Data))-want) > 0.01 {
			t.Errorf("%s: %d of %d weights are zero after fine-tuning", kind, zeroes, len(w.Data))
		}
		if p := got["parameters_ratio"].(float64); p > 1.05-want || got["flops_ratio"] != 1.0 {
			t.Errorf("%s: values %v", kind, got)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		args stages.Args
		want string
	}{
		{values(map[string]any{"exclude": []any{"stage9.*"}}), "No layer that can be pruned is called"},
		{values(map[string]any{"ratios": map[string]any{"nosuch": 0.5}}), "No layer that can be pruned is called"},
	} {
		if _, _, err := run(t, c.args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
	}
	block := func(kind string, v map[string]any) []stages.BlockArgs {
		return []stages.BlockArgs{{Type: kind, Args: values(v)}}
	}
	for _, c := range []struct {
		args stages.Args
		data bool
		want string
	}{
		{stages.Args{Values: map[string]any{"sparsity": "2:4", "round_to": 8.0}}, true, "round_to"},
		{stages.Args{Values: map[string]any{"steps": 3.0}}, true, "several steps remove what one would"},
		{stages.Args{Blocks: block("fine_tune", nil)}, false, "Connect \"data\""},
		{stages.Args{Blocks: []stages.BlockArgs{{Type: "method", Label: "taylor"}}}, false, "Connect \"data\""},
		{stages.Args{Blocks: block("target", nil)}, true, "Give one of"},
		{stages.Args{Values: map[string]any{"sparsity": "unstructured"}, Blocks: block("target", map[string]any{"flops": 0.5})}, true, "no target of size"},
	} {
		_, problems := stages.Decode(Kind.New(), c.args, map[string]bool{"model": true, "data": c.data})
		if len(problems) != 1 || !strings.Contains(problems[0].Detail, c.want) {
			t.Errorf("%v: %v, want %q", c.args, problems, c.want)
		}
	}
}

// latencies writes a table of the fixture's model as if each layer took 10 µs and as much again for each 100,000 multiply-accumulates, and everything else
// 50 µs, at three widths. ours changes its rows.
func latencies(t *testing.T, ours func([]infer.Latency) []infer.Latency) []stages.Input {
	t.Helper()
	var rows []infer.Latency
	for _, width := range []float64{1, 0.75, 0.5, 0.25} {
		g := surgery.Edit(net(t, "resnet8"))
		if err := g.Narrow(width, 1); err != nil {
			t.Fatal(err)
		}
		c, err := g.Costs()
		if err != nil {
			t.Fatal(err)
		}
		whole := infer.Latency{Index: -1, Batch: 1, Threads: 1, Width: width, MACs: c.Total.MACs, Runs: 5, Median: 0.05}
		rest := infer.Latency{Index: 0, Node: "rest", Batch: 1, Threads: 1, Width: width, Runs: 5, Median: 0.05}
		var layers []infer.Latency
		for name, macs := range macsOf(c) {
			l := infer.Latency{Index: 1, Node: name, Layer: name, Batch: 1, Threads: 1, Width: width, MACs: macs, Runs: 5, Median: 0.01 + float64(macs)*1e-7}
			whole.Median += l.Median
			layers = append(layers, l)
		}
		rows = append(append(rows, whole, rest), layers...)
	}
	if ours != nil {
		rows = ours(rows)
	}
	path := filepath.Join(t.TempDir(), "latency.csv")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := infer.WriteLatencies(f, rows); err != nil {
		t.Fatal(err)
	}
	return []stages.Input{{Path: path, Ref: artifact.Ref{Type: artifact.Table}}}
}

func TestLatencyIsReached(t *testing.T) {
	target := func(v map[string]any) stages.Args {
		args := values(map[string]any{"sensitivity_images": 0.0})
		args.Blocks = []stages.BlockArgs{{Type: "target", Args: values(v)}}
		return args
	}
	table := latencies(t, nil)
	job, got, err := runWith(t, target(map[string]any{"latency": 0.25}), map[string][]stages.Input{"latency": table})
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Load(job.Output("model"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := simplified(m)
	if err != nil {
		t.Fatal(err)
	}
	want := 0.05
	for _, macs := range macsOf(c) {
		want += 0.01 + float64(macs)*1e-7
	}
	whole, err := simplified(net(t, "resnet8"))
	if err != nil {
		t.Fatal(err)
	}
	latencyOfAll := 0.05 + 0.01*float64(len(macsOf(whole))) + float64(whole.Total.MACs)*1e-7
	estimate := got["latency_estimate"].(float64)
	if estimate > 0.25 || estimate < 0.24 || math.Abs(estimate-want) > 0.002 {
		t.Errorf("the estimate is %g ms; by the rule of the table it is %g, and 0.25 was asked for", estimate, want)
	}
	if got["measured latency"].(float64) <= 0 || got["measured latency_before"].(float64) <= 0 {
		t.Errorf("measured %v", got)
	}
	for _, c := range []struct {
		about string
		args  map[string]any
		table []stages.Input
		want  string
	}{
		{"nothing reaches it", map[string]any{"latency": 0.05}, table, "that is the nearest"},
		{"a batch that was not measured", map[string]any{"latency": 0.25, "batch": 9.0}, table, "no measurement of 9 images on 1 threads"},
		{"a table of another model", map[string]any{"latency": 0.25}, latencies(t, func(rows []infer.Latency) []infer.Latency {
			for i := range rows {
				rows[i].MACs *= 2
			}
			return rows
		}), "does other work than in this model"},
		{"no table at all", map[string]any{"latency": 0.25}, inputs(t, t.TempDir())["model"], "Connect the output \"latency\" of a profile stage"},
	} {
		if _, _, err := runWith(t, target(c.args), map[string][]stages.Input{"latency": c.table}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.about, err, c.want)
		}
	}
	if _, got, err := runWith(t, target(map[string]any{"latency_ratio": 0.6}), map[string][]stages.Input{"latency": table}); err != nil || math.Abs(got["latency_estimate"].(float64)/latencyOfAll-0.59) > 0.02 {
		t.Errorf("a share of the time: %v, %v", got["latency_estimate"], err)
	}
	// A time that the model takes already: nothing is removed.
	if _, got, err := runWith(t, target(map[string]any{"latency": 100.0}), map[string][]stages.Input{"latency": table}); err != nil || got["used_ratio"] != 0.0 || got["flops_ratio"] != 1.0 {
		t.Errorf("a target above what the model takes: %v, %v", got, err)
	}
}

func TestLatencyAndTableBelongTogether(t *testing.T) {
	block := stages.Args{Blocks: []stages.BlockArgs{{Type: "target", Args: values(map[string]any{"latency": 2.0})}}}
	for _, c := range []struct {
		args      stages.Args
		connected bool
		want      string
	}{
		{block, false, "Connect \"latency\""},
		{stages.Args{}, true, "there is none"},
		{stages.Args{Blocks: []stages.BlockArgs{{Type: "target", Args: values(map[string]any{"latency": 2.0, "flops": 0.5})}}}, true, "Here are 2"},
		{stages.Args{Blocks: []stages.BlockArgs{{Type: "target", Args: values(map[string]any{"flops": 0.5, "batch": 8.0})}}}, false, "which run is timed"},
	} {
		_, problems := stages.Decode(Kind.New(), c.args, map[string]bool{"model": true, "latency": c.connected})
		if len(problems) != 1 || !strings.Contains(problems[0].Detail, c.want) {
			t.Errorf("%v: %v, want %q", c.args, problems, c.want)
		}
	}
}

// What cannot be pruned is refused in words: which input, and the way out.
func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	save := func(name string, build func(b *onnx.Builder) string) []stages.Input {
		b := onnx.NewBuilder(name, 1, 24, 24)
		x := b.Node("Flatten", "flat", []string{build(b)})
		b.Node("Gemm", onnx.OutputName, []string{x, b.Tensor("m", []int{576, 5}, make([]float32, 576*5))})
		m, err := b.Model(5, onnx.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := m.Save(path); err != nil {
			t.Fatal(err)
		}
		return []stages.Input{{Path: path, Ref: artifact.Ref{Type: artifact.Model}}}
	}
	whole, err := net(t, "resnet8").Bytes()
	if err != nil {
		t.Fatal(err)
	}
	truncated := filepath.Join(dir, "truncated")
	if err := os.WriteFile(truncated, whole[:len(whole)/2], 0o666); err != nil {
		t.Fatal(err)
	}
	other, err := zoo.Build("resnet8", zoo.Options{Classes: []string{"a", "b"}, Channels: 1, Height: 24, Width: 24})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Save(filepath.Join(dir, "two")); err != nil {
		t.Fatal(err)
	}
	larger, err := zoo.Build("resnet8", zoo.Options{Classes: surfaces.Classes(), Channels: 3, Height: 32, Width: 32})
	if err != nil {
		t.Fatal(err)
	}
	if err := larger.Save(filepath.Join(dir, "large")); err != nil {
		t.Fatal(err)
	}
	file := func(name string) []stages.Input {
		return []stages.Input{{Path: filepath.Join(dir, name), Ref: artifact.Ref{Type: artifact.Model}}}
	}
	for about, c := range map[string]struct {
		model []stages.Input
		want  string
	}{
		"truncated": {file("truncated"), "Model cannot be read"},
		"quantized": {save("quantized", func(b *onnx.Builder) string {
			q := b.Node("QuantizeLinear", "q", []string{onnx.InputName, b.Number("scale", 0.1), b.Raw(&protos.TensorProto{Name: "zero", DataType: int32(protos.TensorProto_INT8), RawData: []byte{0}})})
			return b.Node("DequantizeLinear", "d", []string{q, "scale", "zero"})
		}), "remove channels first and quantize then"},
		"unknown operator":   {save("unknown", func(b *onnx.Builder) string { return b.Node("Wavelet", "w", []string{onnx.InputName}) }), "Wavelet"},
		"other classes":      {file("two"), "The model has 2 outputs, but the images have"},
		"images of one size": {file("large"), "The model takes images of 32×32 with 3 channels, but these are 24×24 with 1"},
	} {
		if _, _, err := runWith(t, values(map[string]any{"sensitivity_images": 0.0}), map[string][]stages.Input{"model": c.model}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", about, err, c.want)
		}
	}
	// A ratio that empties a layer: 1 is refused when the pipeline is read, and anything below it keeps a channel of each layer.
	if _, problems := stages.Decode(Kind.New(), values(map[string]any{"ratio": 1.0}), map[string]bool{"model": true}); len(problems) != 1 || problems[0].Arg != "ratio" {
		t.Errorf("a ratio of 1: %v", problems)
	}
	job, _, err := run(t, values(map[string]any{"ratio": 0.999, "sensitivity_images": 0.0}))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := onnx.Load(job.Output("model")); err != nil {
		t.Error(err)
	} else if w, ok := m.Tensor("layer2.0.conv1.weight"); !ok || w.Dims[0] != 1 {
		t.Errorf("a ratio of 0.999 leaves %v", w.Dims)
	}
}
