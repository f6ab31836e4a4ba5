package stages

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// Field is one line of what the key holds of a stage's arguments: a path such as loss.gamma, and canonical text.
type Field struct{ Path, Text string }

// Fields returns the in-key arguments of a stage in order of declaration, defaults applied. args must decode without
// an error. It is the only walk from arguments to keys, and so also what explanations and comparisons are made from.
func Fields(d Declarer, args Args) []Field {
	s := SchemaOf(d)
	return s.fields(args, "")
}

func (s *Schema) fields(args Args, prefix string) []Field {
	var out []Field
	for _, a := range s.Args {
		v := args.Values[a.Name]
		if v == nil {
			v = a.Default
		}
		if v != nil && a.InKey {
			out = append(out, Field{prefix + a.Name, canonical(v, a.Type)})
		}
	}
	for _, b := range s.Blocks {
		out = append(out, b.fields(args.Blocks, prefix)...)
	}
	return out
}

func (b *Block) fields(blocks []BlockArgs, prefix string) []Field {
	var out []Field
	n := 0
	for _, given := range blocks {
		switch {
		case b.Form == Single && given.Type == b.Name:
			if b.present != nil {
				out = append(out, Field{prefix + b.Name, "true"})
			}
			return append(out, SchemaOf(b.body).fields(given.Args, prefix+b.Name+".")...)
		case b.Form == Choice && given.Type == b.Name:
			return b.chosenFields(given.Label, given.Args, prefix)
		case b.Form == Sequence && b.Variant(given.Type) != nil:
			at := prefix + b.Name + "[" + strconv.Itoa(n) + "]"
			out = append(out, Field{at, strconv.Quote(given.Type)})
			out = append(out, SchemaOf(b.Variant(given.Type).New()).fields(given.Args, at+".")...)
			n++
		}
	}
	switch {
	case b.Form == Single && b.present == nil:
		out = append(out, SchemaOf(b.body).fields(Args{}, prefix+b.Name+".")...)
	case b.Form == Choice && b.Default != "":
		out = b.chosenFields(b.Default, Args{}, prefix)
	}
	return out
}

func (b *Block) chosenFields(name string, args Args, prefix string) []Field {
	out := []Field{{prefix + b.Name, strconv.Quote(name)}}
	return append(out, SchemaOf(b.Variant(name).New()).fields(args, prefix+b.Name+".")...)
}

// canonical writes a value so that equal values have equal text and no precision is lost: floats in hexadecimal, whole
// numbers of Integer arguments in decimal, texts quoted as JSON, maps sorted.
func canonical(v any, typ ValueType) string {
	switch v := v.(type) {
	case float64:
		if typ == Integer || typ == IntList {
			return strconv.FormatFloat(v, 'f', -1, 64)
		}
		if v == 0 {
			v = 0 // minus zero is zero
		}
		return strconv.FormatFloat(v, 'x', -1, 64)
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = canonical(e, typ)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		var parts []string
		for _, k := range sortedKeys(v) {
			parts = append(parts, quoteText(k)+": "+canonical(v[k], typ))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case string:
		return quoteText(v)
	case bool:
		return strconv.FormatBool(v)
	}
	return "null"
}

func quoteText(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// DisplayText turns a Field's canonical text into what people read: hexadecimal floats become decimal.
func DisplayText(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		switch {
		case text[i] == '"':
			end := i + 1
			for end < len(text) && text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(text))
			b.WriteString(text[i:end])
			i = end
		case strings.HasPrefix(text[i:], "0x") || strings.HasPrefix(text[i:], "-0x"):
			end := i
			for end < len(text) && !strings.ContainsRune(",]} ", rune(text[end])) {
				end++
			}
			f, err := strconv.ParseFloat(text[i:end], 64)
			if err != nil || math.IsNaN(f) {
				b.WriteString(text[i:end])
			} else {
				b.WriteString(strconv.FormatFloat(f, 'g', -1, 64))
			}
			i = end
		default:
			b.WriteByte(text[i])
			i++
		}
	}
	return b.String()
}
