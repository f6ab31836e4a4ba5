package onnx

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// small is a dense layer from one 2×2 image to two classes.
func small(t testing.TB) *Model {
	t.Helper()
	b := NewBuilder("small", 1, 2, 2)
	x := b.Node("Flatten", "flat", []string{InputName}, IntOf("axis", 1))
	b.Node("Gemm", OutputName, []string{x, b.Tensor("w", []int{2, 4}, []float32{1, 2, 3, 4, 5, 6, 7, 8}), b.Tensor("b", []int{2}, []float32{0, 1})}, IntOf("transB", 1))
	m, err := b.Model(2, Meta{Classes: []string{"cat", "dog"}, Task: "classification", Mean: []float64{0.5}, Std: []float64{0.25}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSaveAndLoad(t *testing.T) {
	m := small(t)
	if err := m.SetTensor("b", []float32{-1, 2.5}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	back, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := back.Meta(); !reflect.DeepEqual(got, m.Meta()) || got.Classes[1] != "dog" {
		t.Errorf("meta = %+v", got)
	}
	if b, ok := back.Tensor("b"); !ok || !reflect.DeepEqual(b, Tensor{[]int{2}, []float32{-1, 2.5}}) {
		t.Errorf("b = %v", b)
	}
	if in := back.Input(); in != (Input{InputName, 0, 1, 2, 2}) {
		t.Errorf("input = %+v", in)
	}
	if out := back.Output(); out != (Output{OutputName, 2}) {
		t.Errorf("output = %+v", out)
	}
	first, _ := m.Bytes()
	second, _ := back.Bytes()
	if !bytes.Equal(first, second) {
		t.Error("loading and saving changed the bytes")
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("saving left other files: %v", entries)
	}
	if back.OpsetVersion() != Opset || back.Parameters() != 10 {
		t.Errorf("opset %d, %d parameters", back.OpsetVersion(), back.Parameters())
	}
}

func TestCloneSharesNothing(t *testing.T) {
	m := small(t)
	c := m.Clone()
	if err := c.SetTensor("b", []float32{9, 9}); err != nil {
		t.Fatal(err)
	}
	if b, _ := m.Tensor("b"); b.Data[0] != 0 {
		t.Error("a change of the copy changed the original")
	}
}

func TestSetTensorRefusals(t *testing.T) {
	m := small(t)
	if m.SetTensor("b", []float32{1}) == nil || m.SetTensor("c", nil) == nil {
		t.Error("a tensor of another size or name was accepted")
	}
}

func TestParseRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(p *protos.ModelProto)
		want  string
	}{
		"no graph":       {func(p *protos.ModelProto) { p.Graph = nil }, "no graph"},
		"old opset":      {func(p *protos.ModelProto) { p.OpsetImport[0].Version = 6 }, "operator set is 6"},
		"two inputs":     {func(p *protos.ModelProto) { p.Graph.Input = append(p.Graph.Input, port("more", 1)) }, "2 inputs"},
		"rank":           {func(p *protos.ModelProto) { p.Graph.Input[0] = port(InputName, 4) }, "2 dimensions"},
		"undefined":      {func(p *protos.ModelProto) { p.Graph.Node[0].Input[0] = "nothing" }, `uses "nothing"`},
		"twice":          {func(p *protos.ModelProto) { p.Graph.Node[0].Output[0] = "w" }, `defines "w" again`},
		"no output":      {func(p *protos.ModelProto) { p.Graph.Output[0].Name = "other" }, "nothing defines"},
		"short tensor":   {func(p *protos.ModelProto) { p.Graph.Initializer[0].RawData = []byte{1} }, "1 bytes"},
		"negative":       {func(p *protos.ModelProto) { p.Graph.Initializer[0].Dims[0] = -2 }, "negative"},
		"overflow":       {func(p *protos.ModelProto) { p.Graph.Initializer[0].Dims = []int64{1 << 31, 1 << 31, 4} }, "too large"},
		"external":       {func(p *protos.ModelProto) { p.Graph.Initializer[0].DataLocation = protos.TensorProto_EXTERNAL }, "another file"},
		"property":       {func(p *protos.ModelProto) { p.MetadataProps[0].Value = "[" }, "darkroom.classes"},
		"zero deviation": {func(p *protos.ModelProto) { p.MetadataProps[3].Value = "[0]" }, "above 0"},
	} {
		p := proto.Clone(small(t).proto).(*protos.ModelProto)
		c.spoil(p)
		b, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse(nil); err == nil {
		t.Error("an empty file was accepted")
	}
}

func FuzzParse(f *testing.F) {
	b, err := small(f).Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte("not a model"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		for _, p := range m.Graph().Initializer {
			m.Tensor(p.Name)
			m.Int64s(p.Name)
		}
		m.Clone().Meta()
	})
}
