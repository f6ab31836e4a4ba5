package cpu

import (
	"errors"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// doubled puts x (1024, 256), one MiB, beside itself twice, and sums the columns: two and four MiB are there at once.
func doubled(f compute.Function, p []compute.Value) ([]compute.Value, error) {
	a, err := f.Concatenate(0, p[0], p[0])
	if err != nil {
		return nil, err
	}
	b, err := f.Concatenate(0, a, a)
	if err != nil {
		return nil, err
	}
	sum, err := f.ReduceSum(b, 0)
	return []compute.Value{sum}, err
}

// A computation knows what it takes, on a device that executes and on one that only plans.
func TestFootprint(t *testing.T) {
	b := newBackend(t, 1)
	planning := b.(*Backend).Planning()
	defer planning.Finalize()
	for name, device := range map[string]compute.Backend{"executing": b, "planning": planning} {
		e := compiled(t, device, [][]int{{1024, 256}}, doubled)
		results, values := e.(*Executable).Footprint()
		if results != 1024 || values != 6<<20 {
			t.Errorf("%s: %d bytes of results and %d of values", name, results, values)
		}
	}
}

// What only plans has no memory and executes nothing.
func TestPlanningExecutesNothing(t *testing.T) {
	planning := newBackend(t, 1).(*Backend).Planning()
	defer planning.Finalize()
	x, err := planning.BufferFromFlatData(0, make([]float32, 1024*256), shapes.Make(dtypes.Float32, 1024, 256))
	if err != nil {
		t.Fatal(err)
	}
	if err := x.ToFlatData(make([]float32, 1024*256)); !errors.Is(err, errPlanning) {
		t.Errorf("reading: %v", err)
	}
	if _, err := compiled(t, planning, [][]int{{1024, 256}}, doubled).Execute([]compute.Buffer{x}, nil, 0); !errors.Is(err, errPlanning) {
		t.Errorf("executing: %v", err)
	}
	if _, _, err := planning.NewSharedBuffer(0, shapes.Make(dtypes.Float32, 4)); !errors.Is(err, errPlanning) || planning.HasSharedBuffers() {
		t.Errorf("sharing: %v", err)
	}
	if err := x.Finalize(); err != nil {
		t.Error(err)
	}
}

// An operator of ONNX Runtime's that writes over an input which dies there takes no memory of its own; one whose input is read again does.
func TestFootprintInPlace(t *testing.T) {
	shape := shapes.Make(dtypes.Float32, 1024)
	p := &value{name: "in", shape: shape}
	make := func(operator string, in ...*value) *value {
		v := &value{name: operator, shape: shape}
		v.node = &node{operator: operator, inputs: in, outputs: []*value{v}}
		return v
	}
	a := make("Transpose", p)
	s := make("Softmax", a)
	r := make("Transpose", s)
	if got := footprint([]*node{a.node, s.node, r.node}, []*value{r}); got != (Footprint{Results: 4096, Values: 4096}) {
		t.Errorf("in place: %+v", got)
	}
	sum := make("Add", s, a)
	last := make("Transpose", sum)
	if got := footprint([]*node{a.node, s.node, sum.node, last.node}, []*value{last}); got != (Footprint{Results: 4096, Values: 2 * 4096}) {
		t.Errorf("an input that is read again: %+v", got)
	}
	view := make("Reshape", a)
	end := make("Transpose", view)
	if got := footprint([]*node{a.node, view.node, end.node}, []*value{end}); got != (Footprint{Results: 4096, Values: 4096}) {
		t.Errorf("a view: %+v", got)
	}
}
