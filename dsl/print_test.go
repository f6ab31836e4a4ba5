package dsl

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPrintKeepsToItsWidth(t *testing.T) {
	d := Diagnostic{
		Severity: SeverityError, Summary: "Value out of range", File: "p.hcl", Line: 7, Column: 90, EndLine: 7, EndColumn: 95, Address: "train.teacher",
		Snippet: strings.Repeat("x", 89) + "wrong" + strings.Repeat("y", 80), Detail: strings.Repeat("words and `code in one piece` ", 12),
	}
	for _, width := range []int{40, 60, 80} {
		var b strings.Builder
		if err := Print(&b, Diagnostics{d}, PrintOptions{Width: width}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(b.String(), "\n")
		for _, line := range lines {
			if utf8.RuneCountInString(line) > width {
				t.Errorf("width %d: %q has %d characters", width, line, utf8.RuneCountInString(line))
			}
		}
		source, mark := []rune(lines[2]), lines[3]
		at := strings.IndexByte(mark, '^')
		if got := string(source[at : at+strings.Count(mark, "^")]); got != "wrong" {
			t.Errorf("width %d underlines %q", width, got)
		}
		if strings.Contains(b.String(), "\x1b") {
			t.Error("colour where none was asked for")
		}
	}
	var b strings.Builder
	_ = Print(&b, Diagnostics{d}, PrintOptions{Color: true})
	if !strings.Contains(b.String(), colorRed) {
		t.Error("no colour where it was asked for")
	}
}

func TestDiagnosticsAsJSON(t *testing.T) {
	_, diags := Load("nowhere.hcl", Options{Catalog: testCatalog(t)})
	text, err := json.Marshal(diags)
	if err != nil || !strings.HasPrefix(string(text), `[{"severity":"error","summary":"Pipeline not found","detail":"There is no file`) {
		t.Errorf("%s, %v", text, err)
	}
	if got := diags.Error(); !strings.HasPrefix(got, "Pipeline not found: ") {
		t.Errorf("Error() = %q", got)
	}
}

// One letter is one change away from every other, so it suggests nothing.
func TestClosest(t *testing.T) {
	for _, c := range []struct{ given, want string }{{"q", ""}, {"M", "m"}, {"epoch", "epochs"}, {"photos", ""}} {
		if got := closest(c.given, []string{"m", "epochs"}); got != c.want {
			t.Errorf("closest(%q) = %q, want %q", c.given, got, c.want)
		}
	}
}
