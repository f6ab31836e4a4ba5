package dsl

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// instance is one of the stages that a block makes.
type instance struct {
	id, key string
	extra   map[string]cty.Value // each, and matrix
	each    *element             // where each is not known
}

// maxInstances bounds what one block makes.
const maxInstances = 100_000

// instances returns one instance for a plain block, else one for each element of for_each or combination of matrix,
// sorted by key.
func (l *loader) instances(s *stageBlock) (list []instance, fanned, ok bool) {
	forEach := s.block.Body.Attributes["for_each"]
	var matrix *hclsyntax.Block
	for _, b := range s.block.Body.Blocks {
		if b.Type != "matrix" {
			continue
		}
		if matrix != nil {
			l.problem(b.DefRange(), s.address, "Repeated block", "The block \"matrix\" may be written only once; it holds one list for each axis.")
			return nil, true, false
		}
		matrix = b
	}
	switch {
	case forEach != nil && matrix != nil:
		l.problem(matrix.DefRange(), s.address, "Two ways to repeat a stage", "A stage has either for_each or a block matrix, not both. An axis of a matrix can be any list.")
		return nil, true, false
	case forEach != nil:
		list, ok = l.forEach(s, forEach)
	case matrix != nil:
		list, ok = l.matrix(s, matrix)
	default:
		return []instance{{id: s.address}}, false, true
	}
	sort.Slice(list, func(i, j int) bool { return list[i].key < list[j].key })
	return list, true, ok
}

func (s *stageBlock) instance(key string, value cty.Value) instance {
	return instance{id: s.address + "[" + strconv.Quote(key) + "]", key: key, extra: map[string]cty.Value{"each": eachValue(key, value)}}
}

func eachValue(key string, value cty.Value) cty.Value {
	return cty.ObjectVal(map[string]cty.Value{"key": cty.StringVal(key), "value": value})
}

// elementAt returns the element of a map with that key, or the text of a list that is the key.
func elementAt(v cty.Value, key string) (cty.Value, bool) {
	if v.IsNull() || !v.IsKnown() || !v.CanIterateElements() {
		return cty.NilVal, false
	}
	named := v.Type().IsMapType() || v.Type().IsObjectType()
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		if !named {
			k = e
		}
		if text, err := toText(k); err == nil && text == key {
			return e, true
		}
	}
	return cty.NilVal, false
}

// forEach makes an instance for each element of a map, or of a list or set of texts, which are their own keys. Keys must
// be known; elements need not be: for_each = train.sweep makes a stage for each instance of another.
func (l *loader) forEach(s *stageBlock, a *hclsyntax.Attribute) ([]instance, bool) {
	v, ok := l.eval(a.Expr, nil, s.address)
	if !ok {
		return nil, false
	}
	fail := func(format string, args ...any) ([]instance, bool) {
		l.problem(a.Expr.Range(), s.address, "Unusable for_each", fmt.Sprintf(format, args...))
		return nil, false
	}
	if !v.IsKnown() {
		return fail("Which stages this makes depends on what other stages report, but it must be known when the pipeline is loaded.")
	}
	if v.IsNull() || !v.CanIterateElements() {
		return fail("for_each takes a map, or a list of texts. This is %s.", typeWords(v))
	}
	named := v.Type().IsMapType() || v.Type().IsObjectType()
	var list []instance
	seen := map[string]bool{}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		if !named {
			k = e
		}
		if !k.IsKnown() {
			return fail("One of the keys depends on what other stages report, but keys must be known when the pipeline is loaded.")
		}
		if k.IsNull() || k.Type() != cty.String {
			return fail("An element of a list given to for_each becomes a key, so it must be a text; one of these is %s. Use a map for other values, or tostring(…).", typeWords(k))
		}
		key := k.AsString()
		switch {
		case seen[key]:
			return fail("The element %q occurs twice. Every key makes one stage.", key)
		case len(list) >= maxInstances:
			return fail("This makes more than %d stages.", maxInstances)
		}
		seen[key] = true
		in := s.instance(key, e)
		if !e.IsWhollyKnown() {
			in.each = &element{Expr: l.expression(a.Expr), Key: key, over: a.Expr}
		}
		list = append(list, in)
	}
	return list, true
}

// axis is one list of a matrix, with each element's text.
type axis struct {
	name   string
	values []cty.Value
	texts  []string
}

// matrix makes an instance for each combination. Axes are sorted by name, so that the order in which they are written
// does not change an address: train.sweep["lr=0.1,model=resnet18"].
func (l *loader) matrix(s *stageBlock, b *hclsyntax.Block) ([]instance, bool) {
	fail := func(at hcl.Range, format string, args ...any) ([]instance, bool) {
		l.problem(at, s.address, "Unusable matrix", fmt.Sprintf(format, args...))
		return nil, false
	}
	if len(b.Labels) > 0 || len(b.Body.Blocks) > 0 {
		return fail(b.DefRange(), "A matrix is written `matrix { AXIS = [ … ] … }`, without labels and nested blocks.")
	}
	if len(b.Body.Attributes) == 0 {
		return fail(b.DefRange(), "A matrix needs at least one axis: `matrix { learning_rate = [0.1, 0.01] }`.")
	}
	var axes []axis
	total := 1
	for _, a := range sortedAttributes(b.Body) {
		ax, ok := l.axis(s, a)
		if !ok {
			return nil, false
		}
		axes = append(axes, ax)
		if total *= len(ax.values); total > maxInstances {
			return fail(b.DefRange(), "The matrix makes more than %d stages.", maxInstances)
		}
	}
	sort.Slice(axes, func(i, j int) bool { return axes[i].name < axes[j].name })
	var list []instance
	for n := range total {
		values, parts := map[string]cty.Value{}, make([]string, len(axes))
		for i := len(axes) - 1; i >= 0; i-- {
			ax := axes[i]
			k := n % len(ax.values)
			n /= len(ax.values)
			values[ax.name], parts[i] = ax.values[k], ax.name+"="+ax.texts[k]
		}
		in := s.instance(strings.Join(parts, ","), cty.ObjectVal(values))
		in.extra["matrix"] = cty.ObjectVal(values)
		list = append(list, in)
	}
	return list, true
}

func (l *loader) axis(s *stageBlock, a *hclsyntax.Attribute) (axis, bool) {
	ax := axis{name: a.Name}
	v, ok := l.constant(a.Expr, nil, s.address)
	if !ok {
		return ax, false
	}
	fail := func(format string, args ...any) (axis, bool) {
		l.problem(a.Expr.Range(), s.address, "Unusable matrix", fmt.Sprintf(format, args...))
		return ax, false
	}
	if v.IsNull() || !v.CanIterateElements() || v.Type().IsMapType() || v.Type().IsObjectType() {
		return fail("The axis %q must be a list, but this is %s.", a.Name, typeWords(v))
	}
	seen := map[string]bool{}
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		text, err := toText(e)
		if err != nil {
			return fail("The axis %q holds %s. Its elements are part of the stages' addresses, so they are numbers, texts, true or false; use for_each with a map for anything else.", a.Name, typeWords(e))
		}
		if seen[text] {
			return fail("The axis %q holds %s twice.", a.Name, text)
		}
		seen[text] = true
		ax.values, ax.texts = append(ax.values, e), append(ax.texts, text)
	}
	if len(ax.values) == 0 {
		return fail("The axis %q is empty, so there would be no stage at all. Take it out, or give it a value.", a.Name)
	}
	return ax, true
}
