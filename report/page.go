// Package report makes darkroom's HTML reports: one self-contained file each, with tables, plots, confusion matrices
// and thumbnails, readable without a network, without scripts, in light and dark, on a narrow screen and on paper.
//
// Rules of the room: a report is an artifact, so its bytes follow from what it was given and from nothing else: no
// times, hosts, paths, speeds or map order. Every text goes through html/template; pictures are inline SVG or PNG data
// URIs. The package knows no stage and no dataset: callers hand it numbers, texts and pixels.
package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"os"
)

//go:embed page.tmpl
var pageText string

//go:embed page.css
var pageStyle string

var templates = template.Must(template.New("report").Parse(pageText))

// Page is one report under construction. Elements appear in the order of the calls. The first mistake of a caller (a
// matrix that is not square, an image of the wrong length) is kept and returned by Write and WriteFile. A Page is not
// safe for concurrent use.
type Page struct {
	title    string
	subtitle string
	parts    []template.HTML
	err      error
}

// Fact is one headline number or word: what it is, its value as text, and an optional remark below it.
type Fact struct {
	Name  string
	Value string
	Note  string
	// Tone colours the value: Good, Bad, or the zero value Plain.
	Tone Tone
}

// Tone says how something is to be taken.
type Tone string

// The tones.
const (
	Plain Tone = ""
	Good  Tone = "good"
	Bad   Tone = "bad"
)

// New starts a report with that title.
func New(title string) *Page { return &Page{title: title} }

// Subtitle sets the line below the title.
func (p *Page) Subtitle(text string) { p.subtitle = text }

// Facts adds a row of tiles.
func (p *Page) Facts(facts ...Fact) {
	if len(facts) > 0 {
		p.add("facts", facts)
	}
}

// Section starts a section with a heading.
func (p *Page) Section(title string) { p.add("section", title) }

// Text adds a paragraph.
func (p *Page) Text(text string) { p.add("text", text) }

// Code adds a block of preformatted text, with an optional title above it.
func (p *Page) Code(title, text string) {
	p.add("code", struct{ Title, Text string }{title, text})
}

// add renders one element with the template of that name.
func (p *Page) add(name string, data any) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		p.fail(fmt.Errorf("rendering the %s of report %q: %w", name, p.title, err))
		return
	}
	p.parts = append(p.parts, template.HTML(b.String()))
}

func (p *Page) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// Write writes the whole page.
func (p *Page) Write(w io.Writer) error {
	if p.err != nil {
		return p.err
	}
	return templates.ExecuteTemplate(w, "page", map[string]any{
		"Title": p.title, "Subtitle": p.subtitle, "Parts": p.parts, "Style": template.CSS(pageStyle),
	})
}

// WriteFile writes the whole page to a new file, or over an old one.
func (p *Page) WriteFile(path string) error {
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		return err
	}
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
