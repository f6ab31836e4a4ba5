package dsl

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// expression is an expression as text, and where it was written.
type expression struct {
	Text   string `json:"text"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

func (l *loader) expression(expr hcl.Expression) expression {
	r := expr.Range()
	return expression{Text: l.source(r), File: r.Filename, Line: r.Start.Line, Column: r.Start.Column}
}

func (e expression) parse() (hclsyntax.Expression, error) {
	// The line break ends a here-document.
	expr, diags := hclsyntax.ParseExpression([]byte(e.Text+"\n"), e.File, hcl.Pos{Line: e.Line, Column: e.Column})
	if diags.HasErrors() {
		return nil, diags
	}
	return expr, nil
}

// eval evaluates e in s; the value may be partly unknown.
func (e expression) eval(s *scope) (cty.Value, error) {
	expr, err := e.parse()
	if err != nil {
		return cty.NilVal, err
	}
	v, diags := expr.Value(s.context(expr, expr.Variables()))
	if diags.HasErrors() {
		summary, detail := explain(diags[0])
		return cty.NilVal, fmt.Errorf("%s: %s", summary, detail)
	}
	return v, nil
}

// template is arguments of which some are still expressions.
type template struct {
	Values map[string]any        `json:"values,omitempty"`
	Exprs  map[string]expression `json:"exprs,omitempty"`
	Blocks []blockTemplate       `json:"blocks,omitempty"`
}

type blockTemplate struct {
	Type     string   `json:"type"`
	Label    string   `json:"label,omitempty"`
	Template template `json:"template"`
}

// surroundings are all that an expression needs besides the values of stages, as data. What was known when the pipeline
// was loaded is held as values, so nothing is read or computed anew.
type surroundings struct {
	Known  map[string]typedValue `json:"known,omitempty"`  // var.x, local.x, each, matrix, input, output
	Locals []waitingLocal        `json:"locals,omitempty"` // that wait for values, each after those it refers to
	Views  map[string]*view      `json:"views,omitempty"`
	Each   *element              `json:"each,omitempty"`  // where each is not known
	Files  map[string][]byte     `json:"files,omitempty"` // what file() and glob() have answered
}

type waitingLocal struct {
	Name string     `json:"name"`
	Expr expression `json:"expr"`
}

// typedValue is a known value; artifacts in it, which have no value, are null.
type typedValue struct{ cty.Value }

// MarshalJSON writes the value with its type.
func (t typedValue) MarshalJSON() ([]byte, error) {
	return ctyjson.Marshal(t.Value, cty.DynamicPseudoType)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *typedValue) UnmarshalJSON(b []byte) (err error) {
	t.Value, err = ctyjson.Unmarshal(b, cty.DynamicPseudoType)
	return err
}

func withoutArtifacts(v cty.Value) typedValue {
	out, err := cty.Transform(v, func(_ cty.Path, e cty.Value) (cty.Value, error) {
		if e.Type().Equals(artifactType) {
			return cty.NullVal(cty.DynamicPseudoType), nil
		}
		return e, nil
	})
	if err != nil {
		return typedValue{cty.NullVal(cty.DynamicPseudoType)}
	}
	return typedValue{out}
}

// element says that `each` is an element of something that is not known yet.
type element struct {
	Expr expression `json:"expr"` // the argument for_each
	Key  string     `json:"key"`

	over hclsyntax.Expression
}

// surround collects what exprs need, and the IDs of the stages whose values they may read. each is nil where it has a
// known value or none.
func (l *loader) surround(extra map[string]cty.Value, each *element, exprs []hclsyntax.Expression) (surroundings, []string) {
	s := surroundings{Known: map[string]typedValue{}, Views: map[string]*view{}, Files: l.reads.known}
	ids := map[string]bool{}
	done := map[string]bool{}
	var visit func(expr hcl.Expression, only string)
	visit = func(expr hcl.Expression, only string) {
		for _, t := range expr.Variables() {
			root := t.RootName()
			name := root + "." + stepName(t, 1)
			if v, ok := extra[root]; ok {
				switch {
				case v.IsWhollyKnown():
					s.Known[root] = withoutArtifacts(v)
				case root == "each" && each != nil && s.Each == nil:
					s.Each = each
					visit(each.over, each.onlyKey(l))
				}
				continue
			}
			if v := l.views[name]; v != nil {
				s.Views[name] = v
				for _, in := range v.Instances {
					if !v.Fanned || in.Key == only || only == "" && (len(t) == 2 || in.Key == stepName(t, 2)) {
						ids[in.ID] = true
					}
				}
				continue
			}
			if done[name] {
				continue
			}
			done[name] = true
			switch local, isLocal := l.localAt[name]; {
			case root == "var":
				s.Known[name] = withoutArtifacts(l.vars[stepName(t, 1)])
			case isLocal && l.locals[stepName(t, 1)].IsWhollyKnown():
				s.Known[name] = withoutArtifacts(l.locals[stepName(t, 1)])
			case isLocal:
				visit(local, "")
				s.Locals = append(s.Locals, waitingLocal{stepName(t, 1), l.expression(local)})
			}
		}
	}
	for _, e := range exprs {
		visit(e, "")
	}
	return s, sortedKeys(ids)
}

// onlyKey is the key of the one instance that an element of for_each = KIND.NAME reads; "" when it may read others.
func (e *element) onlyKey(l *loader) string {
	t, ok := e.over.(*hclsyntax.ScopeTraversalExpr)
	if !ok || len(t.Traversal) != 2 {
		return ""
	}
	if v := l.views[t.Traversal.RootName()+"."+stepName(t.Traversal, 1)]; v == nil || !v.Fanned {
		return ""
	}
	return e.Key
}

// scope makes the scope of the expressions once values are there.
func (s *surroundings) scope(values engine.Values) (*scope, error) {
	out := &scope{vars: map[string]cty.Value{}, locals: map[string]cty.Value{}, views: s.Views, values: values, extra: map[string]cty.Value{}}
	reads := newReadings("", map[string][]byte{})
	reads.known = s.Files
	out.funcs = functions(reads)
	for name, v := range s.Known {
		switch root, member, ok := strings.Cut(name, "."); {
		case !ok:
			out.extra[name] = v.Value
		case root == "var":
			out.vars[member] = v.Value
		default:
			out.locals[member] = v.Value
		}
	}
	for _, local := range s.Locals {
		v, err := local.Expr.eval(out)
		if err != nil {
			return nil, fmt.Errorf("the local value %q: %w", local.Name, err)
		}
		out.locals[local.Name] = v
	}
	if s.Each != nil {
		all, err := s.Each.Expr.eval(out)
		if err != nil {
			return nil, fmt.Errorf("for_each: %w", err)
		}
		v, ok := elementAt(all, s.Each.Key)
		if !ok {
			return nil, fmt.Errorf("for_each has no element %q any more", s.Each.Key)
		}
		out.extra["each"] = eachValue(s.Each.Key, v)
	}
	return out, nil
}

// binding makes a node's arguments when the values that they wait for are there. It is data: MarshalJSON and
// UnmarshalJSON carry it to another process.
type binding struct {
	Template template     `json:"template"`
	Around   surroundings `json:"around"`
}

// ParseBinder reads a Binder of this package that was written with encoding/json.
func ParseBinder(text []byte) (engine.Binder, error) {
	var b binding
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, fmt.Errorf("reading the expressions of a stage: %w", err)
	}
	return &b, nil
}

// Bind implements engine.Binder.
func (b *binding) Bind(values engine.Values) (stages.Args, []stages.Problem) {
	s, err := b.Around.scope(values)
	if err != nil {
		return stages.Args{}, []stages.Problem{stages.Problemf("", "Value cannot be computed", "%s", sentence(err.Error()))}
	}
	return b.Template.bind(s, "")
}

func (t *template) bind(s *scope, prefix string) (stages.Args, []stages.Problem) {
	args := stages.Args{Values: map[string]any{}}
	var problems []stages.Problem
	for name, v := range t.Values {
		args.Values[name] = v
	}
	for _, name := range sortedKeys(t.Exprs) {
		v, err := t.Exprs[name].eval(s)
		if err == nil {
			args.Values[name], err = toAny(v)
		}
		if err != nil {
			problems = append(problems, stages.Problemf(prefix+name, "Value cannot be computed", "The argument %q is `%s`: %s", name, t.Exprs[name].Text, sentence(err.Error())))
		}
	}
	for i, n := range t.Blocks {
		inner, more := n.Template.bind(s, fmt.Sprintf("%s%s[%d].", prefix, n.Type, i))
		args.Blocks = append(args.Blocks, stages.BlockArgs{Type: n.Type, Label: n.Label, Args: inner})
		problems = append(problems, more...)
	}
	return args, problems
}
