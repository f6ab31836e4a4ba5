package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/dsl"
	"github.com/darkroom-dev/darkroom/stages/all"
)

// What the guide to the language shows is a pipeline of the kinds that there are.
func TestLanguageGuideNamesRealKinds(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "language.md"))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, m := range regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllSubmatch(page, -1) {
		text.Write(m[1])
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"tour.hcl": text.String(), "features.py": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	p, diagnostics := dsl.Load(filepath.Join(dir, "tour.hcl"), dsl.Options{Catalog: all.Catalog()})
	if len(diagnostics) > 0 {
		var b strings.Builder
		_ = dsl.Print(&b, diagnostics, dsl.PrintOptions{Width: 100})
		t.Fatal(b.String())
	}
	for _, n := range p.Nodes {
		if n.Runner.Type != "" {
			t.Errorf("%s names the runner %s, which is not there", n.ID, n.Runner.Type)
		}
	}
}
