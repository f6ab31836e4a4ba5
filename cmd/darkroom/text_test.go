package main

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/engine"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "500": 500, "1kB": 1000, "1.5MB": 1500000, "20GB": 20e9, "2 GiB": 2 << 30, "1T": 1e12} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "-1", "0", "NaN", "1XB", "1e300GB", "GB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestParseAge(t *testing.T) {
	for text, want := range map[string]time.Duration{"30d": 720 * time.Hour, "12h": 12 * time.Hour, "0s": 0, "1.5d": 36 * time.Hour} {
		if got, err := parseAge(text); err != nil || got != want {
			t.Errorf("parseAge(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "NaNd", "-3h", "1e99d"} {
		if got, err := parseAge(text); err == nil {
			t.Errorf("parseAge(%q) = %v, want an error", text, got)
		}
	}
}

func TestSafeNamesNeverMeet(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"train.net", "train/net", "train_net", `train.s["a"]`, `train.s["a/"]`, "..", ".", "", "-", "日本"} {
		safe := safeName(name)
		if other, met := seen[safe]; met {
			t.Errorf("%q and %q both become %q", name, other, safe)
		}
		seen[safe] = name
		if safe == "" || safe[0] == '.' && !strings.Contains(safe, "-") || strings.ContainsAny(safe, "/\\\x00") {
			t.Errorf("%q becomes %q, which is no file's name", name, safe)
		}
	}
	if got := safeName("train.net"); got != "train.net" {
		t.Errorf("a harmless name became %q", got)
	}
}

func TestSplitAddress(t *testing.T) {
	p := &engine.Pipeline{Nodes: []*engine.Node{{ID: "train.net"}, {ID: `train.net["a.b"]`}, {ID: "split.k"}}}
	for what, want := range map[string][2]string{
		"train.net": {"train.net", ""}, "train.net.model": {"train.net", "model"}, `train.net["a.b"].model`: {`train.net["a.b"]`, "model"},
		"split.k.folds.0.train": {"split.k", "folds.0.train"}, "train.network": {"", ""}, "": {"", ""},
	} {
		node, output := splitAddress(p, what)
		id := ""
		if node != nil {
			id = node.ID
		}
		if id != want[0] || output != want[1] {
			t.Errorf("splitAddress(%q) = %q, %q", what, id, output)
		}
	}
}

func TestTexts(t *testing.T) {
	for got, want := range map[string]string{
		bytesText(999): "999 B", bytesText(1500): "1.5 kB", bytesText(2.5e6): "2.5 MB", bytesText(3e9): "3.00 GB",
		secondsText(0.04): "0.0 s", secondsText(9.96): "10 s", secondsText(75): "1:15",
		numberText(3): "3", numberText(0.123456789): "0.123457", numberText(math.Pi * 1e10): "3.14159e+10",
		plural(1, "run"): "1 run", plural(0, "run"): "0 runs",
		valueText([]any{1.0, "a", nil, true}):                                                   "[1, a, null, true]",
		valueText(map[string]any{"b": 2.0, "a": 1.0}):                                           "{a 1, b 2}",
		countsText(1, 2, 0, 0):                                                                  "1 ran, 2 reused",
		countsText(1, 2, 3, 4):                                                                  "1 ran, 2 reused, 3 failed, 4 not run",
		closest("trian.net", []string{"train.net", "x"}):                                        "; did you mean train.net?",
		closest("zzz", []string{"train.net", "split.s"}):                                        "; it has train.net, split.s",
		changeText(engine.Difference{Area: "value", Old: "0.57045139993592", New: "0.25"}):      "0.570451 → 0.25  (-0.32)",
		changeText(engine.Difference{Area: "argument", Old: "1", New: "3"}):                     "1 → 3  (+2)",
		changeText(engine.Difference{Area: "output", Old: "123456789012", New: "1e3456789012"}): "123456789012 → 1e3456789012",
		changeText(engine.Difference{Area: "variable", New: `"a"`}):                             `none → "a"`,
		withUnit(432111616, "bytes"):                                                            "432.1 MB",
		withUnit(10839.4, "images/s"):                                                           "10840 images/s",
		withUnit(0.6656582, "ms"):                                                               "0.6657 ms",
		withUnit(3, ""):                                                                         "3",
		flagMistake(errors.New(`invalid argument "x" for "--top" flag: strconv.ParseInt: parsing "x": invalid syntax`)): `invalid argument "x" for "--top" flag: it takes a whole number`,
		strings.Join(wrapped("one two  three four", 9), "|"):                                                            "one two|three|four",
		shortDigests("model:" + strings.Repeat("a", 64)):                                                                "model:aaaaaaaaaaaa",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTableAlignsByWhatIsSeen(t *testing.T) {
	var b strings.Builder
	table(&b, " ", [][]string{{"\x1b[1m写真\x1b[0m", "x"}, {"abc", "y", "z"}})
	if want := " \x1b[1m写真\x1b[0m  x\n abc   y  z\n"; b.String() != want {
		t.Errorf("table = %q, want %q", b.String(), want)
	}
}

func TestLineDiff(t *testing.T) {
	a := &app{out: &strings.Builder{}, color: "never"}
	got := a.lineDiff("p.hcl", "a\nb\nc\nd\n", "a\nB\nc\nd\ne\n")
	if want := "--- p.hcl\n+++ p.hcl, formatted\n@@ line 2 @@\n-b\n+B\n@@ line 5 @@\n+e\n"; got != want {
		t.Errorf("lineDiff =\n%s", got)
	}
}
