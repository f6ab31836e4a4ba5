// Package section keeps each benchmark's part of bench/RESULTS.md: a run replaces its own and leaves the others.
package section

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// Marks are the lines around a section.
type Marks struct{ Begin, End string }

// accepts begins what belongs to bench/accept, everything under it; a new section goes above.
const accepts = "<!-- below: written by `make accept` -->"

// Replace puts body, between its marks, in the place of the former one, or adds it above that of bench/accept.
func Replace(text string, m Marks, body string) string {
	section := m.Begin + "\n\n" + strings.TrimRight(body, "\n") + "\n\n" + m.End + "\n"
	if before, rest, ok := strings.Cut(text, m.Begin); ok {
		if _, after, ok := strings.Cut(rest, m.End+"\n"); ok {
			return before + section + after
		}
	}
	if before, after, ok := strings.Cut(text, accepts); ok {
		return before + section + "\n" + accepts + after
	}
	if text != "" {
		text = strings.TrimRight(text, "\n") + "\n\n"
	}
	return text + section
}

// Median of an even number of values is the mean of the middle two; of none it is 0.
func Median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Machine describes the processor.
func Machine() string {
	model := runtime.GOARCH
	b, _ := os.ReadFile("/proc/cpuinfo") // without it the architecture must do
	for _, line := range strings.Split(string(b), "\n") {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			model = strings.TrimLeft(name, "\t :")
			break
		}
	}
	return fmt.Sprintf("%d cores of %s", runtime.NumCPU(), model)
}
