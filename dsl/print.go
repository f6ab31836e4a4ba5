package dsl

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// PrintOptions say how diagnostics look.
type PrintOptions struct {
	Color bool
	Width int // in characters; 0: no wrapping
}

const (
	colorRed    = "\x1b[31m"
	colorYellow = "\x1b[33m"
	colorBold   = "\x1b[1m"
	colorFaint  = "\x1b[2m"
	colorReset  = "\x1b[0m"
)

// Print writes diagnostics for people: what is wrong, where, the line with the place underlined, and what to do.
func Print(w io.Writer, diags Diagnostics, o PrintOptions) error {
	var b strings.Builder
	for i, d := range diags {
		if i > 0 {
			b.WriteByte('\n')
		}
		d.print(&b, o)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (d Diagnostic) print(b *strings.Builder, o PrintOptions) {
	paint := func(color, text string) string {
		if !o.Color {
			return text
		}
		return color + text + colorReset
	}
	word, color := "Error", colorRed
	if d.Severity == SeverityWarning {
		word, color = "Warning", colorYellow
	}
	fmt.Fprintf(b, "%s %s\n", paint(colorBold+color, word+":"), paint(colorBold, d.Summary))
	if d.File != "" {
		where := "  on " + d.File
		if d.Line > 0 {
			where += fmt.Sprintf(" line %d", d.Line)
		}
		if d.Address != "" {
			where += ", in " + d.Address
		}
		b.WriteString(where + ":\n")
	} else if d.Address != "" {
		b.WriteString("  in " + d.Address + ":\n")
	}
	if d.Snippet != "" {
		d.printSnippet(b, o, func(text string) string { return paint(color, text) }, func(text string) string { return paint(colorFaint, text) })
	}
	for _, line := range wrap(d.Detail, o.Width-2) {
		b.WriteString("  " + line + "\n")
	}
}

// printSnippet writes the line and underlines the place.
func (d Diagnostic) printSnippet(b *strings.Builder, o PrintOptions, mark, faint func(string) string) {
	text := []rune(strings.ReplaceAll(d.Snippet, "\t", " "))
	start := min(max(d.Column-1, 0), len(text))
	end := len(text)
	if d.EndLine == d.Line && d.EndColumn > d.Column {
		end = min(d.EndColumn-1, len(text))
	}
	number := fmt.Sprintf("%4d", d.Line)
	room := o.Width - len(number) - 5
	if o.Width > 0 && room > 20 && len(text) > room {
		text, start, end = crop(text, start, end, room)
	}
	underline := strings.Repeat(" ", columns(text[:start])) + mark(strings.Repeat("^", max(1, columns(text[start:max(start, end)]))))
	fmt.Fprintf(b, "%s %s\n", faint(number+" |"), string(text))
	fmt.Fprintf(b, "%s %s\n", faint(strings.Repeat(" ", len(number))+" |"), underline)
}

// columns returns how many columns of a terminal a text takes: characters of East Asia take two.
func columns(text []rune) int {
	n := len(text)
	for _, r := range text {
		if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
			n++
		}
	}
	return n
}

// crop cuts a long line to room characters around the underlined part.
func crop(text []rune, start, end, room int) ([]rune, int, int) {
	from := 0
	if end > room {
		from = min(start, max(0, start-room/3))
	}
	to := min(len(text), from+room)
	out := append([]rune(nil), text[from:to]...)
	if from > 0 {
		out[0] = '…'
	}
	if to < len(text) {
		out[len(out)-1] = '…'
	}
	return out, start - from, max(start-from+1, min(end, to)-from)
}

// wrap breaks text at blanks into lines of at most room characters; line breaks in it are kept.
func wrap(text string, room int) []string {
	if text == "" {
		return nil
	}
	var lines []string
	for _, paragraph := range strings.Split(text, "\n") {
		if room <= 20 {
			lines = append(lines, paragraph)
			continue
		}
		line, n := "", 0
		for _, word := range words(paragraph, room) {
			size := utf8.RuneCountInString(word)
			if n > 0 && n+1+size > room {
				lines = append(lines, line)
				line, n = "", 0
			}
			if n > 0 {
				line, n = line+" ", n+1
			}
			line, n = line+word, n+size
		}
		lines = append(lines, line)
	}
	return lines
}

// words splits text at blanks, but keeps `code` together where it fits on a line.
func words(text string, room int) []string {
	var out []string
	inCode := false
	for _, field := range strings.Fields(text) {
		if n := len(out) - 1; inCode && utf8.RuneCountInString(out[n])+1+utf8.RuneCountInString(field) <= room {
			out[n] += " " + field
		} else {
			out = append(out, field)
		}
		if strings.Count(field, "`")%2 == 1 {
			inCode = !inCode
		}
	}
	return out
}
