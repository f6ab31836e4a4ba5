package dsl

import (
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"testing"

	"golang.org/x/tools/txtar"
)

var tokens = regexp.MustCompile(`(?s)"[^"\n]*"|[A-Za-z_][A-Za-z0-9_]*|[0-9.]+|\s+|.`)

// TestMutatedPipelines loads pipelines of which tokens were exchanged, left out or doubled: mistakes that still parse,
// which random bytes seldom are.
func TestMutatedPipelines(t *testing.T) {
	texts := []string{plainText, sweepText, chainText, readingText}
	paths, _ := filepath.Glob("testdata/diagnostics/*.txtar")
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range archive.Files {
			if file.Name == "pipe.hcl" && len(file.Data) < 2000 {
				texts = append(texts, string(file.Data))
			}
		}
	}
	var pool []string
	for _, text := range texts {
		pool = append(pool, tokens.FindAllString(text, -1)...)
	}
	catalog := testCatalog(t)
	random := rand.New(rand.NewPCG(1, 2))
	loaded := 0
	for range mutations {
		parts := tokens.FindAllString(texts[random.IntN(len(texts))], -1)
		for range 1 + random.IntN(3) {
			i := random.IntN(len(parts))
			switch random.IntN(3) {
			case 0:
				parts[i] = pool[random.IntN(len(pool))]
			case 1:
				parts[i] = ""
			case 2:
				parts[i] = parts[random.IntN(len(parts))]
			}
		}
		text := ""
		for _, p := range parts {
			text += p
		}
		if loads(t, text, catalog) {
			loaded++
		}
		if t.Failed() {
			return
		}
	}
	if loaded == 0 || loaded == mutations {
		t.Errorf("%d of %d loaded: the mutations do not mean anything", loaded, mutations)
	}
}
