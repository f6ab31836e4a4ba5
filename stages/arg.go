package stages

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
)

// Arg declares one argument: its name, type, default, range, unit and text. The methods that return *Arg add to it
// and are called from Declare only.
type Arg struct {
	Name    string
	Doc     string
	Type    ValueType
	Default any    // normalised like a decoded value; nil if there is none
	Unit    string // "", "degrees", "epochs"
	Must    bool   // the user must write it
	InKey   bool   // whether it can change the result
	// Low and High bound a number, and each element of a list or map of numbers. They are infinite where unbounded.
	Low, High float64
	LowOpen   bool // Low itself is refused
	HighOpen  bool // High itself is refused
	Options   []string
	MinLen    int // smallest number of elements of a list or map, or characters of a string
	// Or, when set, lets users write a reference to an artifact of that type instead; it arrives on the input port of the same name.
	Or artifact.Type

	set func(v any)
}

func (s *Schema) add(name string, typ ValueType, def any, doc string, set func(any)) *Arg {
	s.claim("in", name)
	a := &Arg{Name: name, Type: typ, Default: def, Doc: doc, InKey: true, Low: math.Inf(-1), High: math.Inf(1), set: set}
	s.Args = append(s.Args, a)
	return a
}

// Float declares a finite number.
func (s *Schema) Float(p *float64, name string, def float64, doc string) *Arg {
	return s.add(name, Number, def, doc, func(v any) { *p, _ = v.(float64) })
}

// Int declares a whole number between -2⁵³ and 2⁵³.
func (s *Schema) Int(p *int, name string, def int, doc string) *Arg {
	return s.add(name, Integer, float64(def), doc, func(v any) { f, _ := v.(float64); *p = int(f) })
}

// Bool declares a truth value.
func (s *Schema) Bool(p *bool, name string, def bool, doc string) *Arg {
	return s.add(name, Bool, def, doc, func(v any) { *p, _ = v.(bool) })
}

// String declares a text.
func (s *Schema) String(p *string, name, def, doc string) *Arg {
	return s.add(name, String, def, doc, func(v any) { *p, _ = v.(string) })
}

// Floats declares a list of finite numbers.
func (s *Schema) Floats(p *[]float64, name string, def []float64, doc string) *Arg {
	return s.add(name, NumberList, listOf(def, func(f float64) any { return f }), doc, func(v any) {
		*p = nil
		for _, e := range asList(v) {
			*p = append(*p, e.(float64))
		}
	})
}

// Ints declares a list of whole numbers.
func (s *Schema) Ints(p *[]int, name string, def []int, doc string) *Arg {
	return s.add(name, IntList, listOf(def, func(n int) any { return float64(n) }), doc, func(v any) {
		*p = nil
		for _, e := range asList(v) {
			*p = append(*p, int(e.(float64)))
		}
	})
}

// Strings declares a list of texts.
func (s *Schema) Strings(p *[]string, name string, def []string, doc string) *Arg {
	return s.add(name, StringList, listOf(def, func(t string) any { return t }), doc, func(v any) {
		*p = nil
		for _, e := range asList(v) {
			*p = append(*p, e.(string))
		}
	})
}

// FloatMap declares a map of finite numbers by name. Its default is empty.
func (s *Schema) FloatMap(p *map[string]float64, name, doc string) *Arg {
	return s.add(name, NumberMap, map[string]any{}, doc, func(v any) {
		*p = map[string]float64{}
		for k, e := range asMap(v) {
			(*p)[k] = e.(float64)
		}
	})
}

// StringMap declares a map of texts by name. Its default is empty.
func (s *Schema) StringMap(p *map[string]string, name, doc string) *Arg {
	return s.add(name, StringMap, map[string]any{}, doc, func(v any) {
		*p = map[string]string{}
		for k, e := range asMap(v) {
			(*p)[k] = e.(string)
		}
	})
}

// Any declares an argument of any type, given as nil, bool, float64, string, []any or map[string]any. It has no default.
func (s *Schema) Any(p *any, name, doc string) *Arg {
	return s.add(name, Any, nil, doc, func(v any) { *p = v })
}

func listOf[T any](in []T, conv func(T) any) any {
	out := make([]any, 0, len(in))
	for _, e := range in {
		out = append(out, conv(e))
	}
	return out
}

func asList(v any) []any         { l, _ := v.([]any); return l }
func asMap(v any) map[string]any { m, _ := v.(map[string]any); return m }

// In bounds a number, or each element, to low ≤ x ≤ high.
func (a *Arg) In(low, high float64) *Arg { a.Low, a.High = low, high; return a }

// Min bounds a number, or each element, to x ≥ low.
func (a *Arg) Min(low float64) *Arg { a.Low = low; return a }

// Above bounds a number, or each element, to x > low.
func (a *Arg) Above(low float64) *Arg { a.Low, a.LowOpen = low, true; return a }

// Below bounds a number, or each element, to x < high.
func (a *Arg) Below(high float64) *Arg { a.High, a.HighOpen = high, true; return a }

// OneOf restricts a text, or each element, to the given options.
func (a *Arg) OneOf(options ...string) *Arg { a.Options = options; return a }

// Required says that the user must write the argument; its default is dropped.
func (a *Arg) Required() *Arg { a.Must, a.Default = true, nil; return a }

// NoDefault says that the argument may be absent, which leaves the field at its zero value and the key without it.
func (a *Arg) NoDefault() *Arg { a.Default = nil; return a }

// NotInKey says that the argument cannot change the result.
func (a *Arg) NotInKey() *Arg { a.InKey = false; return a }

// InUnit names the unit for the documentation.
func (a *Arg) InUnit(unit string) *Arg { a.Unit = unit; return a }

// NonEmpty refuses an empty list, map or text.
func (a *Arg) NonEmpty() *Arg { a.MinLen = 1; return a }

// OrInput lets users write a reference to an artifact of type typ instead of a plain value.
func (a *Arg) OrInput(typ artifact.Type) *Arg { a.Or = typ; return a }

// RangeText describes the bounds for people, such as "0 to 10" or "above 0"; "" where there are none.
func (a *Arg) RangeText() string {
	num := numberText
	lo, hi := !math.IsInf(a.Low, -1), !math.IsInf(a.High, 1)
	switch {
	case lo && hi && a.LowOpen && a.HighOpen:
		return "above " + num(a.Low) + " and below " + num(a.High)
	case lo && hi && a.LowOpen:
		return "above " + num(a.Low) + ", at most " + num(a.High)
	case lo && hi && a.HighOpen:
		return "at least " + num(a.Low) + ", below " + num(a.High)
	case lo && hi:
		return num(a.Low) + " to " + num(a.High)
	case lo && a.LowOpen:
		return "above " + num(a.Low)
	case lo:
		return "at least " + num(a.Low)
	case hi && a.HighOpen:
		return "below " + num(a.High)
	case hi:
		return "at most " + num(a.High)
	}
	return ""
}

// numberText writes a number as people do: whole ones without an exponent while they are short.
func numberText(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// bind checks and normalises v and stores it; it returns a problem without its Arg.
func (a *Arg) bind(v any) *Problem {
	if p := a.check(v); p != nil {
		return p
	}
	a.set(v)
	return nil
}

var elementTypes = map[ValueType]ValueType{NumberList: Number, IntList: Integer, StringList: String, NumberMap: Number, StringMap: String}

func (a *Arg) check(v any) *Problem {
	length := -1
	switch v := v.(type) {
	case []any:
		length = len(v)
		if a.Type != NumberList && a.Type != IntList && a.Type != StringList {
			if a.Type == Any {
				break
			}
			return a.wrongType(v)
		}
		for i, e := range v {
			if p := a.checkScalar(elementTypes[a.Type], e, fmt.Sprintf("Element %d", i)); p != nil {
				return p
			}
		}
	case map[string]any:
		length = len(v)
		if a.Type != NumberMap && a.Type != StringMap {
			if a.Type == Any {
				break
			}
			return a.wrongType(v)
		}
		for _, k := range sortedKeys(v) {
			if p := a.checkScalar(elementTypes[a.Type], v[k], fmt.Sprintf("Element %q", k)); p != nil {
				return p
			}
		}
	default:
		if _, list := elementTypes[a.Type]; list {
			return a.wrongType(v)
		}
		if t, ok := v.(string); ok {
			length = len(t)
		}
		if p := a.checkScalar(a.Type, v, "It"); p != nil {
			return p
		}
	}
	if length >= 0 && length < a.MinLen {
		return &Problem{Summary: "Empty argument", Detail: fmt.Sprintf("The argument %q must not be empty.", a.Name)}
	}
	return nil
}

func (a *Arg) checkScalar(want ValueType, v any, what string) *Problem {
	if want == Any {
		if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			return a.notFinite(f)
		}
		return nil
	}
	switch v := v.(type) {
	case float64:
		if want != Number && want != Integer {
			return a.wrongScalar(v, want, what)
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return a.notFinite(v)
		}
		if want == Integer && (v != math.Trunc(v) || math.Abs(v) > 1<<53) {
			return &Problem{Summary: "Not a whole number", Detail: fmt.Sprintf("The argument %q takes whole numbers. %s is %v.", a.Name, what, v)}
		}
		if v < a.Low || v > a.High || a.LowOpen && v == a.Low || a.HighOpen && v == a.High {
			return &Problem{Summary: "Value out of range", Detail: fmt.Sprintf("The argument %q must be %s. %s is %s.", a.Name, a.RangeText(), what, numberText(v))}
		}
	case bool:
		if want != Bool {
			return a.wrongScalar(v, want, what)
		}
	case string:
		if want != String {
			return a.wrongScalar(v, want, what)
		}
		if len(a.Options) > 0 && !contains(a.Options, v) {
			p := &Problem{Summary: "Unknown option", Detail: fmt.Sprintf("The argument %q does not know %q. It takes one of %s.", a.Name, v, quotedList(a.Options))}
			p.Given, p.Options = v, a.Options
			return p
		}
	default:
		return a.wrongScalar(v, want, what)
	}
	return nil
}

func (a *Arg) notFinite(v float64) *Problem {
	return &Problem{Summary: "Not a finite number", Detail: fmt.Sprintf("The argument %q is %v. Infinite numbers and results such as 0/0 cannot be used as arguments.", a.Name, v)}
}

func (a *Arg) wrongType(v any) *Problem {
	return &Problem{Summary: "Wrong type of argument", Detail: fmt.Sprintf("The argument %q is %s, but it takes %s.", a.Name, typeWords(v), a.Type.words())}
}

// wrongScalar is wrongType for an element, when what names one.
func (a *Arg) wrongScalar(v any, want ValueType, what string) *Problem {
	if want == a.Type {
		return a.wrongType(v)
	}
	p := &Problem{Summary: "Wrong type of argument", Detail: fmt.Sprintf("%s of the argument %q is %s, but it takes %s.", what, a.Name, typeWords(v), a.Type.words())}
	if _, number := v.(float64); number && want == String {
		p.Detail += " Put quotes around it, or tostring(…)."
	}
	return p
}

func typeWords(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case float64:
		return "a number"
	case bool:
		return "true or false"
	case string:
		return "a string"
	case []any:
		return "a list"
	case map[string]any:
		return "a map"
	}
	return fmt.Sprintf("a %T", v)
}

func (t ValueType) words() string {
	switch t {
	case Number:
		return "a number"
	case Integer:
		return "a whole number"
	case Bool:
		return "true or false"
	case String:
		return "a string"
	case NumberList:
		return "a list of numbers"
	case IntList:
		return "a list of whole numbers"
	case StringList:
		return "a list of strings"
	case NumberMap:
		return "a map of numbers"
	case StringMap:
		return "a map of strings"
	}
	return "any value"
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

func quotedList(list []string) string {
	q := make([]string, len(list))
	for i, s := range list {
		q[i] = strconv.Quote(s)
	}
	return strings.Join(q, ", ")
}
