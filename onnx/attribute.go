package onnx

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"
)

func attribute(n *protos.NodeProto, name string) *protos.AttributeProto {
	for _, a := range n.Attribute {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Int returns an integer attribute, or def when the node does not have it.
func Int(n *protos.NodeProto, name string, def int) int {
	if a := attribute(n, name); a != nil {
		return int(a.I)
	}
	return def
}

// Float returns a number attribute, or def when the node does not have it.
func Float(n *protos.NodeProto, name string, def float64) float64 {
	if a := attribute(n, name); a != nil {
		return float64(a.F)
	}
	return def
}

// Text returns a string attribute, or def when the node does not have it.
func Text(n *protos.NodeProto, name, def string) string {
	if a := attribute(n, name); a != nil {
		return string(a.S)
	}
	return def
}

// Ints returns a list attribute, or nil when the node does not have it.
func Ints(n *protos.NodeProto, name string) []int {
	a := attribute(n, name)
	if a == nil {
		return nil
	}
	list := make([]int, len(a.Ints))
	for i, v := range a.Ints {
		list[i] = int(v)
	}
	return list
}

// TensorAttribute returns a float32 tensor attribute, as Constant has one.
func TensorAttribute(n *protos.NodeProto, name string) (Tensor, error) {
	a := attribute(n, name)
	if a == nil || a.T == nil {
		return Tensor{}, fmt.Errorf("%s has no attribute %q", NodeText(n), name)
	}
	if err := checkTensor(a.T); err != nil {
		return Tensor{}, fmt.Errorf("%s: %w", NodeText(n), err)
	}
	if a.T.DataType != int32(protos.TensorProto_FLOAT) {
		return Tensor{}, fmt.Errorf("%s: its attribute %q is not float32", NodeText(n), name)
	}
	return floats(a.T), nil
}
