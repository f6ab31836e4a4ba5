package main

import (
	"fmt"
	"io"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/darkroom-dev/darkroom/cmd/live"
)

// Terminal attributes.
const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	blue   = "\x1b[34m"
	reset  = "\x1b[0m"
)

// paint colours text where w takes colour.
func (a *app) paint(w io.Writer, attributes, text string) string {
	if !a.colored(w) || text == "" {
		return text
	}
	return attributes + text + reset
}

// table prints rows in columns; the last column is not padded. Widths are those that a terminal shows.
func table(w io.Writer, indent string, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], live.Width(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		b.WriteString(indent)
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-live.Width(cell)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// bytesText writes a number of bytes in the unit that fits.
func bytesText(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}

// agoText writes a moment as people speak of it: the time today, else the date.
func agoText(t, now time.Time) string {
	t = t.Local()
	if y, m, d := t.Date(); func() bool { ny, nm, nd := now.Local().Date(); return y == ny && m == nm && d == nd }() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}

// valueText writes a value on one line: numbers with up to six digits, long lists and maps shortened.
func valueText(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case float64:
		return numberText(v)
	case string:
		return v
	case []any:
		parts := make([]string, 0, len(v))
		for _, e := range v {
			parts = append(parts, valueText(e))
		}
		return "[" + shorten(parts) + "]"
	case map[string]any:
		var parts []string
		for _, k := range sortedKeys(v) {
			parts = append(parts, k+" "+valueText(v[k]))
		}
		return "{" + shorten(parts) + "}"
	}
	return fmt.Sprint(v)
}

func shorten(parts []string) string {
	const most = 8
	if len(parts) > most {
		return strings.Join(parts[:most], ", ") + fmt.Sprintf(", … %d more", len(parts)-most)
	}
	return strings.Join(parts, ", ")
}

func numberText(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', 6, 64)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// plural writes a count with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// wrapped breaks text at spaces into lines of at most columns, where its words allow; at least one line.
func wrapped(text string, columns int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case live.Width(*last)+1+live.Width(word) <= columns:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

func detail(text string) string {
	if text == "" {
		return ""
	}
	return ": " + live.Clean(text)
}

func indented(text string) []string {
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if line = live.Clean(line); line != "" {
			lines = append(lines, "    "+line)
		}
	}
	return lines
}

// scalarsText names the numbers and short texts among a stage's values.
func scalarsText(values map[string]any) string {
	var parts []string
	for _, name := range sortedKeys(values) {
		switch v := values[name].(type) {
		case float64, bool:
			parts = append(parts, name+" "+valueText(v))
		case string:
			if len(v) <= 24 {
				parts = append(parts, name+" "+live.Clean(v))
			}
		}
	}
	if len(parts) == 0 {
		return ""
	}
	const most = 5
	if len(parts) > most {
		parts = append(parts[:most], "…")
	}
	return "  " + strings.Join(parts, ", ")
}

func secondsText(s float64) string {
	switch {
	case s < 9.95:
		return fmt.Sprintf("%.1f s", s)
	case s < 60:
		return fmt.Sprintf("%.0f s", s)
	}
	return live.Clock(time.Duration(s * float64(time.Second)))
}

// countsText is "2 ran, 3 reused, 1 failed".
func countsText(ran, reused, failed, skipped int) string {
	text := fmt.Sprintf("%d ran, %d reused", ran, reused)
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	if skipped > 0 {
		text += fmt.Sprintf(", %d not run", skipped)
	}
	return text
}
