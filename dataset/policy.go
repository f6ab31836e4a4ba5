package dataset

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// Policy is an ordered list of augmentations. It is immutable. Operations that move pixels and stand side by side are
// composed into one resampling.
type Policy struct{ operations []Operation }

// Operation is one augmentation with its arguments; a truth value is 0 or 1.
type Operation struct {
	Name string             `json:"name"`
	Args map[string]float64 `json:"args"`
}

// operationArgs lists the operations and the arguments that each must have. What they mean stands at apply.
var operationArgs = map[string][]string{
	"flip":                {"horizontal", "vertical", "p"},
	"rotate":              {"limit", "p"},
	"scale":               {"limit", "p"},
	"shift":               {"limit", "p"},
	"crop":                {"padding"},
	"brightness_contrast": {"brightness", "contrast", "p"},
	"gaussian_noise":      {"sigma", "p"},
}

// NewPolicy checks the operations' names and arguments.
func NewPolicy(operations []Operation) (*Policy, error) {
	p := &Policy{}
	for i, op := range operations {
		want, ok := operationArgs[op.Name]
		if !ok {
			return nil, fmt.Errorf("operation %d: there is no operation %q", i, op.Name)
		}
		args := map[string]float64{}
		for _, name := range want {
			v, ok := op.Args[name]
			if !ok || math.IsNaN(v) || v < 0 || v > 1e4 {
				return nil, fmt.Errorf("operation %d (%s): the argument %q is missing or not within 0 to 10000", i, op.Name, name)
			}
			args[name] = v
		}
		if len(op.Args) != len(want) {
			return nil, fmt.Errorf("operation %d (%s): takes the arguments %s and no others", i, op.Name, strings.Join(want, ", "))
		}
		p.operations = append(p.operations, Operation{op.Name, args})
	}
	return p, nil
}

// Operations returns the operations in order. The caller must not change them.
func (p *Policy) Operations() []Operation { return p.operations }

// JSON returns the canonical text: arguments sorted by name, no spaces.
func (p *Policy) JSON() []byte {
	ops := p.operations
	if ops == nil {
		ops = []Operation{}
	}
	b, err := json.Marshal(struct {
		Operations []Operation `json:"operations"`
	}{ops})
	if err != nil {
		panic(err) // finite numbers and texts always encode
	}
	return b
}

// ParsePolicy reads what JSON wrote.
func ParsePolicy(text []byte) (*Policy, error) {
	var p struct {
		Operations []Operation `json:"operations"`
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return nil, err
	}
	return NewPolicy(p.Operations)
}
