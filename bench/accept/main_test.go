package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestResultsKeepWhatPeopleWrote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "RESULTS.md")
	if err := os.WriteFile(path, []byte("# Mine\n\nBy hand.\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, measured := range []string{"first", "second"} { // before and after the marker is there
		if err := writeResults(path, []result{{check: check{name: "a|b", asks: "x"}, measured: measured}}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	if !strings.HasPrefix(text, "# Mine\n\nBy hand.\n\n"+marker) || strings.Contains(text, "first") || !strings.Contains(text, "| second | kept |") {
		t.Errorf("the file is now\n%s", text)
	}
}

func TestNetworksOfTheSuite(t *testing.T) {
	const log = "=== RUN   TestSuite/resnet8\n--- FAIL: TestSuite (9.1s)\n    --- PASS: TestSuite/resnet8 (0.10s)\n        suite_test.go:9: x\n    --- FAIL: TestSuite/vit.onnx (0.20s)\n"
	if got := networks(log, "PASS"); len(got) != 1 || got[0] != "resnet8" {
		t.Errorf("passed: %v", got)
	}
	if got := networks(log, "FAIL"); len(got) != 1 || got[0] != "vit.onnx" {
		t.Errorf("failed: %v", got)
	}
}
