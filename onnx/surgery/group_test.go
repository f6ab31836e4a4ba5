package surgery

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/onnx"
)

// net builds small networks for tests; every weight is a fixed wave.
type net struct {
	*onnx.Builder
	n int
}

func newNet(channels int) *net {
	return &net{Builder: onnx.NewBuilder("test", channels, 8, 8)}
}

func (b *net) wave(name string, dims ...int) string {
	data := make([]float32, size(dims))
	for i := range data {
		b.n++
		data[i] = float32(math.Sin(float64(b.n) * 1.3))
	}
	return b.Tensor(name, dims, data)
}

func (b *net) conv(name, x string, in, out, k, groups int) string {
	return b.Node("Conv", name, []string{x, b.wave(name+".w", out, in/groups, k, k), b.wave(name+".b", out)},
		onnx.IntsOf("kernel_shape", k, k), onnx.IntsOf("pads", k/2, k/2, k/2, k/2), onnx.IntOf("group", groups))
}

func (b *net) norm(name, x string, c int) string {
	positive := make([]float32, c)
	for i := range positive {
		positive[i] = 0.5 + float32(i%3)
	}
	return b.Node("BatchNormalization", name, []string{x, b.wave(name+".scale", c), b.wave(name+".shift", c), b.wave(name+".mean", c), b.Tensor(name+".variance", []int{c}, positive)})
}

// head ends the network at the value x, which has c channels.
func (b *net) head(t *testing.T, x string, c int) *onnx.Model {
	x = b.Node("GlobalAveragePool", "pool", []string{x})
	return b.dense(t, x, c)
}

func (b *net) dense(t *testing.T, x string, features int) *onnx.Model {
	t.Helper()
	x = b.Node("Flatten", "flat", []string{x}, onnx.IntOf("axis", 1))
	b.Node("Gemm", onnx.OutputName, []string{x, b.wave("dense.w", 3, features), b.wave("dense.b", 3)}, onnx.IntOf("transB", 1))
	m, err := b.Model(3, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (b *net) ints(name string, list ...int) string {
	out := b.Node("Constant", name, nil, onnx.IntsOf("value_ints", list...))
	return out
}

// networks are one for each way in which channels depend on each other. want lists the groups: "channels: tensor/axis …".
var networks = []struct {
	name  string
	build func(t *testing.T) *onnx.Model
	want  []string
}{
	{"residual", func(t *testing.T) *onnx.Model {
		b := newNet(3)
		x := b.Node("Relu", "r", []string{b.norm("n", b.conv("a", "image", 3, 6, 3, 1), 6)})
		y := b.conv("c", b.Node("Relu", "r2", []string{b.conv("b", x, 6, 9, 3, 1)}), 9, 6, 3, 1)
		return b.head(t, b.Node("Add", "sum", []string{x, y}), 6)
	}, []string{"6: a.w/0 a.b/0 n.scale/0 n.shift/0 n.mean/0 n.variance/0 b.w/1 c.w/0 c.b/0 dense.w/1", "9: b.w/0 b.b/0 c.w/1"}},
	{"concatenation", func(t *testing.T) *onnx.Model {
		b := newNet(3)
		x := b.conv("a", "image", 3, 6, 3, 1)
		y := b.conv("b", "image", 3, 9, 1, 1)
		return b.head(t, b.conv("c", b.Node("Concat", "both", []string{x, y}, onnx.IntOf("axis", 1)), 15, 6, 1, 1), 6)
	}, []string{"6: a.w/0 a.b/0 c.w/1", "9: b.w/0 b.b/0 c.w/1", "6: c.w/0 c.b/0 dense.w/1"}},
	{"depthwise", func(t *testing.T) *onnx.Model {
		b := newNet(3)
		x := b.conv("d", b.conv("a", "image", 3, 6, 1, 1), 6, 6, 3, 6)
		return b.head(t, b.conv("c", x, 6, 6, 1, 1), 6)
	}, []string{"6: a.w/0 a.b/0 d.w/0 d.b/0 c.w/1", "6: c.w/0 c.b/0 dense.w/1"}},
	{"depthwise with a multiplier", func(t *testing.T) *onnx.Model {
		b := newNet(3)
		return b.head(t, b.conv("d", b.conv("a", "image", 3, 6, 1, 1), 6, 12, 3, 6), 12)
	}, []string{"6: a.w/0 a.b/0 d.w/0 d.b/0 dense.w/1"}},
	{"grouped", func(t *testing.T) *onnx.Model {
		b := newNet(3)
		return b.head(t, b.conv("g", b.conv("a", "image", 3, 12, 1, 1), 12, 18, 3, 2), 18)
	}, []string{"6: a.w/0 a.b/0 g.w/1", "9: g.w/0 g.b/0 dense.w/1"}},
	{"squeeze and excite", func(t *testing.T) *onnx.Model {
		b := newNet(3)
		x := b.conv("a", "image", 3, 6, 3, 1)
		s := b.conv("reduce", b.Node("GlobalAveragePool", "squeeze", []string{x}), 6, 3, 1, 1)
		s = b.Node("HardSigmoid", "gate", []string{b.conv("expand", b.Node("Relu", "r", []string{s}), 3, 6, 1, 1)})
		return b.head(t, b.Node("Mul", "scaled", []string{x, s}), 6)
	}, []string{"6: a.w/0 a.b/0 reduce.w/1 expand.w/0 expand.b/0 dense.w/1", "3: reduce.w/0 reduce.b/0 expand.w/1"}},
	{"flatten", func(t *testing.T) *onnx.Model {
		b := newNet(3)
		return b.dense(t, b.conv("a", "image", 3, 6, 3, 1), 6*64)
	}, []string{"6: a.w/0 a.b/0 dense.w/1"}},
	{"split and slice", func(t *testing.T) *onnx.Model {
		b := newNet(3)
		x := b.conv("a", "image", 3, 12, 3, 1)
		b.ints("start", 6)
		b.ints("end", 12)
		b.ints("axis", 1)
		y := b.Node("Slice", "half", []string{x, "start", "end", "axis"})
		z := b.Node("Slice", "other", []string{x, b.ints("start2", 0), "start", "axis"})
		return b.head(t, b.Node("Add", "sum", []string{y, z}), 6)
	}, []string{"6: a.w/0 a.b/0 dense.w/1"}},
	{"shuffle", func(t *testing.T) *onnx.Model {
		b := newNet(3)
		x := b.conv("a", "image", 3, 12, 3, 1)
		x = b.Node("Reshape", "groups", []string{x, b.ints("to", 0, 2, 6, 8, 8)})
		x = b.Node("Transpose", "swap", []string{x}, onnx.IntsOf("perm", 0, 2, 1, 3, 4))
		x = b.Node("Reshape", "back", []string{x, b.ints("to2", 0, 12, 8, 8)})
		return b.head(t, b.conv("c", x, 12, 6, 1, 1), 6)
	}, []string{"6: a.w/0 a.b/0 c.w/1", "6: c.w/0 c.b/0 dense.w/1"}},
	{"attention heads", attention, []string{
		"12: embed.w/0 embed.b/0 qkv.w/0 out.w/1 dense.w/1", "3: qkv.w/1 out.w/0"}},
}

// attention is one layer over the 64 pixels as tokens: 12 features, 3 heads of 4.
func attention(t *testing.T) *onnx.Model {
	b := newNet(3)
	x := b.Node("Reshape", "tokens", []string{b.conv("embed", "image", 3, 12, 1, 1), b.ints("to", 0, 12, 64)})
	x = b.Node("Transpose", "last", []string{x}, onnx.IntsOf("perm", 0, 2, 1)) // (N, 64, 12)
	y := b.Node("MatMul", "qkv", []string{x, b.wave("qkv.w", 12, 36)})
	y = b.Node("Reshape", "heads", []string{y, b.ints("to2", 0, 64, 3, 3, 4)})
	y = b.Node("Transpose", "front", []string{y}, onnx.IntsOf("perm", 2, 0, 3, 1, 4)) // (3, N, heads, 64, 4)
	part := func(name string, i int) string {
		return b.Node("Gather", name, []string{y, b.Node("Constant", name+".i", nil, onnx.IntOf("value_int", i))}, onnx.IntOf("axis", 0))
	}
	q, k, v := part("q", 0), part("k", 1), part("v", 2)
	s := b.Node("MatMul", "scores", []string{q, b.Node("Transpose", "kt", []string{k}, onnx.IntsOf("perm", 0, 1, 3, 2))})
	s = b.Node("MatMul", "mixed", []string{b.Node("Softmax", "soft", []string{s}, onnx.IntOf("axis", -1)), v})
	s = b.Node("Transpose", "tokens2", []string{s}, onnx.IntsOf("perm", 0, 2, 1, 3))
	s = b.Node("Reshape", "merged", []string{s, b.ints("to3", 0, 64, 12)})
	x = b.Node("Add", "stream", []string{x, b.Node("MatMul", "out", []string{s, b.wave("out.w", 12, 12)})})
	x = b.Node("ReduceMean", "mean", []string{x}, onnx.IntsOf("axes", 1), onnx.IntOf("keepdims", 0))
	return b.dense(t, x, 12)
}

func describe(g *Group) string {
	text := fmt.Sprint(g.Channels, ":")
	for _, m := range g.Members {
		text += fmt.Sprintf(" %s/%d", m.Tensor, m.Axis)
	}
	return text
}

func TestGroups(t *testing.T) {
	for _, c := range networks {
		t.Run(c.name, func(t *testing.T) {
			g := Edit(c.build(t))
			if err := g.Simplify(); err != nil {
				t.Fatal(err)
			}
			groups, err := g.Groups()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, group := range groups.List {
				got = append(got, describe(group))
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("groups:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			checkSurgery(t, c.build(t))
		})
	}
}

// TestPruneShrinks looks at one case by hand: a channel that is read after a flattening has 64 inputs of the dense layer.
func TestPruneShrinks(t *testing.T) {
	b := newNet(3)
	g := Edit(b.dense(t, b.conv("a", "image", 3, 6, 3, 1), 6*64))
	groups, err := g.Groups()
	if err != nil {
		t.Fatal(err)
	}
	_, old, _ := g.index().floats("dense.w")
	if err := groups.Prune(Cut{groups.List[0], []int{0, 4}}); err != nil {
		t.Fatal(err)
	}
	dims, w, _ := g.index().floats("dense.w")
	if fmt.Sprint(dims) != "[3 256]" || w[0] != old[64] || w[256] != old[384+64] || w[3*64-1] != old[4*64-1] || w[3*64] != old[5*64] {
		t.Errorf("the dense layer is %v", dims)
	}
	if dims, bias, _ := g.index().floats("a.b"); fmt.Sprint(dims) != "[4]" || bias[3] == 0 {
		t.Errorf("the bias is %v", dims)
	}
}

func TestPruneRefusals(t *testing.T) {
	b := newNet(3)
	g := Edit(b.head(t, b.conv("a", "image", 3, 4, 3, 1), 4))
	groups, err := g.Groups()
	if err != nil {
		t.Fatal(err)
	}
	before := g.copied()
	if err := groups.Prune(Cut{groups.List[0], []int{0, 1, 2, 3}}); err == nil || !strings.Contains(err.Error(), "nothing would be left of a ") {
		t.Errorf("emptying a layer: %v", err)
	}
	if err := groups.Prune(Cut{groups.List[0], []int{4}}); err == nil {
		t.Error("a channel that is not there was removed")
	}
	if before.String() != g.proto.String() {
		t.Error("a refusal changed the graph")
	}
}

func TestLayers(t *testing.T) {
	g := Edit(networks[0].build(t))
	groups, err := g.Groups()
	if err != nil {
		t.Fatal(err)
	}
	if l := groups.List[0].Layers(); len(l) != 2 || l[0].Name != "a" || l[1].Name != "c" {
		t.Errorf("layers of the residual stream: %v", l)
	}
}
