package learn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx/zoo"
)

// recipes are trainings with everything that has a state of its own.
func recipes(c Config) map[string]Config {
	adamw := Adam{Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, WeightDecay: 0.01, Decoupled: true}
	one := c
	one.Optimizer, one.LearningRate, one.Schedule = adamw, 0.005, Schedule{Shape: OneCycle{Rise: 0.3, Start: 0.04, End: 1e-5, LowMomentum: 0.85, HighMomentum: 0.95}}
	one.Average, one.Accumulate, one.Clip = Average{Decay: 0.9, Rising: true}, 2, Clip{Norm: 1}
	two := c
	two.SWA, two.Drop, two.Balanced = SWA{From: 2, Rate: 0.02}, Drop{Out: 0.1, Path: 0.1}, true
	two.Freeze = Freeze{Share: 0.3, Epochs: 2, Steps: 2, Statistics: true}
	three := c
	three.Optimizer, three.LearningRate = Muon{Momentum: 0.95, WeightDecay: 0.01}, 0.01
	three.Objective = Focal{Targets: Targets{Weights: []float64{1, 2}}, Gamma: 2, Alpha: 1}
	three.Rates = LayerRates{Decay: 0.9}
	return map[string]Config{"adamw, average, micro-batches": one, "swa, dropout, thawing": two, "muon, focal": three}
}

// Each recipe, stopped after every few steps, ends in the bytes of one that never was, also with other workers.
func TestStoppedRecipesEndInTheSameBytes(t *testing.T) {
	for name, c := range recipes(config(t)) {
		t.Run(name, func(t *testing.T) {
			straight, err := Train(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			if a := straight.Epochs[straight.BestEpoch-1].Validation.Accuracy; a < 0.7 {
				t.Errorf("accuracy %g on an easy task", a)
			}
			c.Workers, c.Checkpoints, c.CheckpointEvery = 2, t.TempDir(), time.Nanosecond
			for attempts := 0; ; attempts++ {
				ctx, cancel := context.WithCancel(context.Background())
				steps := 0
				c.Progress = func(Progress) {
					if steps++; steps == 5 {
						cancel()
					}
				}
				r, err := Train(ctx, c)
				cancel()
				if err == nil {
					if !bytes.Equal(content(t, r), content(t, straight)) || attempts < 3 {
						t.Errorf("other bytes, or only %d attempts", attempts)
					}
					return
				}
				if !errors.Is(err, context.Canceled) || attempts > 20 {
					t.Fatal(err)
				}
			}
		})
	}
}

// What changes the result changes the fingerprint, so that no checkpoint of another training is resumed.
func TestFingerprintHoldsEverything(t *testing.T) {
	base := config(t)
	print := func(c Config) string {
		r := &run{Config: c.filled()}
		f, err := r.fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		return string(f)
	}
	seen := map[string]string{print(base): "base"}
	for name, change := range map[string]func(c *Config){
		"smoothing": func(c *Config) { c.Objective = CrossEntropy{Targets: Targets{Smoothing: 0.1}} },
		"weights":   func(c *Config) { c.Objective = CrossEntropy{Targets: Targets{Weights: []float64{1, 2}}} },
		"focal":     func(c *Config) { c.Objective = Focal{Gamma: 2, Alpha: 1} },
		"penalty":   func(c *Config) { c.Objective = Penalised{CrossEntropy{}, []string{"x"}, 1} },
		"optimizer": func(c *Config) { c.Optimizer = LARS{Momentum: 0.9, WeightDecay: 1e-4, Trust: 0.001} },
		"shape":     func(c *Config) { c.Schedule.Shape = Polynomial{} },
		"warmup":    func(c *Config) { c.Schedule.Warmup = 1 },
		"clip":      func(c *Config) { c.Clip.Norm = 1 },
		"micro":     func(c *Config) { c.Accumulate = 2 },
		"balanced":  func(c *Config) { c.Balanced = true },
		"drop":      func(c *Config) { c.Drop.Path = 0.1 },
		"freeze":    func(c *Config) { c.Freeze.Share = 0.1 },
		"rates":     func(c *Config) { c.Rates.Match = []PatternRate{{"a", 2}} },
		"average":   func(c *Config) { c.Average.Decay = 0.9 },
		"swa":       func(c *Config) { c.SWA.From = 1 },
		"stopping":  func(c *Config) { c.Stopping.Patience = 1 },
		"monitor":   func(c *Config) { c.Monitor = ByLoss },
		"judge":     func(c *Config) { c.JudgeIdentity = "x" },
		"seed":      func(c *Config) { c.Seed++ },
		"rate":      func(c *Config) { c.LearningRate /= 3 },
		"epochs":    func(c *Config) { c.Epochs++ },
	} {
		c := base
		change(&c)
		p := print(c)
		if other, ok := seen[p]; ok {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
		seen[p] = name
	}
	base.Workers = 7
	if seen[print(base)] != "base" {
		t.Error("the number of workers changes the fingerprint")
	}
}

// The gradients of a network with dropped branches and features are finite differences, with the masks as they are.
func TestGradientsThroughDrops(t *testing.T) {
	model, err := zoo.Build("resnet8", zoo.Options{Classes: []string{"a", "b", "c"}, Channels: 1, Height: 8, Width: 8, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	p, err := makePlan(model)
	if err != nil {
		t.Fatal(err)
	}
	p.drop = Drop{Out: 0.4, Path: 0.5}
	if err := p.planDrop(model); err != nil {
		t.Fatal(err)
	}
	if len(p.branches) != 3 || !p.dropsHead {
		t.Fatalf("branches %v, head %t", p.branches, p.dropsHead)
	}
	backend, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	const batch = 4
	g := graph.NewGraph(backend, "drops")
	var masks []*graph.Node
	var rates []float64
	err = build(func() error {
		images := graph.Parameter(g, "images", shapes.Make(dtypes.Float64, 1, 8, 8, batch))
		weights := map[string]*graph.Node{}
		for _, w := range append(slices.Clone(p.parameters), p.statistics...) {
			weights[w.name] = graph.Parameter(g, w.name, shapes.Make(dtypes.Float64, w.dims...))
		}
		l, logits, err := lowerDropping(model, images, weights, p, true, func(place int, rate float64, dims []int) (*graph.Node, error) {
			if place != len(masks) {
				t.Errorf("mask %d comes at place %d", place, len(masks))
			}
			size := shapes.Make(dtypes.Float64, dims...).Size()
			list := make([]float64, size)
			for i := range list {
				list[i] = float64(i%2) * 2
			}
			n := constant64(g, list, dims...)
			masks, rates = append(masks, n), append(rates, rate)
			return n, nil
		})
		if err != nil {
			return err
		}
		terms := CrossEntropy{}.terms(logits, map[string]*graph.Node{LabelsInput: graph.Const(g, []int32{0, 1, 2, 0})})
		gradients := l.gradients(terms.Output)
		outputs := []*graph.Node{terms.Loss}
		for _, w := range p.parameters {
			outputs = append(outputs, gradients[w.name])
		}
		return g.Compile(outputs...)
	})
	if err != nil {
		t.Fatal(err)
	}
	// The first branch is never dropped; the others are by image, what enters the classifier by number.
	if fmt.Sprint(rates) != "[0.25 0.5 0.4]" || masks[0].Shape().Size() != batch || masks[2].Shape().Size() != 64*batch {
		t.Errorf("rates %v, masks %v", rates, masks)
	}
	var weights [][]float64
	for _, w := range append(slices.Clone(p.parameters), p.statistics...) {
		tensor, _ := model.Tensor(w.name)
		weights = append(weights, doubles(tensor.Data))
	}
	pixels := doubles(noise(64*batch, 0.3, 1))
	evaluate := func() [][]float64 {
		inputs := []compute.Buffer{buffer(t, backend, pixels, 1, 8, 8, batch)}
		for i, w := range append(slices.Clone(p.parameters), p.statistics...) {
			inputs = append(inputs, buffer(t, backend, weights[i], w.dims...))
		}
		out, err := g.Executable().Execute(inputs, make([]bool, len(inputs)), 0)
		if err != nil {
			t.Fatal(err)
		}
		var lists [][]float64
		for _, b := range out {
			shape, err := b.Shape()
			if err != nil {
				t.Fatal(err)
			}
			list := make([]float64, shape.Size())
			if err := b.ToFlatData(list); err != nil {
				t.Fatal(err)
			}
			lists = append(lists, list)
		}
		return lists
	}
	gradients := evaluate()[1:]
	const h = 1e-5
	for i, w := range p.parameters {
		k := len(weights[i]) / 2
		was := weights[i][k]
		weights[i][k] = was + h
		up := evaluate()[0][0]
		weights[i][k] = was - h
		down := evaluate()[0][0]
		weights[i][k] = was
		if want := (up - down) / (2 * h); math.Abs(gradients[i][k]-want) > 1e-6+1e-4*math.Abs(want) {
			t.Errorf("%s: gradient %g, finite difference %g", w.name, gradients[i][k], want)
		}
	}
}

// A mask is a function of the seed, its place and the pass, keeps the mean, and leaves out its share.
func TestMasks(t *testing.T) {
	backend, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	draw := func(place int, seed uint64, pass int) []float32 {
		f, err := newFeed(backend, shapes.Make(dtypes.Float32, 100, 100))
		if err != nil {
			t.Fatal(err)
		}
		if err := (mask{"m", 0.3, place}).fill(f, seed, pass); err != nil {
			t.Fatal(err)
		}
		return slices.Clone(f.floats)
	}
	first := draw(0, 1, 0)
	zeroes, sum := 0, 0.0
	for _, v := range first {
		if v == 0 {
			zeroes++
		}
		sum += float64(v)
	}
	if math.Abs(float64(zeroes)/1e4-0.3) > 0.02 || math.Abs(sum/1e4-1) > 0.03 {
		t.Errorf("%d of 10000 left out, mean %g", zeroes, sum/1e4)
	}
	if !slices.Equal(first, draw(0, 1, 0)) {
		t.Error("the same mask is another")
	}
	for _, other := range [][]float32{draw(1, 1, 0), draw(0, 2, 0), draw(0, 1, 1)} {
		if slices.Equal(first, other) {
			t.Error("another mask is the same")
		}
	}
}

// frozenMachine is a resnet8 of 10 classes, frozen as f says in its first epoch.
func frozenMachine(t *testing.T, f Freeze) (*Machine, map[string]bool) {
	t.Helper()
	m := zooMachine(t, "resnet8", 1, 8, 4, 1)
	frozen, err := f.frozenIn(0, m.o.Model, m.plan)
	if err != nil {
		t.Fatal(err)
	}
	m.plan.frozenStatistics = f.Statistics
	if _, err := m.Freeze(frozen); err != nil {
		t.Fatal(err)
	}
	return m, frozen
}

func TestFrozenParametersStay(t *testing.T) {
	for _, f := range []Freeze{{Share: 0.8}, {Share: 0.8, Statistics: true}, {Patterns: []string{"layer1.*", "conv?.weight"}, Statistics: true}} {
		m, frozen := frozenMachine(t, f)
		before, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		b := madeUp(m)
		for range 2 {
			if _, err := m.Step(b, 0.1); err != nil {
				t.Fatal(err)
			}
		}
		after, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		moved, stayed := 0, 0
		for i, s := range m.slots[:m.kept] {
			same := slices.Equal(before.tensors[i], after.tensors[i])
			switch {
			case s.kind == parameterSlot && same != frozen[s.name]:
				t.Errorf("%+v: %s: frozen %t, stayed %t", f, s.name, frozen[s.name], same)
			case s.kind == statisticSlot && same:
				stayed++
			case s.kind == statisticSlot:
				moved++
			}
		}
		if moved == 0 || (stayed > 0) != f.Statistics {
			t.Errorf("%+v: %d statistics moved, %d stayed", f, moved, stayed)
		}
	}
}

// A frozen normalisation passes gradients on: the weights before it have those of finite differences.
func TestGradientThroughFrozenNormalisation(t *testing.T) {
	m, _ := frozenMachine(t, Freeze{Patterns: []string{"*bn*", "*downsample.1*"}, Statistics: true})
	b := madeUp(m)
	gradients, _, err := m.Gradients(b)
	if err != nil {
		t.Fatal(err)
	}
	name := m.trained()[0].name
	was, err := m.Weight(name)
	if err != nil {
		t.Fatal(err)
	}
	loss := func(shift float32) float64 {
		now := slices.Clone(was)
		now[4] += shift
		if err := m.SetWeight(name, now); err != nil {
			t.Fatal(err)
		}
		_, out, err := m.Gradients(b)
		if err != nil {
			t.Fatal(err)
		}
		return out.Loss
	}
	want := (loss(1e-2) - loss(-1e-2)) / 2e-2
	if got := float64(gradients[name][4]); math.Abs(got-want) > 0.03*math.Abs(want)+1e-3 || want == 0 {
		t.Errorf("%s: gradient %g, finite difference %g", name, got, want)
	}
}

// What lies before the first trained parameter is not on the tape.
func TestFrozenBottomIsNotDifferentiated(t *testing.T) {
	model, err := zoo.Build("resnet20", zoo.Options{Classes: []string{"a", "b"}, Channels: 1, Height: 8, Width: 8, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	p, err := makePlan(model)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	tape := func(share float64) int {
		if p.frozen, err = (Freeze{Share: share}).frozenIn(0, model, p); err != nil {
			t.Fatal(err)
		}
		length := 0
		err = build(func() error {
			g := graph.NewGraph(backend, "tape")
			weights := map[string]*graph.Node{}
			for _, w := range append(slices.Clone(p.parameters), p.statistics...) {
				weights[w.name] = graph.Parameter(g, w.name, shapes.Make(dtypes.Float32, w.dims...))
			}
			l, _, err := lower(model, graph.Parameter(g, "images", shapes.Make(dtypes.Float32, 1, 8, 8, 2)), weights, p, true)
			if err == nil {
				length = len(l.tape)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return length
	}
	whole, top := tape(0), tape(0.8)
	if top > whole/3 || top < 1 {
		t.Errorf("%d of %d operators are differentiated", top, whole)
	}
}

func TestFreezing(t *testing.T) {
	model, err := zoo.Build("resnet8", zoo.Options{Classes: []string{"a", "b"}, Channels: 1, Height: 8, Width: 8, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	p, err := makePlan(model)
	if err != nil {
		t.Fatal(err)
	}
	list, err := Layers(model)
	if err != nil {
		t.Fatal(err)
	}
	count := func(f Freeze, epoch int) int {
		frozen, err := f.frozenIn(epoch, model, p)
		if err != nil {
			t.Fatal(err)
		}
		layers := 0
		for _, names := range list {
			if frozen[names[0]] {
				layers++
			}
		}
		return layers
	}
	n := len(list) // 1 + 6 + 2 shortcuts + classifier
	if n != 10 {
		t.Fatalf("%d layers: %q", n, list)
	}
	gradual := Freeze{Share: 0.8, Epochs: 8, Steps: 4}
	for epoch, want := range []int{8, 8, 6, 6, 4, 4, 2, 2, 0} {
		if got := count(gradual, epoch); got != want {
			t.Errorf("epoch %d: %d layers are frozen, want %d", epoch, got, want)
		}
	}
	for _, f := range []Freeze{{Share: 1}, {Patterns: []string{"*"}}} {
		if _, err := f.frozenIn(0, model, p); err == nil || !strings.Contains(err.Error(), "every parameter is frozen") {
			t.Error(err)
		}
	}
	_, err = Freeze{Patterns: []string{"layer1.0.con1.weight"}}.frozenIn(0, model, p)
	if err == nil || !strings.Contains(err.Error(), "conv1.weight") {
		t.Errorf("the nearest name is not told: %v", err)
	}
}

func TestLayerRates(t *testing.T) {
	model, err := zoo.Build("resnet8", zoo.Options{Classes: []string{"a", "b"}, Channels: 1, Height: 8, Width: 8, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	p, err := makePlan(model)
	if err != nil {
		t.Fatal(err)
	}
	of := func(r LayerRates) (first, middle, head float64) {
		scales, err := r.scales(model, p)
		if err != nil {
			t.Fatal(err)
		}
		last := p.parameters[len(p.parameters)-1]
		if !last.head {
			t.Fatalf("%s is not the classifier's", last.name)
		}
		return scales[p.parameters[0].name], scales[p.parameters[len(p.parameters)/2].name], scales[last.name]
	}
	if a, _, c := of(LayerRates{Bottom: 0.1, Share: 0.8}); a != 0.1 || c != 1 {
		t.Errorf("bottom %g, head %g", a, c)
	}
	if a, b, c := of(LayerRates{Decay: 0.5}); a != 0.0625 || !(b > a && b < c) || c != 1 {
		t.Errorf("decayed to %g, %g, %g", a, b, c)
	}
	if a, _, c := of(LayerRates{Match: []PatternRate{{"*", 0.5}, {p.parameters[0].name, 0.2}}}); a != 0.1 || c != 0.5 {
		t.Errorf("matched %g, %g", a, c)
	}
	base := zooMachine(t, "resnet8", 1, 8, 4, 1)
	o := base.o
	o.Optimizer, o.Scales = SGD{}, map[string]float64{base.plan.parameters[0].name: 0.25}
	m, err := NewMachine(o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	before, err := m.Weight(m.plan.parameters[0].name)
	if err != nil {
		t.Fatal(err)
	}
	b := madeUp(m)
	gradients, _, err := m.Gradients(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Step(b, 0.1); err != nil {
		t.Fatal(err)
	}
	after, err := m.Weight(m.plan.parameters[0].name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range after {
		if want := before[i] - 0.025*gradients[m.plan.parameters[0].name][i]; math.Abs(float64(after[i]-want)) > 1e-6 {
			t.Fatalf("%g, want %g, before %g, gradient %g", after[i], want, before[i], gradients[m.plan.parameters[0].name][i])
		}
	}
}

// SWA's model has the mean of the weights, and statistics that are those of the training batches.
func TestMeanOfWeights(t *testing.T) {
	c := config(t)
	c.Epochs, c.SWA = 2, SWA{From: 1, Rate: 0.01}
	var rates []float64
	c.Progress = func(p Progress) { rates = append(rates, p.LearningRate) }
	r, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if r.Averaged == nil || r.Averaged.Count != 2 || r.Averaged.Score == nil || rates[0] != 0.01 {
		t.Fatalf("%+v, rates %v", r.Averaged, rates)
	}
	first := c
	first.SWA, first.Schedule, first.LearningRate = SWA{}, Schedule{}, 0.01
	second, err := Train(context.Background(), first)
	if err != nil {
		t.Fatal(err)
	}
	first.Epochs = 1
	one, err := Train(context.Background(), first)
	if err != nil {
		t.Fatal(err)
	}
	p, err := makePlan(c.Model)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range p.parameters {
		a, _ := one.Last.Tensor(w.name)
		b, _ := second.Last.Tensor(w.name)
		got, _ := r.Last.Tensor(w.name)
		for i := range a.Data {
			if want := (float64(a.Data[i]) + float64(b.Data[i])) / 2; math.Abs(float64(got.Data[i])-want) > 1e-6 {
				t.Fatalf("%s[%d] is %g, the mean is %g", w.name, i, got.Data[i], want)
			}
		}
	}
	// The first normalisation's statistics follow from the first convolution: they must be those of a batch, not 0 and not the running ones.
	mean, _ := r.Last.Tensor(p.statistics[0].name)
	running, _ := second.Last.Tensor(p.statistics[0].name)
	if slices.Equal(mean.Data, running.Data) || !slices.ContainsFunc(mean.Data, func(v float32) bool { return v != 0 }) {
		t.Error("the statistics were not measured anew")
	}
	for i := range mean.Data {
		if math.Abs(float64(mean.Data[i]-running.Data[i])) > 0.3 {
			t.Errorf("statistic %d is %g, running it was %g", i, mean.Data[i], running.Data[i])
		}
	}
}

func TestStopping(t *testing.T) {
	history := func(accuracies ...float64) []Epoch {
		var list []Epoch
		for _, a := range accuracies {
			list = append(list, Epoch{Validation: &Score{Accuracy: a, Loss: 1 - a}})
		}
		return list
	}
	for _, c := range []struct {
		s    Stopping
		m    Monitor
		h    []Epoch
		want bool
	}{
		{Stopping{}, ByAccuracy, history(0.5, 0.4, 0.3), false},
		{Stopping{Patience: 2}, ByAccuracy, history(0.5, 0.4), false},
		{Stopping{Patience: 2}, ByAccuracy, history(0.5, 0.4, 0.5), true},
		{Stopping{Patience: 2}, ByLoss, history(0.5, 0.4, 0.6), false},
		{Stopping{Patience: 2, Margin: 0.05}, ByAccuracy, history(0.5, 0.52, 0.54), true},
		{Stopping{Patience: 2, Margin: 0.05}, ByAccuracy, history(0.5, 0.52, 0.56), false},
		{Stopping{Patience: 1}, ByAccuracy, []Epoch{{}, {}}, false},
	} {
		if got := c.s.after(c.m, c.h); got != c.want {
			t.Errorf("%+v, %q: %t", c.s, c.m, got)
		}
	}
	c := config(t)
	c.Epochs, c.Stopping = 9, Stopping{Patience: 2}
	c.Judge = func(context.Context, *Machine) (Score, error) { return Score{Accuracy: 0.5}, nil }
	r, err := Train(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Epochs) != 3 || r.BestEpoch != 1 || r.Best == r.Last {
		t.Errorf("%d epochs, best %d", len(r.Epochs), r.BestEpoch)
	}
}

func TestBalancedRows(t *testing.T) {
	d := images(t, 30, "balance")
	rows := balancedRows(d, 1, 0)
	counts := map[int32]int{}
	for _, i := range rows {
		counts[d.Label(i)]++
	}
	if len(rows) != 30 || counts[0] != 15 || counts[1] != 15 {
		t.Errorf("%d rows, %v", len(rows), counts)
	}
	if !slices.Equal(rows, balancedRows(d, 1, 0)) || slices.Equal(rows, balancedRows(d, 1, 1)) || slices.Equal(rows, balancedRows(d, 2, 0)) {
		t.Error("the rows are no function of seed and epoch")
	}
}

func TestDivergedNamesTheImages(t *testing.T) {
	c := config(t)
	c.Checkpoints, c.CheckpointEvery = t.TempDir(), time.Nanosecond
	source, err := DataSource(c.Data, c.Batch, c.Seed, 1)
	if err != nil {
		t.Fatal(err)
	}
	var at []string
	steps := 0
	c.Source = Extend(source, "broken", func(b *Batch) error {
		if steps++; steps == 4 {
			b.Images[3] = float32(math.NaN())
			for _, i := range b.Indexes {
				at = append(at, c.Data.ID(i))
			}
		}
		return nil
	})
	_, err = Train(context.Background(), c)
	var diverged *DivergedError
	if !errors.As(err, &diverged) || diverged.Step != 4 || !slices.Equal(diverged.Samples, at) || diverged.Kept != 3 {
		t.Fatalf("%+v, %v", diverged, err)
	}
	// The checkpoint that is left is the last good one: without the broken image the training goes on from there.
	c.Source = Extend(source, "broken", func(*Batch) error { return nil })
	var lines []string
	c.Log = func(line string) { lines = append(lines, line) }
	if _, err := Train(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if lines[0] != "resuming at epoch 1, step 4 of 6" {
		t.Errorf("log %q", lines)
	}
}
