package dsl

import (
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

const envPrefix = "DARKROOM_VAR_"

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
