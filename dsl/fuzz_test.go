package dsl

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/darkroom-dev/darkroom/stages"
)

// FuzzLoad: no text makes a load panic or end without an answer, every error has a summary and its line, and what
// loads gives the same pipeline again.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(plainText))
	f.Add([]byte(sweepText))
	f.Add([]byte(strings.Repeat("!", 2000)))
	f.Add([]byte("locals { a = " + strings.Repeat("-", 500) + "1 }"))
	paths, _ := filepath.Glob("testdata/diagnostics/*.txtar")
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if file.Name == "pipe.hcl" {
				f.Add(file.Data)
			}
		}
	}
	catalog := testCatalog(f)
	f.Fuzz(func(t *testing.T, text []byte) { loads(t, string(text), catalog) })
}

// loads loads text and checks what holds of every load.
func loads(t *testing.T, text string, catalog *stages.Catalog) bool {
	t.Helper()
	p, diags := LoadSources(map[string][]byte{"pipe.hcl": []byte(text)}, nil, "/nowhere", catalog)
	for _, d := range diags {
		if d.Summary == "" || d.Severity == "" || d.File != "" && d.Line == 0 || strings.Contains(d.Detail, "goroutine") {
			t.Errorf("%q: %+v", text, d)
		}
	}
	if (p == nil) != diags.HasErrors() {
		t.Errorf("%q: pipeline %v, %v", text, p != nil, diags)
	}
	if p == nil {
		return false
	}
	again, diags := LoadSources(p.Sources, p.Variables, "/nowhere", catalog)
	if again == nil || meaning(t, again) != meaning(t, p) {
		t.Errorf("%q: loaded again: %v", text, diags)
	}
	return true
}

const mutations = 3000

func stagesText(n int, model func(i int) string) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "train \"stage_%d\" {\n  data          = source(\"data\")\n  epochs        = %d\n  learning_rate = 0.%d\n  model         = %s\n  loss \"focal\" {\n    gamma = 2\n  }\n}\n\n", i, i%1000+1, i+1, model(i))
	}
	return []byte(b.String())
}

func BenchmarkLoad10000Stages(b *testing.B) {
	benchmarkLoad(b, func(int) string { return `"resnet8"` })
}

// Each stage refers to the one before it.
func BenchmarkLoad10000Chained(b *testing.B) {
	benchmarkLoad(b, func(i int) string {
		if i == 0 {
			return `"resnet8"`
		}
		return fmt.Sprintf("train.stage_%d.model", i-1)
	})
}

func benchmarkLoad(b *testing.B, model func(i int) string) {
	dir := b.TempDir()
	path := filepath.Join(dir, "pipe.hcl")
	if err := os.WriteFile(path, stagesText(10_000, model), 0o666); err != nil {
		b.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o777); err != nil {
		b.Fatal(err)
	}
	catalog := testCatalog(b)
	for b.Loop() {
		p, diags := Load(path, Options{Catalog: catalog})
		if len(diags) > 0 || len(p.Nodes) != 10_000 {
			b.Fatal(show(diags))
		}
	}
}
