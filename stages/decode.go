package stages

import (
	"fmt"
	"sort"
	"strconv"
)

// Args are the arguments of a stage as the pipeline gives them, before defaults. A value is nil, bool, float64,
// string, []any or map[string]any; nil means not written. Artifacts are not arguments: they arrive on ports.
type Args struct {
	Values map[string]any `json:"values,omitempty"`
	Blocks []BlockArgs    `json:"blocks,omitempty"` // in order of the text
}

// BlockArgs is one nested block.
type BlockArgs struct {
	Type  string `json:"type"`
	Label string `json:"label,omitempty"`
	Args  Args   `json:"args"`
}

// Decode binds args to the fields that d declares, applies defaults, checks every argument, and lets d check what
// goes across arguments and add its ports (Checker, Shaper). connected names the inputs that carry artifacts, so that
// required inputs and arguments that may be inputs can be checked; nil skips these checks. The schema is that of d
// with its fields bound; it is complete only when no problem is an error.
func Decode(d Declarer, args Args, connected map[string]bool) (*Schema, []Problem) {
	s := SchemaOf(d)
	problems := s.decode(d, args, connected, "")
	for _, p := range s.Inputs {
		if connected != nil && !p.Optional && !connected[p.Name] {
			problems = append(problems, Problem{Summary: "Missing input", Detail: fmt.Sprintf("The input %q is required: %s", p.Name, p.Doc)})
		}
	}
	if c, ok := d.(InputChecker); ok && connected != nil && !HasErrors(problems) {
		problems = append(problems, c.CheckInputs(connected)...)
	}
	if !HasErrors(problems) {
		if sh, ok := d.(Shaper); ok {
			sh.Shape(s)
		}
	}
	return s, problems
}

// HasErrors reports whether any problem is more than a warning.
func HasErrors(problems []Problem) bool {
	for _, p := range problems {
		if !p.Warning {
			return true
		}
	}
	return false
}

func (s *Schema) decode(d Declarer, args Args, connected map[string]bool, prefix string) []Problem {
	var problems []Problem
	report := func(arg string, p Problem) {
		p.Arg = prefix + arg
		problems = append(problems, p)
	}
	for _, name := range sortedKeys(args.Values) {
		if s.Arg(name) == nil {
			report(name, Problem{Summary: "Unknown argument", Detail: fmt.Sprintf("There is no argument %q here.", name), Given: name, Options: s.argumentNames()})
		}
	}
	for _, a := range s.Args {
		v := args.Values[a.Name]
		if v == nil && a.Or != "" && connected[a.Name] {
			continue
		}
		if v == nil {
			v = a.Default
		}
		if v == nil {
			if a.Must {
				// The block as a whole is what lacks it, so the problem points there.
				problems = append(problems, Problem{Arg: trimDot(prefix), Summary: "Missing argument", Detail: fmt.Sprintf("The argument %q is required: %s", a.Name, a.Doc)})
			}
			continue
		}
		if p := a.bind(v); p != nil {
			report(a.Name, *p)
		}
	}
	problems = append(problems, s.decodeBlocks(args.Blocks, prefix)...)
	if s.Compute != nil && !HasErrors(problems) {
		for _, p := range s.Compute.Check() {
			report(p.Arg, p)
		}
	}
	if c, ok := d.(Checker); ok && !HasErrors(problems) {
		for _, p := range c.Check() {
			if p.Arg == "" { // the block as a whole
				p.Arg = trimDot(prefix)
				problems = append(problems, p)
				continue
			}
			report(p.Arg, p)
		}
	}
	return problems
}

func trimDot(prefix string) string {
	if prefix == "" {
		return ""
	}
	return prefix[:len(prefix)-1]
}

func (s *Schema) argumentNames() []string {
	var names []string
	for _, a := range s.Args {
		names = append(names, a.Name)
	}
	for _, p := range s.Inputs {
		names = append(names, p.Name)
	}
	return names
}

func (s *Schema) blockTypes() []string {
	var names []string
	for _, b := range s.Blocks {
		if b.Form == Sequence {
			names = append(names, b.VariantNames()...)
		} else {
			names = append(names, b.Name)
		}
	}
	return names
}

func (s *Schema) decodeBlocks(blocks []BlockArgs, prefix string) []Problem {
	var problems []Problem
	nested := func(d Declarer, a Args, prefix string) {
		problems = append(problems, SchemaOf(d).decode(d, a, nil, prefix)...)
	}
	seen := map[*Block]bool{}
	for _, b := range s.Blocks {
		if b.Form == Sequence {
			*b.items = nil
		}
	}
	for i, given := range blocks {
		at := prefix + given.Type + "[" + strconv.Itoa(i) + "]"
		report := func(p Problem) { p.Arg = at; problems = append(problems, p) }
		b := s.BlockFor(given.Type)
		switch {
		case b == nil:
			report(Problem{Summary: "Unknown block", Detail: fmt.Sprintf("There is no block %q here.", given.Type), Given: given.Type, Options: s.blockTypes()})
			continue
		case b.Form != Sequence && seen[b]:
			report(Problem{Summary: "Repeated block", Detail: fmt.Sprintf("The block %q may be written only once.", given.Type)})
			continue
		case b.Form != Choice && given.Label != "":
			report(Problem{Summary: "Unexpected label", Detail: fmt.Sprintf("The block %q takes no label.", given.Type)})
			continue
		}
		seen[b] = true
		name := given.Type
		if b.Form == Choice {
			name = given.Label
		}
		v := b.Variant(name)
		switch {
		case b.Form == Single:
			if b.present != nil {
				*b.present = true
			}
			nested(b.body, given.Args, at+".")
		case v == nil && name == "":
			report(Problem{Summary: "Missing label", Detail: fmt.Sprintf("The block %q needs a label, one of %s.", given.Type, quotedList(b.VariantNames()))})
		case v == nil:
			report(Problem{Summary: "Unknown option", Detail: fmt.Sprintf("The block %q does not know %q. It takes one of %s.", given.Type, name, quotedList(b.VariantNames())), Given: name, Options: b.VariantNames()})
		default:
			c := Chosen{Name: name, Body: v.New()}
			nested(c.Body, given.Args, at+".")
			if b.Form == Choice {
				*b.choice = c
			} else {
				*b.items = append(*b.items, c)
			}
		}
	}
	for _, b := range s.Blocks {
		switch {
		case seen[b] || b.Form == Sequence:
		case b.Form == Single && b.present != nil:
			*b.present = false
		case b.Form == Single:
			nested(b.body, Args{}, prefix+b.Name+".")
		case b.Default != "":
			*b.choice = Chosen{Name: b.Default, Body: b.Variant(b.Default).New()}
			nested(b.choice.Body, Args{}, prefix+b.Name+".")
		default:
			*b.choice = Chosen{}
		}
	}
	return problems
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
