package dsl

import (
	"errors"
	"strconv"

	"github.com/zclconf/go-cty/cty"

	"github.com/darkroom-dev/darkroom/stages"
)

var (
	errArtifact = errors.New("it holds an artifact, and artifacts flow through inputs only")
	errUnknown  = errors.New("it is not known yet")
)

// toAny turns a known value into the form that arguments have: nil, bool, float64, string, []any or map[string]any.
// Numbers too large for a float64 become infinite, which every argument refuses.
func toAny(v cty.Value) (any, error) {
	switch {
	case !v.IsKnown():
		return nil, errUnknown
	case v.IsNull():
		return nil, nil
	case v.Type().IsCapsuleType():
		return nil, errArtifact
	case v.Type() == cty.Number:
		f, _ := v.AsBigFloat().Float64()
		return f, nil
	case v.Type() == cty.String:
		return v.AsString(), nil
	case v.Type() == cty.Bool:
		return v.True(), nil
	case v.Type().IsObjectType() || v.Type().IsMapType():
		out := map[string]any{}
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			a, err := toAny(e)
			if err != nil {
				return nil, err
			}
			out[k.AsString()] = a
		}
		return out, nil
	}
	out := []any{}
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		a, err := toAny(e)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// fromAny is the inverse of toAny; lists become tuples and maps objects.
func fromAny(v any) cty.Value {
	switch v := v.(type) {
	case bool:
		return cty.BoolVal(v)
	case float64:
		n, err := cty.ParseNumberVal(formatFloat(v)) // the decimal number that people see, not its binary expansion
		if err != nil {
			return cty.NumberFloatVal(v)
		}
		return n
	case string:
		return cty.StringVal(v)
	case []any:
		vals := make([]cty.Value, len(v))
		for i, e := range v {
			vals[i] = fromAny(e)
		}
		return cty.TupleVal(vals)
	case map[string]any:
		vals := map[string]cty.Value{}
		for k, e := range v {
			vals[k] = fromAny(e)
		}
		return cty.ObjectVal(vals)
	}
	return cty.NullVal(cty.DynamicPseudoType)
}

func formatFloat(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// holdsArtifact reports whether v is or contains an artifact.
func holdsArtifact(v cty.Value) bool {
	found := false
	_ = cty.Walk(v, func(_ cty.Path, e cty.Value) (bool, error) {
		found = found || e.Type().Equals(artifactType)
		return !found, nil
	})
	return found
}

// standIn is toAny with unknown parts replaced by values that the argument a would take, so that everything else about a
// stage can be checked before the real ones are known. typed is false when a replaced part may be of any type. a is nil
// in nested blocks. The variants 0 and 1 are different values where a leaves room for that.
func standIn(v cty.Value, a *stages.Arg, variant int) (plain any, typed bool) {
	want := stages.Any
	if a != nil {
		want = a.Type
	}
	return standInOf(v, a, want, variant)
}

func standInOf(v cty.Value, a *stages.Arg, want stages.ValueType, variant int) (plain any, typed bool) {
	switch {
	case !v.IsKnown():
		return standInFor(v.Type(), a, want, variant)
	case v.IsNull() || v.Type().IsCapsuleType() || !v.CanIterateElements():
		plain, _ = toAny(v)
		return plain, true
	case v.Type().IsObjectType() || v.Type().IsMapType():
		out, typed := map[string]any{}, true
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			p, t := standInOf(e, a, elementOf(want), variant)
			out[k.AsString()], typed = p, typed && t
		}
		return out, typed
	}
	out, typed := []any{}, true
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		p, t := standInOf(e, a, elementOf(want), variant)
		out, typed = append(out, p), typed && t
	}
	return out, typed
}

// elementOf returns the type of the elements of a list or map, and Any of everything else.
func elementOf(t stages.ValueType) stages.ValueType {
	switch t {
	case stages.NumberList, stages.IntList, stages.NumberMap:
		return stages.Number
	case stages.StringList, stages.StringMap:
		return stages.String
	}
	return stages.Any
}

// standInFor makes a value of type t; where that is not known, one of type want.
func standInFor(t cty.Type, a *stages.Arg, want stages.ValueType, variant int) (plain any, typed bool) {
	if t == cty.DynamicPseudoType {
		if t = valueType(want); t == cty.DynamicPseudoType {
			t = cty.Number
		}
		plain, _ = standInFor(t, a, want, variant)
		return plain, false
	}
	switch {
	case t == cty.String:
		if a != nil && len(a.Options) > 0 {
			return a.Options[min(variant, len(a.Options)-1)], true
		}
		return [2]string{"pending", "waiting"}[variant], true
	case t == cty.Bool:
		return variant == 0, true
	case t.IsListType() || t.IsSetType():
		e, typed := standInFor(t.ElementType(), a, elementOf(want), variant)
		return []any{e}, typed
	case t.IsMapType():
		e, typed := standInFor(t.ElementType(), a, elementOf(want), variant)
		return map[string]any{"pending": e}, typed
	case t == cty.Number && a != nil:
		return numberWithin(a, variant), true
	}
	return float64(1 + variant), t == cty.Number
}

// numberWithin returns a number that a's bounds allow, a whole one where there is one.
func numberWithin(a *stages.Arg, variant int) float64 {
	var fit []float64
	for _, f := range []float64{1, 2, 0, a.Low, a.High, a.Low + 1, a.High - 1, (a.Low + a.High) / 2} {
		if f >= a.Low && f <= a.High && !(a.LowOpen && f == a.Low) && !(a.HighOpen && f == a.High) {
			fit = append(fit, f)
		}
	}
	if len(fit) == 0 {
		return 1
	}
	return fit[min(variant, len(fit)-1)]
}
