package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Policy is an ordered list of augmentations. It is immutable. Operations that move pixels and stand side by side are
// composed into one resampling.
type Policy struct {
	operations []Operation
	visibility float64
}

// Operation is one augmentation with its arguments. A value is a number (a truth value is 0 or 1), a text, or a list of numbers.
type Operation struct {
	Name string         `json:"name"`
	Args map[string]any `json:"args"`
	// Of are the operations that one_of and some_of choose from.
	Of []Operation `json:"of,omitempty"`
}

// Form says what values a parameter takes.
type Form int

// The forms of parameters.
const (
	Number  Form = iota // float64
	Integer             // float64 without a fraction
	Truth               // 0 or 1
	Text                // one of the options
	Range               // two numbers, the first not above the second: a value is drawn between them
	List                // numbers, MinLen to MaxLen of them
)

// Parameter declares an argument of an operation, once for everything that needs to know it.
type Parameter struct {
	Name, Doc, Unit string
	Form            Form
	Whole           bool    // of a Range or a List: numbers without a fraction
	Low, High       float64 // bounds of each number
	Default         any     // float64, string or []float64; nil: it must be given
	Options         []string
	MinLen, MaxLen  int
}

// OperationKind declares an operation: its name and parameters, and what it does to a sample.
type OperationKind struct {
	Name, Doc  string
	Parameters []Parameter
	// Nested says that the operation holds others.
	Nested bool
	// Mixes says that it needs other samples of the dataset.
	Mixes bool

	size  func(arguments, int, int) (h, w int, err error) // nil: the size stays
	apply func(*Augmenter, *bound, *Stream)
}

// Bounds of a policy, so that what a file says costs no more than it is worth.
const (
	maxOperations = 256 // of all levels together
	maxDepth      = 8
	maxMixing     = 3 // operations that need other samples
	policyVersion = 2
)

// NewPolicy checks the operations and fills in the arguments that are not given. visibility is the share of a region (box,
// polygon) that must still be inside of the image for it to be kept, 0 to 1.
func NewPolicy(operations []Operation, visibility float64) (*Policy, error) {
	if !(visibility >= 0 && visibility <= 1) {
		return nil, fmt.Errorf("the visibility %v is not within 0 to 1", visibility)
	}
	left := maxOperations
	checked, err := checkOperations(operations, "operation", maxDepth, &left)
	if err != nil {
		return nil, err
	}
	if err := checkNormalise(checked); err != nil {
		return nil, err
	}
	if n := countMixing(checked); n > maxMixing {
		return nil, fmt.Errorf("%d operations need other samples; at most %d are taken, since each multiplies the work", n, maxMixing)
	}
	return &Policy{checked, visibility}, nil
}

// checkNormalise refuses a normalisation that other operations would see.
func checkNormalise(operations []Operation) error {
	for i, op := range operations {
		if op.Name == "normalize" && i < len(operations)-1 {
			return fmt.Errorf("operation %d (normalize): it must be the last, since the others work on bytes", i)
		}
		for _, inner := range op.Of {
			if inner.Name == "normalize" {
				return fmt.Errorf("operation %d (%s): normalize cannot stand inside, since all images of a batch are normalised or none", i, op.Name)
			}
			if err := checkNormalise(inner.Of); err != nil {
				return err
			}
		}
	}
	return nil
}

func countMixing(operations []Operation) int {
	n := 0
	for _, op := range operations {
		if kind, ok := operationKinds[op.Name]; ok && kind.Mixes {
			n++
		}
		n += countMixing(op.Of)
	}
	return n
}

func checkOperations(operations []Operation, at string, depth int, left *int) ([]Operation, error) {
	if depth == 0 {
		return nil, fmt.Errorf("%s: operations are nested deeper than %d", at, maxDepth)
	}
	var out []Operation
	for i, op := range operations {
		at := fmt.Sprintf("%s %d (%s)", at, i, op.Name)
		if *left--; *left < 0 {
			return nil, fmt.Errorf("more than %d operations", maxOperations)
		}
		kind, ok := operationKinds[op.Name]
		if !ok {
			return nil, fmt.Errorf("%s: there is no operation of that name", at)
		}
		args, err := kind.check(op.Args)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		c := Operation{Name: op.Name, Args: args}
		switch {
		case kind.Nested && len(op.Of) == 0:
			return nil, fmt.Errorf("%s: it holds no operations to choose from", at)
		case !kind.Nested && len(op.Of) > 0:
			return nil, fmt.Errorf("%s: it takes no operations inside", at)
		case kind.Nested:
			if c.Of, err = checkOperations(op.Of, at+", operation", depth-1, left); err != nil {
				return nil, err
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// check returns the arguments in their plain form, with defaults.
func (k *OperationKind) check(given map[string]any) (map[string]any, error) {
	args := map[string]any{}
	for _, p := range k.Parameters {
		v, ok := given[p.Name]
		if !ok {
			v = p.Default
		}
		plain, err := p.plain(v)
		if err != nil {
			return nil, err
		}
		args[p.Name] = plain
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, ok := args[name]; !ok {
			return nil, fmt.Errorf("it has no argument %q", name)
		}
	}
	return args, nil
}

// Check says what is wrong with a value, nil when nothing is.
func (p *Parameter) Check(v any) error {
	_, err := p.plain(v)
	return err
}

// plain returns v as float64, string or []float64, or says what is wrong with it.
func (p *Parameter) plain(v any) (any, error) {
	switch p.Form {
	case Number, Integer, Truth:
		if b, ok := v.(bool); ok && p.Form == Truth {
			v = number(b)
		}
		f, ok := v.(float64)
		if !ok || !p.takes(f, p.Form != Number) {
			return nil, fmt.Errorf("the argument %q is missing or not a number within %g to %g", p.Name, p.Low, p.High)
		}
		return f + 0, nil // minus zero is zero
	case Text:
		t, ok := v.(string)
		if !ok || !slices.Contains(p.Options, t) {
			return nil, fmt.Errorf("the argument %q is not one of %q", p.Name, p.Options)
		}
		return t, nil
	}
	list, ok := numbers(v)
	least, most := p.MinLen, p.MaxLen
	if p.Form == Range {
		least, most = 2, 2
	}
	if !ok || len(list) < least || len(list) > most {
		return nil, fmt.Errorf("the argument %q is not a list of %d to %d numbers", p.Name, least, most)
	}
	for i, f := range list {
		if !p.takes(f, p.Whole) {
			return nil, fmt.Errorf("the argument %q holds %v, which is not within %g to %g", p.Name, f, p.Low, p.High)
		}
		if p.Form == Range && i > 0 && f < list[i-1] {
			return nil, fmt.Errorf("the argument %q is a range, but %v is above %v", p.Name, list[0], f)
		}
	}
	return list, nil
}

func (p *Parameter) takes(f float64, whole bool) bool {
	return f >= p.Low && f <= p.High && (!whole || f == math.Trunc(f))
}

func numbers(v any) ([]float64, bool) {
	switch v := v.(type) {
	case []float64:
		return slices.Clone(v), true
	case []any:
		out := make([]float64, len(v))
		for i, e := range v {
			f, ok := e.(float64)
			if !ok {
				return nil, false
			}
			out[i] = f
		}
		return out, true
	}
	return nil, false
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Operations returns the operations in order. The caller must not change them.
func (p *Policy) Operations() []Operation {
	if p == nil {
		return nil
	}
	return p.operations
}

// Visibility returns the share of a region that must remain for it to be kept.
func (p *Policy) Visibility() float64 { return p.visibility }

// Mixes reports whether an operation needs other samples, so that the labels become shares of classes.
func (p *Policy) Mixes() bool { return p != nil && countMixing(p.operations) > 0 }

type policyText struct {
	Version    int         `json:"version"`
	Visibility float64     `json:"min_visibility"`
	Operations []Operation `json:"operations"`
}

// JSON returns the canonical text: arguments sorted by name, no spaces.
func (p *Policy) JSON() []byte {
	ops := p.operations
	if ops == nil {
		ops = []Operation{}
	}
	b, err := json.Marshal(policyText{policyVersion, p.visibility, ops})
	if err != nil {
		panic(err) // finite numbers and texts always encode
	}
	return b
}

// ParsePolicy reads what JSON wrote.
func ParsePolicy(text []byte) (*Policy, error) {
	var p policyText
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return nil, err
	}
	if p.Version != policyVersion {
		return nil, fmt.Errorf("the policy has version %d, this darkroom reads version %d: run the stage that made the dataset again", p.Version, policyVersion)
	}
	if _, err := dec.Token(); err == nil {
		return nil, errors.New("there is text after the policy")
	}
	return NewPolicy(p.Operations, p.Visibility)
}
