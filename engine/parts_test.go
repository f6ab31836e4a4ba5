package engine_test

import (
	"strings"
	"testing"
)

// made returns the parts that were made, in order of the journal.
func (b *bench) made() string {
	var parts []string
	words := strings.Fields(b.journal())
	for i, w := range words {
		if w == "part" {
			parts = append(parts, words[i+1])
		}
	}
	return strings.Join(parts, " ")
}

func TestAPartIsMadeOnce(t *testing.T) {
	b := newBench(t)
	b.expect(pipeline(b.dir, node("text.a", arg{"parts": 3.0, "do": "die at part 2"})), "text.a failed")
	if got := b.made(); got != "0 1" {
		t.Fatalf("made %q before the stage died", got)
	}
	b.expect(pipeline(b.dir, node("text.a", arg{"parts": 3.0})), "text.a done")
	if got := b.made(); got != "0 1 2" {
		t.Errorf("made %q: what the dead stage had made was lost", got)
	}
	b.expect(pipeline(b.dir, node("text.other", arg{"parts": 4.0, "add": "more"})), "text.other done")
	if got := b.made(); got != "0 1 2 3" {
		t.Errorf("made %q: another stage did not find the parts", got)
	}
}

func TestStagesSideBySideShareParts(t *testing.T) {
	b := newBench(t)
	b.expect(pipeline(b.dir, node("text.a", arg{"parts": 4.0}), node("text.b", arg{"parts": 4.0, "add": "b"})), "text.a done, text.b done")
	if got := b.made(); len(strings.Fields(got)) != 4 {
		t.Errorf("made %q, want each of four parts once", got)
	}
}
