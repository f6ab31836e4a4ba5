package stages

import (
	"fmt"
	"strings"
)

// Reference is a kind's reference page as data, made by one walk over its schema.
type Reference struct {
	Kind     string             `json:"kind"`
	Version  int                `json:"version"`
	Doc      string             `json:"doc"`     // Markdown
	Example  string             `json:"example"` // in the pipeline language
	Sections []ReferenceSection `json:"sections"`
}

// ReferenceSection is one table of a reference page: arguments, a nested block, ports, values.
type ReferenceSection struct {
	Title   string           `json:"title"`
	Doc     string           `json:"doc"` // "" where the title says all
	Entries []ReferenceEntry `json:"entries"`
}

// ReferenceEntry is one line of a table.
type ReferenceEntry struct {
	Name  string `json:"name"`
	Facts string `json:"facts"` // type, default, range, unit, in words
	Doc   string `json:"doc"`
}

// NewReference walks the kind's schema. Ports that follow from arguments (Shaper) are described by the kind's Doc.
func NewReference(k *Kind) Reference {
	s := SchemaOf(k.New())
	r := Reference{Kind: k.Name, Version: k.Version, Doc: k.Doc, Example: k.Example}
	r.ports("Inputs", s.Inputs, true)
	r.args("Arguments", "", s)
	r.blocks("", s)
	r.ports("Outputs", s.Outputs, false)
	r.values("Values", s.Values)
	r.values("Measurements", s.Measurements)
	return r
}

func (r *Reference) add(title, doc string, entries []ReferenceEntry) {
	if len(entries) > 0 || doc != "" {
		if entries == nil {
			entries = []ReferenceEntry{} // never null in JSON
		}
		r.Sections = append(r.Sections, ReferenceSection{title, doc, entries})
	}
}

func (r *Reference) ports(title string, ports []*Port, inputs bool) {
	var entries []ReferenceEntry
	for _, p := range ports {
		entries = append(entries, ReferenceEntry{p.Name, p.facts(inputs), p.Doc})
	}
	r.add(title, "", entries)
}

func (p *Port) facts(input bool) string {
	var facts []string
	switch {
	case p.Source:
		facts = append(facts, "path of a file or folder")
	case p.Like != "":
		facts = append(facts, "the type of "+p.Like)
	case p.Type == "" && p.AnyTypes:
		facts = append(facts, "artifacts of any types")
	case p.Type == "":
		facts = append(facts, "any one type")
	default:
		facts = append(facts, string(p.Type))
	}
	if p.List {
		facts = append(facts, "a list or a map")
	}
	switch {
	case input && p.Optional:
		facts = append(facts, "optional")
	case input:
		facts = append(facts, "required")
	}
	return strings.Join(facts, ", ")
}

func (r *Reference) args(title, doc string, s *Schema) {
	var entries []ReferenceEntry
	for _, a := range s.Args {
		entries = append(entries, ReferenceEntry{a.Name, a.facts(), a.Doc})
	}
	r.add(title, doc, entries)
}

func (a *Arg) facts() string {
	facts := []string{strings.TrimPrefix(strings.TrimPrefix(a.Type.words(), "a "), "any ")}
	if a.Or != "" {
		facts[0] += " or a " + string(a.Or)
	}
	if len(a.Options) > 0 {
		facts = append(facts, "one of "+quotedList(a.Options))
	}
	if text := a.RangeText(); text != "" {
		facts = append(facts, text)
	}
	if a.Unit != "" {
		facts = append(facts, "in "+a.Unit)
	}
	switch {
	case a.Must:
		facts = append(facts, "required")
	case a.Default != nil:
		facts = append(facts, "default "+DisplayText(canonical(a.Default, a.Type)))
	default:
		facts = append(facts, "optional")
	}
	if !a.InKey {
		facts = append(facts, "not part of the key")
	}
	return strings.Join(facts, ", ")
}

func (r *Reference) blocks(prefix string, s *Schema) {
	for _, b := range s.Blocks {
		switch b.Form {
		case Single:
			body := SchemaOf(b.body)
			r.args("Block "+prefix+b.Name, b.Doc, body)
			r.blocks(prefix+b.Name+" ", body)
		case Choice:
			doc := b.Doc
			if b.Default != "" {
				doc += fmt.Sprintf(" Without the block: %q.", b.Default)
			}
			r.variants(b, doc, prefix+b.Name+" ", true)
		case Sequence:
			r.variants(b, b.Doc+" Any number of these blocks, in the order in which they apply.", prefix, false)
		}
	}
}

func (r *Reference) variants(b *Block, doc, prefix string, quoted bool) {
	if b.again {
		r.add("Blocks inside "+strings.TrimSpace(prefix), b.Doc+" They are blocks as outside of it, in any number.", nil)
		return
	}
	r.add("Blocks "+b.Name, doc, nil)
	for _, v := range b.Variants {
		name := prefix + v.Name
		if quoted {
			name = fmt.Sprintf("%s%q", prefix, v.Name)
		}
		body := SchemaOf(v.New())
		r.args("Block "+name, v.Doc, body)
		r.blocks(name+" ", body)
	}
}

func (r *Reference) values(title string, values []*Value) {
	var entries []ReferenceEntry
	for _, v := range values {
		facts := string(v.Type)
		if v.Unit != "" {
			facts += ", in " + v.Unit
		}
		entries = append(entries, ReferenceEntry{v.Name, facts, v.Doc})
	}
	r.add(title, "", entries)
}

// Markdown returns the page as docs/stages holds it.
func (r Reference) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n```hcl\n%s\n```\n", r.Kind, r.Doc, strings.TrimSpace(r.Example))
	cell := strings.NewReplacer("|", `\|`, "\n", " ")
	for _, s := range r.Sections {
		fmt.Fprintf(&b, "\n## %s\n\n", s.Title)
		if s.Doc != "" {
			fmt.Fprintf(&b, "%s\n", s.Doc)
		}
		if len(s.Entries) == 0 {
			continue
		}
		if s.Doc != "" {
			b.WriteString("\n")
		}
		b.WriteString("| name | what it takes | meaning |\n| --- | --- | --- |\n")
		for _, e := range s.Entries {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", e.Name, cell.Replace(e.Facts), cell.Replace(e.Doc))
		}
	}
	fmt.Fprintf(&b, "\nEvery stage also takes the [common arguments](../language.md). Version of the kind: %d.\n", r.Version)
	return b.String()
}

// Text returns the page for a terminal of that many columns.
func (r Reference) Text(width int) string {
	var b strings.Builder
	for _, paragraph := range strings.Split(r.Doc, "\n\n") {
		b.WriteString(wrap(paragraph, "", width) + "\n\n")
	}
	for _, line := range strings.Split(strings.TrimSpace(r.Example), "\n") {
		b.WriteString("    " + line + "\n")
	}
	for _, s := range r.Sections {
		fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(s.Title[:1])+s.Title[1:])
		if s.Doc != "" {
			b.WriteString(wrap(s.Doc, "  ", width) + "\n")
		}
		for _, e := range s.Entries {
			fmt.Fprintf(&b, "%s\n%s\n", wrap(e.Name+": "+e.Facts, "  ", width), wrap(e.Doc, "      ", width))
		}
	}
	return b.String()
}

// wrap breaks text at spaces so that each line, indented, has at most width columns where words allow.
func wrap(text, indent string, width int) string {
	var lines []string
	line := indent
	for _, word := range strings.Fields(text) {
		if len(line) > len(indent) && len([]rune(line))+1+len([]rune(word)) > width {
			lines = append(lines, line)
			line = indent
		}
		if len(line) > len(indent) {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}
