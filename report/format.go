package report

import (
	"math"
	"strconv"
	"strings"
)

// Numbers and their units are held together by no-break spaces.

// Percent writes a share (0 to 1) as a percentage with two decimals, "91.46 %", and a dash where it is not a number.
func Percent(share float64) string {
	if math.IsNaN(share) || math.IsInf(share, 0) {
		return "–"
	}
	return strconv.FormatFloat(share*100, 'f', 2, 64) + "\u00a0%"
}

// Share writes a share that somebody chose, not one that was measured, as a percentage with no more decimals than it has: "75 %", "99.5 %".
func Share(share float64) string {
	return strconv.FormatFloat(math.Round(share*1e6)/1e4, 'f', -1, 64) + "\u00a0%"
}

// Points writes a difference of two shares in percentage points with its sign, "−0.42 pp".
func Points(difference float64) string {
	s := strconv.FormatFloat(math.Abs(difference*100), 'f', 2, 64) + "\u00a0pp"
	switch {
	case s == "0.00\u00a0pp":
		return "±" + s
	case difference < 0:
		return "−" + s
	}
	return "+" + s
}

// Number writes f with the given number of decimals, and a dash where it is not a number.
func Number(f float64, decimals int) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "–"
	}
	s := strconv.FormatFloat(math.Abs(f), 'f', decimals, 64)
	if f < 0 && strings.Trim(s, "0.") != "" {
		return "−" + s
	}
	return s
}

// Count writes a whole number with thousands set off, "12,345".
func Count(n int) string {
	s := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, s = "−", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Counted writes a whole number with its noun, "1 epoch", "1,024 images".
func Counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return Count(n) + "\u00a0" + noun
}

// decimal writes a coordinate with at most two decimals, for SVG and CSS.
func decimal(f float64) string {
	s := strconv.FormatFloat(f, 'f', 2, 64)
	s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	if s == "-0" {
		return "0"
	}
	return s
}
