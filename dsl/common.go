package dsl

import (
	"fmt"
	"math"
	"math/big"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

const (
	maxThreads  = 4096
	maxAttempts = 100
)

// common reads the arguments and blocks that every stage has.
func (b *nodeBuilder) common() {
	body := b.s.block.Body
	for _, a := range sortedAttributes(body) {
		switch a.Name {
		case "runner":
			b.runner(a)
			continue
		case "depends_on":
			b.dependsOn(a)
			continue
		case "timeout", "seed", "cache", "threads":
		case "resources", "retry", "matrix", "require":
			b.l.problem(a.NameRange, b.id, writtenAsArgument, fmt.Sprintf("%q is a block: write `%s { … }` without an equals sign.", a.Name, a.Name))
			continue
		default:
			continue
		}
		v, ok := b.l.constant(a.Expr, b.extra, b.id)
		if !ok || v.IsNull() {
			continue
		}
		switch a.Name {
		case "timeout":
			b.node.Timeout = b.l.duration(a.Expr, v, "timeout", b.id)
		case "seed":
			b.node.Seed = b.l.seed(a.Expr, v, b.id)
		case "threads":
			b.node.Threads, _ = b.l.whole(a.Expr, v, "threads", 1, maxThreads, b.id)
		case "cache":
			if v.Type() != cty.Bool {
				b.problem(a.Expr, "Wrong type of argument", "The argument \"cache\" is %s, but it takes true or false.", typeWords(v))
				continue
			}
			b.node.NoCache = v.False()
		}
	}
	seen := map[string]bool{}
	for _, n := range body.Blocks {
		if n.Type != "resources" && n.Type != "retry" {
			continue
		}
		if seen[n.Type] {
			b.l.problem(n.DefRange(), b.id, "Repeated block", fmt.Sprintf("The block %q may be written only once.", n.Type))
			continue
		}
		seen[n.Type] = true
		if n.Type == "resources" {
			b.resources(n)
		} else {
			b.retry(n)
		}
	}
}

// settings evaluates the arguments of a common block and reports what it does not know.
func (b *nodeBuilder) settings(n *hclsyntax.Block, names ...string) map[string]cty.Value {
	b.l.knownOnly(n.Body, n.Type, names...)
	b.l.noBlocks(n, n.Type)
	if len(n.Labels) > 0 {
		b.l.problem(n.DefRange(), b.id, "Wrong number of labels", fmt.Sprintf("The block %q takes no label.", n.Type))
	}
	out := map[string]cty.Value{}
	for _, name := range names {
		if a := n.Body.Attributes[name]; a != nil {
			if v, ok := b.l.constant(a.Expr, b.extra, b.id); ok && !v.IsNull() {
				out[name] = v
			}
		}
	}
	return out
}

func (b *nodeBuilder) resources(n *hclsyntax.Block) {
	set := b.settings(n, "cpus", "memory", "gpus")
	expr := func(name string) hcl.Expression { return n.Body.Attributes[name].Expr }
	if v, ok := set["cpus"]; ok {
		b.node.Resources.CPUs, _ = b.l.whole(expr("cpus"), v, "cpus", 1, maxThreads, b.id)
	}
	if v, ok := set["gpus"]; ok {
		b.node.Resources.GPUs, _ = b.l.whole(expr("gpus"), v, "gpus", 0, maxThreads, b.id)
	}
	if v, ok := set["memory"]; ok {
		size, err := parseSize(v)
		if err != nil {
			b.problem(expr("memory"), "Malformed amount of memory", "The argument \"memory\" is a text such as \"512MB\" or \"4GB\" (multiples of 1000 bytes), or \"4GiB\" (of 1024): %s.", err)
		}
		b.node.Resources.Memory = size
	}
}

// parseSize reads an amount of memory in bytes.
func parseSize(v cty.Value) (int64, error) {
	text, err := toText(v)
	if err != nil {
		return 0, fmt.Errorf("this is %s", typeWords(v))
	}
	return stages.ParseSize(text)
}

func (b *nodeBuilder) retry(n *hclsyntax.Block) {
	set := b.settings(n, "attempts", "backoff")
	b.node.Retry = engine.Retry{Attempts: 3, Backoff: time.Second}
	if v, ok := set["attempts"]; ok {
		b.node.Retry.Attempts, _ = b.l.whole(n.Body.Attributes["attempts"].Expr, v, "attempts", 1, maxAttempts, b.id)
	}
	if v, ok := set["backoff"]; ok {
		b.node.Retry.Backoff = b.l.duration(n.Body.Attributes["backoff"].Expr, v, "backoff", b.id)
	}
}

// duration reads "90s", "5m", "1h30m", or a number of seconds.
func (l *loader) duration(expr hcl.Expression, v cty.Value, name, address string) time.Duration {
	text, err := toText(v)
	if v.Type() == cty.Number {
		text += "s"
	}
	d, perr := time.ParseDuration(strings.ReplaceAll(text, " ", ""))
	if err != nil || perr != nil || d <= 0 {
		l.problem(expr.Range(), address, "Malformed duration", fmt.Sprintf("The argument %q is a time above zero, such as \"90s\", \"5m\" or \"1h30m\".", name))
		return 0
	}
	return d
}

// whole reads a whole number between low and high.
func (l *loader) whole(expr hcl.Expression, v cty.Value, name string, low, high int, address string) (int, bool) {
	if v.IsNull() {
		return 0, false
	}
	if v.Type() != cty.Number {
		l.problem(expr.Range(), address, "Wrong type of argument", fmt.Sprintf("The argument %q is %s, but it takes a whole number.", name, typeWords(v)))
		return 0, false
	}
	f, _ := v.AsBigFloat().Float64()
	if f != math.Trunc(f) || f < float64(low) || f > float64(high) {
		l.problem(expr.Range(), address, "Value out of range", fmt.Sprintf("The argument %q must be a whole number from %d to %d. It is %s.", name, low, high, displayValue(v)))
		return 0, false
	}
	return int(f), true
}

// seed reads a seed: a whole number from 0 to 2⁶⁴-1.
func (l *loader) seed(expr hcl.Expression, v cty.Value, address string) *uint64 {
	if v.IsNull() {
		return nil
	}
	if v.Type() != cty.Number {
		l.problem(expr.Range(), address, "Wrong type of argument", fmt.Sprintf("The argument \"seed\" is %s, but it takes a whole number.", typeWords(v)))
		return nil
	}
	n, accuracy := v.AsBigFloat().Uint64()
	if accuracy != big.Exact {
		l.problem(expr.Range(), address, "Value out of range", fmt.Sprintf("The argument \"seed\" must be a whole number from 0 to 2⁶⁴-1. It is %s.", displayValue(v)))
		return nil
	}
	return &n
}

// text reads a text.
func (l *loader) text(expr hcl.Expression, v cty.Value, name string) (string, bool) {
	if v == cty.NilVal || v.IsNull() {
		return "", false
	}
	if v.Type() != cty.String {
		l.problemf(expr.Range(), "Wrong type of argument", "The argument %q is %s, but it takes a string.", name, typeWords(v))
		return "", false
	}
	return v.AsString(), true
}

func (b *nodeBuilder) runner(a *hclsyntax.Attribute) {
	refs := a.Expr.Variables()
	t, diags := hcl.AbsTraversalForExpr(a.Expr)
	if b.l.refused[a.Expr] {
		return
	}
	if diags.HasErrors() || len(refs) != 1 || t.RootName() != "runner" {
		b.problem(a.Expr, "Wrong type of argument", "The argument \"runner\" names a runner by reference: runner.TYPE.NAME, of a block runner \"TYPE\" \"NAME\" { … }.")
		return
	}
	typ, name := stepName(t, 1), stepName(t, 2)
	b.node.Runner = engine.RunnerRef{Type: typ, Name: name, Args: b.l.runners["runner."+typ+"."+name]}
	if typ == "local" && name == "default" && len(b.node.Runner.Args) == 0 {
		b.node.Runner = engine.RunnerRef{}
	}
}

// dependsOn reads a list of stages that must finish first.
func (b *nodeBuilder) dependsOn(a *hclsyntax.Attribute) {
	exprs, diags := hcl.ExprList(a.Expr)
	if diags.HasErrors() {
		b.problem(a.Expr, "Wrong type of argument", "The argument \"depends_on\" is a list of stages: [KIND.NAME, …].")
		return
	}
	after := map[string]bool{}
	for _, e := range exprs {
		t, diags := hcl.AbsTraversalForExpr(e)
		if diags.HasErrors() || len(t) < 2 {
			b.problem(e, "Wrong type of argument", "An element of \"depends_on\" names a stage: KIND.NAME, or KIND.NAME[\"KEY\"] where there are many.")
			continue
		}
		v := b.l.views[t.RootName()+"."+stepName(t, 1)]
		if v == nil {
			continue // broken or refused, and reported
		}
		key := stepName(t, 2)
		found := false
		for _, in := range v.Instances {
			if !v.Fanned || len(t) == 2 || in.Key == key {
				after[in.ID], found = true, true
			}
		}
		if !found && len(t) > 2 {
			b.l.checkOutput(t, v, b.id)
		}
	}
	for id := range after {
		b.node.After = append(b.node.After, id)
	}
	sort.Strings(b.node.After)
}
