package dsl

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the golden files and docs/diagnostics.md anew")

// example is one file of testdata/diagnostics: a sentence on what is wrong, flags, files, and the expected output.
type example struct {
	name, intro string
	options     Options
	load        string
	files       []txtar.File
	want        string
}

func readExample(t *testing.T, path string) (*example, *txtar.Archive) {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e := &example{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), load: "pipe.hcl"}
	var flags []string
	for _, line := range strings.Split(strings.TrimSpace(string(archive.Comment)), "\n") {
		switch {
		case strings.HasPrefix(line, "flag: "):
			flags = append(flags, strings.TrimPrefix(line, "flag: "))
		case strings.HasPrefix(line, "load: "):
			e.load = strings.TrimPrefix(line, "load: ")
		default:
			e.intro += line
		}
	}
	for i := 0; i+1 < len(flags); i += 2 {
		switch flags[i] {
		case "--var":
			e.options.Vars = append(e.options.Vars, flags[i+1])
		case "--var-file":
			e.options.VarFiles = append(e.options.VarFiles, flags[i+1])
		}
	}
	for _, f := range archive.Files {
		switch {
		case f.Name == "want":
			e.want = string(f.Data)
		case strings.HasSuffix(f.Name, ".escaped"):
			e.files = append(e.files, txtar.File{Name: strings.TrimSuffix(f.Name, ".escaped"), Data: bytes.ReplaceAll(f.Data, []byte(`\xe9`), []byte{0xe9})})
		default:
			e.files = append(e.files, f)
		}
	}
	return e, archive
}

func (e *example) diagnose(t *testing.T) Diagnostics {
	t.Helper()
	files := map[string]string{}
	for _, f := range e.files {
		files[f.Name] = string(f.Data)
	}
	dir := folder(t, files)
	t.Chdir(dir)
	e.options.Catalog = testCatalog(t)
	p, diags := Load(e.load, e.options)
	if (p == nil) != diags.HasErrors() {
		t.Errorf("pipeline %v, errors %v", p != nil, diags.HasErrors())
	}
	for i := range diags {
		diags[i].Detail = strings.ReplaceAll(diags[i].Detail, dir, "/home/me/project")
	}
	return diags
}

func TestDiagnostics(t *testing.T) {
	paths, err := filepath.Glob("testdata/diagnostics/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("there are no examples", err)
	}
	for _, path := range paths {
		e, archive := readExample(t, path)
		abs, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(e.name, func(t *testing.T) {
			var got strings.Builder
			diags := e.diagnose(t)
			if len(diags) == 0 {
				t.Error("nothing was reported")
			}
			if err := Print(&got, diags, PrintOptions{Width: 80}); err != nil {
				t.Fatal(err)
			}
			if *update {
				writeWant(t, abs, archive, got.String())
			} else if got.String() != e.want {
				t.Errorf("got:\n%s\nwant:\n%s", got.String(), e.want)
			}
		})
	}
}

func writeWant(t *testing.T, path string, archive *txtar.Archive, want string) {
	t.Helper()
	files := archive.Files[:0:0]
	for _, f := range archive.Files {
		if f.Name != "want" {
			files = append(files, f)
		}
	}
	archive.Files = append(files, txtar.File{Name: "want", Data: []byte(want)})
	if err := os.WriteFile(path, txtar.Format(archive), 0o666); err != nil {
		t.Fatal(err)
	}
}
