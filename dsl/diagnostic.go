package dsl

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"

	"github.com/darkroom-dev/darkroom/artifact"
)

// Severity says whether a diagnostic stops the pipeline from being used.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// Diagnostic is one problem with a pipeline's text, ready to print or to hand to an editor.
type Diagnostic struct {
	Severity Severity `json:"severity"`
	Summary  string   `json:"summary"` // fixed text, without names of the user's
	Detail   string   `json:"detail,omitempty"`
	// File is relative to the pipeline's folder; empty when the problem is in no file (a flag). Lines and columns count
	// from 1, columns in characters; EndColumn is the one after the last.
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	Column    int    `json:"column,omitempty"`
	EndLine   int    `json:"end_line,omitempty"`
	EndColumn int    `json:"end_column,omitempty"`
	Snippet   string `json:"snippet,omitempty"` // the line that Line names
	Address   string `json:"address,omitempty"` // of the stage it is about
}

// Diagnostics are problems in order of their place.
type Diagnostics []Diagnostic

// HasErrors reports whether any of them is more than a warning.
func (ds Diagnostics) HasErrors() bool {
	for _, d := range ds {
		if d.Severity == SeverityError {
			return true
		}
	}
	return false
}

// Error makes Diagnostics usable as an error: the first error on one line, and how many more there are.
func (ds Diagnostics) Error() string {
	var first *Diagnostic
	n := 0
	for i, d := range ds {
		if d.Severity == SeverityError {
			if first == nil {
				first = &ds[i]
			}
			n++
		}
	}
	if first == nil {
		return "no errors"
	}
	text := first.Summary + ": " + first.Detail
	if first.File != "" {
		text = fmt.Sprintf("%s:%d: %s", first.File, first.Line, text)
	}
	if n > 1 {
		text += fmt.Sprintf(" (and %d more)", n-1)
	}
	return text
}

func (d Diagnostic) before(e Diagnostic) bool {
	switch {
	case d.File != e.File:
		return d.File < e.File
	case d.Line != e.Line:
		return d.Line < e.Line
	case d.Column != e.Column:
		return d.Column < e.Column
	case d.Severity != e.Severity:
		return d.Severity == SeverityError
	case d.Summary != e.Summary:
		return d.Summary < e.Summary
	}
	return d.Detail < e.Detail
}

// sameAs ignores the address: instances of one block repeat each other's problems.
func (d Diagnostic) sameAs(e Diagnostic) bool {
	d.Address, e.Address = "", ""
	return d == e
}

// problem adds an error that lies at rng; an empty file name in rng means that it lies in no file.
func (l *loader) problem(rng hcl.Range, address, summary, detail string) {
	l.add(SeverityError, rng, address, summary, detail)
}

func (l *loader) problemf(rng hcl.Range, summary, format string, args ...any) {
	l.add(SeverityError, rng, "", summary, fmt.Sprintf(format, args...))
}

func (l *loader) add(severity Severity, rng hcl.Range, address, summary, detail string) {
	d := Diagnostic{Severity: severity, Summary: summary, Detail: detail, Address: address}
	if f := l.files[rng.Filename]; f != nil {
		d.place(rng, f.lines())
	} else {
		d.File = rng.Filename
	}
	l.diags = append(l.diags, d)
}

// place fills in where d is from a range and the lines of its file.
func (d *Diagnostic) place(rng hcl.Range, lines []string) {
	d.File, d.Line, d.Column, d.EndLine, d.EndColumn = rng.Filename, rng.Start.Line, rng.Start.Column, rng.End.Line, rng.End.Column
	if i := d.Line - 1; i >= 0 && i < len(lines) {
		d.Snippet = lines[i]
	}
}

// addHCL takes over what the HCL library reports.
func (l *loader) addHCL(diags hcl.Diagnostics, address string) {
	for _, d := range diags {
		severity := SeverityError
		if d.Severity == hcl.DiagWarning {
			severity = SeverityWarning
		}
		var rng hcl.Range
		if d.Subject != nil {
			rng = *d.Subject
		} else if d.Context != nil {
			rng = *d.Context
		}
		summary, detail := explain(d)
		l.add(severity, rng, address, summary, detail)
	}
}

// notFinite matches what the HCL library says of calculations such as 0/0.
var notFinite = regexp.MustCompile(`can't (divide|multiply|add|subtract|compute|use) .*(zero|infinit)|NaN`)

// explain returns the summary and detail of what the HCL library reports, without its traces of the stack.
func explain(d *hcl.Diagnostic) (summary, detail string) {
	detail = sentence(d.Detail)
	switch {
	case notFinite.MatchString(detail):
		return "Not a finite number", "This calculation has no finite result, such as 0/0 or the difference of two infinite numbers."
	case strings.Contains(detail, "panic in function implementation"):
		before, _, _ := strings.Cut(detail, " failed: panic")
		return d.Summary, before + " failed: it cannot work with these arguments."
	}
	return d.Summary, detail
}

// syntaxErrors drops what follows from a text that does not end where it should: every further line looks wrong then.
func syntaxErrors(diags hcl.Diagnostics) hcl.Diagnostics {
	for i, d := range diags {
		if d.Summary == "Invalid multi-line string" || d.Summary == "Unterminated template string" {
			return diags[:i+1]
		}
	}
	return diags
}

func sentence(text string) string {
	text = strings.TrimSpace(text)
	if text != "" && !strings.ContainsAny(text[len(text)-1:], ".!?)") {
		text += "."
	}
	return text
}

// suggestion is " Did you mean …?" when given is close to one of the options, else the list of them when it is short
// enough to read, introduced by intro ("The variables:").
func suggestion(given string, options []string, intro string) string {
	if best := closest(given, options); best != "" {
		return fmt.Sprintf(" Did you mean %q?", best)
	}
	if intro == "" || len(options) == 0 || len(options) > 24 {
		return ""
	}
	return " " + intro + " " + listText(options) + "."
}

// withArticle is "a model", "an image", "metrics".
func withArticle(t artifact.Type) string {
	switch t {
	case artifact.Metrics:
		return string(t)
	case artifact.Engine, artifact.Image:
		return "an " + string(t)
	}
	return "a " + string(t)
}

// closest returns the option nearest to given when few letters differ, "" otherwise.
func closest(given string, options []string) string {
	// Two letters that changed places are two changes, and happen in short words too.
	most := 3
	switch {
	case len(given) < 2: // every other letter is one change away
		most = 0
	case len(given) < 4:
		most = 1
	case len(given) < 9:
		most = 2
	}
	best, least := "", most+1
	for _, o := range options {
		if d := levenshtein.Distance(strings.ToLower(given), strings.ToLower(o), nil); d < least {
			best, least = o, d
		}
	}
	return best
}

func listText(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
