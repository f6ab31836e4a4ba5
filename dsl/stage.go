package dsl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// stage makes the nodes of a stage block and its view.
func (l *loader) stage(doc *document, s *stageBlock) {
	instances, fanned, ok := l.instances(s)
	if !ok {
		l.broken[s.address] = true
		return
	}
	v := &view{Address: s.address, Fanned: fanned}
	for _, in := range instances {
		b := &nodeBuilder{l: l, s: s, id: in.id, extra: in.extra, each: in.each, stage: s.kind.New(), connected: map[string]bool{}}
		b.node = &engine.Node{ID: in.id, Kind: s.kind, Pos: position(s.block)}
		b.build()
		if !b.shaped {
			l.broken[s.address] = true
		}
		v.Open = v.Open || b.schema.OpenValues
		v.Instances = append(v.Instances, b.view(in.key))
		l.nodes = append(l.nodes, b.node)
	}
	l.views[s.address] = v
}

// nodeBuilder makes one node.
type nodeBuilder struct {
	l     *loader
	s     *stageBlock
	id    string
	extra map[string]cty.Value // each, matrix, input, output
	each  *element             // where each is not known
	stage stages.Stage

	node      *engine.Node
	schema    *stages.Schema
	shaped    bool // the schema's outputs are what they will be
	connected map[string]bool
	lost      bool // an input has been reported, so that the names of the inputs are not known
}

func (b *nodeBuilder) build() {
	b.schema = b.l.schema(b.s.kind)
	b.common()
	b.inputs()
	if b.schema.LocalPaths {
		b.localPaths()
	}
	args := b.arguments(b.s.block.Body, b.schema, "")
	b.decode(args, true)
	if args.waits() {
		around, waits := b.l.surround(b.extra, b.each, args.exprs)
		b.node.Binder, b.node.Waits = &binding{Template: args.template, Around: around}, waits
		args.args = stages.Args{}
	}
	b.node.Args = args.args
	if _, shapes := b.stage.(stages.Shaper); !shapes || b.node.Binder == nil {
		b.node.Schema = b.schema
	}
	b.requirements()
}

// localPaths gives a stage the fixed relative paths of its inputs and outputs. The outputs follow from its arguments,
// so these are decoded once with the paths of outputs unknown.
func (b *nodeBuilder) localPaths() {
	in := map[string]cty.Value{}
	for _, e := range b.node.Inputs {
		if e.Name != "" {
			in[e.Name] = cty.StringVal("in/" + e.Name)
		}
	}
	extra := map[string]cty.Value{"input": cty.ObjectVal(in), "output": cty.DynamicVal}
	if b.lost {
		extra["input"] = cty.DynamicVal
	}
	for name, v := range b.extra {
		extra[name] = v
	}
	b.extra = extra
	reported, connected := b.l.diags, len(b.node.Inputs)
	b.decode(b.arguments(b.s.block.Body, b.schema, ""), false)
	b.l.diags = reported
	b.node.Inputs = b.node.Inputs[:connected] // arguments that are artifacts are connected again
	out := map[string]cty.Value{}
	for _, o := range b.schema.Outputs {
		out[o.Name] = cty.StringVal("out/" + o.Name)
	}
	if b.shaped {
		extra["output"] = cty.ObjectVal(out)
	}
}

// decode checks the arguments against the kind and shapes its ports.
func (b *nodeBuilder) decode(args *arguments, report bool) {
	stage := b.s.kind.New()
	schema, problems := stages.Decode(stage, args.args, b.connected)
	_, shapes := stage.(stages.Shaper)
	b.schema = schema
	b.shaped = !shapes || !stages.HasErrors(problems)
	if len(args.pending) > 0 {
		b.shaped = b.shaped && (!shapes || sameOutputs(schema, b.s.kind.New(), args.other, b.connected))
		// Rules across arguments would judge the stand-ins.
		_, problems = stages.Decode(declared{b.s.kind.New()}, args.args, b.connected)
	}
	if !report {
		return
	}
	n := 0
	for _, p := range problems {
		if typed, waits := args.pending[p.Arg]; waits && !(typed && p.Summary == "Wrong type of argument") {
			continue
		}
		if p.Summary == "Missing argument" && b.writtenAsBlock(p.Detail) {
			continue // reported as that
		}
		b.l.stageProblem(b.s, b.id, p)
		n++
	}
	if !b.shaped && n == 0 && !args.failed {
		b.l.problem(b.s.block.DefRange(), b.id, "Outputs not known yet", "The outputs of this stage follow from arguments that depend on what other stages report. They must be known when the pipeline is loaded: use variables or fixed values for these arguments.")
	}
}

// sameOutputs reports whether other stand-ins give the same outputs, so that these do not depend on what is not known.
func sameOutputs(s *stages.Schema, stage stages.Stage, args stages.Args, connected map[string]bool) bool {
	other, problems := stages.Decode(stage, args, connected)
	return !stages.HasErrors(problems) && slices.EqualFunc(s.Outputs, other.Outputs, func(a, b *stages.Port) bool { return *a == *b })
}

// declared hides everything of a stage but its declaration.
type declared struct{ stages.Declarer }

// stageProblem points a kind's problem at its line.
func (l *loader) stageProblem(s *stageBlock, id string, p stages.Problem) {
	severity := SeverityError
	if p.Warning {
		severity = SeverityWarning
	}
	if other, ok := l.otherForm(s, p); ok {
		p = other
	}
	l.add(severity, problemRange(s.block, p), id, p.Summary, problemDetail(p))
}

// writtenAsBlock reports whether the argument that detail misses stands there as a block.
func (b *nodeBuilder) writtenAsBlock(detail string) bool {
	return slices.ContainsFunc(b.s.block.Body.Blocks, func(n *hclsyntax.Block) bool {
		return strings.HasPrefix(detail, fmt.Sprintf("The argument %q ", n.Type))
	})
}

// otherForm recognises a block that was written as an argument and the reverse, and adds what every stage has to the
// names that may have been meant.
func (l *loader) otherForm(s *stageBlock, p stages.Problem) (stages.Problem, bool) {
	schema := l.schema(s.kind)
	switch {
	case strings.Contains(p.Arg, "."):
		return p, false
	case p.Summary == "Unknown argument" && schema.BlockFor(p.Given) != nil:
		p.Summary, p.Detail = writtenAsArgument, fmt.Sprintf("%q is a block: write `%s { … }` without an equals sign.", p.Given, p.Given)
		p.Given = ""
	case p.Summary == "Unknown block" && (schema.Arg(p.Given) != nil || schema.Input(p.Given) != nil):
		p.Summary, p.Detail = "Argument written as a block", fmt.Sprintf("%q is an argument: write `%s = …` with an equals sign.", p.Given, p.Given)
		p.Given = ""
	case p.Given != "" && closest(p.Given, p.Options) == "" && closest(p.Given, stages.Reserved) != "":
		p.Options = stages.Reserved
	default:
		return p, false
	}
	return p, true
}

const writtenAsArgument = "Block written as an argument"

func problemDetail(p stages.Problem) string {
	detail := sentence(p.Detail)
	if p.Given == "" {
		return detail
	}
	intro := "It takes:"
	if p.Summary == "Unknown option" {
		intro = "" // the detail lists them
	}
	return detail + suggestion(p.Given, p.Options, intro)
}

// arguments are a body's arguments: what is known, and expressions for what is not.
type arguments struct {
	args     stages.Args // with stand-ins for what is not known
	other    stages.Args // the same with other stand-ins
	template template
	exprs    []hclsyntax.Expression // that wait for values
	pending  map[string]bool        // by path: whether the stand-in has the type of what will come
	failed   bool                   // an expression has no value; it has been reported
}

func (a *arguments) waits() bool { return len(a.exprs) > 0 }

// arguments evaluates a body's arguments and nested blocks. schema is nil below the top level, where there are no inputs.
func (b *nodeBuilder) arguments(body *hclsyntax.Body, schema *stages.Schema, prefix string) *arguments {
	out := &arguments{args: stages.Args{Values: map[string]any{}}, other: stages.Args{Values: map[string]any{}}, pending: map[string]bool{}, template: template{Values: map[string]any{}, Exprs: map[string]expression{}}}
	for _, a := range sortedAttributes(body) {
		if schema != nil && (isReserved(a.Name) || schema.Input(a.Name) != nil || b.connected[a.Name]) {
			continue
		}
		b.argument(out, a, schema, prefix)
	}
	i := 0
	for _, n := range body.Blocks {
		if schema != nil && isReserved(n.Type) {
			continue
		}
		at := fmt.Sprintf("%s%s[%d]", prefix, n.Type, i)
		i++
		label := ""
		switch len(n.Labels) {
		case 0:
		case 1:
			label = n.Labels[0]
		default:
			b.l.problem(n.DefRange(), b.id, "Wrong number of labels", fmt.Sprintf("The block %q takes one label at most.", n.Type))
			label = n.Labels[0]
		}
		inner := b.arguments(n.Body, nil, at+".")
		out.args.Blocks = append(out.args.Blocks, stages.BlockArgs{Type: n.Type, Label: label, Args: inner.args})
		out.other.Blocks = append(out.other.Blocks, stages.BlockArgs{Type: n.Type, Label: label, Args: inner.other})
		out.template.Blocks = append(out.template.Blocks, blockTemplate{Type: n.Type, Label: label, Template: inner.template})
		out.exprs = append(out.exprs, inner.exprs...)
		out.failed = out.failed || inner.failed
		for path, typed := range inner.pending {
			out.pending[path] = typed
		}
	}
	return out
}

func (b *nodeBuilder) argument(out *arguments, a *hclsyntax.Attribute, schema *stages.Schema, prefix string) {
	var arg *stages.Arg
	if schema != nil {
		arg = schema.Arg(a.Name)
	}
	v, ok := b.l.eval(a.Expr, b.extra, b.id)
	if ok && holdsArtifact(v) {
		if ref, single := artifactOf(v); single && arg != nil && arg.Or != "" {
			b.connect(a, stages.Port{Name: a.Name, Type: arg.Or}, ref, "", nil)
			b.connected[a.Name] = true
			return
		}
		b.artifactInArgument(a)
		ok = false
	}
	switch {
	case !ok:
		out.failed = true
		out.args.Values[a.Name], _ = standIn(cty.DynamicVal, arg, 0)
		out.other.Values[a.Name], _ = standIn(cty.DynamicVal, arg, 1)
		out.pending[prefix+a.Name] = false
	case v.IsWhollyKnown():
		plain, _ := toAny(v)
		out.args.Values[a.Name], out.other.Values[a.Name], out.template.Values[a.Name] = plain, plain, plain
	default:
		stand, typed := standIn(v, arg, 0)
		out.args.Values[a.Name] = stand
		out.other.Values[a.Name], _ = standIn(v, arg, 1)
		out.pending[prefix+a.Name] = typed
		out.template.Exprs[a.Name] = b.l.expression(a.Expr)
		out.exprs = append(out.exprs, a.Expr)
	}
}

func (b *nodeBuilder) artifactInArgument(a *hclsyntax.Attribute) {
	var names []string
	for _, p := range b.schema.Inputs {
		names = append(names, p.Name)
	}
	detail := fmt.Sprintf("The argument %q takes a plain value, but this holds an artifact of another stage.", a.Name)
	switch {
	case b.schema.LocalPaths:
		detail += fmt.Sprintf(" Give the artifact a name among the inputs, `inputs = { data = … }`, and write its path as input.data in %q.", a.Name)
	case len(names) > 0:
		detail += fmt.Sprintf(" Artifacts are connected to inputs; %s has %s.", b.s.kind.Name, listText(names))
	}
	b.l.problem(a.Expr.Range(), b.id, "Artifact in an argument", detail)
}

// view describes the finished node to expressions.
func (b *nodeBuilder) view(key string) instanceView {
	v := instanceView{ID: b.id, Key: key}
	for _, o := range b.schema.Outputs {
		typ := o.Type
		if o.Like != "" {
			typ = b.typeOn(o.Like)
		}
		v.Outputs = append(v.Outputs, outputView{Name: o.Name, Type: typ})
	}
	for _, val := range b.schema.Values {
		v.Values = append(v.Values, valueView{Name: val.Name, Type: val.Type})
	}
	return v
}

func (b *nodeBuilder) typeOn(port string) artifact.Type {
	for _, e := range b.node.Inputs {
		if e.Port == port {
			return e.Type
		}
	}
	return ""
}
