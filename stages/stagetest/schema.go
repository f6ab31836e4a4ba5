package stagetest

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/stages"
)

// checkSchema checks that everything declared is described, and that every default passes its own checks.
func checkSchema(t *testing.T, f Fixture) {
	if f.Kind.Doc == "" || f.Kind.Example == "" {
		t.Error("the kind lacks its description or its example")
	}
	if !strings.Contains(f.Kind.Example, f.Kind.Name+" \"") {
		t.Errorf("the example shows no %s block", f.Kind.Name)
	}
	s := stages.SchemaOf(f.Kind.New())
	walkSchema(s, "", func(path, doc string) {
		if !strings.HasSuffix(doc, ".") && !strings.HasSuffix(doc, "`") && !strings.HasSuffix(doc, ")") {
			t.Errorf("%s: the text %q is missing or is not a sentence", path, doc)
		}
	})
	walkArgs(s, "", func(path string, owner func() stages.Declarer, a *stages.Arg) {
		if a.Default == nil {
			return
		}
		d := f.Kind.New().(stages.Declarer)
		if owner != nil {
			d = owner()
		}
		_, problems := stages.Decode(d, stages.Args{Values: map[string]any{a.Name: a.Default}}, nil)
		for _, p := range problems {
			if p.Arg == a.Name && !p.Warning {
				t.Errorf("%s: its default is refused: %s", path, p.Detail)
			}
		}
	})
}

// walkSchema visits everything that has a text.
func walkSchema(s *stages.Schema, prefix string, visit func(path, doc string)) {
	for _, a := range s.Args {
		visit(prefix+a.Name, a.Doc)
	}
	for _, list := range [][]*stages.Port{s.Inputs, s.Outputs} {
		for _, p := range list {
			visit(prefix+p.Name, p.Doc)
		}
	}
	for _, list := range [][]*stages.Value{s.Values, s.Measurements} {
		for _, v := range list {
			visit(prefix+v.Name, v.Doc)
		}
	}
	for _, b := range s.Blocks {
		visit(prefix+b.Name, b.Doc)
		if b.Form == stages.Single {
			walkSchema(stages.SchemaOf(b.Body()), prefix+b.Name+".", visit)
		}
		for _, v := range b.Variants {
			visit(prefix+b.Name+"."+v.Name, v.Doc)
			walkSchema(stages.SchemaOf(v.New()), prefix+b.Name+"."+v.Name+".", visit)
		}
	}
}

// walkArgs visits every argument; owner makes a fresh Declarer of a nested block, and is nil at the top.
func walkArgs(s *stages.Schema, prefix string, visit func(path string, owner func() stages.Declarer, a *stages.Arg)) {
	walkArgsOf(s, prefix, nil, visit)
}

func walkArgsOf(s *stages.Schema, prefix string, owner func() stages.Declarer, visit func(string, func() stages.Declarer, *stages.Arg)) {
	for _, a := range s.Args {
		visit(prefix+a.Name, owner, a)
	}
	for _, b := range s.Blocks {
		if b.Form == stages.Single {
			body := b.Body()
			walkArgsOf(stages.SchemaOf(body), prefix+b.Name+".", func() stages.Declarer { return body }, visit)
		}
		for _, v := range b.Variants {
			walkArgsOf(stages.SchemaOf(v.New()), prefix+b.Name+"."+v.Name+".", v.New, visit)
		}
	}
}

// checkKey changes every argument, nested ones too, and looks whether the key's fields change as declared.
func checkKey(t *testing.T, f Fixture) {
	s := stages.SchemaOf(f.Kind.New())
	for _, a := range s.Args {
		checkArgInKey(t, f, a.Name, a, func(v any) stages.Args {
			return withValue(f.Args, a.Name, v)
		})
	}
	for _, b := range s.Blocks {
		if b.Form == stages.Single {
			checkBlockInKey(t, f, b.Name, stages.SchemaOf(b.Body()), stages.BlockArgs{Type: b.Name})
			continue
		}
		for _, v := range b.Variants {
			given := stages.BlockArgs{Type: b.Name, Label: v.Name}
			if b.Form == stages.Sequence {
				given = stages.BlockArgs{Type: v.Name}
			}
			checkBlockInKey(t, f, b.Name+"."+v.Name, stages.SchemaOf(v.New()), given)
		}
	}
}

func checkBlockInKey(t *testing.T, f Fixture, path string, s *stages.Schema, given stages.BlockArgs) {
	for _, a := range s.Args {
		checkArgInKey(t, f, path+"."+a.Name, a, func(v any) stages.Args {
			block := given
			block.Args = withValue(stages.Args{}, a.Name, v)
			args := stages.Args{Values: f.Args.Values}
			for _, other := range f.Args.Blocks {
				if other.Type != given.Type {
					args.Blocks = append(args.Blocks, other)
				}
			}
			args.Blocks = append(args.Blocks, block)
			return args
		})
	}
}

func withValue(args stages.Args, name string, v any) stages.Args {
	values := map[string]any{}
	for k, e := range args.Values {
		values[k] = e
	}
	values[name] = v
	return stages.Args{Values: values, Blocks: args.Blocks}
}

func checkArgInKey(t *testing.T, f Fixture, path string, a *stages.Arg, with func(any) stages.Args) {
	if len(a.Options) == 1 {
		return // nothing to change it to yet
	}
	one, two, ok := twoValues(a)
	if !ok {
		t.Errorf("%s: no two different values are allowed", path)
		return
	}
	before := fmt.Sprint(stages.Fields(f.Kind.New(), with(one)))
	after := fmt.Sprint(stages.Fields(f.Kind.New(), with(two)))
	if changed := before != after; changed != a.InKey {
		t.Errorf("%s: InKey is %v, but changing it from %v to %v changes the key: %v", path, a.InKey, one, two, changed)
	}
}

// twoValues returns two different values of the argument's type within its range.
func twoValues(a *stages.Arg) (one, two any, ok bool) {
	x, y := a.Low, a.High
	switch {
	case math.IsInf(x, -1) && math.IsInf(y, 1):
		x, y = 1, 2
	case math.IsInf(x, -1):
		x = y - 1
	case math.IsInf(y, 1):
		y = x + 2
	}
	if a.LowOpen {
		x += (y - x) / 4
	}
	if a.HighOpen {
		y -= (y - x) / 4
	}
	s, z := "a", "b"
	if len(a.Options) > 0 {
		s, z = a.Options[0], a.Options[len(a.Options)-1]
	}
	switch a.Type {
	case stages.Integer:
		x, y = math.Ceil(x), math.Floor(y)
		return x, y, x < y
	case stages.Number, stages.Any:
		return x, y, x < y
	case stages.Bool:
		return true, false, true
	case stages.String:
		return s, z, s != z
	case stages.StringList:
		return []any{s}, []any{s, z}, true
	case stages.IntList:
		return []any{math.Ceil(x)}, []any{math.Ceil(x), math.Floor(y)}, true
	case stages.NumberList:
		return []any{x}, []any{x, y}, true
	case stages.NumberMap:
		return map[string]any{"a": x}, map[string]any{"a": x, "b": y}, true
	case stages.StringMap:
		return map[string]any{"a": s}, map[string]any{"a": z}, true
	}
	return nil, nil, false
}
