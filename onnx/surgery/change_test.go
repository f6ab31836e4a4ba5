package surgery

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"

	"github.com/darkroom-dev/darkroom/onnx"
)

func TestHalfNumbers(t *testing.T) {
	for v, want := range map[float32]float64{0: 0, 1: 1, -2.5: -2.5, 65504: 65504, 65519: 65504, 65520: math.Inf(1), 1e9: math.Inf(1), 6e-8: tinyHalf, 2e-8: 0, 0.1: 0.0999755859375,
		6.1e-5: 1023 * tinyHalf, 2049: 2048, 2051: 2052, 1 + 1.0/2048: 1, 1 + 3.0/2048: 1 + 2.0/1024} {
		if got := fromHalf(toHalf(v)); got != want {
			t.Errorf("float16 of %v is %v, want %v", v, got, want)
		}
	}
	for h := range 1 << 16 { // every float16 comes back
		if v := fromHalf(uint16(h)); !math.IsNaN(v) && toHalf(float32(v)) != uint16(h) {
			t.Fatalf("%#x became %v became %#x", h, v, toHalf(float32(v)))
		}
	}
	for v, want := range map[float32]float64{1: 1, 3e38: 0x1.c4p127, 1.00390625: 1, 1.01171875: 1.015625} {
		if got := fromBrain(toBrain(v)); got != want {
			t.Errorf("bfloat16 of %v is %v, want %v", v, got, want)
		}
	}
}

func TestHalf(t *testing.T) {
	for _, c := range networks {
		t.Run(c.name, func(t *testing.T) {
			m := c.build(t)
			before := answers(t, m)
			g := Edit(m)
			if err := g.Simplify(); err != nil {
				t.Fatal(err)
			}
			r, err := g.Half(HalfOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if d := distance(t, before, answers(t, model(t, g))); d > 2e-2 || d == 0 || r.Converted == 0 {
				t.Errorf("the answers of %d converted nodes are %.2g apart", r.Converted, d)
			}
		})
	}
}

// TestHalfKeepsWhatOverflows: a weight and a measured value that float16 cannot hold keep their nodes in float32.
func TestHalfKeepsWhatOverflows(t *testing.T) {
	b := newNet(3)
	x := b.conv("a", "image", 3, 6, 3, 1)
	x = b.Node("Mul", "large", []string{x, b.Tensor("factor", nil, []float32{1e6})})
	x = b.Node("Mul", "small", []string{x, b.Tensor("shrink", nil, []float32{1e-6})})
	m := b.head(t, b.Node("Relu", "r", []string{x}), 6)
	before := answers(t, m)
	g := Edit(m)
	r, err := g.Half(HalfOptions{Largest: map[string]float64{"large": 3e6}})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kept) != 2 || r.Kept[0].Name != "large" || r.Kept[1].Name != "small" {
		t.Errorf("kept %v", r.Kept)
	}
	if d := distance(t, before, answers(t, model(t, g))); d > 1e-2 {
		t.Errorf("the answers are %.2g apart", d)
	}
	g = Edit(m)
	r, err = g.Half(HalfOptions{Precision: BFloat16, Keep: func(n *protos.NodeProto) bool { return n.OpType == "Conv" }})
	if err != nil || len(r.Kept) != 1 {
		t.Errorf("bfloat16 keeps %v (%v)", r.Kept, err)
	}
	model(t, g)
}

func TestUpgrade(t *testing.T) {
	m := old(t)
	before := answers(t, m)
	for _, version := range []int{11, 13, 17, 18, 21} {
		g := Edit(m)
		if err := g.Upgrade(version); err != nil {
			t.Fatal(err)
		}
		if g.Opset() != version {
			t.Errorf("operator set %d", g.Opset())
		}
		if d := distance(t, before, answers(t, model(t, g))); d > 1e-5 {
			t.Errorf("operator set %d changed the answers by %.2g", version, d)
		}
	}
}

// old is a model in operator set 9 with every operator whose form changed later.
func old(t *testing.T) *onnx.Model {
	b := newNet(3)
	x := b.conv("a", "image", 3, 6, 3, 1)
	x = b.Node("Clip", "clip", []string{x}, onnx.FloatOf("min", -1), onnx.FloatOf("max", 2))
	x = b.Node("Pad", "pad", []string{x}, onnx.IntsOf("pads", 0, 0, 1, 1, 0, 0, 1, 1), onnx.FloatOf("value", 0.5))
	x = b.Node("Slice", "slice", []string{x}, onnx.IntsOf("starts", 0, 1), onnx.IntsOf("ends", 6, 9), onnx.IntsOf("axes", 1, 2))
	x = b.Node("Upsample", "up", []string{x, b.Tensor("scales", []int{4}, []float32{1, 1, 2, 2})}, &protos.AttributeProto{Name: "mode", Type: protos.AttributeProto_STRING, S: []byte("nearest")})
	x = b.Node("Dropout", "drop", []string{x}, onnx.FloatOf("ratio", 0.5))
	b.Node("Split", "split", []string{x}, onnx.IntOf("axis", 1), onnx.IntsOf("split", 2, 4))
	x = b.Node("ReduceMean", "mean", []string{"split"}, onnx.IntsOf("axes", 3), onnx.IntOf("keepdims", 0))
	x = b.Node("ReduceSum", "sum", []string{x}, onnx.IntsOf("axes", 2), onnx.IntOf("keepdims", 0))
	x = b.Node("Unsqueeze", "un", []string{x}, onnx.IntsOf("axes", 2, 3))
	x = b.Node("Squeeze", "sq", []string{x}, onnx.IntsOf("axes", 3))
	x = b.Node("Softmax", "soft", []string{b.Node("Flatten", "f", []string{x}, onnx.IntOf("axis", 1))}, onnx.IntOf("axis", 1))
	b.Node("Gemm", onnx.OutputName, []string{x, b.wave("w", 2, 3), b.wave("bias", 3)})
	m, err := b.Model(3, onnx.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	p := m.Proto()
	p.OpsetImport[0].Version, p.IrVersion = 9, 4
	for _, n := range p.Graph.Node {
		if n.OpType == "Split" {
			n.Output = append(n.Output, "split.2")
		}
	}
	for _, v := range p.Graph.Initializer { // format 3 wanted initializers among the inputs
		p.Graph.Input = append(p.Graph.Input, &protos.ValueInfoProto{Name: v.Name, Type: &protos.TypeProto{Value: &protos.TypeProto_TensorType{TensorType: &protos.TypeProto_Tensor{ElemType: 1}}}})
	}
	m, err = onnx.New(p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestUpgradeRefusal(t *testing.T) {
	b := newNet(3)
	x := b.conv("a", "image", 3, 6, 3, 1)
	m := b.head(t, b.Node("Softmax", "soft", []string{x}, onnx.IntOf("axis", 1)), 6)
	p := m.Proto()
	p.OpsetImport[0].Version = 11
	m, err := onnx.New(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := Edit(m).Upgrade(13); err == nil || !strings.Contains(err.Error(), `the Softmax node "soft": it flattens several axes`) {
		t.Errorf("%v", err)
	}
}

func TestDiff(t *testing.T) {
	m := networks[0].build(t)
	if d := Diff(m, m.Clone()); len(d) != 0 {
		t.Errorf("a copy differs: %v", d)
	}
	changed := m.Clone()
	w, _ := changed.Tensor("a.b")
	w.Data[2] += 0.5
	if err := changed.SetTensor("a.b", w.Data); err != nil {
		t.Fatal(err)
	}
	if d := Diff(m, changed); fmt.Sprint(d) != "[~ weight a.b: FLOAT [6] → FLOAT [6], values up to 0.5 apart]" {
		t.Errorf("%v", d)
	}
	g := Edit(m)
	if n, err := g.FoldNormalization(); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	var text []string
	for _, c := range Diff(m, model(t, g)) {
		text = append(text, c.String())
	}
	for _, want := range []string{"- operator BatchNormalization: 1", "- weight n.scale: FLOAT [6]", "~ weight a.w: FLOAT [6 3 3 3] → FLOAT [6 3 3 3], values up to", "- node a: Conv(image, a.w, a.b, "} {
		if !strings.Contains(strings.Join(text, "\n"), want) {
			t.Errorf("no %q in\n%s", want, strings.Join(text, "\n"))
		}
	}
}

// TestSharedWeightsFold: a kernel that two convolutions share is copied before a normalization goes into one of them.
func TestSharedWeightsFold(t *testing.T) {
	b := newNet(3)
	x := b.conv("a", "image", 3, 3, 3, 1)
	y := b.norm("n", b.Node("Conv", "again", []string{x, "a.w"}, onnx.IntsOf("pads", 1, 1, 1, 1)), 3)
	m := b.head(t, b.norm("left", y, 3), 3)
	before := answers(t, m)
	g := Edit(m)
	if n, err := g.FoldNormalization(); n != 2 || err != nil {
		t.Errorf("folded %d (%v)", n, err)
	}
	if d := distance(t, before, answers(t, model(t, g))); d > 1e-5 {
		t.Errorf("answers %.2g apart", d)
	}
}

// FuzzSurgery: whatever onnx accepts, surgery must change or refuse in words.
func FuzzSurgery(f *testing.F) {
	for _, c := range networks {
		b, err := proto.Marshal(c.build(&testing.T{}).Proto())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := onnx.Parse(b); err == nil {
			everySurgery(m)
		}
	})
}
