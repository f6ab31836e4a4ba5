package quantization

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/darkroom-dev/darkroom/onnx"
)

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestParameters(t *testing.T) {
	for _, c := range []struct {
		r         Range
		symmetric bool
		want      parameters
		v         float64
		code      int
	}{
		{Range{0, 255}, false, parameters{1, 0, 0, 255}, 2.5, 2},
		{Range{0, 255}, false, parameters{1, 0, 0, 255}, 3.5, 4}, // half to even
		{Range{-128, 127}, false, parameters{1, 128, 0, 255}, -200, 0},
		{Range{-10, 127}, true, parameters{1, 0, -127, 127}, -300, -127},
		{Range{0, 0}, true, parameters{scaleOf(0), 0, -127, 127}, 0, 0},
	} {
		p := parametersOf(c.r, c.symmetric)
		if p != c.want || p.code(c.v) != c.code {
			t.Errorf("%v: %+v, code of %v is %d", c.r, p, c.v, p.code(c.v))
		}
	}
}

func TestWeightCodes(t *testing.T) {
	w := weightsOf([]int{2, 3}, []float32{1, -2, 4, 0.1, 0.2, -0.4}, 0, true, 127)
	if w.Codes[2] != 127 || w.Codes[5] != -127 || math.Abs(w.Scales[1]-0.4/127) > 1e-9 || w.Codes[1] != -64 && w.Codes[1] != -63 {
		t.Errorf("%+v", w)
	}
	if w := weightsOf([]int{2, 3}, []float32{1, -2, 4, 0.1, 0.2, -0.4}, 1, true, 127); len(w.Scales) != 3 || w.Codes[1] != -127 || w.Codes[4] != 13 {
		t.Errorf("along the columns: %+v", w)
	}
}

// seen is an observer of numbers, both passes.
func seen(method Method, numbers []float32) Range {
	p := &Plan{Observed: []string{"x"}}
	c := NewCalibration(p, method, 99)
	for pass := range c.Passes() {
		if pass > 0 {
			c.NextPass()
		}
		_ = c.Add(0, numbers)
	}
	return c.Ranges()["x"]
}

// TestCalibrators look at a bell curve with one number far out: percentile and
// entropy leave it out and keep most of the curve; the squared error is least near 48, where 200,000·(range/255)²/12 + (60 − range)² is.
func TestCalibrators(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	numbers := make([]float32, 200000)
	for i := range numbers {
		numbers[i] = float32(r.NormFloat64())
	}
	numbers[77] = 60
	for method, want := range map[Method][2]float64{MinMax: {60, 60}, Percentile: {2.4, 2.8}, Entropy: {2.5, 12}, MSE: {40, 55}} {
		if high := seen(method, numbers).High; high < want[0]-1e-6 || high > want[1]+1e-6 {
			t.Errorf("%s: up to %.3f, wanted %v", method, high, want)
		}
	}
	for i := range numbers { // what a ReLU gives
		numbers[i] = max(0, numbers[i])
	}
	for _, method := range []Method{MinMax, Percentile, Entropy, MSE, MovingAverage} {
		if got := seen(method, numbers); got.Low != 0 || got.High < 2 {
			t.Errorf("%s behind a ReLU: %v", method, got)
		}
	}
	for i := range numbers { // what a gate gives: all around 0.5
		numbers[i] = float32(0.5 + 0.05*r.NormFloat64())
	}
	for _, method := range []Method{MinMax, Percentile, Entropy, MSE, MovingAverage} {
		if got := seen(method, numbers); got.High < 0.6 {
			t.Errorf("%s of numbers around 0.5: %v", method, got)
		}
	}
	if got := seen(Entropy, []float32{0, 0}); got != (Range{}) {
		t.Errorf("a constant value: %v", got)
	}
}

func TestMovingAverage(t *testing.T) {
	c := NewCalibration(&Plan{Observed: []string{"x"}}, MovingAverage, 0)
	for _, batch := range [][]float32{{-1, 1}, {-3, 5}} {
		if err := c.Add(0, batch); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.Ranges()["x"]; math.Abs(got.Low+1.2) > 1e-9 || math.Abs(got.High-1.4) > 1e-9 {
		t.Errorf("%v", got)
	}
}

// TestEqualise: answers stay, and with one scale a layer, quantization loses less of a network whose channels differ much.
func TestEqualise(t *testing.T) {
	m := uneven(t)
	before := logits(t, m)
	g := prepare(t, m)
	plain, ranges := static(t, g, m.Input(), Scheme{Target: ONNXRuntime}, MinMax)
	q, err := plain.Apply(ranges, nil)
	if err != nil {
		t.Fatal(err)
	}
	without := snr(before, logits(t, q.Model))
	if n := Equalise(g); n != 2 {
		t.Errorf("%d pairs", n)
	}
	same, err := g.Model()
	if err != nil {
		t.Fatal(err)
	}
	if d := snr(before, logits(t, same)); d < 80 {
		t.Errorf("equalising changed the answers: %.1f dB", d)
	}
	p, ranges := static(t, g, m.Input(), Scheme{Target: ONNXRuntime}, MinMax)
	if q, err = p.Apply(ranges, nil); err != nil {
		t.Fatal(err)
	}
	if with := snr(before, logits(t, q.Model)); with < without+6 {
		t.Errorf("%.1f dB with equalisation, %.1f without", with, without)
	}
}

// uneven is a 1×1, a depthwise and another 1×1 convolution whose channels differ by up to a thousand.
func uneven(t *testing.T) *onnx.Model {
	b := onnx.NewBuilder("uneven", 3, 8, 8)
	r := rand.New(rand.NewPCG(5, 6))
	conv := func(name, x string, in, out, k, groups int, factor func(o, i int) float64) string {
		w := make([]float32, out*in/groups*k*k)
		for i := range w {
			w[i] = float32(r.NormFloat64() * factor(i/(in/groups*k*k), i/(k*k)%(in/groups)))
		}
		bias := make([]float32, out)
		for i := range bias {
			bias[i] = float32(0.2 * factor(i, 0))
		}
		return b.Node("Conv", name, []string{x, b.Tensor(name+".w", []int{out, in / groups, k, k}, w), b.Tensor(name+".b", []int{out}, bias)},
			onnx.IntOf("group", groups), onnx.IntsOf("pads", k/2, k/2, k/2, k/2), onnx.IntsOf("kernel_shape", k, k))
	}
	wide := func(c int) float64 { return math.Pow(10, float64(c%4)-2) }
	x := b.Node("Relu", "r1", []string{conv("a", "image", 3, 8, 1, 1, func(o, _ int) float64 { return wide(o) })})
	x = b.Node("Relu", "r2", []string{conv("d", x, 8, 8, 3, 8, func(o, _ int) float64 { return 0.1 / wide(o+1) })})
	x = conv("c", x, 8, 8, 1, 1, func(_, i int) float64 { return wide(i+1) / wide(i) })
	x = b.Node("Flatten", "flat", []string{b.Node("GlobalAveragePool", "pool", []string{x})}, onnx.IntOf("axis", 1))
	w := make([]float32, 32)
	for i := range w {
		w[i] = float32(r.NormFloat64())
	}
	b.Node("Gemm", onnx.OutputName, []string{x, b.Tensor("w", []int{4, 8}, w)}, onnx.IntOf("transB", 1))
	m, err := b.Model(4, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSmooth: answers stay, and the largest channel of what a normalization gives comes down.
func TestSmooth(t *testing.T) {
	m := build(t, "vit_tiny")
	before := logits(t, m)
	g := prepare(t, m)
	values := SmoothValues(g)
	if len(values) < 12 {
		t.Fatalf("only %d normalizations are read by products alone", len(values))
	}
	gather := func() map[string][]float64 {
		dims, data := look(t, g, m.Input(), values)
		largest := map[string][]float64{}
		for i, v := range values {
			c := NewChannels("")
			c.Add(dims[i], data[i])
			largest[v] = c.Largest
		}
		return largest
	}
	largest := gather()
	if n := Smooth(g, largest, 0.5); n != len(values) {
		t.Errorf("%d of %d were smoothed", n, len(values))
	}
	same, err := g.Model()
	if err != nil {
		t.Fatal(err)
	}
	if d := snr(before, logits(t, same)); d < 80 {
		t.Errorf("smoothing changed the answers: %.1f dB", d)
	}
	spread := func(list []float64) float64 { // largest channel against the mean one
		sum, top := 0.0, 0.0
		for _, v := range list {
			sum, top = sum+v, math.Max(top, v)
		}
		return top / sum * float64(len(list))
	}
	if a, b := spread(largest[values[0]]), spread(gather()[values[0]]); b > a {
		t.Errorf("the channels are %.2f apart after, %.2f before", b, a)
	}
}

// TestAdaRound: the squared error of a layer's outputs on the images comes down, and bias correction takes the mean error away.
func TestAdaRoundAndBiases(t *testing.T) {
	m := build(t, "resnet8")
	g := prepare(t, m)
	p, ranges := static(t, g, m.Input(), Scheme{Target: ONNXRuntime, PerChannel: true, Reduced: true}, MinMax)
	nearest, better := p.Round(ranges), p.Round(ranges)
	n := p.Nodes[2]
	if !isProduct(n) {
		t.Fatal(n.OpType)
	}
	x := g.Index()
	out := n.Output[0]
	dims, data := look(t, g, m.Input(), []string{n.Input[0], out})
	gram := p.NewGram(n)
	gram.Add(dims[0], data[0])
	p.Improved(gram, better[out])
	error2 := func(w *Weights) (squares, mean float64) {
		c := prepare(t, m)
		wdims, _, _ := x.Floats(n.Input[1])
		c.SetFloats(n.Input[1], wdims, w.Numbers())
		_, got := look(t, c, m.Input(), []string{out})
		sum := 0.0
		for i := range got[0] {
			d := float64(got[0][i]) - float64(data[1][i])
			squares += d * d
			sum += d
		}
		return squares, sum / float64(len(got[0]))
	}
	a, _ := error2(nearest[out])
	b, _ := error2(better[out])
	if b > 0.8*a {
		t.Errorf("AdaRound: squared error %.4g, to the nearest %.4g", b, a)
	}
	changed := 0
	for i, c := range better[out].Codes {
		if d := int(c) - int(nearest[out].Codes[i]); d != 0 {
			changed++
			if d > 1 || d < -1 {
				t.Fatalf("a code moved by %d", d)
			}
		}
	}
	if changed == 0 {
		t.Error("no code was rounded the other way")
	}
	channels := NewChannels("Conv")
	channels.Add(dims[0], data[0])
	_, oldBias, _ := x.Floats(n.Input[2])
	p.CorrectBiases(map[string]*Weights{out: nearest[out]}, map[string][]float64{n.Input[0]: channels.Means()})
	_, newBias, ok := g.Index().Floats(n.Input[2])
	if !ok || len(newBias) != len(oldBias) {
		t.Fatal("the bias is gone")
	}
	// What the bias gained is minus the mean error that rounding makes, but for the padding at the borders.
	c := prepare(t, m)
	wdims, _, _ := x.Floats(n.Input[1])
	c.SetFloats(n.Input[1], wdims, nearest[out].Numbers())
	odims, got := look(t, c, m.Input(), []string{out})
	o := NewChannels("Conv")
	for i := range got[0] {
		got[0][i] -= data[1][i]
	}
	o.Add(odims[0], got[0])
	before, after := 0.0, 0.0
	for k, mean := range o.Means() {
		before += mean * mean
		after += (mean + float64(newBias[k]-oldBias[k])) * (mean + float64(newBias[k]-oldBias[k]))
	}
	if after > 0.2*before {
		t.Errorf("the mean error is %.3g after, %.3g before", math.Sqrt(after), math.Sqrt(before))
	}
}
