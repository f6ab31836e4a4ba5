package surgery

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/gomlx/compute-onnx/support/protos"

	"github.com/darkroom-dev/darkroom/onnx"
)

// Change is one difference between two models.
type Change struct {
	What string // "opset", "operator", "node", "weight" or "property"
	Name string // of the node, initializer, operator or property
	Old  string // "" where it is new
	New  string // "" where it is gone
}

func (c Change) String() string {
	switch {
	case c.Old == "":
		return fmt.Sprintf("+ %s %s: %s", c.What, c.Name, c.New)
	case c.New == "":
		return fmt.Sprintf("- %s %s: %s", c.What, c.Name, c.Old)
	}
	return fmt.Sprintf("~ %s %s: %s → %s", c.What, c.Name, c.Old, c.New)
}

// Diff lists what differs between two models: the operator set, how many nodes of each operator there are, nodes by the name of their first
// output, initializers by name (shape, type, or how far their values are apart), and metadata. Equal models have none.
func Diff(before, after *onnx.Model) []Change {
	a, b := Edit(before), Edit(after)
	var list []Change
	add := func(what, name, old, new string) {
		if old != new {
			list = append(list, Change{what, name, old, new})
		}
	}
	add("opset", "ai.onnx", fmt.Sprint(a.Opset()), fmt.Sprint(b.Opset()))
	compareTexts("operator", a.operators(), b.operators(), add)
	compareTexts("node", a.nodeTexts(), b.nodeTexts(), add)
	compareTexts("weight", a.weightTexts(nil), b.weightTexts(a.index()), add)
	compareTexts("property", a.properties(), b.properties(), add)
	return list
}

func compareTexts(what string, old, new map[string]string, add func(what, name, old, new string)) {
	names := map[string]bool{}
	for k := range old {
		names[k] = true
	}
	for k := range new {
		names[k] = true
	}
	var sorted []string
	for k := range names {
		sorted = append(sorted, k)
	}
	sort.Strings(sorted)
	for _, k := range sorted {
		add(what, k, old[k], new[k])
	}
}

func (g *Graph) operators() map[string]string {
	counts := map[string]int{}
	for _, n := range g.graph().Node {
		counts[n.OpType]++
	}
	texts := map[string]string{}
	for op, n := range counts {
		texts[op] = fmt.Sprint(n)
	}
	return texts
}

func (g *Graph) nodeTexts() map[string]string {
	texts := map[string]string{}
	for _, n := range g.graph().Node {
		var attributes []string
		for _, a := range n.Attribute {
			attributes = append(attributes, attributeText(a))
		}
		slices.Sort(attributes)
		texts[n.Output[0]] = fmt.Sprintf("%s(%s)", n.OpType, strings.Join(append(slices.Clone(n.Input), attributes...), ", "))
	}
	return texts
}

func attributeText(a *protos.AttributeProto) string {
	switch a.Type {
	case protos.AttributeProto_FLOAT:
		return fmt.Sprintf("%s=%v", a.Name, a.F)
	case protos.AttributeProto_INT:
		return fmt.Sprintf("%s=%d", a.Name, a.I)
	case protos.AttributeProto_STRING:
		return fmt.Sprintf("%s=%s", a.Name, a.S)
	case protos.AttributeProto_INTS:
		return fmt.Sprintf("%s=%v", a.Name, a.Ints)
	case protos.AttributeProto_FLOATS:
		return fmt.Sprintf("%s=%v", a.Name, a.Floats)
	case protos.AttributeProto_TENSOR:
		return fmt.Sprintf("%s=tensor%v", a.Name, a.T.GetDims())
	}
	return a.Name
}

// weightTexts describes the initializers; with another graph's index, also how far those of the same shape are from it.
func (g *Graph) weightTexts(other *index) map[string]string {
	texts := map[string]string{}
	for _, t := range g.graph().Initializer {
		text := fmt.Sprintf("%s %v", protos.TensorProto_DataType(t.DataType), t.Dims)
		if other != nil && other.tensors[t.Name] != nil {
			text += distanceText(t, other.tensors[t.Name])
		}
		texts[t.Name] = text
	}
	return texts
}

// distanceText is empty where the values are the same, or their shapes or types are not.
func distanceText(t, u *protos.TensorProto) string {
	if t.DataType != u.DataType || !slices.Equal(t.Dims, u.Dims) {
		return ""
	}
	a, err := decode(t)
	b, err2 := decode(u)
	if err != nil || err2 != nil {
		return ""
	}
	most := 0.0
	for i := range a.floats {
		if d := math.Abs(a.floats[i] - b.floats[i]); d > most || math.IsNaN(d) {
			most = d
		}
	}
	for i := range a.ints {
		most = max(most, math.Abs(float64(a.ints[i].Size-b.ints[i].Size)))
	}
	if most == 0 {
		return ""
	}
	return fmt.Sprintf(", values up to %.3g apart", most)
}

func (g *Graph) properties() map[string]string {
	texts := map[string]string{}
	for _, p := range g.proto.MetadataProps {
		texts[p.Key] = p.Value
	}
	return texts
}
