package dsl

import (
	"encoding/json"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// variable is a declaration and where its value comes from.
type variable struct {
	name       string
	block      *hclsyntax.Block
	typ        cty.Type
	defaults   *typeexpr.Defaults
	def        cty.Value // cty.NilVal: none
	validation []*hclsyntax.Block
}

func (l *loader) collectVariable(doc *document, b *hclsyntax.Block) {
	name := b.Labels[0]
	if old := doc.variables[name]; old != nil {
		l.duplicate(b, "variable", name, old.block.DefRange())
		return
	}
	v := &variable{name: name, block: b, typ: cty.DynamicPseudoType}
	doc.variables[name] = v
	if a := b.Body.Attributes["type"]; a != nil {
		typ, defaults, diags := typeexpr.TypeConstraintWithDefaults(a.Expr)
		if diags.HasErrors() {
			l.broken["var."+name] = true
			l.typeProblem(a.Expr, diags)
		} else {
			v.typ, v.defaults = typ, defaults
		}
	}
	for _, a := range sortedAttributes(b.Body) {
		switch a.Name {
		case "type":
		case "default":
			l.variableDefault(v, a)
		case "description":
			if d, ok := l.constant(a.Expr, nil, ""); ok {
				l.text(a.Expr, d, "description")
			}
		default:
			l.problemf(a.NameRange, "Unknown argument", "There is no argument %q here.%s", a.Name, suggestion(a.Name, []string{"type", "default", "description"}, "A variable takes:"))
		}
	}
	for _, n := range b.Body.Blocks {
		if n.Type != "validation" || len(n.Labels) > 0 {
			l.problemf(n.DefRange(), "Unknown block", "There is no block %q here.%s", n.Type, suggestion(n.Type, []string{"validation"}, "A variable takes:"))
			continue
		}
		v.validation = append(v.validation, n)
	}
}

// typeProblem reports a type that is none, with a suggestion where it is a single word.
func (l *loader) typeProblem(expr hcl.Expression, diags hcl.Diagnostics) {
	word := hcl.ExprAsKeyword(expr)
	if word == "" {
		l.addHCL(diags, "")
		return
	}
	types := []string{"string", "number", "bool", "any", "list(string)", "set(string)", "map(number)", "object({ … })"}
	l.problemf(expr.Range(), "Unknown type", "%q is not a type.%s", word, suggestion(word, types, "Types are written:"))
}

// variableDefault evaluates a default, which may use functions but no references.
func (l *loader) variableDefault(v *variable, a *hclsyntax.Attribute) {
	bad := func() { l.broken["var."+v.name] = true }
	if refs := a.Expr.Variables(); len(refs) > 0 {
		l.problemf(refs[0].SourceRange(), "Reference in a default", "The default of a variable is a fixed value and cannot refer to anything. Use a local value for what follows from other values.")
		bad()
		return
	}
	val, diags := a.Expr.Value(&hcl.EvalContext{Functions: l.funcs})
	l.addHCL(diags, "")
	if diags.HasErrors() || l.broken["var."+v.name] {
		bad()
		return
	}
	val, err := v.convert(val)
	if err != nil {
		l.problemf(a.Expr.Range(), "Wrong type of default", "The default of variable %q does not fit its type %s: %s.", v.name, typeexpr.TypeString(v.typ), err)
		bad()
		return
	}
	v.def = val
}

func (v *variable) convert(val cty.Value) (cty.Value, error) {
	if v.defaults != nil && !val.IsNull() {
		val = v.defaults.Apply(val)
	}
	val, err := convert.Convert(val, v.typ)
	if err == nil && !val.IsWhollyKnown() {
		err = fmt.Errorf("it is not known")
	}
	return val, err
}

// validateVariables checks the validation blocks once every variable has its value.
func (l *loader) validateVariables(doc *document) {
	for _, name := range sortedKeys(doc.variables) {
		v := doc.variables[name]
		for _, b := range v.validation {
			l.validateVariable(doc, v, b)
		}
	}
}

func (l *loader) validateVariable(doc *document, v *variable, b *hclsyntax.Block) {
	condition, message := b.Body.Attributes["condition"], b.Body.Attributes["error_message"]
	l.knownOnly(b.Body, "validation", "condition", "error_message")
	l.noBlocks(b, "validation")
	if condition == nil || message == nil {
		l.problemf(b.DefRange(), "Missing argument", "A validation needs the arguments \"condition\" and \"error_message\".")
		return
	}
	vars := map[string]bool{"var": true}
	l.checkExpression(doc, condition.Expr, vars, "")
	l.checkExpression(doc, message.Expr, vars, "")
	val, ok := l.constant(condition.Expr, nil, "")
	if !ok {
		return
	}
	text, _ := l.constant(message.Expr, nil, "")
	val, err := convert.Convert(val, cty.Bool)
	switch {
	case err != nil || val.IsNull():
		l.problemf(condition.Expr.Range(), "Condition is not true or false", "A condition must be true or false.")
	case val.False():
		l.broken["var."+v.name] = true
		t, _ := l.text(message.Expr, text, "error_message")
		l.problemf(v.block.DefRange(), "Invalid value of a variable", "%s The variable %q is %s; the rule is `%s`.", sentence(t), v.name, displayValue(l.vars[v.name]), l.source(condition.Expr.Range()))
	}
}

// knownOnly reports the arguments of a body that are not among names.
func (l *loader) knownOnly(body *hclsyntax.Body, block string, names ...string) {
	for _, a := range sortedAttributes(body) {
		known := false
		for _, n := range names {
			known = known || n == a.Name
		}
		if !known {
			l.problemf(a.NameRange, "Unknown argument", "There is no argument %q here.%s", a.Name, suggestion(a.Name, names, "The block `"+block+"` takes:"))
		}
	}
}

// source returns the text of a range.
func (l *loader) source(r hcl.Range) string {
	if f := l.files[r.Filename]; f != nil && r.End.Byte <= len(f.text) {
		return string(f.text[r.Start.Byte:r.End.Byte])
	}
	return ""
}

func (l *loader) unusedVariables(doc *document) {
	for _, name := range sortedKeys(doc.variables) {
		if !l.used[name] {
			l.add(SeverityWarning, doc.variables[name].block.DefRange(), "", "Unused variable", fmt.Sprintf("Nothing refers to var.%s, so its value has no effect. Use it or remove it.", name))
		}
	}
}

// normalVariables returns the resolved variables in the form in which experiments keep them. A number that a float64
// cannot hold is kept as its decimal text, which restoreVariables converts back.
func (l *loader) normalVariables() map[string]any {
	out := map[string]any{}
	for name, v := range l.vars {
		out[name] = storedValue(v)
	}
	return out
}

func storedValue(v cty.Value) any {
	switch {
	case v.IsNull():
		return nil
	case v.Type() == cty.Number:
		f := v.AsBigFloat()
		n, _ := f.Float64()
		if back, err := cty.ParseNumberVal(formatFloat(n)); err == nil && back.RawEquals(v) {
			return n
		}
		return f.Text('g', -1)
	case v.Type() == cty.String:
		return v.AsString()
	case v.Type() == cty.Bool:
		return v.True()
	case v.Type().IsObjectType() || v.Type().IsMapType():
		out := map[string]any{}
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			out[k.AsString()] = storedValue(e)
		}
		return out
	case v.CanIterateElements():
		out := []any{}
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			out = append(out, storedValue(e))
		}
		return out
	}
	return nil
}

// restoreVariables takes the values that an earlier load resolved.
func (l *loader) restoreVariables(doc *document, values map[string]any) {
	for _, name := range sortedKeys(doc.variables) {
		v := doc.variables[name]
		text, err := json.Marshal(values[name])
		var val cty.Value
		if err == nil {
			val, err = fromJSON(text)
		}
		if err == nil {
			val, err = v.convert(val)
		}
		if err != nil {
			l.broken["var."+name] = true
			l.problemf(v.block.DefRange(), "Wrong type of variable", "The stored value of variable %q does not fit its type %s: %s.", name, typeexpr.TypeString(v.typ), err)
			continue
		}
		l.vars[name] = val
	}
	l.validateVariables(doc)
}

// displayValue writes a known value as it would be written in a pipeline, short enough for a sentence.
func displayValue(v cty.Value) string {
	if v.IsNull() {
		return "null"
	}
	if v.Type() == cty.Number {
		return v.AsBigFloat().Text('g', 16)
	}
	text, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		return v.Type().FriendlyName()
	}
	if len(text) > 60 {
		return string([]rune(string(text))[:min(57, len([]rune(string(text))))]) + "…"
	}
	return string(text)
}
