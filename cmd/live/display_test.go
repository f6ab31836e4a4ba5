package live

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/darkroom-dev/darkroom/stages"
)

// screen is a terminal that understands what a Display writes and refuses everything else. Long lines wrap.
type screen struct {
	t       *testing.T
	columns int
	lines   [][]rune
	row     int
	hidden  bool
}

func (s *screen) Write(p []byte) (int, error) {
	for text := string(p); text != ""; {
		if n := escape(text); n > 0 {
			s.control(text[2:n])
			text = text[n:]
			continue
		}
		r, n := utf8.DecodeRuneInString(text)
		text = text[n:]
		for len(s.lines) <= s.row {
			s.lines = append(s.lines, nil)
		}
		switch r {
		case '\n':
			s.row++
		case '\r':
		default:
			if len(s.lines[s.row]) == s.columns {
				s.row++
				s.lines = append(s.lines, nil)
			}
			s.lines[s.row] = append(s.lines[s.row], r)
		}
	}
	return len(p), nil
}

func (s *screen) control(c string) {
	switch {
	case c == "J":
		s.lines = s.lines[:min(s.row, len(s.lines))]
	case c == "?25l" || c == "?25h":
		s.hidden = c == "?25l"
	case strings.HasSuffix(c, "A"):
		n, err := strconv.Atoi(strings.TrimSuffix(c, "A"))
		if s.row -= n; err != nil || s.row < 0 {
			s.t.Fatalf("cursor moved by %q above the screen", c)
		}
	case strings.HasSuffix(c, "m"):
	default:
		s.t.Fatalf("unknown control sequence %q", c)
	}
}

// resize reflows the lines as terminals do.
func (s *screen) resize(columns int) {
	var out [][]rune
	row := s.row
	for i, line := range s.lines {
		for len(line) > columns {
			out, line = append(out, line[:columns]), line[columns:]
			if i < s.row {
				row++
			}
		}
		out = append(out, line)
	}
	s.lines, s.row, s.columns = out, row, columns
}

func (s *screen) text() string {
	var b strings.Builder
	for _, l := range s.lines {
		b.WriteString(strings.TrimRight(string(l), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

func testDisplay(t *testing.T, columns int) (*Display, *screen) {
	s := &screen{t: t, columns: columns}
	now := time.Unix(0, 0)
	d := newDisplay(s, Options{Color: true, Size: func() (int, int) { return s.columns, 10 }, Now: func() time.Time { return now }})
	return d, s
}

var training = stages.Progress{Phase: "epoch 2/5", Done: 300, Total: 1000, Unit: "images", Rate: 1234.5, Left: 42 * time.Second,
	Metrics: []stages.Metric{{Name: "loss", Value: 0.34567}, {Name: "accuracy", Value: 0.91}}}

func TestBlockIsRedrawnInPlace(t *testing.T) {
	d, s := testDisplay(t, 120)
	d.Start("train.net")
	d.Update("train.net", training)
	d.Footer(func() string { return "1 of 2 stages" })
	d.tick()
	d.tick()
	d.Print("✓ split.holdout  0.1 s")
	want := "✓ split.holdout  0.1 s\n⠹ train.net  ━━━─────────   30%  epoch 2/5  loss 0.3457  accuracy 0.91  1,235 images/s  0:42 left\n1 of 2 stages"
	if got := s.text(); got != want || !s.hidden {
		t.Errorf("screen:\n%s\nwant:\n%s", got, want)
	}
	d.End("train.net")
	d.Close()
	d.Close()
	if got := s.text(); got != "✓ split.holdout  0.1 s" || s.hidden {
		t.Errorf("after Close, hidden %v:\n%s", s.hidden, got)
	}
}

func TestNarrowTerminalsLoseWhatMattersLeast(t *testing.T) {
	for columns, want := range map[int]string{
		82: "⠙ train.net  ━━──────   30%  epoch 2/5  loss 0.3457  1,235 images/s  0:42 left",
		50: "⠙ train.net  ━━──────   30%  epoch 2/5  0:42 left",
		42: "⠙ train.net   30%  epoch 2/5  0:42 left",
		30: "⠙ train.net  0:42 left",
		20: "⠙ train.net",
		12: "⠙ train.net",
		10: "⠙ train.…",
	} {
		d, s := testDisplay(t, columns)
		d.Start("train.net")
		d.Update("train.net", training)
		d.tick()
		if got := s.text(); got != want {
			t.Errorf("%d columns: %q, want %q", columns, got, want)
		}
		for _, l := range s.lines {
			if len(l) >= columns {
				t.Errorf("%d columns: a line of %d", columns, len(l))
			}
		}
	}
}

func TestResizeLeavesNothingBehind(t *testing.T) {
	d, s := testDisplay(t, 100)
	for i := range 3 {
		d.Start(fmt.Sprintf("train.number_%d", i))
		d.Update(fmt.Sprintf("train.number_%d", i), training)
	}
	d.tick()
	s.resize(40)
	d.tick()
	if got := len(s.lines); got != 3 {
		t.Errorf("%d lines after the terminal became narrower:\n%s", got, s.text())
	}
	d.Close()
	if got := s.text(); got != "" {
		t.Errorf("left behind:\n%s", got)
	}
}

func TestManyStagesLeaveRoom(t *testing.T) {
	d, s := testDisplay(t, 80)
	for i := range 30 {
		d.Start(fmt.Sprintf("train.s%02d", i))
	}
	d.Footer(func() string { return "0 of 30 stages" })
	d.tick()
	if len(s.lines) > 8 || !strings.Contains(s.text(), "… and 24 more") {
		t.Errorf("%d lines:\n%s", len(s.lines), s.text())
	}
}

func TestNumbers(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 0.5: "0.5", 7: "7", 999: "999", 1000: "1,000", 1234567: "1,234,567", 12.6: "13"} {
		if got := Count(f); got != want {
			t.Errorf("Count(%v) = %q, want %q", f, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0:00", 7 * time.Second: "0:07", 754 * time.Second: "12:34", 3723 * time.Second: "1:02:03"} {
		if got := Clock(d); got != want {
			t.Errorf("Clock(%v) = %q, want %q", d, got, want)
		}
	}
	if got, want := Summary(training), "epoch 2/5, 300 of 1,000 images, loss 0.3457, accuracy 0.91, 1,235 images/s, 0:42 left"; got != want {
		t.Errorf("Summary = %q, want %q", got, want)
	}
}
