// Package stages says what a stage is: its kind, its schema (arguments, blocks, ports, values), and the job that a
// worker executes. The kinds themselves live in the folders below, one package each; the list of all of them is in
// stages/all, and stages/stagetest is the suite that every kind passes.
//
// Rules of the room: this package imports artifact and nothing else of ours. Everything about an argument is declared
// once, in a kind's Declare; decoding, defaults, range checks, the key, the reference pages and the editor service are
// walks over that declaration. A kind imports stages, artifact and the libraries (dataset, onnx, learn, infer,
// report); it never imports the engine, the language or another kind.
package stages

import (
	"context"
	"fmt"
	"regexp"
	"sort"
)

// Kind is a type of stage, such as train. A Kind is immutable.
type Kind struct {
	Name    string // the block type that users write: lower case, digits and underscores
	Version int    // rises whenever the results of the kind change for equal keys; at least 1
	Doc     string // a paragraph for the reference page, in Markdown
	Example string // a complete block in the pipeline language, for the reference page

	// Computes says that the results depend on the device class (backend, version, precision, instruction set,
	// threads), which then belongs to the key.
	Computes bool
	// Seeded says that the results depend on the seed, which then belongs to the key. A kind that is not seeded gets
	// the seed 0, so that it cannot depend on it unnoticed.
	Seeded bool
	// Foreign says that the stage runs programs that are not ours: it gets writable copies of its inputs, made anew for
	// every attempt, and never links to what is stored.
	Foreign bool
	// Measured says that the outputs hold what was measured, of this machine and this moment: they are made once, kept, and inputs like any other
	// from then on. A second run gives other bytes, so a reproduction takes over the recorded ones.
	Measured bool

	// New returns a stage with all its fields zero; Declare binds them.
	New func() Stage
}

// Declarer declares arguments: a stage, a variant of a labelled block, or a nested block.
type Declarer interface {
	// Declare binds the receiver's fields to arguments. It must not depend on the fields' values.
	Declare(*Schema)
}

// Stage is one use of a kind, with its arguments decoded into its own fields.
type Stage interface {
	Declarer
	// Run does the work: it reads job's inputs, writes every declared output to job.Output(name), and reports every
	// declared value. It returns ctx's error soon after ctx is cancelled. It must not depend on anything but its
	// arguments, its inputs, job.Seed and job.Device.
	Run(ctx context.Context, job *Job) error
}

// Shaper is a stage whose ports or values follow from its arguments (split, exec). Shape is called after a
// successful Decode and adds them to the schema.
type Shaper interface {
	Shape(*Schema)
}

// Checker is a Declarer with rules across arguments, which Decode applies after every argument is bound.
type Checker interface {
	Check() []Problem
}

var kindName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// InputChecker is a stage with rules about which inputs are connected. Decode applies them after Check, where it knows
// the inputs: so a stage without any source is found when the pipeline is validated.
type InputChecker interface {
	CheckInputs(connected map[string]bool) []Problem
}

// Catalog is an immutable set of kinds.
type Catalog struct {
	kinds  []*Kind
	byName map[string]*Kind
}

// NewCatalog refuses kinds with equal, malformed or missing parts; it also declares each kind once, so that a
// malformed schema panics at start-up and not in a run.
func NewCatalog(kinds ...*Kind) (*Catalog, error) {
	c := &Catalog{byName: map[string]*Kind{}}
	for _, k := range kinds {
		switch {
		case !kindName.MatchString(k.Name):
			return nil, fmt.Errorf("kind name %q is not lower case letters, digits and underscores", k.Name)
		case k.Version < 1 || k.New == nil || k.Doc == "":
			return nil, fmt.Errorf("kind %s lacks a version, a constructor or a description", k.Name)
		case c.byName[k.Name] != nil:
			return nil, fmt.Errorf("kind %s is listed twice", k.Name)
		}
		SchemaOf(k.New())
		c.byName[k.Name] = k
		c.kinds = append(c.kinds, k)
	}
	return c, nil
}

// Lookup returns the kind of that name, or nil.
func (c *Catalog) Lookup(name string) *Kind { return c.byName[name] }

// Kinds returns the kinds in the order in which they were listed.
func (c *Catalog) Kinds() []*Kind { return append([]*Kind(nil), c.kinds...) }

// Names returns the kinds' names, sorted.
func (c *Catalog) Names() []string {
	var names []string
	for _, k := range c.kinds {
		names = append(names, k.Name)
	}
	sort.Strings(names)
	return names
}
