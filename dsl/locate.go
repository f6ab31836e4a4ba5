package dsl

import (
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// problemRange returns where a problem of a stage lies in its block.
func problemRange(b *hclsyntax.Block, p stages.Problem) hcl.Range {
	unknown := p.Summary == "Unknown argument" || p.Summary == writtenAsArgument
	return argumentRange(b, p.Arg, unknown, true)
}

// argumentRange follows a path such as loss[1].gamma; a common block such as require[1] is counted among its own. Where it ends early, the innermost block found is meant.
func argumentRange(b *hclsyntax.Block, path string, name, top bool) hcl.Range {
	first, rest, _ := strings.Cut(path, ".")
	if first == "" {
		return b.DefRange()
	}
	open := strings.IndexByte(first, '[')
	if open < 0 || !strings.HasSuffix(first, "]") {
		if a := b.Body.Attributes[first]; a != nil {
			if name {
				return a.NameRange
			}
			return a.Expr.Range()
		}
		for _, n := range b.Body.Blocks {
			if n.Type == first {
				return argumentRange(n, rest, name, false)
			}
		}
		return b.DefRange()
	}
	index, err := strconv.Atoi(first[open+1 : len(first)-1])
	i := 0
	common := top && isReserved(first[:open]) // require[1] is the second of its type
	for _, n := range b.Body.Blocks {
		if top && (isReserved(n.Type) != common || common && n.Type != first[:open]) {
			continue
		}
		if err == nil && i == index {
			return argumentRange(n, rest, name, false)
		}
		i++
	}
	return b.DefRange()
}

// Locate points a problem that came up during a plan or a run at the line of the pipeline's text.
func Locate(p *engine.Pipeline, node *engine.Node, problem stages.Problem) Diagnostic {
	d := Diagnostic{Severity: SeverityError, Summary: problem.Summary, Detail: problemDetail(problem)}
	if problem.Warning {
		d.Severity = SeverityWarning
	}
	if node == nil {
		return d
	}
	d.Address, d.File, d.Line, d.Column = node.ID, node.Pos.File, node.Pos.Line, node.Pos.Column
	d.EndLine, d.EndColumn = d.Line, d.Column
	if p == nil || p.Sources[node.Pos.File] == nil {
		return d
	}
	f := &textFile{name: node.Pos.File, text: p.Sources[node.Pos.File]}
	parsed, diags := hclsyntax.ParseConfig(f.text, f.name, hcl.InitialPos)
	if diags.HasErrors() {
		return d
	}
	for _, b := range parsed.Body.(*hclsyntax.Body).Blocks {
		if b.TypeRange.Start.Line == node.Pos.Line {
			d.place(problemRange(b, problem), f.lines())
		}
	}
	return d
}
