package learn

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/darkroom-dev/darkroom/onnx"
)

func TestSchedules(t *testing.T) {
	for _, c := range []struct {
		s    Schedule
		step int
		want float64
	}{
		{Schedule{}, 0, 0.4}, {Schedule{}, 99, 0.4},
		{Schedule{Shape: Cosine{}}, 0, 0.4}, {Schedule{Shape: Cosine{}}, 50, 0.2}, {Schedule{Shape: Cosine{}}, 100, 0},
		{Schedule{Shape: Cosine{Final: 0.5}}, 100, 0.2},
		{Schedule{Warmup: 0.3}, 0, 0.1}, {Schedule{Warmup: 0.3}, 2, 0.3}, {Schedule{Warmup: 0.3}, 3, 0.4},
		{Schedule{Shape: Cosine{}, Warmup: 2}, 60, 0.2}, // half way between the end of the warm-up, 20, and the end
	} {
		if got := c.s.At(0.4, c.step, 100, 10); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%+v at step %d: %g, want %g", c.s, c.step, got, c.want)
		}
	}
}

// TestSGD compares three steps with PyTorch's update rule worked out by hand for one weight w = 1 with gradients 1, -2, 0.5, rate 0.1.
func TestSGD(t *testing.T) {
	for name, c := range map[string]struct {
		o    SGD
		want []float64
	}{
		"plain":    {SGD{}, []float64{0.9, 1.1, 1.05}},
		"momentum": {SGD{Momentum: 0.5}, []float64{0.9, 1.05, 1.075}},
		// v: 1, -1.5, -0.25; direction g + v/2: 1.5, -2.75, 0.375
		"nesterov": {SGD{Momentum: 0.5, Nesterov: true}, []float64{0.85, 1.125, 1.0875}},
		// g + w/2: 1.5, -1.575, 1.00375
		"decay": {SGD{WeightDecay: 0.5}, []float64{0.85, 1.0075, 0.907125}},
	} {
		if got := descend(t, c.o, weight{decay: true}); !close64(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	plain := []float64{0.9, 1.1, 1.05}
	if got := descend(t, SGD{WeightDecay: 0.5}, weight{}); !close64(got, plain) {
		t.Errorf("a bias was decayed: %v", got)
	}
	if got := descend(t, SGD{WeightDecay: 0.5, DecayAll: true}, weight{}); close64(got, plain) {
		t.Error("decay_all did not decay a bias")
	}
}

func close64(a, b []float64) bool {
	for i := range a {
		if math.Abs(a[i]-b[i]) > 1e-12 {
			return false
		}
	}
	return len(a) == len(b)
}

// descend returns the weight after each of three steps.
func descend(t *testing.T, o SGD, p weight) []float64 {
	t.Helper()
	backend, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	g := graph.NewGraph(backend, "sgd")
	var out []*graph.Node
	err = build(func() error {
		w, v := graph.Const(g, []float64{1}), graph.Const(g, []float64{0})
		for _, gradient := range []float64{1, -2, 0.5} {
			var moments []*graph.Node
			w, moments = o.update(variable{weight: p, value: w, gradient: graph.Const(g, []float64{gradient}), moments: []*graph.Node{v}, rate: graph.Const(g, 0.1), knobs: []*graph.Node{graph.Const(g, o.Momentum)}})
			if len(moments) > 0 {
				v = moments[0]
			}
			out = append(out, w)
		}
		return g.Compile(out...)
	})
	if err != nil {
		t.Fatal(err)
	}
	results, err := g.Executable().Execute(nil, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []float64
	for _, r := range results {
		one := make([]float64, 1)
		if err := r.ToFlatData(one); err != nil {
			t.Fatal(err)
		}
		list = append(list, one[0])
	}
	return list
}

func TestCrossEntropyByHand(t *testing.T) {
	backend, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	g := graph.NewGraph(backend, "loss")
	err = build(func() error {
		logits := graph.Const(g, [][]float64{{0, 1000}, {math.Log(3), 0}}) // (classes, N): probabilities 1/4 and 3/4, and 1 and 0
		labels := map[string]*graph.Node{LabelsInput: graph.Const(g, []int32{1, 0})}
		terms := CrossEntropy{}.terms(logits, labels)
		smooth := CrossEntropy{Targets: Targets{Smoothing: 0.5}}.terms(logits, labels)
		return g.Compile(terms.Loss, terms.Metrics[0].Total, terms.Output, graph.Reshape(smooth.Loss))
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := g.Executable().Execute(nil, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]float64{{-math.Log(0.75) / 2}, {2}, {0.125, 0, -0.125, 0}, {(-0.75*math.Log(0.75) - 0.25*math.Log(0.25) + 250) / 2}}
	for i, b := range out {
		got := make([]float64, len(want[i]))
		if err := b.ToFlatData(got); err != nil {
			t.Fatal(err)
		}
		if !close64(got, want[i]) {
			t.Errorf("result %d: %v, want %v", i, got, want[i])
		}
	}
}

func TestUnsupportedOperatorIsNamed(t *testing.T) {
	b := onnx.NewBuilder("odd", 1, 4, 4)
	x := b.Node("Flatten", "flat", []string{b.Node("LRN", "response", []string{onnx.InputName}, onnx.IntOf("size", 3))})
	b.Node("Gemm", onnx.OutputName, []string{x, b.Tensor("w", []int{16, 2}, make([]float32, 32))})
	m, err := b.Model(2, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := makePlan(m); err == nil || !strings.Contains(err.Error(), `the LRN node "response" cannot be trained through`) {
		t.Error(err)
	}
}

func TestCurvesFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "curves")
	c := Curves{BestEpoch: 1, Epochs: []Epoch{{Epoch: 1, Step: 7, LearningRate: 0.1, TrainLoss: 2, TrainAccuracy: 0.25, Validation: &Score{Loss: 1.5, Accuracy: 0.5}}}}
	if err := WriteCurves(dir, c); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, CurvesFile))
	if err != nil {
		t.Fatal(err)
	}
	var back Curves
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("%+v, %v", back, err)
	}
	b, err = os.ReadFile(filepath.Join(dir, EventsFile))
	if err != nil {
		t.Fatal(err)
	}
	var records [][]byte
	for len(b) > 0 {
		n := binary.LittleEndian.Uint64(b)
		data := b[12 : 12+n]
		for _, part := range [][]byte{b[:12], b[12 : 16+n]} {
			body, sum := part[:len(part)-4], binary.LittleEndian.Uint32(part[len(part)-4:])
			// Unmasked as TensorFlow's crc32c::Unmask does.
			rotated := sum - 0xa282ead8
			if rotated>>17|rotated<<15 != crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) {
				t.Fatal("a checksum is wrong")
			}
		}
		records, b = append(records, data), b[16+n:]
	}
	if len(records) != 2 || !strings.Contains(string(records[0]), "brain.Event:2") || !strings.Contains(string(records[1]), "accuracy/validation") {
		t.Errorf("records %q", records)
	}
}

func TestCheckpointRoundTripAndDamage(t *testing.T) {
	k := &keeper{dir: t.TempDir(), fingerprint: "f"}
	p := position{Fingerprint: "f", Epoch: 1, Batch: 3, LossSum: 0.1, Totals: map[string]float64{"accuracy": 5}, Seen: 9, History: []Epoch{{Epoch: 1, Validation: &Score{Loss: 0.3, Accuracy: 1}}}, BestEpoch: 1}
	state, best := Snapshot{7, [][]float32{{1, -2}, {}, {3}}}, &Snapshot{tensors: [][]float32{{4, 5}, {}, {6}}}
	mean := weightMean{3, [][]float32{{8, 9}, {7}}}
	if err := k.save(p, state, best, mean); err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(k.dir, ".checkpoint-1")
	if err := os.WriteFile(torn, []byte("half"), 0o666); err != nil {
		t.Fatal(err)
	}
	gotP, gotState, gotBest, gotMean, err := k.load()
	p.Sizes, p.HasBest, p.Updates, p.MeanCount, p.MeanSizes = []int{2, 0, 1}, true, 7, 3, []int{2, 1}
	if err != nil || !reflect.DeepEqual(*gotP, p) || !reflect.DeepEqual(*gotState, state) || !reflect.DeepEqual(gotMean, mean) || !reflect.DeepEqual(gotBest, best) {
		t.Fatalf("%+v %v %v, %v", gotP, gotState, gotBest, err)
	}
	if _, err := os.Stat(torn); err == nil {
		t.Error("the torn file of a former attempt is still there")
	}
	path := filepath.Join(k.dir, checkpointFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole { // every byte matters, wherever it was cut or flipped
		flipped := append([]byte(nil), whole...)
		flipped[n] ^= 1
		for _, b := range [][]byte{flipped, whole[:n]} {
			if _, _, _, _, err := parseCheckpoint(b); err == nil {
				t.Fatalf("damage at byte %d was not noticed", n)
			}
		}
	}
	if _, _, _, _, err := (&keeper{dir: k.dir, fingerprint: "other"}).load(); err == nil {
		t.Error("another training's checkpoint was accepted")
	}
	if p, _, _, _, err := (&keeper{dir: t.TempDir()}).load(); p != nil || err != nil {
		t.Errorf("an empty folder: %v, %v", p, err)
	}
}

// A checkpoint is written from the tensors as they are: no copy of them is made in memory.
func TestCheckpointsMakeNoCopy(t *testing.T) {
	k := &keeper{dir: t.TempDir(), fingerprint: "f"}
	state := Snapshot{1, [][]float32{make([]float32, 4<<20)}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := k.save(position{Fingerprint: "f"}, state, nil, weightMean{}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
		t.Errorf("%d MiB were allocated for a state of 16", got>>20)
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	k := &keeper{dir: f.TempDir()}
	if err := k.save(position{}, Snapshot{0, [][]float32{{1}}}, nil, weightMean{}); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(k.dir, checkpointFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(checkpointFormat))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _, _, _, _ = parseCheckpoint(b) })
}
