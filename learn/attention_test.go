package learn

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/darkroom-dev/darkroom/learn/cpu"
	"github.com/darkroom-dev/darkroom/onnx"
)

// transformer is a block of a vision transformer over 9 patches of images of 3 channels and 6×6 pixels: layer normalisations, attention of two heads, a
// perceptron with a GELU as PyTorch's exporter writes it. placed says where attention has its scale.
func transformer(t testing.TB, placed string) *onnx.Model {
	t.Helper()
	b := onnx.NewBuilder("transformer", 3, 6, 6)
	const width, heads, tokens = 12, 2, 9
	tensor := func(name string, dims ...int) string {
		n := 1
		for _, d := range dims {
			n *= d
		}
		return b.Tensor(name, dims, noise(n, float64(len(name)), 0.5))
	}
	norm := func(name, x string) string {
		return b.Node("LayerNormalization", name, []string{x, tensor(name+".w", width), tensor(name+".b", width)}, onnx.IntOf("axis", -1), onnx.FloatOf("epsilon", 1e-3))
	}
	dense := func(name, x string, in, out int) string {
		return b.Node("Add", name, []string{b.Node("MatMul", name+".product", []string{x, tensor(name+".w", in, out)}), tensor(name+".b", out)})
	}
	x := b.Node("Conv", "patches", []string{onnx.InputName, tensor("patches.w", width, 3, 2, 2), tensor("patches.b", width)}, onnx.IntsOf("strides", 2, 2))
	x = b.Node("Transpose", "tokens", []string{b.Node("Reshape", "flat", []string{x, b.Ints("flat.shape", 0, width, tokens)})}, onnx.IntsOf("perm", 0, 2, 1))
	parts := b.Split("split", dense("qkv", norm("norm1", x), width, 3*width), b.Ints("sizes", width, width, width), 2, "q", "k", "v")
	shape := b.Ints("heads", 0, tokens, heads, width/heads)
	split := func(part string, perm ...int) string {
		return b.Node("Transpose", part+".heads", []string{b.Node("Reshape", part+".split", []string{part, shape})}, onnx.IntsOf("perm", perm...))
	}
	scaled := func(at, x string) string {
		switch {
		case at != placed:
			return x
		case at == "scores":
			return b.Node("Div", at+".scaled", []string{x, b.Number("scale", math.Sqrt(6))})
		}
		return b.Node("Mul", at+".scaled", []string{b.Number("scale", 1/math.Sqrt(6)), x})
	}
	q, k, v := scaled("q", split(parts[0], 0, 2, 1, 3)), scaled("k", split(parts[1], 0, 2, 3, 1)), split(parts[2], 0, 2, 1, 3)
	weights := b.Node("Softmax", "weights", []string{scaled("scores", b.Node("MatMul", "scores", []string{q, k}))}, onnx.IntOf("axis", -1))
	y := b.Node("Transpose", "mixed", []string{b.Node("MatMul", "mix", []string{weights, v})}, onnx.IntsOf("perm", 0, 2, 1, 3))
	y = dense("proj", b.Node("Reshape", "joined", []string{y, b.Ints("joined.shape", 0, tokens, width)}), width, width)
	x = b.Node("Add", "add1", []string{x, y})
	h := dense("fc1", norm("norm2", x), width, 20)
	s := b.Node("Add", "gelu.s", []string{b.Node("Erf", "gelu.erf", []string{b.Node("Div", "gelu.z", []string{h, b.Number("gelu.root", math.Sqrt2)})}), b.Number("gelu.one", 1)})
	h = b.Node("Mul", "gelu", []string{b.Node("Mul", "gelu.x", []string{h, s}), b.Number("gelu.half", 0.5)})
	x = b.Node("Add", "add2", []string{x, dense("fc2", h, 20, width)})
	x = b.Node("ReduceMean", "mean", []string{norm("norm", x), b.Ints("mean.axes", 1)}, onnx.IntOf("keepdims", 0))
	b.Node("Gemm", onnx.OutputName, []string{x, tensor("out.w", 3, width), tensor("out.b", 3)}, onnx.IntOf("transB", 1))
	m, err := b.Model(3, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The CPU device's operators for transformers compute the gradients of the reference, with all of the operators that they are for.
func TestTransformersOnTheDevice(t *testing.T) {
	needLibrary(t)
	labels := []int32{0, 1, 2, 1, 0, 2, 2, 0, 1, 0, 1}
	for _, placed := range []string{"q", "k", "scores"} {
		t.Run(placed, func(t *testing.T) {
			m := transformer(t, placed)
			p, err := makePlan(m)
			if err != nil {
				t.Fatal(err)
			}
			var weights [][]float64
			for _, w := range p.parameters {
				tensor, _ := m.Tensor(w.name)
				list := make([]float64, len(tensor.Data))
				for i, v := range tensor.Data {
					list[i] = float64(v)
				}
				weights = append(weights, list)
			}
			loss, want := lossOf(t, m, p, len(labels), labels)(weights)
			trace := filepath.Join(t.TempDir(), "trace")
			got, out := deviceGradients(t, m, p, labels, trace)
			if math.Abs(out.Loss-loss) > 1e-5 {
				t.Errorf("loss %g; want %g", out.Loss, loss)
			}
			for i, w := range p.parameters {
				for k := range want[i] {
					if math.Abs(float64(got[w.name][k])-want[i][k]) > 2e-5+1e-4*math.Abs(want[i][k]) {
						t.Fatalf("%s[%d]: gradient %g; want %g", w.name, k, got[w.name][k], want[i][k])
					}
				}
			}
			counts := tracedOperators(t, trace)
			// What the last normalisation's gradient gets is one number for all tokens, so that its sums are shorter than the kernel's. Images and labels come as one array.
			if counts["Attention"] != 1 || counts["AttentionGradient"] != 1 || counts["LayerNorm"] != 2 || counts["ColumnNorm"] != 1 ||
				counts["Softmax"]+counts["Pad"] > 0 || counts["Split"] > 1 || counts["Concat"] > 1 || counts["Transpose"] > 1 {
				t.Errorf("the step is %v", counts)
			}
		})
	}
}

// deviceGradients returns the gradients of one batch on the CPU device, whose traces begin with that name.
func deviceGradients(t *testing.T, m *onnx.Model, p *plan, labels []int32, trace string) (map[string][]float32, Outcome) {
	t.Helper()
	backend, err := cpu.New(cpu.Options{Threads: 2, Profile: trace})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	in := m.Input()
	machine, err := newMachine(MachineOptions{Backend: backend, Model: m, Channels: in.Channels, Height: in.Height, Width: in.Width, Batch: len(labels),
		Objective: CrossEntropy{Targets: Targets{Smoothing: 0.1}}}, p)
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	b := &Batch{Images: make([]float32, in.Channels*in.Height*in.Width*len(labels)), Ints: map[string][]int32{LabelsInput: labels}, Indexes: count(len(labels))}
	for i, v := range noise(len(b.Images), 0.3, 0.5) {
		b.Images[i] = v + 0.5
	}
	got, out, err := machine.Gradients(b)
	if err != nil {
		t.Fatal(err)
	}
	return got, out
}

// tracedOperators counts the operators of the computation with the most of them, run once, in the device's traces.
func tracedOperators(t *testing.T, trace string) map[string]int {
	t.Helper()
	files, err := filepath.Glob(trace + "*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces: %v", err)
	}
	most := map[string]int{}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var events []struct {
			Cat  string `json:"cat"`
			Name string `json:"name"`
			Args struct {
				Operator string `json:"op_name"`
			} `json:"args"`
		}
		if err := json.Unmarshal(data, &events); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		counts, seen := map[string]int{}, map[string]bool{}
		for _, e := range events {
			if e.Cat == "Node" && !seen[e.Name] {
				seen[e.Name] = true
				counts[e.Args.Operator]++
			}
		}
		if len(seen) > 0 && counts["AttentionGradient"] >= most["AttentionGradient"] {
			most = counts
		}
	}
	return most
}

// The network of TestTransformersOnTheDevice has the right gradients to begin with.
func TestTransformerGradientsAreFiniteDifferences(t *testing.T) {
	m := transformer(t, "q")
	p, err := makePlan(m)
	if err != nil {
		t.Fatal(err)
	}
	checkGradients(t, m, p, 3)
}
