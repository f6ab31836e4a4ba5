package split

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/darkroom-dev/darkroom/stages"
)

// defaultRatio is the shares of train, validation and test when none are written.
var defaultRatio = []any{8.0, 1.0, 1.0}

var listNames = []string{"train", "validation", "test"}

var outputName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// maxParts bounds a map of parts.
const maxParts = 100

// valueNames are taken by the stage's values, which share a name space with its outputs.
var valueNames = []string{"counts", "folds", "left_out", "groups", "identical", "alike", "leaked", "farthest", "deviation"}

// way is the argument that says into what the stage divides.
func (p *split) way() string {
	switch {
	case p.lists != nil:
		return "lists"
	case len(p.sourceParts) > 0:
		return "source_parts"
	case p.sizes != nil:
		return "sizes"
	case p.folds > 0:
		return "folds"
	}
	return "ratio"
}

// parts returns the named parts and their shares, which mean nothing where the contents are given. Of folds there are none.
func (p *split) parts() ([]part, *stages.Problem) {
	switch p.way() {
	case "lists":
		lists, problem := p.idLists()
		return named(lists), problem
	case "source_parts":
		if problem := checkNames("source_parts", p.sourceParts); problem != nil {
			return nil, problem
		}
		return named(p.sourceParts), nil
	case "folds":
		return nil, nil
	case "sizes":
		return shares("sizes", p.sizes, 1, func(v float64) string {
			if v != math.Trunc(v) || v < 1 {
				return "It must be a whole number of at least 1."
			}
			return ""
		})
	}
	ratio := p.ratio
	if ratio == nil {
		ratio = defaultRatio
	}
	return shares("ratio", ratio, 2, func(v float64) string {
		if v <= 0 {
			return "It must be a number above 0 and at most a thousand million."
		}
		return ""
	})
}

func named[V any](m map[string]V) []part {
	var out []part
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, part{name: name, share: 1})
	}
	return out
}

// checkNames refuses maps of parts that are too small or too large or whose names cannot be outputs.
func checkNames[V any](arg string, m map[string]V) *stages.Problem {
	if len(m) < 1 || len(m) > maxParts {
		p := stages.Problemf(arg, "Malformed "+arg, "A map has 1 to %d parts, but this one has %d.", maxParts, len(m))
		return &p
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if !outputName.MatchString(name) || slices.Contains(valueNames, name) {
			p := stages.Problemf(arg, "Malformed "+arg, "%q cannot name an output. A name has lower-case letters, digits and underscores, and is none of %s.", name, strings.Join(valueNames, ", "))
			return &p
		}
	}
	return nil
}

// shares reads a list of shares, for train, validation and test, or a map of them by name. wrong says what is wrong with one.
func shares(arg string, given any, fewest int, wrong func(float64) string) ([]part, *stages.Problem) {
	fail := func(detail string, args ...any) ([]part, *stages.Problem) {
		problem := stages.Problemf(arg, "Malformed "+arg, detail, args...)
		return nil, &problem
	}
	var names []string
	values := map[string]any{}
	switch given := given.(type) {
	case []any:
		if len(given) < fewest || len(given) > len(listNames) {
			return fail("A list has %d to %d numbers, for %s, but this one has %d. Other parts are named by a map, such as { train = 8, extra = 2 }.", fewest, len(listNames), strings.Join(listNames, ", "), len(given))
		}
		names = listNames[:len(given)]
		for i, v := range given {
			values[names[i]] = v
		}
	case map[string]any:
		if len(given) < fewest {
			return fail("A map has %d to %d parts, but this one has %d.", fewest, maxParts, len(given))
		}
		if problem := checkNames(arg, given); problem != nil {
			return nil, problem
		}
		names, values = slices.Sorted(maps.Keys(given)), given
	default:
		return fail("It is a list of numbers, such as [8, 1, 1], or a map, such as { train = 8, test = 2 }.")
	}
	var out []part
	for _, name := range names {
		v, ok := values[name].(float64)
		switch {
		case !ok || math.IsNaN(v) || v > 1e9:
			return fail("The part %s is given as %v. It takes a number of at most a thousand million.", name, values[name])
		case wrong(v) != "":
			return fail("The part %s is given as %v. %s", name, v, wrong(v))
		}
		out = append(out, part{name, v})
	}
	return out, nil
}

// idLists reads the lists of ids by output.
func (p *split) idLists() (map[string][]string, *stages.Problem) {
	fail := func(detail string, args ...any) (map[string][]string, *stages.Problem) {
		problem := stages.Problemf("lists", "Malformed lists", detail, args...)
		return nil, &problem
	}
	given, ok := p.lists.(map[string]any)
	if !ok {
		return fail("It is a map from output names to ids, such as { train = file(\"train.txt\"), test = file(\"test.txt\") }.")
	}
	if problem := checkNames("lists", given); problem != nil {
		return nil, problem
	}
	out, of := map[string][]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		ids, err := idList(given[name])
		if err != nil {
			return fail("The list of %s %v.", name, err)
		}
		for _, id := range ids {
			if other, ok := of[id]; ok {
				if other == name {
					return fail("The list of %s names the id %q twice.", name, id)
				}
				return fail("The id %q is in the lists of %s and of %s. An image can be in one part only.", id, other, name)
			}
			of[id] = name
		}
		out[name] = ids
	}
	return out, nil
}

// idList reads one list: a text with an id a line, or a list of texts.
func idList(v any) ([]string, error) {
	var out []string
	switch v := v.(type) {
	case string:
		for line := range strings.Lines(v) {
			if id := strings.TrimRight(line, "\r\n"); id != "" {
				out = append(out, id)
			}
		}
	case []any:
		for _, e := range v {
			id, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("holds %v, which is not an id", e)
			}
			out = append(out, id)
		}
	default:
		return nil, fmt.Errorf("is %v; it must be a text with one id a line, or a list of ids", v)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("is empty")
	}
	return out, nil
}

// pattern compiles group_pattern; nil when there is none.
func (p *split) pattern() (*regexp.Regexp, error) {
	if p.groupPattern == "" {
		return nil, nil
	}
	return regexp.Compile(p.groupPattern)
}
