package dsl

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// view is what expressions see of a stage block: its outputs and values, by instance where it has instances.
type view struct {
	Address   string         `json:"address"`
	Fanned    bool           `json:"fanned,omitempty"` // for_each or matrix: instances by key
	Open      bool           `json:"open,omitempty"`   // values that are not declared may be read
	Instances []instanceView `json:"instances"`
}

type instanceView struct {
	ID      string       `json:"id"`
	Key     string       `json:"key,omitempty"`
	Outputs []outputView `json:"outputs,omitempty"`
	Values  []valueView  `json:"values,omitempty"`
}

type outputView struct {
	Name string        `json:"name"` // dots make objects
	Type artifact.Type `json:"type"`
}

type valueView struct {
	Name string           `json:"name"`
	Type stages.ValueType `json:"type"`
}

// names returns the outputs and values of v's instances, as they can be written after the stage's address.
func (v *view) names() []string {
	seen := map[string]bool{}
	for _, in := range v.Instances {
		for _, o := range in.Outputs {
			seen[o.Name] = true
		}
		for _, val := range in.Values {
			seen[val.Name] = true
		}
	}
	return sortedKeys(seen)
}

// object is the stage as a value: known artifacts, and values that are unknown while values is nil. read holds the
// attribute names that the expression mentions, of which an open stage may have any.
func (v *view) object(values engine.Values, read map[string]bool) cty.Value {
	if !v.Fanned {
		return v.Instances[0].object(v.Open, values, read)
	}
	all := map[string]cty.Value{}
	for _, in := range v.Instances {
		all[in.Key] = in.object(v.Open, values, read)
	}
	return cty.ObjectVal(all)
}

func (in *instanceView) object(open bool, values engine.Values, read map[string]bool) cty.Value {
	root := objectTree{}
	if open {
		for name := range read {
			root[name] = reported(values, in.ID, name, stages.Any)
		}
	}
	for _, val := range in.Values {
		root[val.Name] = reported(values, in.ID, val.Name, val.Type)
	}
	for _, o := range in.Outputs {
		ref := &reference{From: engine.OutputRef{Node: in.ID, Output: o.Name}, Type: o.Type, Key: in.Key}
		root.put(strings.Split(o.Name, "."), cty.CapsuleVal(artifactType, ref))
	}
	return root.value()
}

// objectTree holds cty.Value leaves and objectTree branches.
type objectTree map[string]any

func (t objectTree) put(path []string, v cty.Value) {
	for ; len(path) > 1; path = path[1:] {
		sub, ok := t[path[0]].(objectTree)
		if !ok {
			sub = objectTree{}
			t[path[0]] = sub
		}
		t = sub
	}
	t[path[0]] = v
}

func (t objectTree) value() cty.Value {
	out := map[string]cty.Value{}
	for name, v := range t {
		switch v := v.(type) {
		case objectTree:
			out[name] = v.value()
		case cty.Value:
			out[name] = v
		}
	}
	return cty.ObjectVal(out)
}

// reported returns a stage's value, unknown until the stage has reported it.
func reported(values engine.Values, id, name string, typ stages.ValueType) cty.Value {
	want := valueType(typ)
	v, ok := values[id][name]
	if !ok {
		return cty.UnknownVal(want)
	}
	val := fromAny(v)
	if converted, err := convert.Convert(val, want); err == nil {
		return converted
	}
	return val
}

func valueType(t stages.ValueType) cty.Type {
	switch t {
	case stages.Number, stages.Integer:
		return cty.Number
	case stages.Bool:
		return cty.Bool
	case stages.String:
		return cty.String
	case stages.NumberList, stages.IntList:
		return cty.List(cty.Number)
	case stages.StringList:
		return cty.List(cty.String)
	case stages.NumberMap:
		return cty.Map(cty.Number)
	case stages.StringMap:
		return cty.Map(cty.String)
	}
	return cty.DynamicPseudoType
}

// scope is what an expression can refer to.
type scope struct {
	funcs  map[string]function.Function
	vars   map[string]cty.Value
	locals map[string]cty.Value
	views  map[string]*view
	values engine.Values        // nil while the pipeline is loaded
	extra  map[string]cty.Value // each, matrix, self, input, output, by their root names
}

// context holds what expr refers to and no more, since a pipeline may have thousands of stages.
func (s *scope) context(expr hcl.Expression, refs []hcl.Traversal) *hcl.EvalContext {
	ctx := &hcl.EvalContext{Functions: s.funcs}
	if len(refs) == 0 {
		return ctx
	}
	var read map[string]bool
	roots := map[string]map[string]cty.Value{}
	put := func(root, name string, v cty.Value) {
		if roots[root] == nil {
			roots[root] = map[string]cty.Value{}
		}
		roots[root][name] = v
	}
	for _, t := range refs {
		root, name := t.RootName(), stepName(t, 1)
		switch {
		case s.extra[root] != cty.NilVal:
			continue
		case root == "var" && s.vars[name] != cty.NilVal:
			put(root, name, s.vars[name])
		case root == "local" && s.locals[name] != cty.NilVal:
			put(root, name, s.locals[name])
		case s.views[root+"."+name] != nil:
			v := s.views[root+"."+name]
			if v.Open && read == nil {
				read = namesRead(expr)
			}
			put(root, name, v.object(s.values, read))
		}
	}
	ctx.Variables = map[string]cty.Value{"path": pathRoot}
	for root, v := range s.extra {
		ctx.Variables[root] = v
	}
	for root, members := range roots {
		ctx.Variables[root] = cty.ObjectVal(members)
	}
	return ctx
}

// pathRoot is `path`. The pipeline's folder is ".", since paths are relative to it and no absolute path may reach a key.
var pathRoot = cty.ObjectVal(map[string]cty.Value{"pipeline": cty.StringVal(".")})

// stepName returns the name that step i of a traversal selects, "" when it is not a fixed name.
func stepName(t hcl.Traversal, i int) string {
	if i >= len(t) {
		return ""
	}
	switch step := t[i].(type) {
	case hcl.TraverseAttr:
		return step.Name
	case hcl.TraverseIndex:
		if text, err := toText(step.Key); err == nil {
			return text
		}
	}
	return ""
}

// namesRead returns every attribute name that occurs in an expression.
func namesRead(expr hcl.Expression) map[string]bool {
	names := map[string]bool{}
	steps := func(t hcl.Traversal) {
		for i := range t {
			if name := stepName(t, i); name != "" {
				names[name] = true
			}
		}
	}
	if node, ok := expr.(hclsyntax.Node); ok {
		hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
			switch n := n.(type) {
			case *hclsyntax.ScopeTraversalExpr:
				steps(n.Traversal)
			case *hclsyntax.RelativeTraversalExpr:
				steps(n.Traversal)
			}
			return nil
		})
	}
	return names
}

func (l *loader) scope(extra map[string]cty.Value) *scope {
	return &scope{funcs: l.funcs, vars: l.vars, locals: l.locals, views: l.views, extra: extra}
}

// eval evaluates an expression whose references have been checked. It is false when there is no value, which has been
// reported: here, or where what it refers to is written.
func (l *loader) eval(expr hcl.Expression, extra map[string]cty.Value, address string) (cty.Value, bool) {
	if lit, ok := expr.(*hclsyntax.LiteralValueExpr); ok {
		return lit.Val, true
	}
	if l.refused[expr] {
		return cty.NilVal, false
	}
	refs := expr.Variables()
	ok := true
	for _, t := range refs {
		name := t.RootName() + "." + stepName(t, 1)
		switch {
		case extra[t.RootName()] != cty.NilVal:
			ok = l.checkExtra(t, extra[t.RootName()], address) && ok
		case l.broken[name]:
			return cty.NilVal, false
		case l.views[name] != nil:
			ok = l.checkOutput(t, l.views[name], address) && ok
		}
	}
	if !ok || !l.checkSplats(expr, address) {
		return cty.NilVal, false
	}
	v, diags := expr.Value(l.scope(extra).context(expr, refs))
	l.addHCL(diags, address)
	return v, !diags.HasErrors()
}

// constant evaluates an expression that must be known when the pipeline is loaded.
func (l *loader) constant(expr hcl.Expression, extra map[string]cty.Value, address string) (cty.Value, bool) {
	v, ok := l.eval(expr, extra, address)
	if ok && !v.IsWhollyKnown() {
		l.problem(expr.Range(), address, "Value not known yet", "This depends on what stages report when they run, but it must be known when the pipeline is loaded. Use a variable or a fixed value.")
		return v, false
	}
	return v, ok
}
