package onnx

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// wide has one initializer that is large enough to lie beside the model.
func wide(t testing.TB) *Model {
	t.Helper()
	b := NewBuilder("wide", 1, 20, 20)
	x := b.Node("Flatten", "flat", []string{InputName}, IntOf("axis", 1))
	w := make([]float32, 800)
	for i := range w {
		w[i] = float32(i)
	}
	b.Node("Gemm", OutputName, []string{x, b.Tensor("w", []int{2, 400}, w), b.Tensor("b", []int{2}, []float32{0, 1})}, IntOf("transB", 1))
	m, err := b.Model(2, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestExternalDataComesBack(t *testing.T) {
	m, dir := wide(t), t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	if err := m.SaveExternal(path, "m.data"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 1000 {
		t.Errorf("the model itself has %v bytes (%v)", info.Size(), err)
	}
	back, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := m.Bytes()
	b, _ := back.Bytes()
	if !bytes.Equal(a, b) {
		t.Error("the model changed on its way")
	}
	if err := m.SaveExternal(path, "../m.data"); err == nil {
		t.Error("values were written outside of the model's folder")
	}
}

func TestExternalDataRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(e map[string]string, dir string)
		want  string
	}{
		"escape":   {func(e map[string]string, _ string) { e["location"] = "../m.data" }, "not in the model's folder"},
		"absolute": {func(e map[string]string, _ string) { e["location"] = "/etc/passwd" }, "not in the model's folder"},
		"link": {func(e map[string]string, dir string) {
			e["location"] = "link"
			_ = os.Symlink("/etc/passwd", filepath.Join(dir, "link"))
		}, "cannot be read"},
		"missing": {func(e map[string]string, _ string) { e["location"] = "other" }, "cannot be read"},
		"folder": {func(e map[string]string, dir string) {
			e["location"] = "d"
			_ = os.Mkdir(filepath.Join(dir, "d"), 0o777)
		}, "bytes"},
		"truncated": {func(_ map[string]string, dir string) { _ = os.Truncate(filepath.Join(dir, "m.data"), 100) }, "has 100 bytes"},
		"offset":    {func(e map[string]string, _ string) { e["offset"] = "-1" }, "begin at byte -1"},
		"no number": {func(e map[string]string, _ string) { e["offset"] = "far" }, "not a number"},
		"length":    {func(e map[string]string, _ string) { e["length"] = "4" }, "need 3200"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "m.onnx")
		if err := wide(t).SaveExternal(path, "m.data"); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		p := &protos.ModelProto{}
		if err := proto.Unmarshal(b, p); err != nil {
			t.Fatal(err)
		}
		entries := map[string]string{}
		for _, e := range p.Graph.Initializer[0].ExternalData {
			entries[e.Key] = e.Value
		}
		c.spoil(entries, dir)
		p.Graph.Initializer[0].ExternalData = nil
		for _, k := range []string{"location", "offset", "length"} {
			p.Graph.Initializer[0].ExternalData = append(p.Graph.Initializer[0].ExternalData, &protos.StringStringEntryProto{Key: k, Value: entries[k]})
		}
		if b, err = proto.Marshal(p); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
