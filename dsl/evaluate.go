package dsl

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// checkReferences checks every expression of the document and finds out what refers to what.
func (l *loader) checkReferences(doc *document) {
	doc.units = map[string]*unit{}
	if doc.pipeline != nil {
		for _, a := range sortedAttributes(doc.pipeline.Body) {
			l.checkExpression(doc, a.Expr, fixedRoots, "")
		}
	}
	for name, a := range doc.locals {
		l.localAt["local."+name] = a.Expr
		doc.units["local."+name] = &unit{name: "local." + name, at: a.NameRange, refs: l.checkExpression(doc, a.Expr, plainRoots, "")}
	}
	for name, b := range doc.runners {
		u := &unit{name: "runner." + name, at: b.DefRange(), refs: map[string]hcl.Range{}}
		for _, a := range sortedAttributes(b.Body) {
			u.add(l.checkExpression(doc, a.Expr, fixedRoots, ""))
		}
		doc.units[u.name] = u
	}
	for address, s := range doc.stages {
		u := &unit{name: address, at: s.block.DefRange(), refs: map[string]hcl.Range{}}
		l.checkStage(doc, s, u)
		doc.units[address] = u
	}
}

func (u *unit) add(refs map[string]hcl.Range) {
	for name, at := range refs {
		if old, ok := u.refs[name]; !ok || at.Start.Byte < old.Start.Byte {
			u.refs[name] = at
		}
	}
}

// checkStage checks the expressions of a stage, each with the names that it may use where it stands.
func (l *loader) checkStage(doc *document, s *stageBlock, u *unit) {
	body := s.block.Body
	roots := plainRoots
	if body.Attributes["for_each"] != nil {
		roots = with(roots, fannedRoots)
	}
	for _, b := range body.Blocks {
		if b.Type == "matrix" {
			roots = with(roots, fannedRoots, map[string]bool{"matrix": true})
		}
	}
	schema := l.schema(s.kind)
	inner := roots
	if schema.LocalPaths {
		inner = with(roots, map[string]bool{"input": true, "output": true})
	}
	for _, a := range sortedAttributes(body) {
		switch {
		case a.Name == "for_each":
			u.add(l.checkExpression(doc, a.Expr, plainRoots, u.name))
		case a.Name == "runner":
			u.add(l.checkExpression(doc, a.Expr, with(roots, runnerRoots), u.name))
		case isReserved(a.Name) || schema.Input(a.Name) != nil:
			u.add(l.checkExpression(doc, a.Expr, roots, u.name))
		default:
			u.add(l.checkExpression(doc, a.Expr, inner, u.name))
		}
	}
	for _, b := range body.Blocks {
		switch b.Type {
		case "matrix":
			l.checkBody(doc, b.Body, plainRoots, u)
		case "require":
			l.checkBody(doc, b.Body, with(roots, requireRoots), u)
		case "resources", "retry":
			l.checkBody(doc, b.Body, roots, u)
		default:
			l.checkBody(doc, b.Body, inner, u)
		}
	}
}

func (l *loader) checkBody(doc *document, body *hclsyntax.Body, roots map[string]bool, u *unit) {
	for _, a := range sortedAttributes(body) {
		u.add(l.checkExpression(doc, a.Expr, roots, u.name))
	}
	for _, b := range body.Blocks {
		l.checkBody(doc, b.Body, roots, u)
	}
}

// evaluate makes the nodes: units in an order in which each finds what it refers to.
func (l *loader) evaluate(doc *document) {
	for _, u := range l.order(doc.units) {
		switch {
		case doc.stages[u.name] != nil:
			l.stage(doc, doc.stages[u.name])
		case doc.locals[trimRoot(u.name)] != nil && u.name[:6] == "local.":
			l.local(trimRoot(u.name), doc.locals[trimRoot(u.name)])
		default:
			l.runner(doc.runners[trimRoot(u.name)], u.name)
		}
	}
}

func trimRoot(name string) string {
	for i := range name {
		if name[i] == '.' {
			return name[i+1:]
		}
	}
	return name
}

func (l *loader) local(name string, a *hclsyntax.Attribute) {
	v, ok := l.eval(a.Expr, nil, "")
	if !ok {
		l.broken["local."+name] = true
		return
	}
	if size := valueSize(v); size > maxLocal {
		l.broken["local."+name] = true
		l.problemf(a.Expr.Range(), "Value too large", "The local value %q is larger than 16 MiB, or holds a number out of all range. Give large data to a stage as a source.", name)
		return
	}
	l.locals[name] = v
}

func (l *loader) runner(b *hclsyntax.Block, name string) {
	l.noBlocks(b, "runner")
	args := map[string]any{}
	for _, a := range sortedAttributes(b.Body) {
		v, ok := l.constant(a.Expr, nil, "")
		if !ok {
			l.broken[name] = true
			continue
		}
		plain, err := toAny(v)
		if err != nil {
			l.broken[name] = true
			l.problemf(a.Expr.Range(), "Wrong type of argument", "The argument %q of a runner takes a plain value: %s.", a.Name, err)
			continue
		}
		args[a.Name] = plain
	}
	l.runners[name] = args
}
