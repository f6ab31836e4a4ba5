package engine

import (
	"strings"
	"testing"
)

// Nothing follows the words that say where a log was cut.
func TestALongLogIsCutOnce(t *testing.T) {
	c := newCollector(&execution{run: &run{events: &emitter{}}, res: &resolved{node: &Node{ID: "exec.a"}}})
	c.Log("first")
	c.Log(strings.Repeat("x", maxLog))
	c.Log("short")
	lines := strings.Split(strings.TrimSpace(string(c.logText())), "\n")
	if len(lines) != 2 || lines[0] != "first" || !strings.Contains(lines[1], "cut here") {
		t.Errorf("the log has %d lines and ends with %q", len(lines), lines[len(lines)-1])
	}
}
