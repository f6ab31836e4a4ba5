package cpu

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute-onnx/support/protos"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	onnxruntime "github.com/yalue/onnxruntime_go"
	"google.golang.org/protobuf/proto"

	"github.com/darkroom-dev/darkroom/learn/cpu/kernel"
)

const (
	operatorSet = 21 // of ONNX, whose meaning of each operator the lowering is written for
	irVersion   = 10 // of the model format, the one that came with operator set 21
)

// placeholder is the input of a computation without parameters: ONNX Runtime's binding cannot run one without inputs.
var placeholder = shapes.Make(dtypes.Int32, 1)

// compile lowers the nodes that the results need to an ONNX model and opens a session on it.
func compile(b *Builder) (*Executable, error) {
	g := &lowering{graph: &protos.GraphProto{Name: "computation"}, names: map[*value]string{}}
	if !b.backend.options.plain {
		b.main.combine()
	}
	nodes := b.main.neededNodes()
	e := &Executable{backend: b.backend, name: b.name, footprint: footprint(nodes, b.main.results)}
	for i, p := range b.main.parameters {
		g.parameter(i, p)
		e.inputNames = append(e.inputNames, p.name)
		e.inputShapes = append(e.inputShapes, p.shape)
	}
	if len(b.main.parameters) == 0 {
		g.graph.Input = append(g.graph.Input, valueInfo("in0", placeholder))
		storage, err := b.backend.pool.take(placeholder)
		if err != nil {
			return nil, err
		}
		e.placeholder = storage
	}
	copies := g.results(b.main.results)
	for _, n := range nodes {
		if err := g.node(n); err != nil {
			return nil, err
		}
	}
	g.graph.Node = append(g.graph.Node, copies...)
	for _, r := range b.main.results {
		e.outputShapes = append(e.outputShapes, r.shape)
	}
	if b.backend.options.planning {
		return e, nil
	}
	session, err := g.session(b.backend.options)
	if err != nil {
		return nil, err
	}
	e.session = session
	e.cleanup = runtime.AddCleanup(e, func(s *onnxruntime.DynamicAdvancedSession) { s.Destroy() }, session)
	return e, nil
}

// combine makes one operator of several where package kernel has it. The results are set.
func (f *Function) combine() {
	f.activate()
	f.joinGelus()
	f.joinProducts()
	f.joinNormed()
	f.nodes = fuse(joinDense(joinLayerNorms(f.neededNodes(), f.results), f.results), f.results)
}

// neededNodes returns the nodes that the results depend on, in order.
func (f *Function) neededNodes() []*node {
	seen := needed(f.results)
	var list []*node
	for _, n := range f.nodes {
		if seen[n] {
			list = append(list, n)
		}
	}
	return list
}

// needed returns the nodes that the results depend on.
func needed(results []*value) map[*node]bool {
	seen := map[*node]bool{}
	var stack []*node
	visit := func(v *value) {
		if v != nil && v.node != nil && !seen[v.node] {
			seen[v.node] = true
			stack = append(stack, v.node)
		}
	}
	for _, r := range results {
		visit(r)
	}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, in := range n.inputs {
			visit(in)
		}
	}
	return seen
}

// lowering is an ONNX graph in the making.
type lowering struct {
	graph *protos.GraphProto
	names map[*value]string // of values whose name in the graph is not their own
}

// name returns what v is called in the graph.
func (g *lowering) name(v *value) string {
	if name, ok := g.names[v]; ok {
		return name
	}
	return v.name
}

// parameter adds the input in<i>. A scalar enters as a vector of one element; see boundaryDimensions.
func (g *lowering) parameter(i int, p *value) {
	name := fmt.Sprintf("in%d", i)
	g.graph.Input = append(g.graph.Input, valueInfo(name, p.shape))
	if p.shape.Rank() > 0 {
		g.names[p] = name
		return
	}
	g.graph.Node = append(g.graph.Node, &protos.NodeProto{Name: p.name, OpType: "Reshape",
		Input: []string{name, g.vector(name+"_shape", nil)}, Output: []string{p.name}})
}

// results adds the outputs out<i>. An operator's output is written straight into its first result; the nodes returned
// copy what else is a result: a parameter, a constant, a scalar, a value that is a result already.
func (g *lowering) results(results []*value) (copies []*protos.NodeProto) {
	for i, r := range results {
		name := fmt.Sprintf("out%d", i)
		g.graph.Output = append(g.graph.Output, valueInfo(name, r.shape))
		_, named := g.names[r]
		if r.node != nil && r.node.constant == nil && r.shape.Rank() > 0 && !named {
			g.names[r] = name
			continue
		}
		n := &protos.NodeProto{Name: name, OpType: "Identity", Input: []string{g.name(r)}, Output: []string{name}}
		if r.shape.Rank() == 0 {
			n.OpType = "Reshape"
			n.Input = append(n.Input, g.vector(name+"_shape", []int64{1}))
		}
		copies = append(copies, n)
	}
	return copies
}

// vector adds a constant vector and returns its name.
func (g *lowering) vector(name string, list []int64) string {
	g.graph.Initializer = append(g.graph.Initializer, &protos.TensorProto{
		Name: name, DataType: int32(protos.TensorProto_INT64), Dims: []int64{int64(len(list))}, Int64Data: list,
	})
	return name
}

func (g *lowering) node(n *node) error {
	if n.constant != nil {
		return g.constant(n.outputs[0], n.constant)
	}
	p := &protos.NodeProto{Name: n.outputs[0].name, OpType: n.operator, Domain: n.domain, Attribute: n.attributes}
	for _, in := range n.inputs {
		if in == nil { // an optional input left out
			p.Input = append(p.Input, "")
			continue
		}
		p.Input = append(p.Input, g.name(in))
	}
	for _, out := range n.outputs {
		p.Output = append(p.Output, g.name(out))
		if n.domain == kernel.Domain && g.name(out) == out.name { // ONNX Runtime cannot infer the shape; of a result it is told anyway
			g.graph.ValueInfo = append(g.graph.ValueInfo, valueInfo(out.name, out.shape))
		}
	}
	g.graph.Node = append(g.graph.Node, p)
	return nil
}

// maximumModel is the most that protobuf can carry in one message.
const maximumModel = 2<<30 - 1

func (g *lowering) constant(v *value, flat any) error {
	var raw []byte
	if v.shape.Size() > 0 {
		raw = dtypes.UnsafeByteSliceFromAny(flat)
	}
	if len(raw) > maximumModel/2 {
		return fmt.Errorf("constant of shape %s is too large; make it a parameter", v.shape)
	}
	t := &protos.TensorProto{Name: v.name, DataType: int32(elementTypes[v.shape.DType].model), RawData: raw}
	for _, d := range v.shape.Dimensions {
		t.Dims = append(t.Dims, int64(d))
	}
	g.graph.Initializer = append(g.graph.Initializer, t)
	return nil
}

func valueInfo(name string, shape shapes.Shape) *protos.ValueInfoProto {
	dims := &protos.TensorShapeProto{}
	for _, d := range boundaryDimensions(shape) {
		dims.Dim = append(dims.Dim, &protos.TensorShapeProto_Dimension{Value: &protos.TensorShapeProto_Dimension_DimValue{DimValue: d}})
	}
	return &protos.ValueInfoProto{Name: name, Type: &protos.TypeProto{Value: &protos.TypeProto_TensorType{
		TensorType: &protos.TypeProto_Tensor{ElemType: int32(elementTypes[shape.DType].model), Shape: dims},
	}}}
}

// session serializes the graph and opens it.
func (g *lowering) session(o Options) (*onnxruntime.DynamicAdvancedSession, error) {
	model, err := proto.Marshal(&protos.ModelProto{
		IrVersion: irVersion,
		Graph:     g.graph,
		OpsetImport: []*protos.OperatorSetIdProto{
			{Domain: "", Version: operatorSet}, {Domain: runtimeDomain, Version: 1}, {Domain: kernel.Domain, Version: 1},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("writing the ONNX model: %w", err)
	}
	settings, err := sessionOptions(o)
	if err != nil {
		return nil, err
	}
	defer settings.Destroy()
	session, err := onnxruntime.NewDynamicAdvancedSessionWithONNXData(model, names(g.graph.Input), names(g.graph.Output), settings)
	if err != nil {
		if missingKernel(err) {
			return nil, fmt.Errorf("%w: %w", compute.ErrNotImplemented, err)
		}
		return nil, fmt.Errorf("ONNX Runtime refuses the graph: %w", err)
	}
	return session, nil
}

// missingKernel recognises ONNX Runtime's ways of saying that an operator has no kernel for an element type.
func missingKernel(err error) bool {
	message := err.Error()
	return strings.Contains(message, "NOT_IMPLEMENTED") || strings.Contains(message, "Could not find an implementation") ||
		(strings.Contains(message, "Type 'tensor(") && strings.Contains(message, "is invalid"))
}

func names(list []*protos.ValueInfoProto) []string {
	names := make([]string, len(list))
	for i, v := range list {
		names[i] = v.Name
	}
	return names
}

// Session settings for what ONNX Runtime's threads do between operators: they wait in a busy loop for so many microseconds. To wake a thread takes
// as long as many an operator; the default of a millisecond takes a fifth more processor time, from the data loader among others.
const (
	allowSpinning = "session.intra_op.allow_spinning"
	spinDuration  = "session.intra_op.spin_duration_us"
	spinTime      = "50"
)

// sessionOptions are those on which a result's bits may depend, all explicit. Denormals are left as they are: the
// setting that flushes them changes the calling OS thread's mode for good, and goroutines move between threads.
func sessionOptions(o Options) (*onnxruntime.SessionOptions, error) {
	s, err := onnxruntime.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("session options: %w", err)
	}
	steps := []error{
		s.SetIntraOpNumThreads(o.Threads),
		s.SetInterOpNumThreads(1),
		s.SetExecutionMode(onnxruntime.ExecutionModeSequential),
		s.SetGraphOptimizationLevel(onnxruntime.GraphOptimizationLevelEnableAll),
		s.SetLogSeverityLevel(onnxruntime.LoggingLevelError),
		// A planned block comes on top of what the first run took from the arena: without plans a step needs half of the
		// memory and no more time.
		s.SetMemPattern(false),
		s.SetCpuMemArena(true),
		s.AddSessionConfigEntry(allowSpinning, "1"),
		s.AddSessionConfigEntry(spinDuration, spinTime),
		s.RegisterCustomOpsLibrary(kernel.Library),
	}
	if o.Profile != "" {
		steps = append(steps, s.EnableProfiling(o.Profile))
	}
	for _, err := range steps {
		if err != nil {
			s.Destroy()
			return nil, fmt.Errorf("session options: %w", err)
		}
	}
	return s, nil
}
