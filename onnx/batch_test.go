package onnx

import "testing"

func TestWithBatch(t *testing.T) {
	b := NewBuilder("net", 3, 8, 8)
	x := b.Node("GlobalAveragePool", "pool", []string{InputName})
	b.Node("Flatten", OutputName, []string{x}, IntOf("axis", 1))
	m, err := b.Model(3, Meta{Classes: []string{"a", "b", "c"}})
	if err != nil {
		t.Fatal(err)
	}
	fixed, err := m.WithBatch(4)
	if err != nil {
		t.Fatal(err)
	}
	if m.Input().Batch != 0 || fixed.Input().Batch != 4 || len(fixed.Meta().Classes) != 3 {
		t.Errorf("%+v became %+v", m.Input(), fixed.Input())
	}
	if _, err := fixed.WithBatch(5); err == nil {
		t.Error("a model of batches of 4 became one of 5")
	}
	if _, err := m.WithBatch(0); err == nil {
		t.Error("a batch of none was accepted")
	}
}
