package onnx

import (
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// FeaturesName is the output of a backbone, (N, width).
const FeaturesName = "features"

// makers returns the node that makes each value.
func (m *Model) makers() map[string]*protos.NodeProto {
	out := map[string]*protos.NodeProto{}
	for _, n := range m.proto.Graph.Node {
		for _, o := range n.Output {
			out[o] = n
		}
	}
	return out
}

// Features returns the value that the classifier takes, (N, width): what the model knows of an image before it decides. Errors are sentences: the model
// ends in something else, or its classifier sees places of the image, which differ from image to image (no pooling).
func (m *Model) Features() (value string, width int, err error) {
	h, err := m.findHead()
	if err != nil {
		return "", 0, fmt.Errorf("finding the classifier: %w", err)
	}
	makers := m.makers()
	n := makers[m.output.Name]
	for n.OpType != "Gemm" && n.OpType != "MatMul" {
		if n.OpType == "Conv" {
			return "", 0, fmt.Errorf("the classifier %s is a convolution, so there are no features of the whole image before it", NodeText(n))
		}
		for _, in := range n.Input {
			if makers[in] != nil && makers[in].OpType != "Constant" {
				n = makers[in]
				break
			}
		}
	}
	value = n.Input[0]
	if err := pooled(makers, value); err != nil {
		return "", 0, err
	}
	for p := makers[value]; p != nil && p.OpType == "Dropout"; p = makers[value] {
		value = p.Input[0]
	}
	return value, h.features, nil
}

// pooled checks that the features are of the whole image: on the way back from them comes a pooling, a mean or a choice of one token before any
// convolution.
func pooled(makers map[string]*protos.NodeProto, value string) error {
	for n := makers[value]; n != nil; n = makers[value] {
		switch n.OpType {
		case "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "AveragePool", "MaxPool", "Gather", "Slice", "LayerNormalization", "MatMul":
			return nil
		case "Conv", "BatchNormalization", "Add":
			return fmt.Errorf("%s is followed by the classifier without a pooling, so its features are those of places and not of the whole image", NodeText(n))
		}
		value = n.Input[0]
	}
	return fmt.Errorf("the classifier takes the image itself")
}

// Backbone returns a copy of the model that ends at its features: without its classifier, its classes and whatever else only they needed.
func (m *Model) Backbone() (*Model, error) {
	value, width, err := m.Features()
	if err != nil {
		return nil, err
	}
	return m.cut(value, width)
}

// EndAtFeatures returns a copy of a model that goes on behind a backbone's features, which are that wide, without what is behind them.
func (m *Model) EndAtFeatures(width int) (*Model, error) { return m.cut(FeaturesName, width) }

// cut returns a copy that ends at a value.
func (m *Model) cut(value string, width int) (*Model, error) {
	p := proto.Clone(m.proto).(*protos.ModelProto)
	needed := map[string]bool{value: true}
	var kept []*protos.NodeProto
	for i := len(p.Graph.Node) - 1; i >= 0; i-- {
		n := p.Graph.Node[i]
		wanted := false
		for _, out := range n.Output {
			wanted = wanted || needed[out]
		}
		if !wanted {
			continue
		}
		for _, in := range n.Input {
			needed[in] = true
		}
		kept = append([]*protos.NodeProto{n}, kept...)
	}
	var tensors []*protos.TensorProto
	for _, t := range p.Graph.Initializer {
		if needed[t.Name] {
			tensors = append(tensors, t)
		}
	}
	if value != FeaturesName {
		kept = append(kept, &protos.NodeProto{OpType: "Identity", Name: FeaturesName, Input: []string{value}, Output: []string{FeaturesName}})
	}
	p.Graph.Node, p.Graph.Initializer, p.Graph.ValueInfo = kept, tensors, nil
	p.Graph.Output = []*protos.ValueInfoProto{port(FeaturesName, width)}
	out, err := New(p)
	if err != nil {
		return nil, fmt.Errorf("taking the classifier off: %w", err)
	}
	meta := out.Meta()
	meta.Classes, meta.Task = nil, "features"
	return out, out.SetMeta(meta)
}

// Extend returns a builder that goes on with a copy of the model's graph, whose outputs are forgotten.
func (m *Model) Extend() *Builder {
	p := proto.Clone(m.proto).(*protos.ModelProto)
	p.Graph.Output, p.Graph.ValueInfo = nil, nil
	return &Builder{graph: p.Graph}
}

// Grow returns a copy with the nodes and tensors that add makes behind values of the graph; ports and metadata stay.
func (m *Model) Grow(add func(b *Builder)) (*Model, error) {
	p := proto.Clone(m.proto).(*protos.ModelProto)
	p.Graph.ValueInfo = nil
	add(&Builder{graph: p.Graph})
	out, err := New(p)
	if err != nil {
		return nil, fmt.Errorf("adding to the model: %w", err)
	}
	return out, nil
}
