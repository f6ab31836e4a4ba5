package dsl

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// requirement is a `require` block. It implements engine.Requirement.
type requirement struct {
	condition, message expression
	around             surroundings
	self               instanceView // with its measurements among the values
	open               bool
	needs              []string
	pos                engine.Position
}

// requirements reads the `require` blocks of the stage. Their types are checked now, with every value unknown.
func (b *nodeBuilder) requirements() {
	for _, n := range b.s.block.Body.Blocks {
		if n.Type == "require" {
			b.requirement(n)
		}
	}
}

func (b *nodeBuilder) requirement(n *hclsyntax.Block) {
	b.l.knownOnly(n.Body, "require", "condition", "message")
	b.l.noBlocks(n, "require")
	condition, message := n.Body.Attributes["condition"], n.Body.Attributes["message"]
	if condition == nil {
		b.l.problem(n.DefRange(), b.id, "Missing argument", "A `require` block needs the argument \"condition\", such as `condition = self.accuracy >= 0.9`.")
		return
	}
	self := b.view("")
	for _, m := range b.schema.Measurements {
		self.Values = append(self.Values, valueView{Name: m.Name, Type: m.Type})
	}
	r := &requirement{condition: b.l.expression(condition.Expr), self: self, open: b.schema.OpenValues, pos: position(n)}
	exprs := []hclsyntax.Expression{condition.Expr}
	extra := map[string]cty.Value{"self": self.object(r.open, nil, namesRead(condition.Expr))}
	for name, v := range b.extra {
		extra[name] = v
	}
	ok := b.checkSelf(condition.Expr, self) && b.judge(condition.Expr, extra, cty.Bool, "Condition is not true or false", "A condition must be true or false.")
	if message != nil {
		exprs = append(exprs, message.Expr)
		extra["self"] = self.object(r.open, nil, namesRead(message.Expr))
		r.message = b.l.expression(message.Expr)
		ok = b.checkSelf(message.Expr, self) && b.judge(message.Expr, extra, cty.String, "Message is not a text", "The message of a requirement must be a text.") && ok
	}
	if !ok {
		return
	}
	delete(extra, "self")
	r.around, r.needs = b.l.surround(extra, b.each, exprs)
	b.node.Requires = append(b.node.Requires, r)
}

func (b *nodeBuilder) judge(expr hclsyntax.Expression, extra map[string]cty.Value, want cty.Type, summary, detail string) bool {
	v, ok := b.l.eval(expr, extra, b.id)
	if !ok {
		return false
	}
	if c, err := convert.Convert(v, want); err != nil || c.IsKnown() && c.IsNull() {
		b.problem(expr, summary, "%s This is %s.", detail, typeWords(v))
		return false
	}
	return true
}

// checkSelf checks the members of self that an expression names.
func (b *nodeBuilder) checkSelf(expr hclsyntax.Expression, self instanceView) bool {
	v := &view{Address: b.id, Instances: []instanceView{self}, Open: b.schema.OpenValues}
	ok := true
	for _, t := range expr.Variables() {
		if t.RootName() == "self" && len(t) > 1 {
			ok = b.l.checkMember(t, t[1:], v, b.id) && ok
		}
	}
	return ok
}

// longNumber matches what interpolating a computed number leaves: 0.39999999999999999999…
var longNumber = regexp.MustCompile(`-?[0-9]+\.[0-9]{15,}`)

func shorten(text string) string {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	return strconv.FormatFloat(f, 'g', 10, 64)
}

var errNotReported = errors.New("it depends on something that the stages have not reported")

// Check implements engine.Requirement.
func (r *requirement) Check(self map[string]any, values engine.Values) (ok bool, message string, err error) {
	s, err := r.around.scope(values)
	if err != nil {
		return false, "", err
	}
	eval := func(e expression, want cty.Type) (cty.Value, error) {
		expr, err := e.parse()
		if err != nil {
			return cty.NilVal, err
		}
		s.extra["self"] = r.self.object(r.open, engine.Values{r.self.ID: self}, namesRead(expr))
		v, err := e.eval(s)
		if err != nil {
			return cty.NilVal, err
		}
		if v, err = convert.Convert(v, want); err == nil && (!v.IsKnown() || v.IsNull()) {
			err = errNotReported
		}
		return v, err
	}
	v, err := eval(r.condition, cty.Bool)
	if err != nil {
		return false, "", fmt.Errorf("the condition `%s`: %w", r.condition.Text, err)
	}
	if v.True() {
		return true, "", nil
	}
	if r.message.Text == "" {
		return false, fmt.Sprintf("The requirement `%s` does not hold.", r.condition.Text), nil
	}
	text, err := eval(r.message, cty.String)
	if err != nil {
		return false, "", fmt.Errorf("the message `%s`: %w", r.message.Text, err)
	}
	return false, longNumber.ReplaceAllStringFunc(text.AsString(), shorten), nil
}

// Needs implements engine.Requirement.
func (r *requirement) Needs() []string { return r.needs }

// Text implements engine.Requirement.
func (r *requirement) Text() string { return r.condition.Text }

// Position implements engine.Requirement.
func (r *requirement) Position() engine.Position { return r.pos }

var (
	_ engine.Requirement = (*requirement)(nil)
	_ engine.Binder      = (*binding)(nil)
	_ stages.Declarer    = declared{}
)
