package zerocost

import (
	"math"
	"testing"

	"github.com/darkroom-dev/darkroom/infer/ort"
	"github.com/darkroom-dev/darkroom/learn"
	"github.com/darkroom-dev/darkroom/learn/cpu"
	"github.com/darkroom-dev/darkroom/onnx"
)

// dense is image (1, 2, 2) → 3 units with ReLU → 2 logits, with weights that a test can compute with.
func dense(t *testing.T) *onnx.Model {
	t.Helper()
	b := onnx.NewBuilder("dense", 1, 2, 2)
	x := b.Node("Flatten", "flat", []string{onnx.InputName})
	x = b.Node("Gemm", "hidden", []string{x, b.Tensor("hidden.w", []int{4, 3}, []float32{1, -1, 2, 0, 1, -1, 1, 1, 0, -2, 0, 1})})
	x = b.Node("Relu", "relu", []string{x})
	b.Node("Gemm", onnx.OutputName, []string{x, b.Tensor("out.w", []int{3, 2}, []float32{1, -1, 0.5, 2, -1, 1})})
	m, err := b.Model(2, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func caseOf(t *testing.T, images []float32, labels ...int32) Case {
	t.Helper()
	if _, err := ort.Find(); err != nil {
		t.Skip("no ONNX Runtime on this machine: ", err)
	}
	backend, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(backend.Finalize)
	return Case{Backend: backend, Model: dense(t), Channels: 1, Height: 2, Width: 2,
		Batch: &learn.Batch{Images: images, Ints: map[string][]int32{learn.LabelsInput: labels}, Indexes: make([]int, len(labels))}}
}

func score(t *testing.T, name string, c Case) float64 {
	t.Helper()
	v, err := Score(name, c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// By hand: with |weights| and ones, the hidden units are 4, 3, 4 and the outputs 4+1.5+4 = 9.5 and 4+6+4 = 14. Each of the two layers carries all of
// the sum 23.5, so the saliency is 47.
func TestSynFlowByHand(t *testing.T) {
	for _, images := range [][]float32{{1, 2, 3, 4, 5, 6, 7, 8}, {0, 0, 0, 0, 0, 0, 0, 0}} { // it looks at no image
		if got := score(t, "synflow", caseOf(t, images, 0, 1)); math.Abs(got-math.Log(47)) > 1e-5 {
			t.Errorf("log saliency %g, want log 47 = %g", got, math.Log(47))
		}
	}
}

// By hand: units of the images (batch innermost) a = (1, 0, 0, 0) and b = (0, 0, 0, 1) before ReLU are (1, -1, 2) and (-2, 0, 1): codes 101 and 001, which
// agree in two of three. K = [[3, 2], [2, 3]], det 5.
func TestNASWOTByHand(t *testing.T) {
	if got := score(t, "naswot", caseOf(t, []float32{1, 0, 0, 0, 0, 0, 0, 1}, 0, 1)); math.Abs(got-math.Log(5)) > 1e-9 {
		t.Errorf("log determinant %g, want log 5", got)
	}
	if got := score(t, "naswot", caseOf(t, []float32{1, 1, 0, 0, 0, 0, 0, 0}, 0, 1)); !math.IsInf(got, -1) {
		t.Errorf("two images alike have the score %g", got)
	}
}

// By hand, for one image (1, 0, 0, 0) of class 0: hidden (1, 0, 2), logits (1-2, -1+2) = (-1, 1), so the gradient of the logits is ±g with g = 1/(1+e⁻²).
// Of out.w: rows 1·(∓g), 0, 2·(∓g). Of hidden (where it is on): (-g·1 + g·-1, ·, -g·-1 + g·1) = (-2g, ·, 2g), which reach the first row of hidden.w.
func TestGradientScoresByHand(t *testing.T) {
	g := 1 / (1 + math.Exp(-2))
	c := func() Case { return caseOf(t, []float32{1, 0, 0, 0}, 0) }
	norm := math.Sqrt(2*g*g+2*4*g*g) + math.Sqrt(4*g*g+4*g*g)
	if got := score(t, "grad_norm", c()); math.Abs(got-norm) > 1e-5 {
		t.Errorf("norm %g, want %g", got, norm)
	}
	snip := (1*g + 1*g + 2*g + 2*g) + (1*2*g + 2*2*g)
	if got := score(t, "snip", c()); math.Abs(got-snip) > 1e-5 {
		t.Errorf("saliency %g, want %g", got, snip)
	}
}

func TestSizes(t *testing.T) {
	c := caseOf(t, []float32{1, 0, 0, 0}, 0)
	if got := score(t, "parameters", c); got != 18 {
		t.Errorf("%g parameters, want 18", got)
	}
	if got := score(t, "flops", c); got < 36 || got > 50 {
		t.Errorf("%g FLOPs, want 36 of the products and a few of ReLU", got)
	}
	if _, err := Score("nosuch", c); err == nil {
		t.Error("a score that there is not")
	}
	for _, name := range Names() {
		if scores[name] == nil {
			t.Errorf("%s is named but not there", name)
		}
	}
}
