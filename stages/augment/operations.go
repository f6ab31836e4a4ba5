package augment

import (
	"fmt"

	"github.com/darkroom-dev/darkroom/dataset"
	"github.com/darkroom-dev/darkroom/stages"
)

// maxNesting is how deep one_of and some_of may hold each other.
const maxNesting = 2

// variants are the blocks of operations; those that hold others do so to the depth that is left.
func variants(depth int) []stages.Variant {
	var out []stages.Variant
	for _, kind := range dataset.OperationKinds() {
		if kind.Name == "normalize" && depth < maxNesting || kind.Nested && depth == 0 {
			continue
		}
		out = append(out, stages.Variant{Name: kind.Name, Doc: kind.Doc, New: func() stages.Declarer { return &operation{kind: kind, depth: depth} }})
	}
	return out
}

// operation is a block of the policy. Its arguments are those that package dataset declares.
type operation struct {
	kind  *dataset.OperationKind
	depth int // of nesting that is left

	numbers map[string]*float64
	wholes  map[string]*int
	truths  map[string]*bool
	texts   map[string]*string
	lists   map[string]*[]float64
	inner   []stages.Chosen
}

func field[T any](m *map[string]*T, name string) *T {
	if *m == nil {
		*m = map[string]*T{}
	}
	(*m)[name] = new(T)
	return (*m)[name]
}

func (o *operation) Declare(s *stages.Schema) {
	for _, p := range o.kind.Parameters {
		var a *stages.Arg
		switch p.Form {
		case dataset.Number:
			a = s.Float(field(&o.numbers, p.Name), p.Name, p.Default.(float64), p.Doc).In(p.Low, p.High)
		case dataset.Integer:
			a = s.Int(field(&o.wholes, p.Name), p.Name, int(p.Default.(float64)), p.Doc).In(p.Low, p.High)
		case dataset.Truth:
			a = s.Bool(field(&o.truths, p.Name), p.Name, p.Default.(float64) != 0, p.Doc)
		case dataset.Text:
			a = s.String(field(&o.texts, p.Name), p.Name, p.Default.(string), p.Doc).OneOf(p.Options...)
		default:
			a = s.Floats(field(&o.lists, p.Name), p.Name, p.Default.([]float64), p.Doc).In(p.Low, p.High)
		}
		a.InUnit(p.Unit)
	}
	if o.kind.Nested {
		s.Sequence(&o.inner, "operations", "The operations to choose from.", variants(o.depth-1)...).Again()
	}
}

// Check asks package dataset about what a schema cannot say, such as the order of a range's ends.
func (o *operation) Check() []stages.Problem {
	for _, p := range o.kind.Parameters {
		if list, ok := o.lists[p.Name]; ok {
			if err := p.Check(*list); err != nil {
				return []stages.Problem{stages.Problemf(p.Name, "Value out of range", "%s.", capital(err.Error()))}
			}
		}
	}
	if o.kind.Nested && len(o.inner) == 0 {
		return []stages.Problem{stages.Problemf("", "No operations", "The block %s chooses among the operations inside of it, and there are none. Write some, such as horizontal_flip {}.", o.kind.Name)}
	}
	return nil
}

func capital(text string) string {
	if text == "" || text[0] < 'a' || text[0] > 'z' {
		return text
	}
	return string(text[0]-'a'+'A') + text[1:]
}

// plain returns the operation as a policy names it.
func (o *operation) plain() dataset.Operation {
	args := map[string]any{}
	for name, v := range o.numbers {
		args[name] = *v
	}
	for name, v := range o.wholes {
		args[name] = float64(*v)
	}
	for name, v := range o.truths {
		args[name] = *v
	}
	for name, v := range o.texts {
		args[name] = *v
	}
	for name, v := range o.lists {
		args[name] = *v
	}
	return dataset.Operation{Name: o.kind.Name, Args: args, Of: plain(o.inner)}
}

func plain(chosen []stages.Chosen) []dataset.Operation {
	var out []dataset.Operation
	for _, c := range chosen {
		out = append(out, c.Body.(*operation).plain())
	}
	return out
}

// place returns the path of the operation number n of the stage: the place of its block among all.
func place(blocks []stages.BlockArgs, n int) string {
	for at, b := range blocks {
		if b.Type == "preview" {
			continue
		}
		if n == 0 {
			return fmt.Sprintf("%s[%d]", b.Type, at)
		}
		n--
	}
	return ""
}
