package dsl

import (
	"fmt"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Roots that expressions may use, besides stages, by where they stand.
var (
	plainRoots   = map[string]bool{"var": true, "local": true, "path": true, "stage": true}
	fixedRoots   = map[string]bool{"var": true, "local": true, "path": true}
	runnerRoots  = map[string]bool{"var": true, "local": true, "path": true, "runner": true}
	fannedRoots  = map[string]bool{"each": true}
	requireRoots = map[string]bool{"self": true}
)

func with(roots map[string]bool, more ...map[string]bool) map[string]bool {
	out := map[string]bool{}
	for _, set := range append(more, roots) {
		for r := range set {
			out[r] = true
		}
	}
	return out
}

// checkExpression reports references to what is not there and returns the names it refers to: var.x, local.x,
// runner.gpu.default, train.teacher.
func (l *loader) checkExpression(doc *document, expr hcl.Expression, roots map[string]bool, address string) map[string]hcl.Range {
	refs := map[string]hcl.Range{}
	for _, t := range expr.Variables() {
		name, ok := l.checkTraversal(doc, t, roots, address)
		if !ok {
			l.refused[expr] = true
		} else if name != "" {
			refs[name] = t.SourceRange()
		}
	}
	return refs
}

// checkTraversal checks the first steps of one reference. What follows a stage's name is checked when the stage has been
// evaluated (checkOutput).
func (l *loader) checkTraversal(doc *document, t hcl.Traversal, roots map[string]bool, address string) (name string, ok bool) {
	root, second := t.RootName(), stepName(t, 1)
	fail := func(summary, format string, args ...any) (string, bool) {
		l.problem(t.SourceRange(), address, summary, fmt.Sprintf(format, args...))
		return "", false
	}
	if second == "" && (root == "var" || root == "local") {
		return fail("Incomplete reference", "A variable is referred to by var.NAME and a local value by local.NAME.")
	}
	switch root {
	case "var":
		if doc.variables[second] == nil {
			return fail("Unknown variable", "There is no variable %q.%s", second, l.suggestName(second, sortedKeys(doc.variables), "The variables:", "Declare it: variable %q { … }."))
		}
		return "var." + second, true
	case "local":
		if !roots["local"] {
			return fail("Reference not possible here", "Here only variables can be referred to.")
		}
		if doc.locals[second] == nil {
			return fail("Unknown local value", "There is no local value %q.%s", second, l.suggestName(second, sortedKeys(doc.locals), "The local values:", "Define it: locals { %s = … }."))
		}
		return "local." + second, true
	case "runner":
		if roots["runner"] {
			return l.checkRunner(doc, t, address)
		}
	case "path":
		if roots["path"] && second != "pipeline" {
			return fail("Unknown path", "`path` has one member: path.pipeline, the pipeline's folder.")
		}
	case "matrix":
		if roots["each"] && !roots["matrix"] {
			return fail("Reference not possible here", "This stage has no `matrix` block. With for_each the element is each.value and its key each.key.")
		}
	}
	if roots[root] && root != "stage" {
		return "", true
	}
	if why := misplaced[root]; why != "" {
		return fail("Reference not possible here", "%s", why)
	}
	return l.checkStageName(doc, t, roots, address)
}

// misplaced says where roots that cannot be used everywhere belong.
var misplaced = map[string]string{
	"each":   "`each` stands for the element of a for_each or matrix, and this stage has neither. (Within for_each and matrix themselves it cannot be used either.)",
	"matrix": "`matrix` stands for the combination of a stage with a block matrix { … }, and this stage has none.",
	"self":   "`self` stands for the finished stage and can be used in its `require` blocks only.",
	"input":  "`input` stands for the paths of a program's inputs and can be used in the arguments of an exec stage only.",
	"output": "`output` stands for the paths of a program's outputs and can be used in the arguments of an exec stage only.",
	"runner": "A runner can only be named by the argument `runner` of a stage.",
	"path":   "Here only variables can be referred to.",
}

func (l *loader) suggestName(given string, names []string, intro, declare string) string {
	if s := suggestion(given, names, intro); s != "" {
		return s
	}
	if len(names) == 0 && hclsyntax.ValidIdentifier(given) {
		return " " + fmt.Sprintf(declare, given)
	}
	return ""
}

func (l *loader) checkRunner(doc *document, t hcl.Traversal, address string) (string, bool) {
	name := stepName(t, 1) + "." + stepName(t, 2)
	if len(t) == 3 && doc.runners[name] != nil || name == "local.default" {
		return "runner." + name, true
	}
	l.problem(t.SourceRange(), address, "Unknown runner", fmt.Sprintf("There is no runner %q.%s A runner is declared by a block runner \"TYPE\" \"NAME\" { … } and named runner.TYPE.NAME.", strings.Trim(name, "."), suggestion(name, sortedKeys(doc.runners), "The runners:")))
	return "", false
}

func (l *loader) checkStageName(doc *document, t hcl.Traversal, roots map[string]bool, user string) (string, bool) {
	root, label := t.RootName(), stepName(t, 1)
	if address := root + "." + label; roots["stage"] && doc.stages[address] != nil {
		return address, true
	}
	kinds := map[string]bool{}
	var labels []string
	for _, address := range sortedKeys(doc.stages) {
		s := doc.stages[address]
		kinds[s.kind.Name] = true
		if s.kind.Name == root {
			labels = append(labels, s.label)
		}
	}
	address := root + "." + label
	fail := func(summary, format string, args ...any) (string, bool) {
		l.problem(t.SourceRange(), user, summary, fmt.Sprintf(format, args...))
		return "", false
	}
	switch {
	case doc.stages[address] != nil:
		return fail("Reference not possible here", "Stages cannot be referred to here, because this must be known before any stage runs. Use a variable, a local value or a fixed value.")
	case l.broken[address]:
		return "", false
	case label == "" && (kinds[root] || l.catalog.Lookup(root) != nil):
		return fail("Incomplete reference", "A stage is referred to by its kind and its name, and an output by %s.NAME.OUTPUT.%s", root, suggestion("", labels, "The stages of this kind:"))
	case kinds[root] || l.catalog.Lookup(root) != nil:
		if other := stageNamed(doc, label); other != "" && len(labels) == 0 {
			return fail("Reference to a missing stage", "There is no stage %s. Did you mean %q?", address, other)
		}
		none := ""
		if len(labels) == 0 {
			none = fmt.Sprintf(" The pipeline has no stage of the kind %s.", root)
		}
		way := suggestion("", labels, "The stages of this kind:")
		if best := closest(label, labels); best != "" {
			way = fmt.Sprintf(" Did you mean %q?", root+"."+best)
		}
		return fail("Reference to a missing stage", "There is no stage %s.%s%s", address, none, way)
	}
	names := append(l.catalog.Names(), "var", "local", "path")
	sort.Strings(names)
	return fail("Unknown name", "There is nothing called %q.%s A text is written in quotation marks; a stage is referred to by KIND.NAME, a variable by var.NAME.", root, suggestion(root, names, ""))
}

func stageNamed(doc *document, label string) string {
	for _, address := range sortedKeys(doc.stages) {
		if doc.stages[address].label == label {
			return address
		}
	}
	return ""
}

// checkOutput checks the steps of a reference that follow a stage's name.
func (l *loader) checkOutput(t hcl.Traversal, v *view, address string) bool {
	rest := t[2:]
	fail := func(summary, format string, args ...any) bool {
		l.problem(t.SourceRange(), address, summary, fmt.Sprintf(format, args...))
		return false
	}
	if v.Fanned && len(rest) > 0 {
		var keys []string
		known := false
		for _, in := range v.Instances {
			keys = append(keys, in.Key)
			known = known || in.Key == stepName(rest, 0)
		}
		switch step := rest[0].(type) {
		case hcl.TraverseAttr:
			return fail("Reference to many stages", "%s is made several times, by for_each or matrix. Name one of them, %s[%q].%s, or collect all with values(%s)[*].%s.", v.Address, v.Address, firstOf(keys), step.Name, v.Address, step.Name)
		case hcl.TraverseIndex:
			if !known {
				return fail("Reference to a missing stage", "There is no %s[%q].%s", v.Address, stepName(rest, 0), suggestion(stepName(rest, 0), keys, "The keys:"))
			}
		}
		rest = rest[1:]
	}
	return l.checkMember(t, rest, v, address)
}

// written returns names as they are written behind a stage's address: folds["0"].train.
func written(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		parts := strings.Split(n, ".")
		out[i] = parts[0]
		for _, p := range parts[1:] {
			if hclsyntax.ValidIdentifier(p) {
				out[i] += "." + p
			} else {
				out[i] += fmt.Sprintf("[%q]", p)
			}
		}
	}
	return out
}

func firstOf(list []string) string {
	if len(list) == 0 {
		return "KEY"
	}
	return list[0]
}

// checkExtra checks the member of each, matrix, input or output that a reference names; self has checkSelf.
func (l *loader) checkExtra(t hcl.Traversal, v cty.Value, address string) bool {
	root, member := t.RootName(), stepName(t, 1)
	if root == "self" || member == "" || !v.Type().IsObjectType() || v.Type().HasAttribute(member) {
		return true
	}
	names := sortedKeys(v.Type().AttributeTypes())
	hint := suggestion(member, names, "There are")
	if value, ok := v.Type().AttributeTypes()["value"]; ok && root == "each" && value.IsObjectType() && value.HasAttribute(member) {
		hint = fmt.Sprintf(" Write each.value.%s.", member)
	}
	if len(names) == 0 {
		hint = fmt.Sprintf(" This stage has no %ss.", root)
	}
	l.problem(t.SourceRange(), address, "Unknown member", fmt.Sprintf("There is no %s.%s here.%s", root, member, hint))
	return false
}

// checkSplats reports train.sweep[*], which HCL takes for a list with one element, where values(train.sweep)[*] is meant.
func (l *loader) checkSplats(expr hcl.Expression, address string) bool {
	ok := true
	node, isNode := expr.(hclsyntax.Node)
	if !isNode {
		return true
	}
	_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
		splat, isSplat := n.(*hclsyntax.SplatExpr)
		if !isSplat {
			return nil
		}
		source, isRef := splat.Source.(*hclsyntax.ScopeTraversalExpr)
		if !isRef || len(source.Traversal) != 2 {
			return nil
		}
		name := source.Traversal.RootName() + "." + stepName(source.Traversal, 1)
		if v := l.views[name]; v != nil && v.Fanned {
			l.problem(splat.Range(), address, "Reference to many stages", fmt.Sprintf("The instances of %s are a map by key, not a list. Collect them in order of their keys with values(%s)[*].", name, name))
			ok = false
		}
		return nil
	})
	return ok
}

// checkMember follows the steps through the outputs, whose names may have several parts.
func (l *loader) checkMember(t, rest hcl.Traversal, v *view, address string) bool {
	if v.Open || len(rest) == 0 || len(v.Instances) == 0 {
		return true
	}
	names := v.names()
	path := ""
	for i := range rest {
		path = strings.TrimPrefix(path+"."+stepName(rest, i), ".")
		inner := false
		for _, n := range names {
			if n == path {
				return true
			}
			inner = inner || strings.HasPrefix(n, path+".")
		}
		if !inner {
			l.problem(t.SourceRange(), address, "Reference to a missing output", fmt.Sprintf("%s has no output or value %q.%s", v.Address, path, suggestion(path, written(names), "It has")))
			return false
		}
	}
	return true
}
