package engine

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/stages"
)

// Manifest is everything that can change a stage's result, as readable canonical text. Its digest is the stage's key.
type Manifest struct {
	Kind    string
	Version int
	Args    []stages.Field  // in-key arguments in order of declaration, defaults applied
	Inputs  []ManifestInput // in order of the kind's ports
	Seed    *uint64         // nil for kinds that draw no random numbers
	Device  stages.Device   // zero for kinds that do not compute
}

// ManifestInput is one artifact on a port, by its content.
type ManifestInput struct {
	Port string
	Name string       // on a port that takes many
	Ref  artifact.Ref // its size is not part of the text: the digest implies it
}

func (in ManifestInput) path() string {
	if in.Name == "" {
		return in.Port
	}
	return in.Port + "[" + strconv.Quote(in.Name) + "]"
}

// field is a line of a manifest: what Text writes, Parse reads and Diff compares.
type field struct{ section, path, text string }

const manifestHead = "darkroom manifest 1\n"

// fields is the one walk from which the text, and so the key, and the explanation are made.
func (m *Manifest) fields() []field {
	out := []field{{"kind", "kind", strconv.Quote(m.Kind)}, {"version", "version", strconv.Itoa(m.Version)}}
	for _, a := range m.Args {
		out = append(out, field{"arg", a.Path, a.Text})
	}
	for _, in := range m.Inputs {
		out = append(out, field{"input", in.path(), in.Ref.String()})
	}
	if m.Seed != nil {
		out = append(out, field{"seed", "seed", strconv.FormatUint(*m.Seed, 10)})
	}
	if d := m.Device; !d.IsZero() {
		out = append(out,
			field{"device", "backend", strconv.Quote(d.Backend)}, field{"device", "version", strconv.Quote(d.Version)},
			field{"device", "isa", strconv.Quote(d.ISA)}, field{"device", "precision", strconv.Quote(d.Precision)},
			field{"device", "threads", strconv.Itoa(d.Threads)})
	}
	return out
}

// Text returns the canonical text: a head line, then one line a field, `section path text`.
func (m *Manifest) Text() string {
	var b strings.Builder
	b.WriteString(manifestHead)
	for _, f := range m.fields() {
		fmt.Fprintf(&b, "%s %s %s\n", f.section, f.path, f.text)
	}
	return b.String()
}

// Key returns the digest of the text.
func (m *Manifest) Key() artifact.Digest { return artifact.DigestBytes([]byte(m.Text())) }

// manifestLine splits a line: a path has no spaces but inside the quotes of an input's name.
var manifestLine = regexp.MustCompile(`^(kind|version|arg|input|seed|device) ([^ "]+(?:\["(?:[^"\\]|\\.)*"\])?) (.+)$`)

// ParseManifest reads the text of a stored manifest. It refuses whatever Text would not have written.
func ParseManifest(text string) (*Manifest, error) {
	rest, ok := strings.CutPrefix(text, manifestHead)
	if !ok {
		return nil, errors.New("the text does not begin as a manifest of version 1")
	}
	m := &Manifest{}
	for i, line := range strings.SplitAfter(rest, "\n") {
		if line == "" {
			continue
		}
		parts := manifestLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if parts == nil {
			return nil, fmt.Errorf("manifest line %d is malformed", i+2)
		}
		if err := m.add(field{parts[1], parts[2], parts[3]}); err != nil {
			return nil, fmt.Errorf("manifest line %d: %w", i+2, err)
		}
	}
	if m.Text() != text {
		return nil, errors.New("the manifest is not in canonical form")
	}
	return m, nil
}

func (m *Manifest) add(f field) (err error) {
	switch f.section {
	case "kind":
		m.Kind, err = strconv.Unquote(f.text)
	case "version":
		m.Version, err = strconv.Atoi(f.text)
	case "arg":
		m.Args = append(m.Args, stages.Field{Path: f.path, Text: f.text})
	case "input":
		var in ManifestInput
		in, err = parseInput(f)
		m.Inputs = append(m.Inputs, in)
	case "seed":
		var seed uint64
		seed, err = strconv.ParseUint(f.text, 10, 64)
		m.Seed = &seed
	case "device":
		err = parseDevice(&m.Device, f)
	}
	return err
}

func parseInput(f field) (in ManifestInput, err error) {
	in.Port = f.path
	if at := strings.IndexByte(f.path, '['); at >= 0 && strings.HasSuffix(f.path, "]") {
		in.Port = f.path[:at]
		if in.Name, err = strconv.Unquote(f.path[at+1 : len(f.path)-1]); err != nil {
			return in, fmt.Errorf("the name of input %s is malformed", f.path)
		}
	}
	typ, digest, ok := strings.Cut(f.text, ":")
	typ, tree := strings.CutSuffix(typ, "/")
	in.Ref.Tree, in.Ref.Digest = tree, artifact.Digest(digest)
	if in.Ref.Type, err = artifact.ParseType(typ); err != nil || !ok || !in.Ref.Digest.Valid() {
		return in, fmt.Errorf("%q is not an artifact", f.text)
	}
	return in, nil
}

func parseDevice(d *stages.Device, f field) (err error) {
	switch f.path {
	case "backend":
		d.Backend, err = strconv.Unquote(f.text)
	case "version":
		d.Version, err = strconv.Unquote(f.text)
	case "isa":
		d.ISA, err = strconv.Unquote(f.text)
	case "precision":
		d.Precision, err = strconv.Unquote(f.text)
	case "threads":
		d.Threads, err = strconv.Atoi(f.text)
	default:
		err = fmt.Errorf("a device has no %s", f.path)
	}
	return err
}

// display returns the path and the text of a field as people read them.
func (f field) display() (path, text string) {
	switch f.section {
	case "version":
		return "kind version", f.text
	case "device":
		return "device." + f.path, stages.DisplayText(f.text)
	case "input":
		typ, digest, _ := strings.Cut(f.text, ":")
		return f.path, typ + " " + artifact.Digest(digest).Short()
	}
	return f.path, stages.DisplayText(f.text)
}

// Diff explains how m differs from an older manifest, in the order of m's fields, then what is gone. It is empty only
// when the two have the same key, or differ in order alone, which it says too.
func (m *Manifest) Diff(old *Manifest) []Reason {
	type id struct{ section, path string }
	before := map[id]field{}
	for _, f := range old.fields() {
		before[id{f.section, f.path}] = f
	}
	var out []Reason
	for _, f := range m.fields() {
		o, ok := before[id{f.section, f.path}]
		delete(before, id{f.section, f.path})
		path, now := f.display()
		switch {
		case !ok:
			out = append(out, Reason{Path: path, Old: "none", New: now})
		case o.text != f.text:
			_, was := o.display()
			out = append(out, Reason{Path: path, Old: was, New: now})
		}
	}
	for _, f := range old.fields() {
		if _, gone := before[id{f.section, f.path}]; gone {
			path, was := f.display()
			out = append(out, Reason{Path: path, Old: was, New: "none"})
		}
	}
	if len(out) == 0 && m.Key() != old.Key() {
		out = append(out, Reason{Path: "inputs", Old: "another order", New: "this order"})
	}
	return out
}

// Reason is one cause for running a stage. With Old, something changed from Old to New; without, New alone says it.
type Reason struct {
	Path string `json:"path"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

// String returns `epochs: 3 → 4`, or `record: none yet` where there is no old.
func (r Reason) String() string {
	switch {
	case r.Old == "":
		return r.Path + ": " + r.New
	default:
		return r.Path + ": " + r.Old + " → " + r.New
	}
}
