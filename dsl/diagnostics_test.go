package dsl

import (
	"bytes"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"

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

// TestDiagnosticsPage keeps docs/diagnostics.md made of the examples.
func TestDiagnosticsPage(t *testing.T) {
	paths, err := filepath.Glob("testdata/diagnostics/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	page.WriteString(diagnosticsIntro)
	for _, path := range paths {
		e, _ := readExample(t, path)
		e.document(&page)
	}
	const name = "../docs/diagnostics.md"
	if *update {
		if err := os.WriteFile(name, []byte(page.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if old, err := os.ReadFile(name); err != nil || string(old) != page.String() {
		t.Errorf("docs/diagnostics.md is not what the examples give; run go test ./dsl -update (%v)", err)
	}
}

const diagnosticsIntro = `# What can be wrong with a pipeline

Made from dsl/testdata/diagnostics by ` + "`go test ./dsl -update`" + `; do not edit.

` + "`darkroom validate`" + ` reports all problems of a pipeline at once, each with its place and a way out. With ` + "`--json`" + ` each
is an object with ` + "`severity`, `summary`, `detail`, `file`, `line`, `column`, `end_line`, `end_column`, `snippet` and `address`" + `.
The arguments in these examples are those of small kinds made for the purpose.
`

// document writes e as a section of the page.
func (e *example) document(page *strings.Builder) {
	page.WriteString("\n## " + strings.ReplaceAll(strings.ToUpper(e.name[:1])+e.name[1:], "_", " ") + "\n\n" + e.intro + "\n")
	for _, f := range e.files {
		if !strings.HasSuffix(f.Name, ".hcl") || len(f.Data) == 0 {
			continue
		}
		if f.Name != "pipe.hcl" {
			page.WriteString("\n`" + f.Name + "`:\n")
		}
		page.WriteString("\n```hcl\n" + strings.ToValidUTF8(string(f.Data), "\uFFFD") + "```\n")
	}
	for _, v := range e.options.Vars {
		page.WriteString("\nWith `--var " + v + "`.\n")
	}
	for _, v := range e.options.VarFiles {
		page.WriteString("\nWith `--var-file " + v + "`.\n")
	}
	page.WriteString("\n```text\n" + e.want + "```\n")
}

// TestEveryDiagnosticHasAnExample finds the summaries in the source and looks for each in the examples.
func TestEveryDiagnosticHasAnExample(t *testing.T) {
	paths, err := filepath.Glob("testdata/diagnostics/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	for _, path := range paths {
		e, _ := readExample(t, path)
		seen.WriteString(e.want)
	}
	for summary, at := range summaries(t) {
		if !strings.Contains(seen.String(), ": "+summary+"\n") && !withoutExample[summary] {
			t.Errorf("%s: %q has no example in testdata/diagnostics", at, summary)
		}
	}
}

// withoutExample are summaries that an example cannot show: they need a file system that refuses to read, or come up
// during a run.
var withoutExample = map[string]bool{"Pipeline cannot be read": true, "Source cannot be read": true, "Value cannot be computed": true}

// summaries returns the first text of each call that reports a problem, by where it stands.
func summaries(t *testing.T) map[string]string {
	t.Helper()
	reporters := map[string]bool{"problem": true, "problemf": true, "fail": true, "add": true, "judge": true, "Problemf": true}
	out := map[string]string{}
	files := token.NewFileSet()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := ""
			switch f := call.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			if !reporters[name] {
				return true
			}
			for _, arg := range call.Args {
				lit, ok := arg.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					continue
				}
				text, err := strconv.Unquote(lit.Value)
				if err == nil && text != "" && unicode.IsUpper([]rune(text)[0]) && !strings.ContainsAny(text, ".%") {
					out[text] = files.Position(lit.Pos()).String()
					break
				}
			}
			return true
		})
	}
	if len(out) < 30 {
		t.Fatalf("only %d summaries found: the search is broken", len(out))
	}
	return out
}
