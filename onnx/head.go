package onnx

import (
	"errors"
	"fmt"
	"math"

	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// head is a model's classifier: the last product before the output, with what shifts its result.
type head struct {
	axes     map[string]int // of each of its initializers: the axis of the classes
	features int            // that it takes
}

// findHead goes back from the output through what shifts or reshapes to a product with an initializer.
func (m *Model) findHead() (head, error) {
	h := head{axes: map[string]int{}}
	makers := m.makers()
	for n := makers[m.output.Name]; n != nil; {
		var flows []string
		for _, in := range n.Input {
			t, ok := m.Tensor(in)
			switch {
			case ok && n.OpType == "Add" && len(t.Dims) > 0:
				h.axes[in] = len(t.Dims) - 1
			case !ok && makers[in] != nil && makers[in].OpType != "Constant":
				flows = append(flows, in)
			}
		}
		switch n.OpType {
		case "Gemm", "MatMul", "Conv":
			return h, m.headWeights(n, &h)
		case "Add", "Reshape", "Flatten", "Identity", "Squeeze":
		default:
			return h, fmt.Errorf("before the output comes %s", NodeText(n))
		}
		if len(flows) != 1 {
			return h, fmt.Errorf("several ways lead to %s", NodeText(n))
		}
		n = makers[flows[0]]
	}
	return h, errors.New("no product leads to the output")
}

// headWeights notes the initializers of the product itself.
func (m *Model) headWeights(n *protos.NodeProto, h *head) error {
	w, ok := m.Tensor(n.Input[1])
	if !ok || len(w.Dims) < 2 {
		return fmt.Errorf("the weights of %s are no initializer", NodeText(n))
	}
	axis := 1
	if n.OpType == "Conv" || n.OpType == "Gemm" && Int(n, "transB", 0) != 0 {
		axis = 0
	}
	h.axes[n.Input[1]] = axis
	h.features = 1
	for i, d := range w.Dims {
		if i != axis {
			h.features *= d
		}
	}
	if len(n.Input) > 2 && n.Input[2] != "" {
		if _, ok := m.Tensor(n.Input[2]); !ok {
			return fmt.Errorf("the bias of %s is no initializer", NodeText(n))
		}
		h.axes[n.Input[2]] = 0
	}
	return nil
}

// ReplaceHead returns a copy of the model whose classifier, the last product before its output, has so many classes and fresh weights: numbers even
// within ±1/√(features), as PyTorch starts a linear layer, a function of the seed. Everything else is kept. It also returns the names of the initializers that
// are new.
func (m *Model) ReplaceHead(classes int, seed uint64) (*Model, []string, error) {
	if classes < 1 {
		return nil, nil, fmt.Errorf("a classifier of %d classes", classes)
	}
	h, err := m.findHead()
	if err != nil {
		return nil, nil, fmt.Errorf("finding the classifier: %w", err)
	}
	p := proto.Clone(m.proto).(*protos.ModelProto)
	limit := 1 / math.Sqrt(float64(h.features))
	var names []string
	place := uint64(0)
	for k, t := range p.Graph.Initializer {
		axis, ok := h.axes[t.Name]
		if !ok {
			continue
		}
		dims, size := make([]int, len(t.Dims)), 1
		for i, d := range t.Dims {
			dims[i] = int(d)
			if i == axis {
				dims[i] = classes
			}
			size *= dims[i]
		}
		data := make([]float32, size)
		for i := range data {
			data[i] = float32((2*evenly(seed, place) - 1) * limit)
			place++
		}
		p.Graph.Initializer[k] = NewTensor(t.Name, dims, data)
		names = append(names, t.Name)
	}
	p.Graph.ValueInfo = nil // says the sizes of before
	if dims := p.Graph.Output[0].GetType().GetTensorType().GetShape().GetDim(); len(dims) == 2 {
		dims[1].Value = &protos.TensorShapeProto_Dimension_DimValue{DimValue: int64(classes)}
	}
	out, err := New(p)
	if err != nil {
		return nil, nil, fmt.Errorf("replacing the classifier: %w", err)
	}
	meta := out.Meta()
	meta.Classes = nil
	return out, names, out.SetMeta(meta)
}

// evenly returns number i of a stream, 0 ≤ u < 1 (SplitMix64's output function over a counter, Steele et al. 2014).
func evenly(seed, i uint64) float64 {
	z := seed ^ 0x68656164 + (i+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) * 0x1p-53
}
