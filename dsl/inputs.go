package dsl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// inputs connects the stage's ports, in the order of the kind's declaration.
func (b *nodeBuilder) inputs() {
	for _, p := range b.schema.Inputs {
		a := b.s.block.Body.Attributes[p.Name]
		if a == nil {
			continue
		}
		v, ok := b.l.eval(a.Expr, b.extra, b.id)
		b.connected[p.Name] = !ok || !v.IsKnown() || !v.IsNull()
		reported := len(b.l.diags)
		if ok {
			b.input(a, p, v)
		}
		b.lost = b.lost || !ok || len(b.l.diags) > reported
	}
}

func (b *nodeBuilder) input(a *hclsyntax.Attribute, p *stages.Port, v cty.Value) {
	ref, single := artifactOf(v)
	switch {
	case v.IsKnown() && v.IsNull():
	case single && p.List:
		b.connect(a, *p, ref, "0", nil)
	case single:
		b.connect(a, *p, ref, "", nil)
	case p.Source && v.IsKnown() && v.Type() == cty.String:
		b.connect(a, *p, &reference{Source: v.AsString(), Type: artifact.File}, "", nil)
	case p.List && v.IsKnown() && v.CanIterateElements():
		b.inputList(a, p, v)
	case p.Source && !v.IsKnown() && v.Type() == cty.String:
		b.problem(a.Expr, "Value not known yet", "This path depends on what stages report when they run, but the sources of a pipeline must be known when it is loaded. Use a variable or a fixed path.")
	case !v.IsKnown() && !isReference(a.Expr):
		if b.missingOutput(a.Expr, v) {
			return
		}
		b.problem(a.Expr, "Artifact chosen by a value", "Which artifact this is depends on what a stage reports, but edges must be known when the pipeline is loaded. A `select` stage picks one of many artifacts by a value.")
	default:
		b.notAnArtifact(a.Expr, p, v)
	}
}

// isReference reports whether expr is nothing but a reference.
func isReference(expr hcl.Expression) bool {
	_, ok := expr.(*hclsyntax.ScopeTraversalExpr)
	return ok
}

func (b *nodeBuilder) problem(expr hcl.Expression, summary, format string, args ...any) {
	b.l.problem(expr.Range(), b.id, summary, fmt.Sprintf(format, args...))
}

// inputList connects a port that takes many: a list, or a map by name.
func (b *nodeBuilder) inputList(a *hclsyntax.Attribute, p *stages.Port, v cty.Value) {
	b.connected[p.Name] = v.LengthInt() > 0
	type element struct {
		name string
		ref  *reference
	}
	var elements []element
	named := v.Type().IsObjectType() || v.Type().IsMapType()
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		ref, ok := artifactOf(e)
		if !ok {
			b.notAnArtifact(a.Expr, p, e)
			return
		}
		name := strconv.Itoa(len(elements))
		if named {
			name = k.AsString()
		}
		elements = append(elements, element{name, ref})
	}
	// Instances of one stage keep their keys as names, so that a list of them reads like a map.
	if !named {
		keys := map[string]bool{}
		for _, e := range elements {
			keys[e.ref.Key] = true
		}
		if len(keys) == len(elements) && !keys[""] {
			for i := range elements {
				elements[i].name = elements[i].ref.Key
			}
		}
	} else {
		sort.Slice(elements, func(i, j int) bool { return elements[i].name < elements[j].name })
	}
	var first *reference
	for _, e := range elements {
		b.connect(a, *p, e.ref, e.name, first)
		if first == nil {
			first = e.ref
		}
	}
}

// connect adds an edge after checking its type. first is the first artifact of the same list, if this is a later one.
func (b *nodeBuilder) connect(a *hclsyntax.Attribute, p stages.Port, ref *reference, name string, first *reference) {
	edge := engine.Edge{Port: p.Name, Name: name, Type: ref.Type, From: ref.From}
	if ref.Source != "" || ref.From.Node == "" {
		edge.Source = ref.Source
		typ, ok := b.l.sourceType(a.Expr, b.id, ref.Source)
		if !ok {
			return
		}
		edge.Type = typ
		if p.Type != "" && !p.Type.Accepts(typ) {
			edge.Type = p.Type // a file of the project is what the user says it is; the kind checks its content
		}
	}
	switch {
	case edge.Type == "": // its producer has been reported
	case p.Type != "" && !p.Type.Accepts(edge.Type):
		b.wrongArtifact(a.Expr, p, ref)
		return
	case p.Type == "" && p.List && !p.AnyTypes && first != nil && first.Type != "" && first.Type != edge.Type:
		b.problem(a.Expr, "Mixed types of artifacts", "The input %q takes artifacts of one type, but this list holds %s and %s.", p.Name, withArticle(first.Type), withArticle(edge.Type))
		return
	case p.Source && !edge.IsSource():
		b.problem(a.Expr, "Wrong type of input", "The input %q takes a path of the project, but this is an output of %s.", p.Name, ref.From.Node)
		return
	}
	b.node.Inputs = append(b.node.Inputs, edge)
}

func (b *nodeBuilder) wrongArtifact(expr hcl.Expression, p stages.Port, ref *reference) {
	var fitting []string
	for _, v := range b.l.views {
		for _, in := range v.Instances {
			for _, o := range in.Outputs {
				if in.ID == ref.From.Node && p.Type.Accepts(o.Type) {
					fitting = append(fitting, o.Name)
				}
			}
		}
	}
	sort.Strings(fitting)
	hint := fmt.Sprintf(" %s has no output of that type.", ref.From.Node)
	if len(fitting) > 0 {
		hint = fmt.Sprintf(" Of the outputs of %s, %s would fit.", ref.From.Node, listText(written(fitting)))
	}
	b.problem(expr, "Artifact of the wrong type", "The input %q takes %s, but %s.%s is %s.%s", p.Name, withArticle(p.Type), ref.From.Node, written([]string{ref.From.Output})[0], withArticle(ref.Type), hint)
}

// notAnArtifact explains what should have been written instead of a plain value or a whole stage.
func (b *nodeBuilder) notAnArtifact(expr hcl.Expression, p *stages.Port, v cty.Value) {
	want := "an artifact"
	if p.Type != "" {
		want = withArticle(p.Type)
	}
	refs := expr.Variables()
	if len(refs) == 1 && b.l.views[refs[0].RootName()+"."+stepName(refs[0], 1)] != nil && v.Type().IsObjectType() {
		whole := b.l.views[refs[0].RootName()+"."+stepName(refs[0], 1)]
		var fitting []string
		for _, o := range whole.Instances[0].Outputs {
			if p.Type.Accepts(o.Type) || p.Type == "" {
				fitting = append(fitting, written([]string{o.Name})...)
			}
		}
		hint := "It has no such output."
		if len(fitting) > 0 {
			hint = "Name the output: " + whole.Address + "." + strings.Join(fitting, " or "+whole.Address+".") + "."
			if whole.Fanned {
				hint = fmt.Sprintf("Name the output: values(%s)[*].%s collects it from all instances.", whole.Address, fitting[0])
			}
		}
		b.problem(expr, "Wrong type of input", "The input %q takes %s, but this is the stage %s as a whole. %s", p.Name, want, whole.Address, hint)
		return
	}
	if b.missingOutput(expr, v) {
		return
	}
	if p.Source {
		b.problem(expr, "Wrong type of input", "The input %q takes a path of the project as a text, but this is %s.", p.Name, typeWords(v))
		return
	}
	b.problem(expr, "Wrong type of input", "The input %q takes %s, but this is %s. Refer to an output of a stage, KIND.NAME.OUTPUT, or to a file of the project, source(\"path\").", p.Name, want, typeWords(v))
}

func typeWords(v cty.Value) string {
	t := v.Type()
	switch {
	case v.IsKnown() && v.IsNull():
		return "null"
	case t == cty.String:
		return "a string"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	case t.IsListType() || t.IsTupleType() || t.IsSetType():
		return "a list"
	case t.IsMapType() || t.IsObjectType():
		return "a map"
	}
	return "a value that a stage reports"
}

// missingOutput reports a reference to an output that a stage with undeclared values does not have. Until an input was
// to take it, it could have been a value.
func (b *nodeBuilder) missingOutput(expr hcl.Expression, v cty.Value) bool {
	if v.IsKnown() {
		return false
	}
	for _, t := range expr.Variables() {
		view := b.l.views[t.RootName()+"."+stepName(t, 1)]
		if view == nil || !view.Open {
			continue
		}
		rest := t[2:]
		if view.Fanned && len(rest) > 0 {
			rest = rest[1:]
		}
		if len(rest) > 0 && !slices.Contains(view.names(), stepName(rest, 0)) {
			b.l.problem(t.SourceRange(), b.id, "Reference to a missing output", fmt.Sprintf("%s has no output %q, and a value cannot be an input.%s", view.Address, stepName(rest, 0), suggestion(stepName(rest, 0), written(view.names()), "Its outputs:")))
			return true
		}
	}
	return false
}

// sourceType says whether a source is a file or a folder, and reports one that is not there.
func (l *loader) sourceType(expr hcl.Expression, address, path string) (artifact.Type, bool) {
	fail := func(summary, format string, args ...any) (artifact.Type, bool) {
		l.problem(expr.Range(), address, summary, fmt.Sprintf(format, args...))
		return "", false
	}
	switch {
	case strings.TrimSpace(path) == "":
		return fail("Source not found", "The path is empty. Name a file or folder, relative to the pipeline's folder.")
	case strings.Contains(path, "://"):
		return fail("Source not found", "%q is an address on a network. Sources are files and folders of this machine: fetch it first and give its path.", path)
	}
	full := path
	if !filepath.IsAbs(full) {
		full = filepath.Join(l.dir, path)
	}
	info, err := os.Stat(full)
	switch {
	case err == nil && info.IsDir():
		return artifact.Folder, true
	case err == nil || l.stored:
		return artifact.File, true
	case errors.Is(err, fs.ErrNotExist):
		return fail("Source not found", "There is no file or folder %q. Paths are relative to the pipeline's folder, %s.%s", path, l.dir, neighbour(full))
	}
	return fail("Source cannot be read", "%q cannot be read: %v.", path, plain(err))
}

// neighbour suggests a name in the same folder.
func neighbour(full string) string {
	entries, err := os.ReadDir(filepath.Dir(full))
	if err != nil || len(entries) > 10000 {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return suggestion(filepath.Base(full), names, "")
}
