package dsl

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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

const envPrefix = "DARKROOM_VAR_"

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

// assignment is a value for a variable that came from outside.
type assignment struct {
	from string // "--var", "DARKROOM_VAR_x", "file vars.hcl": for messages
	rng  hcl.Range
	text string    // of a flag or the environment, read by the variable's type
	val  cty.Value // of a file; cty.NilVal when text holds it
}

// resolveVariables gives every variable its value: --var, else --var-file, else the environment, else the default.
func (l *loader) resolveVariables(doc *document, o Options) {
	names := sortedKeys(doc.variables)
	given := map[string]assignment{}
	for _, entry := range o.Environ {
		if name, text, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, envPrefix) {
			given[strings.TrimPrefix(name, envPrefix)] = assignment{from: "The environment variable " + name, text: text}
		}
	}
	for _, path := range o.VarFiles {
		for name, a := range l.readVarFile(path) {
			if doc.variables[name] == nil {
				l.add(SeverityWarning, a.rng, "", "Unknown variable", fmt.Sprintf("The pipeline declares no variable %q, so this value is not used.%s", name, suggestion(name, names, "")))
				continue
			}
			given[name] = a
		}
	}
	for _, entry := range o.Vars {
		name, text, ok := strings.Cut(entry, "=")
		name = strings.TrimSpace(name)
		switch {
		case !ok || name == "":
			l.problemf(hcl.Range{}, "Malformed --var", "--var %s is not of the form NAME=VALUE.", entry)
		case doc.variables[name] == nil:
			detail := suggestion(name, names, "The variables:")
			if len(names) == 0 {
				detail = " It declares none."
			}
			l.problemf(hcl.Range{}, "Unknown variable", "The pipeline declares no variable %q, which --var sets.%s", name, detail)
		default:
			given[name] = assignment{from: "--var " + name, text: text}
		}
	}
	for _, name := range names {
		l.resolveVariable(doc.variables[name], given)
	}
	l.validateVariables(doc)
}

func (l *loader) resolveVariable(v *variable, given map[string]assignment) {
	key := "var." + v.name
	if l.broken[key] {
		return
	}
	a, ok := given[v.name]
	if !ok {
		if v.def == cty.NilVal {
			l.broken[key] = true
			l.problemf(v.block.DefRange(), "Variable without a value", "The variable %q has no default, and nothing gives it a value. Pass --var %s=…, put it in a file for --var-file, set %s%s, or give it a default.", v.name, v.name, envPrefix, v.name)
			return
		}
		l.vars[v.name] = v.def
		return
	}
	val, err := a.val, error(nil)
	if val == cty.NilVal {
		val, err = parseAssigned(a.text, v.typ)
	}
	if err == nil {
		val, err = v.convert(val)
	}
	if err != nil {
		l.broken[key] = true
		l.problemf(a.rng, "Wrong type of variable", "%s does not fit the type %s of variable %q: %s.", a.from, typeexpr.TypeString(v.typ), v.name, err)
		return
	}
	l.vars[v.name] = val
}

// parseAssigned reads what a flag or the environment gives: plain text for a string, else an expression.
func parseAssigned(text string, typ cty.Type) (cty.Value, error) {
	if typ == cty.String {
		return cty.StringVal(text), nil
	}
	plain, plainErr := convert.Convert(cty.StringVal(strings.TrimSpace(text)), typ)
	if plainErr == nil && typ.IsPrimitiveType() {
		return plain, nil
	}
	failed := func(reason string) (cty.Value, error) {
		switch {
		case typ == cty.DynamicPseudoType:
			return cty.StringVal(text), nil
		case typ.IsPrimitiveType():
			return cty.NilVal, fmt.Errorf("%q is not one", text)
		}
		return cty.NilVal, fmt.Errorf("%q %s", text, reason)
	}
	if _, deep := tooDeep([]byte(text), ""); deep {
		return failed("nests too deep")
	}
	expr, diags := hclsyntax.ParseExpression([]byte(text), "", hcl.InitialPos)
	if diags.HasErrors() {
		return failed("is not an expression of the pipeline language")
	}
	if len(expr.Variables()) > 0 {
		return failed("is not a value; texts inside lists and maps are written in quotation marks")
	}
	val, diags := expr.Value(nil)
	if diags.HasErrors() {
		return failed("has no value")
	}
	return val, nil
}

// readVarFile reads a file of values: NAME = VALUE lines, or a JSON object in a file called *.json.
func (l *loader) readVarFile(path string) map[string]assignment {
	text, err := os.ReadFile(path)
	if err != nil {
		l.problemf(hcl.Range{}, "File of variables cannot be read", "The file %s given by --var-file cannot be read: %v.", path, plain(err))
		return nil
	}
	f := &textFile{name: path, text: text}
	l.files[path] = f
	if !l.checkText(f) {
		return nil
	}
	from := "The value in " + filepath.Base(path)
	out := map[string]assignment{}
	if strings.HasSuffix(path, ".json") {
		val, err := fromJSON(text)
		if err != nil || !val.Type().IsObjectType() {
			l.problemf(rangeAt(f, 0), "File of variables cannot be read", "The file %s does not hold one JSON object of variables by name.", path)
			return nil
		}
		for name, v := range val.AsValueMap() {
			out[name] = assignment{from: from, rng: hcl.Range{Filename: path, Start: hcl.InitialPos, End: hcl.InitialPos}, val: v}
		}
		return out
	}
	parsed, diags := hclsyntax.ParseConfig(text, path, hcl.InitialPos)
	l.addHCL(diags, "")
	if diags.HasErrors() {
		return nil
	}
	body := parsed.Body.(*hclsyntax.Body)
	for _, b := range body.Blocks {
		l.problemf(b.DefRange(), "Unknown block", "A file of variables holds lines NAME = VALUE and no blocks.")
	}
	for _, a := range sortedAttributes(body) {
		val, diags := a.Expr.Value(&hcl.EvalContext{Functions: l.funcs})
		l.addHCL(diags, "")
		if !diags.HasErrors() {
			out[a.Name] = assignment{from: from, rng: a.Expr.Range(), val: val}
		}
	}
	return out
}

func fromJSON(text []byte) (cty.Value, error) {
	typ, err := ctyjson.ImpliedType(text)
	if err != nil {
		return cty.NilVal, err
	}
	return ctyjson.Unmarshal(text, typ)
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
		if !l.used["var."+name] {
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
