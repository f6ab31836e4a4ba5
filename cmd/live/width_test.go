package live

import "testing"

func TestWidth(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "é": 1, "e\u0301": 1, "写真": 4, "\x1b[31mred\x1b[0m": 3, "a\tb": 2, "⠋█…": 3} {
		if got := Width(s); got != want {
			t.Errorf("Width(%q) = %d, want %d", s, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in      string
		columns int
		want    string
	}{
		{"train.net", 9, "train.net"}, {"train.net", 5, "trai…"}, {"写真写真", 5, "写真…"}, {"写真写真", 4, "写…"}, {"abc", 0, ""}, {"abc", 1, "…"},
		{"\x1b[31mtrain\x1b[0m", 3, "\x1b[31mtr…\x1b[0m"},
	} {
		got := Cut(c.in, c.columns)
		if got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.in, c.columns, got, c.want)
		}
		if Width(got) > c.columns {
			t.Errorf("Cut(%q, %d) takes %d columns", c.in, c.columns, Width(got))
		}
	}
}

func TestCutMiddle(t *testing.T) {
	for _, c := range []struct {
		in      string
		columns int
		want    string
	}{
		{"train.net", 9, "train.net"}, {"train.net", 7, "train.…"}, {`train.sweep["lr=0.1"]`, 12, `tra…lr=0.1"]`}, {`train.sweep["lr=0.2"]`, 12, `tra…lr=0.2"]`},
		{"写真写真写真写真", 10, "写…真写真"}, {"写真写真写真写真", 11, "写…写真写真"}, {"abc", 0, ""},
	} {
		got := CutMiddle(c.in, c.columns)
		if got != c.want {
			t.Errorf("CutMiddle(%q, %d) = %q, want %q", c.in, c.columns, got, c.want)
		}
		if Width(got) > c.columns {
			t.Errorf("CutMiddle(%q, %d) takes %d columns", c.in, c.columns, Width(got))
		}
	}
}

func TestCleanLeavesNothingThatMovesTheCursor(t *testing.T) {
	if got := Clean("a\x1b[2Jb\r\nc\td\x9bx"); got != "a[2Jbc dx" {
		t.Errorf("Clean = %q", got)
	}
}
