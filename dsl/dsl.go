// Package dsl is the pipeline language: it turns HCL text into an engine.Pipeline, and mistakes into diagnostics.
//
// Rules of the room: only this package imports hcl and cty, and neither shows in its API. Loading reads the text, the
// files that file() and glob() name, and nothing else; it never runs anything. A pipeline follows from its texts and
// the values of its variables alone, not from the order of blocks or files, comments or formatting (these change
// positions and Sources only). All problems are reported at once, ordered by place. What a mistake has already made
// unusable is not reported again where it is used.
//
// The way of a load: read (files.go) → collect the blocks (document.go) → resolve variables (variables.go) → check
// every reference and order what refers to what (references.go, order.go) → evaluate locals and stages in that order
// (scope.go, stage.go, common.go, fanout.go). Expressions that wait for values become a binding (binding.go).
package dsl

import (
	"sort"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// Options are what a load needs besides the text.
type Options struct {
	Catalog  *stages.Catalog
	Vars     []string // NAME=VALUE from the command line; they win over everything else
	VarFiles []string // paths of .hcl or .json files with values; later ones win
	Environ  []string // as os.Environ gives it; DARKROOM_VAR_NAME=VALUE
}

// Load reads the pipeline at path: one file, or a folder whose .hcl files together are one pipeline. The pipeline is
// nil when a diagnostic is an error; warnings leave it usable.
func Load(path string, o Options) (*engine.Pipeline, Diagnostics) {
	l := newLoader(o.Catalog)
	dir, names := l.locate(path)
	if l.diags.HasErrors() {
		return nil, l.finish()
	}
	l.dir = dir
	l.reads = newReadings(dir, nil)
	for _, name := range names {
		l.readFile(name)
	}
	return l.load(defaultName(path, names), func(doc *document) { l.resolveVariables(doc, o) })
}

// LoadSources makes the same pipeline again from what Load left in Sources and Variables. Relative paths of sources are
// relative to dir, where they need not exist yet.
func LoadSources(sources map[string][]byte, variables map[string]any, dir string, catalog *stages.Catalog) (*engine.Pipeline, Diagnostics) {
	l := newLoader(catalog)
	l.dir, l.stored = dir, true
	l.reads = newReadings(dir, sources)
	for _, name := range sortedKeys(sources) {
		if !isReading(name) {
			l.addText(name, sources[name])
		}
	}
	return l.load(string(sources[nameReading]), func(doc *document) { l.restoreVariables(doc, variables) })
}

// loader is the state of one load.
type loader struct {
	catalog *stages.Catalog
	dir     string
	stored  bool // loading from stored text: sources need not exist
	reads   *readings
	files   map[string]*textFile
	diags   Diagnostics
	funcs   map[string]function.Function

	vars   map[string]cty.Value
	locals map[string]cty.Value
	views  map[string]*view // by address, without instance keys
	// broken holds the names (var.x, local.x, train.x) that have been reported and cannot be used.
	broken map[string]bool
	// refused holds the expressions whose references have been reported.
	refused map[hcl.Expression]bool
	used    map[string]bool           // variables that some block reads
	runners map[string]map[string]any // arguments by runner.TYPE.NAME
	localAt map[string]hcl.Expression
	schemas map[*stages.Kind]*stages.Schema
	nodes   []*engine.Node
}

func newLoader(catalog *stages.Catalog) *loader {
	return &loader{
		catalog: catalog, files: map[string]*textFile{}, vars: map[string]cty.Value{}, locals: map[string]cty.Value{},
		views: map[string]*view{}, broken: map[string]bool{}, refused: map[hcl.Expression]bool{}, used: map[string]bool{},
		runners: map[string]map[string]any{}, localAt: map[string]hcl.Expression{}, schemas: map[*stages.Kind]*stages.Schema{},
	}
}

func (l *loader) load(name string, variables func(*document)) (*engine.Pipeline, Diagnostics) {
	if l.diags.HasErrors() { // the text cannot be read: anything further would follow from that
		return nil, l.finish()
	}
	l.funcs = functions(l.reads)
	doc := l.collect()
	variables(doc)
	l.checkReferences(doc)
	l.evaluate(doc)
	p := &engine.Pipeline{Name: name, Dir: l.dir, Nodes: l.nodes, Catalog: l.catalog}
	l.pipelineBlock(doc, p)
	l.unusedVariables(doc)
	if len(doc.stages) == 0 && !l.diags.HasErrors() {
		l.add(SeverityWarning, hcl.Range{}, "", "Pipeline without stages", "Nothing here makes anything. A stage is a block of a kind that `darkroom stages` lists.")
	}
	sort.Slice(p.Nodes, func(i, j int) bool { return p.Nodes[i].ID < p.Nodes[j].ID })
	p.Sources = l.sources(name)
	p.Variables = l.normalVariables()
	if l.diags.HasErrors() {
		return nil, l.finish()
	}
	return p, l.finish()
}

// finish orders the diagnostics by place and drops those that instances of one block repeat.
func (l *loader) finish() Diagnostics {
	sort.SliceStable(l.diags, func(i, j int) bool { return l.diags[i].before(l.diags[j]) })
	var out Diagnostics
	for i, d := range l.diags {
		if i > 0 && d.sameAs(l.diags[i-1]) {
			continue
		}
		out = append(out, d)
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
