package learn

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/gomlx/core/graph"
)

// reference is what PyTorch says, see testdata/reference.py.
type reference struct {
	Losses struct {
		Labels                                 []int32
		Soft, Weights, Several, Targets, Masks []float64
		Cases                                  []struct {
			Name     string
			Loss     float64
			Gradient []float64
		}
	}
	Optimizers map[string][][]float64
	Schedules  map[string][]float64
}

func loadReference(t *testing.T) reference {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r reference
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// evaluated runs a computation on GoMLX's device in Go and returns its results, flat.
func evaluated(t *testing.T, fn func(g *graph.Graph) []*graph.Node) [][]float64 {
	t.Helper()
	backend, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	g := graph.NewGraph(backend, "test")
	if err := build(func() error { return g.Compile(fn(g)...) }); err != nil {
		t.Fatal(err)
	}
	out, err := g.Executable().Execute(nil, nil, 0)
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

func doubles(list []float32) []float64 {
	out := make([]float64, len(list))
	for i, v := range list {
		out[i] = float64(v)
	}
	return out
}

// constant64 is the numbers as a node of these dimensions.
func constant64(g *graph.Graph, list []float64, dims ...int) *graph.Node {
	return graph.Reshape(graph.Const(g, list), dims...)
}

func isNear(got, want, tolerance float64) bool {
	return math.Abs(got-want) <= tolerance*(1+math.Abs(want))
}

func TestLossesAreThoseOfPyTorch(t *testing.T) {
	r := loadReference(t).Losses
	smooth := Targets{Smoothing: 0.1}
	weighted := Targets{Weights: r.Weights}
	both := Targets{Smoothing: 0.1, Weights: r.Weights}
	classification := map[string]interface {
		terms(*graph.Node, map[string]*graph.Node) Terms
	}{
		"cross entropy":                              CrossEntropy{},
		"cross entropy, smoothing":                   CrossEntropy{Targets: smooth},
		"cross entropy, weights":                     CrossEntropy{Targets: weighted},
		"cross entropy, weights and smoothing":       CrossEntropy{Targets: both},
		"cross entropy, soft":                        CrossEntropy{Targets: Targets{Soft: true}},
		"cross entropy, soft, weights and smoothing": CrossEntropy{Targets: Targets{Soft: true, Smoothing: 0.1, Weights: r.Weights}},
		"focal":                                       Focal{Gamma: 2, Alpha: 0.25},
		"focal, weights and smoothing":                Focal{Targets: both, Gamma: 1.5, Alpha: 1},
		"focal, γ 0.5, soft":                          Focal{Targets: Targets{Soft: true}, Gamma: 0.5, Alpha: 1},
		"binary cross entropy":                        BinaryCrossEntropy{},
		"binary cross entropy, several classes":       BinaryCrossEntropy{Targets: Targets{Soft: true}},
		"binary cross entropy, weights and smoothing": BinaryCrossEntropy{Targets: both},
	}
	for _, c := range r.Cases {
		var got [][]float64
		switch loss, ok := classification[c.Name]; {
		case ok:
			got = evaluated(t, func(g *graph.Graph) []*graph.Node {
				logits := batchLast(constant64(g, doubles(noise(20, 0.3, 3)), 5, 4))
				soft := r.Soft
				if c.Name == "binary cross entropy, several classes" {
					soft = r.Several
				}
				terms := loss.terms(logits, map[string]*graph.Node{LabelsInput: graph.Const(g, r.Labels), TargetsInput: batchLast(constant64(g, soft, 5, 4))})
				return []*graph.Node{terms.Loss, batchFirst(terms.Output)}
			})
		case c.Name == "smooth l1" || c.Name == "smooth l1, β 2.5":
			beta := map[string]float64{"smooth l1": 1, "smooth l1, β 2.5": 2.5}[c.Name]
			got = evaluated(t, func(g *graph.Graph) []*graph.Node {
				loss, gradient := SmoothL1(constant64(g, doubles(noise(20, 0.3, 3)), 5, 4), constant64(g, r.Targets, 5, 4), beta)
				return []*graph.Node{loss, gradient}
			})
		case c.Name == "dice and binary cross entropy":
			got = evaluated(t, func(g *graph.Graph) []*graph.Node {
				loss, gradient := DiceBCE(batchLast(constant64(g, doubles(noise(96, 0.3, 3)), 2, 3, 4, 4)), batchLast(constant64(g, r.Masks, 2, 3, 4, 4)))
				return []*graph.Node{loss, batchFirst(gradient)}
			})
		default:
			t.Fatalf("nothing here is %s", c.Name)
		}
		if !isNear(got[0][0], c.Loss, 1e-9) {
			t.Errorf("%s: %.12g, PyTorch says %.12g", c.Name, got[0][0], c.Loss)
		}
		for i, want := range c.Gradient {
			if !isNear(got[1][i], want, 1e-9) {
				t.Errorf("%s: gradient %d is %.12g, PyTorch says %.12g", c.Name, i, got[1][i], want)
				break
			}
		}
	}
	if len(r.Cases) != len(classification)+3 {
		t.Errorf("%d cases", len(r.Cases))
	}
}

// The gradients that losses write down are those that GoMLX finds, also far out where probabilities are 0 and 1.
func TestLossGradientsAreGoMLXs(t *testing.T) {
	for name, loss := range map[string]interface {
		terms(*graph.Node, map[string]*graph.Node) Terms
	}{
		"cross entropy": CrossEntropy{Targets: Targets{Smoothing: 0.2, Weights: []float64{1, 2, 3, 4}}},
		"focal":         Focal{Targets: Targets{Smoothing: 0.2}, Gamma: 0.7, Alpha: 1},
		"binary":        BinaryCrossEntropy{Targets: Targets{Smoothing: 0.2}},
	} {
		out := evaluated(t, func(g *graph.Graph) []*graph.Node {
			logits := constant64(g, doubles(noise(20, 0.3, 12)), 4, 5)
			terms := loss.terms(logits, map[string]*graph.Node{LabelsInput: graph.Const(g, []int32{0, 1, 2, 3, 0})})
			return []*graph.Node{terms.Output, Differentiate(terms.Loss, logits)[0]}
		})
		for i := range out[0] {
			if !isNear(out[0][i], out[1][i], 1e-7) {
				t.Errorf("%s: gradient %d is %g, GoMLX says %g", name, i, out[0][i], out[1][i])
			}
		}
		sure := evaluated(t, func(g *graph.Graph) []*graph.Node {
			terms := loss.terms(graph.Const(g, [][]float64{{900}, {-900}, {0}, {0}}), map[string]*graph.Node{LabelsInput: graph.Const(g, []int32{1})})
			return []*graph.Node{terms.Loss, terms.Output}
		})
		for _, v := range append(sure[0], sure[1]...) {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Errorf("%s: of very wrong logits %v", name, sure)
			}
		}
	}
}

// TestOptimizersAreThoseOfPyTorch goes through the machine's own update, with its clipping, averages and knobs, for a matrix and a bias whose gradients are given.
func TestOptimizersAreThoseOfPyTorch(t *testing.T) {
	adam := Adam{Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, WeightDecay: 0.05}
	adamw := adam
	adamw.Decoupled = true
	options := map[string]MachineOptions{
		"sgd":           {Optimizer: SGD{WeightDecay: 0.05}},
		"sgd momentum":  {Optimizer: SGD{Momentum: 0.9, WeightDecay: 0.05}},
		"sgd nesterov":  {Optimizer: SGD{Momentum: 0.9, WeightDecay: 0.05, Nesterov: true}},
		"adam":          {Optimizer: adam},
		"adamw":         {Optimizer: adamw},
		"adamw betas":   {Optimizer: Adam{Beta1: 0.8, Beta2: 0.95, Epsilon: 1e-6, WeightDecay: 0.05, Decoupled: true}},
		"lars":          {Optimizer: LARS{Momentum: 0.9, WeightDecay: 0.05, Trust: 0.02}},
		"lars nesterov": {Optimizer: LARS{Momentum: 0.9, WeightDecay: 0.05, Trust: 0.02, Nesterov: true}},
		"lamb":          {Optimizer: LAMB{Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-6, WeightDecay: 0.05}},
		"muon":          {Optimizer: Muon{Momentum: 0.95, WeightDecay: 0.05}},
		"clip norm":     {Optimizer: SGD{Momentum: 0.9}, Clip: Clip{Norm: 1.5}},
		"clip value":    {Optimizer: SGD{Momentum: 0.9}, Clip: Clip{Value: 0.7}},
		"ema":           {Optimizer: SGD{Momentum: 0.9}, Average: Average{Decay: 0.7}},
	}
	r := loadReference(t).Optimizers
	if len(r) != len(options) {
		t.Errorf("%d trajectories, %d optimizers", len(r), len(options))
	}
	for name, o := range options {
		t.Run(name, func(t *testing.T) { trajectory(t, o, r[name]) })
	}
}

// trajectory takes steps on a matrix (3, 2) and a bias (3) and compares them with PyTorch's.
func trajectory(t *testing.T, o MachineOptions, want [][]float64) {
	backend, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	o.Backend = backend
	p := &plan{role: map[string]role{"w": parameterRole, "b": parameterRole}, parameters: []weight{{name: "w", dims: []int{3, 2}, decay: true}, {name: "b", dims: []int{3}}}}
	m := &Machine{o: o, plan: p, index: map[slotKey]int{}, feeds: map[string]*feed{}, programs: map[string]*program{}}
	start := map[string][]float32{"w": noise(6, 0.2, 1), "b": noise(3, 0.6, 1)}
	for _, s := range m.layout() {
		data := start[s.name]
		if s.kind == momentSlot {
			data = nil
		}
		if err := m.push(s, data); err != nil {
			t.Fatal(err)
		}
	}
	m.kept = len(m.slots)
	if err := m.needSums(); err != nil {
		t.Fatal(err)
	}
	kind := parameterSlot
	if o.Average.Decay > 0 {
		kind = averageSlot
	}
	for step, list := range want {
		for gradient, data := range map[string][]float32{"w": noise(6, 1.1+float64(step), 2), "b": noise(3, 5.7+float64(step), 2)} {
			if err := m.replace(m.index[slotKey{gradientSlot, gradient, 0}], data); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Update(0.1); err != nil {
			t.Fatal(err)
		}
		var got []float32
		for _, name := range []string{"w", "b"} {
			part, err := floats(m.state[m.index[slotKey{kind, name, 0}]])
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, part...)
		}
		for i := range list {
			if !isNear(float64(got[i]), list[i], 2e-6) {
				t.Fatalf("step %d, number %d: %.8g, PyTorch says %.8g", step+1, i, got[i], list[i])
			}
		}
	}
}

func TestSchedulesAreThoseOfPyTorch(t *testing.T) {
	one := OneCycle{Rise: 0.3, Start: 1.0 / 25, End: 1.0 / 25e4, LowMomentum: 0.85, HighMomentum: 0.95}
	shapes := map[string]Shape{
		"step": Steps{Factor: 0.5, Every: 2}, "multi step": Steps{Factor: 0.1, At: []float64{1, 4}}, "cosine": Cosine{}, "cosine final": Cosine{Final: 0.1},
		"restarts": WarmRestarts{Period: 2}, "restarts growth": WarmRestarts{Period: 1, Growth: 2, Final: 0.1}, "one cycle": one, "one cycle momentum": one,
		"one cycle own": OneCycle{Rise: 0.4, Start: 0.1, End: 0.001}, "polynomial": Polynomial{Power: 1}, "polynomial 2": Polynomial{Power: 2},
	}
	r := loadReference(t).Schedules
	if len(r) != len(shapes) {
		t.Errorf("%d schedules, %d shapes", len(r), len(shapes))
	}
	for name, want := range r {
		s, total := Schedule{Shape: shapes[name]}, 30
		if _, ok := s.Shape.(OneCycle); ok {
			total = 31
		}
		for step, v := range want {
			got := s.At(0.4, step, total, 5)
			if name == "one cycle momentum" {
				got = s.Momentum(step, total, 5)
			}
			if math.Abs(got-v) > 1e-12 {
				t.Errorf("%s: step %d is %.14g, PyTorch says %.14g", name, step, got, v)
				break
			}
		}
		// A warm-up of two epochs moves the rest of a schedule on.
		s.Warmup = 2
		if name != "one cycle momentum" {
			for step, v := range want {
				if got := s.At(0.4, step+10, total+10, 5); math.Abs(got-v) > 1e-12 {
					t.Errorf("%s: step %d after a warm-up is %.14g, not %.14g", name, step, got, v)
					break
				}
			}
			if got := s.At(0.4, 4, total+10, 5); math.Abs(got-0.4*5/11) > 1e-12 {
				t.Errorf("%s: %g in the warm-up", name, got)
			}
		}
	}
}
