package onnx

import (
	"errors"
	"fmt"

	"github.com/gomlx/compute-onnx/support/protos"
)

// The operator sets whose operators have the meaning that the walks over a graph expect.
const minOpset, maxOpset = 9, 25

// check validates everything that walks over the graph rely on, and fills the views of it.
func (m *Model) check() error {
	g := m.proto.Graph
	if g == nil {
		return errors.New("it is not an ONNX model: it has no graph")
	}
	if v := m.OpsetVersion(); v < minOpset || v > maxOpset {
		return fmt.Errorf("its operator set is %d; versions %d to %d are understood", v, minOpset, maxOpset)
	}
	if len(m.proto.Functions) > 0 {
		return errors.New("it defines functions of its own, which are not supported; export it with its functions inlined")
	}
	if err := m.checkTensors(); err != nil {
		return err
	}
	if err := m.checkPorts(); err != nil {
		return err
	}
	if err := m.checkNodes(); err != nil {
		return err
	}
	_, err := m.readMeta()
	return err
}

// elementSizes are the sizes in bytes of the element types of initializers, by protos.TensorProto_DataType.
var elementSizes = map[int32]int{
	int32(protos.TensorProto_FLOAT): 4, int32(protos.TensorProto_DOUBLE): 8, int32(protos.TensorProto_FLOAT16): 2, int32(protos.TensorProto_BFLOAT16): 2,
	int32(protos.TensorProto_INT64): 8, int32(protos.TensorProto_INT32): 4, int32(protos.TensorProto_INT16): 2, int32(protos.TensorProto_INT8): 1,
	int32(protos.TensorProto_UINT64): 8, int32(protos.TensorProto_UINT32): 4, int32(protos.TensorProto_UINT16): 2, int32(protos.TensorProto_UINT8): 1,
	int32(protos.TensorProto_BOOL): 1,
}

// elementBits is the width of an element of that type in bits; 0 for types that are not understood.
func elementBits(typ int32) int {
	switch typ {
	case int32(protos.TensorProto_INT4), int32(protos.TensorProto_UINT4):
		return 4 // two in a byte
	}
	return 8 * elementSizes[typ]
}

func (m *Model) checkTensors() error {
	for i, t := range m.proto.Graph.Initializer {
		if t == nil || t.Name == "" {
			return fmt.Errorf("initializer %d has no name", i)
		}
		if m.tensors[t.Name] != nil {
			return fmt.Errorf("the initializer %q occurs twice", t.Name)
		}
		if err := checkTensor(t); err != nil {
			return fmt.Errorf("initializer %q: %w", t.Name, err)
		}
		m.tensors[t.Name] = t
	}
	return nil
}

func checkTensor(t *protos.TensorProto) error {
	if len(t.ExternalData) > 0 || t.DataLocation == protos.TensorProto_EXTERNAL {
		return errors.New("its values are in another file, which is read only from the model's folder; save the model with its data inside")
	}
	n, bits := elements(t.Dims), elementBits(t.DataType)
	if n < 0 {
		return fmt.Errorf("its dimensions %v are negative or too large", t.Dims)
	}
	if bits == 0 {
		return fmt.Errorf("its element type %d is not supported", t.DataType)
	}
	if len(t.RawData) > 0 {
		if size := (n*bits + 7) / 8; len(t.RawData) != size {
			return fmt.Errorf("it has %d bytes of values, its dimensions %v need %d", len(t.RawData), t.Dims, size)
		}
		return nil
	}
	if given := listedValues(t); given != n && !(bits == 4 && given == (n+1)/2) {
		return fmt.Errorf("it has %d values, its dimensions %v need %d", given, t.Dims, n)
	}
	return nil
}

// listedValues is how many values a tensor lists that has no raw ones.
func listedValues(t *protos.TensorProto) int {
	switch t.DataType {
	case int32(protos.TensorProto_FLOAT):
		return len(t.FloatData)
	case int32(protos.TensorProto_DOUBLE):
		return len(t.DoubleData)
	case int32(protos.TensorProto_INT64):
		return len(t.Int64Data)
	case int32(protos.TensorProto_UINT32), int32(protos.TensorProto_UINT64):
		return len(t.Uint64Data)
	}
	return len(t.Int32Data)
}

// checkPorts finds the image input and the output. Initializers may be listed as inputs too, as old exporters do.
func (m *Model) checkPorts() error {
	var images []*protos.ValueInfoProto
	for _, in := range m.proto.Graph.Input {
		if in != nil && !m.HasTensor(in.Name) {
			images = append(images, in)
		}
	}
	if len(images) != 1 {
		return fmt.Errorf("it has %d inputs; a model of images has one", len(images))
	}
	dims, err := dimensions(images[0])
	if err != nil {
		return fmt.Errorf("input %q: %w", images[0].Name, err)
	}
	if len(dims) != 4 {
		return fmt.Errorf("its input %q has %d dimensions; images have four: (N, C, H, W)", images[0].Name, len(dims))
	}
	m.input = Input{Name: images[0].Name, Batch: dims[0], Channels: dims[1], Height: dims[2], Width: dims[3]}
	if len(m.proto.Graph.Output) != 1 || m.proto.Graph.Output[0] == nil {
		return fmt.Errorf("it has %d outputs; a classifier has one", len(m.proto.Graph.Output))
	}
	out := m.proto.Graph.Output[0]
	m.output = Output{Name: out.Name}
	// Exporters may leave the output's shape open; only a shape that is there must fit.
	if dims, err := dimensions(out); err == nil && len(dims) > 0 {
		if len(dims) != 2 {
			return fmt.Errorf("its output %q has %d dimensions; a classifier's has two: (N, classes)", out.Name, len(dims))
		}
		m.output.Classes = dims[1]
	}
	return nil
}

// dimensions returns the sizes of a float32 port; 0 where one is open.
func dimensions(v *protos.ValueInfoProto) ([]int, error) {
	t := v.GetType().GetTensorType()
	if t == nil {
		return nil, errors.New("it is not a tensor")
	}
	if t.ElemType != int32(protos.TensorProto_FLOAT) {
		return nil, fmt.Errorf("its element type is %s, not FLOAT", protos.TensorProto_DataType(t.ElemType))
	}
	var dims []int
	for _, d := range t.GetShape().GetDim() {
		n := d.GetDimValue()
		if n < 0 || n > 1<<24 {
			return nil, fmt.Errorf("a dimension of %d", n)
		}
		dims = append(dims, int(n))
	}
	return dims, nil
}

// checkNodes checks that every value is defined once and before it is used.
func (m *Model) checkNodes() error {
	defined := map[string]bool{m.input.Name: true}
	for name := range m.tensors {
		if name == m.input.Name {
			return fmt.Errorf("%q is an input and an initializer", name)
		}
		defined[name] = true
	}
	for i, n := range m.proto.Graph.Node {
		if n == nil || n.OpType == "" || len(n.Output) == 0 {
			return fmt.Errorf("node %d has no operator or no output", i)
		}
		for _, in := range n.Input {
			if in != "" && !defined[in] {
				return fmt.Errorf("%s uses %q, which nothing before it defines", NodeText(n), in)
			}
		}
		for _, a := range n.Attribute {
			if a == nil || a.G != nil || len(a.Graphs) > 0 {
				return fmt.Errorf("%s has a graph inside; control flow is not supported", NodeText(n))
			}
		}
		for _, out := range n.Output {
			if out == "" {
				continue
			}
			if defined[out] {
				return fmt.Errorf("%s defines %q again", NodeText(n), out)
			}
			defined[out] = true
		}
	}
	if !defined[m.output.Name] {
		return fmt.Errorf("nothing defines its output %q", m.output.Name)
	}
	return nil
}

// NodeText names a node for messages: its operator and its name, or else its first output.
func NodeText(n *protos.NodeProto) string {
	name := n.Name
	if name == "" && len(n.Output) > 0 {
		name = n.Output[0]
	}
	return fmt.Sprintf("the %s node %q", n.OpType, name)
}
