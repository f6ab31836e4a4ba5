package stages

import (
	"fmt"
	"regexp"

	"github.com/darkroom-dev/darkroom/artifact"
)

// Schema is what a Declarer declares. Its slices are in order of declaration.
type Schema struct {
	Args         []*Arg
	Blocks       []*Block
	Inputs       []*Port
	Outputs      []*Port
	Values       []*Value
	Measurements []*Value

	// OpenValues says that a stage may report values that are not declared (exec).
	OpenValues bool
	// LocalPaths says that expressions of the stage may use input.NAME and output.NAME, the fixed relative paths
	// in/NAME and out/NAME (exec).
	LocalPaths bool
	// Compute is set by a kind that can compute on a GPU, and holds what the stage asks for once it is decoded.
	Compute *Compute

	names map[string]bool
}

// SchemaOf declares d on a fresh schema. It panics on a malformed declaration, which is a defect of the kind.
func SchemaOf(d Declarer) *Schema {
	s := &Schema{names: map[string]bool{}}
	d.Declare(s)
	return s
}

var identifier = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Reserved are the arguments and blocks that every stage has; a kind cannot declare one of that name.
var Reserved = []string{"runner", "resources", "retry", "timeout", "depends_on", "seed", "cache", "threads", "for_each", "matrix", "require"}

func (s *Schema) claim(space, name string) {
	if !identifier.MatchString(name) {
		panic(fmt.Sprintf("stages: %q is not a lower-case identifier", name))
	}
	for _, r := range Reserved {
		if r == name && space == "in" {
			panic(fmt.Sprintf("stages: %q is reserved for every stage", name))
		}
	}
	if s.names[space+name] {
		panic(fmt.Sprintf("stages: %q is declared twice", name))
	}
	s.names[space+name] = true
}

// Arg returns the argument of that name, or nil.
func (s *Schema) Arg(name string) *Arg {
	for _, a := range s.Args {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Input returns the input port of that name, or nil.
func (s *Schema) Input(name string) *Port { return port(s.Inputs, name) }

// Output returns the output port of that name, or nil.
func (s *Schema) Output(name string) *Port { return port(s.Outputs, name) }

func port(ps []*Port, name string) *Port {
	for _, p := range ps {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Value returns the value of that name, or nil.
func (s *Schema) Value(name string) *Value {
	for _, v := range s.Values {
		if v.Name == name {
			return v
		}
	}
	return nil
}

// Port is a typed input or output of a stage.
type Port struct {
	Name string // of an output, dots make objects: folds.0.train is written folds["0"].train
	Doc  string

	// Type is what the port takes or gives. Empty on an input: any type, but one type for all its artifacts.
	Type artifact.Type
	// Like, on an output, names the input whose type it has.
	Like string

	Optional bool // an input that need not be connected
	List     bool // an input that takes a list or a map of artifacts
	AnyTypes bool // a list whose artifacts may be of different types, sources among them (exec)
	// Source, on an input, says that users write a path of the project instead of a reference; its content is the
	// artifact. A source() call is taken too.
	Source bool
}

// In declares an input port of type typ; the user connects it by writing name = KIND.LABEL.OUTPUT.
func (s *Schema) In(name string, typ artifact.Type, doc string) *Port {
	s.claim("in", name)
	p := &Port{Name: name, Type: typ, Doc: doc}
	s.Inputs = append(s.Inputs, p)
	return p
}

// Source declares an input whose content comes from a file or folder of the project, named by a path.
func (s *Schema) Source(name, doc string) *Port {
	p := s.In(name, "", doc)
	p.Source = true
	return p
}

// Out declares an output port of type typ.
func (s *Schema) Out(name string, typ artifact.Type, doc string) *Port {
	if s.names["out"+name] {
		panic(fmt.Sprintf("stages: output or value %q is declared twice", name))
	}
	s.names["out"+name] = true
	p := &Port{Name: name, Type: typ, Doc: doc}
	s.Outputs = append(s.Outputs, p)
	return p
}

// OrNone makes an input optional.
func (p *Port) OrNone() *Port { p.Optional = true; return p }

// Many makes an input take a list of artifacts, or a map of them by name.
func (p *Port) Many() *Port { p.List = true; return p }

// Mixed lets an input that takes many take artifacts of different types, and source() files.
func (p *Port) Mixed() *Port { p.AnyTypes = true; return p }

// As gives an output the type of the named input.
func (p *Port) As(input string) *Port { p.Like = input; return p }

// Value is a number, string or object that a stage reports. As a measurement it depends on the moment or the machine
// and is never part of an identity.
type Value struct {
	Name string
	Type ValueType
	Unit string
	Doc  string
}

// ValueType is the type of an argument or a value, in the words of the pipeline language.
type ValueType string

// The types of arguments and values. Integer is a number without a fraction.
const (
	Number     ValueType = "number"
	Integer    ValueType = "integer"
	Bool       ValueType = "bool"
	String     ValueType = "string"
	NumberList ValueType = "list(number)"
	IntList    ValueType = "list(integer)"
	StringList ValueType = "list(string)"
	NumberMap  ValueType = "map(number)"
	StringMap  ValueType = "map(string)"
	Any        ValueType = "any"
)

// Reports declares a value that follows from the stage's inputs and is usable in expressions downstream.
func (s *Schema) Reports(name string, typ ValueType, doc string) *Value {
	s.claim("out", name)
	v := &Value{Name: name, Type: typ, Doc: doc}
	s.Values = append(s.Values, v)
	return v
}

// Measures declares a measurement in the given unit.
func (s *Schema) Measures(name, unit, doc string) *Value {
	s.claim("measure ", name)
	v := &Value{Name: name, Type: Number, Unit: unit, Doc: doc}
	s.Measurements = append(s.Measurements, v)
	return v
}

// Form says how often and how a nested block is written.
type Form int

// The forms of nested blocks.
const (
	Single   Form = iota // at most once, no label: preview { … }
	Choice               // at most once, its label names a variant: loss "focal" { … }
	Sequence             // any number in any order, the block type names a variant: rotate { … } flip { … }
)

// Variant is one alternative of a Choice or a Sequence.
type Variant struct {
	Name string
	Doc  string
	New  func() Declarer
}

// Block declares a nested block, or for a Sequence a family of them.
type Block struct {
	Name     string // of a Sequence: a name for the documentation and the key, not written by users
	Doc      string
	Form     Form
	Variants []Variant // of a Choice or a Sequence
	Default  string    // of a Choice: the variant when no block is written; "" for none

	again bool // of a Sequence: its variants are those of one around it

	body    Declarer // of a Single
	present *bool    // of a Single: set when written; then nothing is decoded or keyed when it is not
	choice  *Chosen  // of a Choice
	items   *[]Chosen
}

// Chosen is a variant that was written, with its arguments decoded.
type Chosen struct {
	Name string
	Body Declarer // nil if nothing was chosen
}

// Block declares a nested block decoded into body. When it is not written its defaults hold.
func (s *Schema) Block(name string, body Declarer, doc string) *Block {
	s.claim("in", name)
	b := &Block{Name: name, Doc: doc, body: body}
	s.Blocks = append(s.Blocks, b)
	return b
}

// Present makes an absent block mean something else than an empty one: *p tells whether it was written.
func (b *Block) Present(p *bool) *Block { b.present = p; return b }

// Again says that a sequence's variants are those of one around it, so that the documentation need not repeat them.
func (b *Block) Again() *Block { b.again = true; return b }

// Body returns a Declarer that documents a Single block.
func (b *Block) Body() Declarer { return b.body }

// Choice declares a labelled block; def is the label that holds when none is written, "" for none.
func (s *Schema) Choice(c *Chosen, name, def, doc string, variants ...Variant) *Block {
	s.claim("in", name)
	b := &Block{Name: name, Doc: doc, Form: Choice, Variants: variants, Default: def, choice: c}
	if def != "" && b.Variant(def) == nil {
		panic(fmt.Sprintf("stages: block %q has no variant %q", name, def))
	}
	s.Blocks = append(s.Blocks, b)
	return b
}

// Sequence declares a family of blocks whose order means something; each variant's name is a block type.
func (s *Schema) Sequence(items *[]Chosen, name, doc string, variants ...Variant) *Block {
	for _, v := range variants {
		s.claim("in", v.Name)
	}
	b := &Block{Name: name, Doc: doc, Form: Sequence, Variants: variants, items: items}
	s.Blocks = append(s.Blocks, b)
	return b
}

// Variant returns the variant of that name, or nil.
func (b *Block) Variant(name string) *Variant {
	for i := range b.Variants {
		if b.Variants[i].Name == name {
			return &b.Variants[i]
		}
	}
	return nil
}

// VariantNames returns the names of a Choice's or a Sequence's variants in order.
func (b *Block) VariantNames() []string {
	var names []string
	for _, v := range b.Variants {
		names = append(names, v.Name)
	}
	return names
}

// BlockFor returns the declaration that a block of that type belongs to, or nil.
func (s *Schema) BlockFor(typ string) *Block {
	for _, b := range s.Blocks {
		if b.Form == Sequence && b.Variant(typ) != nil || b.Form != Sequence && b.Name == typ {
			return b
		}
	}
	return nil
}
