package onnx

import (
	"slices"
	"testing"
)

// PyTorch's exporters store equal weights once: scale and variance of a fresh normalisation, or what an Identity passes on.
func TestUntied(t *testing.T) {
	b := NewBuilder("tied", 2, 1, 1)
	ones, zeroes := b.Tensor("ones", []int{2}, []float32{1, 1}), b.Tensor("zeroes", []int{2}, []float32{0, 0})
	x := b.Node("BatchNormalization", "first", []string{InputName, ones, zeroes, zeroes, ones})
	x = b.Node("BatchNormalization", "second", []string{x, b.Node("Identity", "own", []string{ones}), zeroes, zeroes, ones})
	x = b.Node("Flatten", "flat", []string{x})
	shared := b.Tensor("matrix", []int{2, 2}, []float32{1, 2, 3, 4})
	b.Node("MatMul", OutputName, []string{b.Node("MatMul", "one", []string{x, shared}), shared})
	m, err := b.Model(2, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	u := m.Untied()
	var inputs []string
	for _, n := range u.Graph().Node {
		if n.OpType == "Identity" {
			t.Error("the Identity is still there")
		}
		if n.OpType == "BatchNormalization" {
			inputs = append(inputs, n.Input[1:]...)
		}
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(inputs)))
	if len(inputs) != 8 || len(distinct) != 8 || !slices.Contains(inputs, "own") {
		t.Errorf("normalisations use %v", inputs)
	}
	if got, ok := u.Tensor("own"); !ok || got.Data[0] != 1 {
		t.Error("the copy is not what the Identity passed on")
	}
	if n := len(u.Graph().Initializer); n != 9 {
		t.Errorf("%d initializers, want 8 vectors and the matrix, which stays shared", n)
	}
	if u.Untied() != u {
		t.Error("an untied model was copied again")
	}
	if len(m.Graph().Initializer) != 3 {
		t.Error("the original was changed")
	}
}
