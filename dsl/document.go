package dsl

import (
	"fmt"
	"slices"
	"sort"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// document is the blocks of all files of a pipeline, sorted out and not yet evaluated.
type document struct {
	pipeline  *hclsyntax.Block
	variables map[string]*variable
	locals    map[string]*hclsyntax.Attribute
	runners   map[string]*hclsyntax.Block // by TYPE.NAME
	stages    map[string]*stageBlock      // by address
	units     map[string]*unit            // locals, runners and stages, by name
}

// stageBlock is a stage as written; for_each and matrix make several nodes of it.
type stageBlock struct {
	address string // train.teacher
	kind    *stages.Kind
	label   string
	block   *hclsyntax.Block
}

// schema is the declaration of a kind, of which nothing may be decoded.
func (l *loader) schema(k *stages.Kind) *stages.Schema {
	s := l.schemas[k]
	if s == nil {
		s = stages.SchemaOf(k.New())
		l.schemas[k] = s
	}
	return s
}

func isReserved(name string) bool { return slices.Contains(stages.Reserved, name) }

// collect sorts the blocks of all files and reports those that cannot stand where they stand.
func (l *loader) collect() *document {
	doc := &document{variables: map[string]*variable{}, locals: map[string]*hclsyntax.Attribute{}, runners: map[string]*hclsyntax.Block{}, stages: map[string]*stageBlock{}}
	for _, name := range sortedKeys(l.files) {
		body := l.files[name].body
		for _, a := range sortedAttributes(body) {
			l.problemf(a.NameRange, "Argument outside of a block", "The argument %q stands outside of a block. A pipeline consists of blocks; give names to values in a block `locals { … }`.", a.Name)
		}
		for _, b := range body.Blocks {
			l.collectBlock(doc, b)
			if b.Type != "variable" {
				l.markUsed(b.Body)
			}
		}
	}
	return doc
}

// markUsed notes the variables that a block reads, also one that cannot be used itself.
func (l *loader) markUsed(body *hclsyntax.Body) {
	for _, a := range body.Attributes {
		for _, t := range a.Expr.Variables() {
			if t.RootName() == "var" {
				l.used[stepName(t, 1)] = true
			}
		}
	}
	for _, b := range body.Blocks {
		l.markUsed(b.Body)
	}
}

func (l *loader) collectBlock(doc *document, b *hclsyntax.Block) {
	switch b.Type {
	case "pipeline":
		if !l.labels(b, 0, "`pipeline { … }`") {
			return
		}
		if doc.pipeline != nil {
			l.duplicate(b, "block", "pipeline", doc.pipeline.DefRange())
			return
		}
		doc.pipeline = b
	case "variable":
		if l.labels(b, 1, "`variable \"epochs\" { … }`") {
			l.collectVariable(doc, b)
		}
	case "locals":
		if !l.labels(b, 0, "`locals { … }`") {
			return
		}
		l.noBlocks(b, "locals")
		for _, a := range sortedAttributes(b.Body) {
			if old := doc.locals[a.Name]; old != nil {
				l.problemf(a.NameRange, "Duplicate name", "The local value %q is already defined at %s. Give one of them another name.", a.Name, placeText(old.NameRange))
				continue
			}
			doc.locals[a.Name] = a
		}
	case "runner":
		if !l.labels(b, 2, "`runner \"gpu\" \"default\" { … }`") {
			return
		}
		name := b.Labels[0] + "." + b.Labels[1]
		if old := doc.runners[name]; old != nil {
			l.duplicate(b, "runner", name, old.DefRange())
			return
		}
		doc.runners[name] = b
	default:
		l.collectStage(doc, b)
	}
}

func (l *loader) collectStage(doc *document, b *hclsyntax.Block) {
	kind := l.catalog.Lookup(b.Type)
	if kind == nil {
		names := append(l.catalog.Names(), "pipeline", "variable", "locals", "runner")
		sort.Strings(names)
		l.problemf(b.TypeRange, "Unknown kind of stage", "There is no kind of stage %q.%s `darkroom stages` describes them all.", b.Type, suggestion(b.Type, names, "The kinds of blocks:"))
		// References to it are not reported again.
		if len(b.Labels) == 1 {
			l.broken[b.Type+"."+b.Labels[0]] = true
		}
		return
	}
	if !l.labels(b, 1, fmt.Sprintf("`%s \"name\" { … }`", b.Type)) {
		return
	}
	address := b.Type + "." + b.Labels[0]
	if old := doc.stages[address]; old != nil {
		l.duplicate(b, "stage", address, old.block.DefRange())
		return
	}
	doc.stages[address] = &stageBlock{address: address, kind: kind, label: b.Labels[0], block: b}
}

func (l *loader) duplicate(b *hclsyntax.Block, what, name string, old hcl.Range) {
	l.problemf(b.DefRange(), "Duplicate name", "The %s %s is already defined at %s. Give one of them another name, or remove it.", what, name, placeText(old))
}

func placeText(r hcl.Range) string { return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line) }

// labels checks that b has n labels that are identifiers.
func (l *loader) labels(b *hclsyntax.Block, n int, form string) bool {
	if len(b.Labels) != n {
		l.problemf(b.DefRange(), "Wrong number of labels", "The block %q is written %s.", b.Type, form)
		return false
	}
	for i, label := range b.Labels {
		if !hclsyntax.ValidIdentifier(label) {
			l.problemf(b.LabelRanges[i], "Malformed name", "%q cannot be used as a name, because references to it could not be written. A name begins with a letter and holds letters, digits, _ and -.", label)
			return false
		}
	}
	return true
}

func (l *loader) noBlocks(b *hclsyntax.Block, what string) {
	for _, n := range b.Body.Blocks {
		l.problemf(n.DefRange(), "Unknown block", "The block %q takes no nested blocks.", what)
	}
}

// sortedAttributes returns the attributes of a body in order of the text.
func sortedAttributes(body *hclsyntax.Body) []*hclsyntax.Attribute {
	if body == nil {
		return nil
	}
	out := make([]*hclsyntax.Attribute, 0, len(body.Attributes))
	for _, a := range body.Attributes {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].SrcRange.Start.Byte < out[j].SrcRange.Start.Byte })
	return out
}

func position(b *hclsyntax.Block) engine.Position {
	start, end := b.TypeRange.Start, b.CloseBraceRange.End
	return engine.Position{File: b.TypeRange.Filename, Line: start.Line, Column: start.Column, EndLine: end.Line}
}

// pipelineBlock evaluates the block pipeline { name, seed, threads }.
func (l *loader) pipelineBlock(doc *document, p *engine.Pipeline) {
	threads := 0
	if doc.pipeline != nil {
		l.noBlocks(doc.pipeline, "pipeline")
		known := []string{"name", "description", "seed", "threads"}
		for _, a := range sortedAttributes(doc.pipeline.Body) {
			v, ok := l.constant(a.Expr, nil, "")
			if !ok {
				continue
			}
			switch a.Name {
			case "name":
				p.Name, _ = l.text(a.Expr, v, "name")
			case "description":
				l.text(a.Expr, v, "description")
			case "seed":
				if seed := l.seed(a.Expr, v, ""); seed != nil {
					p.Seed = *seed
				}
			case "threads":
				threads, _ = l.whole(a.Expr, v, "threads", 1, maxThreads, "")
			default:
				l.problemf(a.NameRange, "Unknown argument", "There is no argument %q here.%s", a.Name, suggestion(a.Name, known, "The block `pipeline` takes:"))
			}
		}
	}
	for _, n := range l.nodes {
		if n.Threads == 0 {
			n.Threads = threads
		}
	}
}
