package dsl

import (
	"fmt"
	"regexp"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// Bounds on what evaluation may build, so that a slip of the pen ends in a message and not in the machine's memory.
const (
	maxLocal    = 16 << 20 // bytes of a local value, roughly
	maxExponent = 1 << 13  // binary, of a number: about 1e2466. Writing out 1e9999999 takes half a minute
	maxProduct  = 100_000  // elements of setproduct
	maxIndent   = 1000
)

// largeExponent finds candidates in a text before its expressions are looked at one by one.
var largeExponent = regexp.MustCompile(`[0-9.][eE][+-]?0*[1-9][0-9]{3,}`)

// checkNumbers reports the numbers of a text that are beyond all use.
func (l *loader) checkNumbers(f *textFile) {
	if f.body == nil || !largeExponent.Match(f.text) {
		return
	}
	_ = hclsyntax.VisitAll(f.body, func(n hclsyntax.Node) hcl.Diagnostics {
		if lit, ok := n.(*hclsyntax.LiteralValueExpr); ok && hugeNumber(lit.Val) {
			l.problemf(lit.SrcRange, "Number out of all range", "This number cannot be used. The largest that an argument can hold is about 1.8e308.")
		}
		return nil
	})
}

func hugeNumber(v cty.Value) bool {
	if v.Type() != cty.Number || !v.IsKnown() || v.IsNull() {
		return false
	}
	f := v.AsBigFloat()
	e := f.MantExp(nil)
	return !f.IsInf() && (e > maxExponent || e < -maxExponent)
}

// valueSize is a rough size in bytes.
func valueSize(v cty.Value) int {
	switch {
	case v.IsNull() || !v.IsKnown():
		return 1
	case v.Type() == cty.String:
		return len(v.AsString()) + 16
	case hugeNumber(v):
		return maxLocal + 1
	case v.CanIterateElements():
		n := 16
		for it := v.ElementIterator(); it.Next() && n <= maxLocal; {
			_, e := it.Element()
			n += valueSize(e)
		}
		return n
	}
	return 16
}

// guarded is f with a check of its arguments before the call, once they are known.
func guarded(f function.Function, check func(args []cty.Value) error) function.Function {
	spec := &function.Spec{
		Params: f.Params(), VarParam: f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			for _, a := range args {
				if !a.IsWhollyKnown() || a.IsNull() {
					return f.ReturnTypeForValues(args)
				}
			}
			if err := check(args); err != nil {
				return cty.NilType, err
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f.Call(args) },
	}
	return function.New(spec)
}

var wideVerb = regexp.MustCompile(`%[^a-zA-Z%]*[0-9]{4}`)

func checkFormat(args []cty.Value) error {
	if text, err := toText(args[0]); err == nil && wideVerb.MatchString(text) {
		return function.NewArgErrorf(0, "a width or precision of four digits or more is too large")
	}
	return nil
}

func checkIndent(args []cty.Value) error {
	if n, _ := args[0].AsBigFloat().Float64(); n > maxIndent {
		return function.NewArgErrorf(0, "at most %d spaces", maxIndent)
	}
	return nil
}

func checkProduct(args []cty.Value) error {
	n := 1
	for _, a := range args {
		if a.IsKnown() && !a.IsNull() && a.CanIterateElements() {
			if n *= max(1, a.LengthInt()); n > maxProduct {
				return fmt.Errorf("more than %d combinations", maxProduct)
			}
		}
	}
	return nil
}

func checkNumeral(args []cty.Value) error {
	if text, err := toText(args[0]); err == nil && largeExponent.MatchString(text) {
		return function.NewArgErrorf(0, "%s is out of all range", text)
	}
	return nil
}

// checkJSON refuses what nests so deep that reading it, which recurses, could end the process.
func checkJSON(args []cty.Value) error {
	text, err := toText(args[0])
	if err != nil {
		return nil
	}
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxNesting {
				return function.NewArgErrorf(0, "it nests more than %d levels deep", maxNesting)
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}

var (
	jsonDecodeFunc = guarded(stdlib.JSONDecodeFunc, checkJSON)
	formatFunc     = guarded(stdlib.FormatFunc, checkFormat)
	formatListFunc = guarded(stdlib.FormatListFunc, checkFormat)
	indentFunc     = guarded(stdlib.IndentFunc, checkIndent)
	productFunc    = guarded(stdlib.SetProductFunc, checkProduct)
	toNumberFunc   = guarded(stdlib.MakeToFunc(cty.Number), checkNumeral)
)
