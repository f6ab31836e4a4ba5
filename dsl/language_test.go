package dsl

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/stages/all"
)

const languagePage = "../docs/language.md"

var codeBlock = regexp.MustCompile("(?s)```hcl\n(.*?)```")

// All examples of the guide together are one pipeline, in canonical format.
func TestLanguageGuide(t *testing.T) {
	page, err := os.ReadFile(languagePage)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, m := range codeBlock.FindAllSubmatch(page, -1) {
		formatted, diags := Format(m[1], "example.hcl")
		if len(diags) > 0 {
			t.Fatalf("%s\n%s", m[1], show(diags))
		}
		if string(formatted) != string(m[1]) {
			t.Errorf("not formatted:\n%s\nformatted:\n%s", m[1], formatted)
		}
		text.Write(m[1])
		text.WriteByte('\n')
	}
	dir := folder(t, map[string]string{"tour.hcl": text.String(), "data/a.png": "a", "features.py": "print()"})
	p, diags := Load(filepath.Join(dir, "tour.hcl"), Options{Catalog: all.Catalog()})
	if len(diags) > 0 {
		t.Fatal(show(diags))
	}
	if p.Name != "tour" || len(p.Nodes) != 27 {
		t.Errorf("%s has %d stages", p.Name, len(p.Nodes))
	}
}

// The guide ends with the list of functions.
func TestLanguageGuideListsTheFunctions(t *testing.T) {
	page, err := os.ReadFile(languagePage)
	if err != nil {
		t.Fatal(err)
	}
	const intro = "and these functions:\n\n"
	at := strings.Index(string(page), intro)
	if at < 0 {
		t.Fatal("the list of functions is not where it is looked for")
	}
	var list strings.Builder
	for _, name := range sortedKeys(functions(newReadings(".", nil))) {
		list.WriteString("`" + name + "` ")
	}
	want := string(page[:at]) + intro + strings.Join(wrap(list.String(), 120), "\n") + functionNotes
	if *update {
		if err := os.WriteFile(languagePage, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
	} else if want != string(page) {
		t.Error("the list of functions is stale; run go test ./dsl -update")
	}
}

const functionNotes = `

Those known from other uses of HCL mean the same here. ` + "`file(path)`" + ` is the text of a file and ` + "`glob(pattern)`" + ` the sorted list of
matching paths, both relative to the pipeline's folder; what they gave is kept with the experiment, so that it can be
reproduced where the files are not. ` + "`path.pipeline`" + ` is ` + "`\".\"`" + `: paths are relative to the pipeline, and no absolute path
becomes part of an identity. No function depends on the time, on chance or on the machine.
`
