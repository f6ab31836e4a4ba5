package main

import (
	"strings"

	"github.com/agext/levenshtein"
)

// closest is a way out for a name that is not known: the nearest one, else all of them when they are few.
func closest(given string, names []string) string {
	best, least := "", 1+max(2, len(given)/4)
	for _, name := range names {
		if d := levenshtein.Distance(strings.ToLower(given), strings.ToLower(name), nil); d < least {
			best, least = name, d
		}
	}
	switch {
	case best != "":
		return "; did you mean " + best + "?"
	case len(names) == 0:
		return ""
	case len(names) <= 12:
		return "; it has " + strings.Join(names, ", ")
	}
	return ""
}
