package live

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Width returns how many columns a terminal takes to show s: wide characters count two, combining and control
// characters and colour sequences none.
func Width(s string) int {
	columns := 0
	for len(s) > 0 {
		if n := escape(s); n > 0 {
			s = s[n:]
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		columns += runeWidth(r)
		s = s[n:]
	}
	return columns
}

func runeWidth(r rune) int {
	switch {
	case r < 0x20 || r == 0x7f || unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r < 0x300:
		return 1
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// escape returns the length of the colour sequence that s begins with, or 0.
func escape(s string) int {
	if !strings.HasPrefix(s, "\x1b[") {
		return 0
	}
	for i := 2; i < len(s); i++ {
		if s[i] >= 0x40 && s[i] <= 0x7e {
			return i + 1
		}
	}
	return len(s)
}

// Cut shortens s to at most columns, with … for what is left out. Colour sequences are kept whole.
func Cut(s string, columns int) string {
	if Width(s) <= columns {
		return s
	}
	if columns <= 0 {
		return ""
	}
	var b strings.Builder
	used, coloured, cut := 0, false, false
	for len(s) > 0 {
		if n := escape(s); n > 0 {
			b.WriteString(s[:n])
			s, coloured = s[n:], true
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		if !cut && used+runeWidth(r) > columns-1 {
			b.WriteString("…")
			cut = true
		}
		if !cut {
			b.WriteRune(r)
			used += runeWidth(r)
		} else if !coloured {
			break // nothing but text is left out
		}
		s = s[n:]
	}
	return b.String()
}

// CutMiddle shortens plain text to at most columns with … for what is left out before its end, because what tells the
// instances of a stage apart stands there.
func CutMiddle(s string, columns int) string {
	if Width(s) <= columns || columns < 8 {
		return Cut(s, columns)
	}
	head := Cut(s, (columns-1)/3+1) // with its …
	tail, used := len(s), Width(head)
	for tail > 0 {
		r, n := utf8.DecodeLastRuneInString(s[:tail])
		if used += runeWidth(r); used > columns {
			break
		}
		tail -= n
	}
	return head + s[tail:]
}

// Clean makes text from a stage safe for a terminal's line: no control characters, tabs become spaces.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < 0x20 || r == 0x7f || r == utf8.RuneError || 0x80 <= r && r < 0xa0:
			return -1
		}
		return r
	}, s)
}
