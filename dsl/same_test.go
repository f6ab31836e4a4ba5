package dsl

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// meaning is everything of a pipeline that is not a place in its text.
func meaning(t testing.TB, p *engine.Pipeline) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %v\n", p.Name, p.Seed, p.Variables)
	for _, n := range p.Nodes {
		fmt.Fprintf(&b, "%s %s %+v %+v waits %v after %v threads %d %+v %+v %+v %v %v\n", n.ID, n.Kind.Name, n.Args, n.Inputs, n.Waits, n.After, n.Threads, n.Resources, n.Runner, n.Retry, n.Timeout, n.NoCache)
		if n.Seed != nil {
			fmt.Fprintf(&b, "  seed %d\n", *n.Seed)
		}
		if n.Binder != nil {
			args, problems := n.Binder.Bind(someValues(p))
			fmt.Fprintf(&b, "  bound %+v %v\n", args, problems)
		}
		for _, r := range n.Requires {
			ok, message, err := r.Check(map[string]any{"accuracy": 0.4}, someValues(p))
			fmt.Fprintf(&b, "  requires %s of %v: %v %q %v\n", r.Text(), r.Needs(), ok, message, err)
		}
		if n.Schema != nil {
			for _, o := range n.Schema.Outputs {
				fmt.Fprintf(&b, "  gives %+v\n", *o)
			}
		}
	}
	return b.String()
}

// someValues are values for every stage, the same each time.
func someValues(p *engine.Pipeline) engine.Values {
	values := engine.Values{}
	for i, n := range p.Nodes {
		values[n.ID] = map[string]any{"accuracy": 0.5 + float64(i)/64, "count": float64(i), "score": 0.25, "best_epoch": 1.0}
	}
	return values
}

var bothTexts = map[string]string{"plain": plainText, "sweep": sweepText}

func projectFiles(text string) map[string]string {
	return map[string]string{"pipe.hcl": text, "data/a.png": "x", "script.py": "print(1)\n", "model.onnx": "m"}
}

func loadDir(t testing.TB, dir string, o Options) *engine.Pipeline {
	t.Helper()
	o.Catalog = testCatalog(t)
	p, diags := Load(dir, o)
	if len(diags) > 0 {
		t.Fatal(show(diags))
	}
	return p
}

func TestOrderCommentsAndFormattingMeanNothing(t *testing.T) {
	for name, text := range bothTexts {
		base := loadDir(t, filepath.Join(folder(t, projectFiles(text)), "pipe.hcl"), Options{})
		blocks := strings.Split(strings.TrimSpace(text), "\n\n")
		for i, j := 0, len(blocks)-1; i < j; i, j = i+1, j-1 {
			blocks[i], blocks[j] = blocks[j], blocks[i]
		}
		squeezed := strings.NewReplacer("    ", "  ", " = ", "=").Replace(text)
		for change, other := range map[string]string{
			"order":       rejoinLoss(strings.Join(blocks, "\n\n")),
			"line breaks": strings.ReplaceAll(text, "\n", "\r\n"),
			"comments":    "# first\n" + strings.ReplaceAll(text, " = ", " /* is */ = ") + "// last\n",
			"formatting":  squeezed,
		} {
			p, diags := Load(filepath.Join(folder(t, projectFiles(other)), "pipe.hcl"), Options{Catalog: testCatalog(t)})
			if diags.HasErrors() {
				t.Fatalf("%s, %s: %s", name, change, show(diags))
			}
			if got, want := spaceless(meaning(t, p)), spaceless(meaning(t, base)); got != want {
				t.Errorf("%s: %s changed the pipeline:\n%s\nwas:\n%s", name, change, got, want)
			}
		}
	}
}

// rejoinLoss puts the halves of train.teacher, which has an empty line, back into order.
func rejoinLoss(text string) string {
	const tail = "  loss \"focal\" { gamma = 3 }"
	start := strings.Index(text, tail)
	if start < 0 {
		return text
	}
	end := start + strings.Index(text[start:], "\n}") + 2
	half := text[start:end]
	text = text[:start] + text[end:]
	at := strings.Index(text, "learning_rate = local.rate") + len("learning_rate = local.rate")
	return text[:at] + "\n" + half + text[at:]
}

func spaceless(s string) string {
	return strings.NewReplacer(" ", "", "/*is*/", "").Replace(s)
}

func TestFolderIsOnePipeline(t *testing.T) {
	one := loadDir(t, filepath.Join(folder(t, projectFiles(plainText)), "pipe.hcl"), Options{})
	half := strings.Index(plainText, "train \"teacher\"")
	files := projectFiles(plainText[half:])
	files["a.hcl"] = plainText[:half]
	files[".hidden.hcl"] = "not read {"
	two := loadDir(t, folder(t, files), Options{})
	if meaning(t, one) != meaning(t, two) {
		t.Errorf("in a folder:\n%s\nin a file:\n%s", meaning(t, two), meaning(t, one))
	}
	unnamed := loadDir(t, folder(t, map[string]string{"x.hcl": `ingest "a" {}`}), Options{})
	if unnamed.Name == "x" || unnamed.Name == "" {
		t.Errorf("a folder's pipeline is called %q", unnamed.Name)
	}
}

const readingText = `
variable "seed" { type = number }
variable "rates" {
  type    = map(number)
  default = { a = 0.1 }
}
variable "name" {
  type    = object({ first = string, second = optional(number, 7) })
  default = { first = "x" }
}

pipeline { seed = var.seed }

locals {
  notes = trimspace(file("notes.txt"))
  count = length(glob("data/*.png"))
}

ingest "photos" {
  for_each = toset(glob("data/*.png"))
  source   = each.value
  size     = local.count + tonumber(local.notes) + var.name.second
}

train "one" {
  data          = ingest.photos["data/a.png"].dataset
  epochs        = ingest.photos["data/a.png"].count + length(glob("data/*.png"))
  learning_rate = var.rates["a"]
}
`

// What a load left in Sources and Variables gives the same pipeline where none of the files are, also after the
// variables went through JSON.
func TestLoadSourcesMakesTheSamePipeline(t *testing.T) {
	// The folder's name is no pattern, whatever it holds.
	dir := filepath.Join(folder(t, map[string]string{"[1]*/pipe.hcl": readingText, "[1]*/notes.txt": "16\n", "[1]*/data/a.png": "a", "[1]*/data/b.png": "b"}), "[1]*")
	p := loadDir(t, filepath.Join(dir, "pipe.hcl"), Options{Vars: []string{"seed=18446744073709551557"}})
	if p.Seed != 18446744073709551557 || node(t, p, `ingest.photos["data/b.png"]`).Args.Values["size"] != 25.0 {
		t.Fatalf("pipeline = %s", meaning(t, p))
	}
	text, err := json.Marshal(p.Variables)
	if err != nil {
		t.Fatal(err)
	}
	var variables map[string]any
	if err := json.Unmarshal(text, &variables); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	again, diags := LoadSources(p.Sources, variables, t.TempDir(), testCatalog(t))
	if len(diags) > 0 {
		t.Fatal(show(diags))
	}
	if meaning(t, again) != meaning(t, p) || !reflect.DeepEqual(again.Sources, p.Sources) || !reflect.DeepEqual(again.Variables, p.Variables) {
		t.Errorf("loaded again:\n%s\nfirst:\n%s", meaning(t, again), meaning(t, p))
	}
}

func TestLoadSourcesRefusesWhatWasNotStored(t *testing.T) {
	_, diags := LoadSources(map[string][]byte{"pipe.hcl": []byte(`locals { a = file("x") }`)}, nil, t.TempDir(), testCatalog(t))
	if len(diags) != 1 || !strings.Contains(diags[0].Detail, "not stored") {
		t.Errorf("%s", show(diags))
	}
}

func TestVariablePrecedence(t *testing.T) {
	text := `
variable "size" {
  type    = number
  default = 8
}
ingest "a" { size = var.size }
`
	dir := folder(t, map[string]string{"pipe.hcl": text, "values.hcl": "size = 24\n", "values.json": `{"size": 32}`})
	path := func(name string) string { return filepath.Join(dir, name) }
	env := []string{"DARKROOM_VAR_size=16", "DARKROOM_VAR_other=1", "PATH=/bin"}
	for name, c := range map[string]struct {
		o    Options
		want float64
	}{
		"default":     {Options{}, 8},
		"environment": {Options{Environ: env}, 16},
		"file":        {Options{Environ: env, VarFiles: []string{path("values.hcl")}}, 24},
		"last file":   {Options{Environ: env, VarFiles: []string{path("values.hcl"), path("values.json")}}, 32},
		"flag":        {Options{Environ: env, VarFiles: []string{path("values.hcl")}, Vars: []string{"size=40"}}, 40},
		"last flag":   {Options{Vars: []string{"size=40", "size = 6 * 8"}}, 48},
	} {
		p := loadDir(t, path("pipe.hcl"), c.o)
		if got := p.Nodes[0].Args.Values["size"]; got != c.want || p.Variables["size"] != c.want {
			t.Errorf("%s: size = %v, variables %v", name, got, p.Variables)
		}
	}
}

func TestPlainTextVariables(t *testing.T) {
	text := `
variable "text" { type = string }
variable "any" {}
variable "list" { type = list(string) }
variable "flag" { type = bool }
exec "a" { command = concat([var.text, tostring(var.flag), jsonencode(var.any)], var.list) }
`
	dir := folder(t, map[string]string{"pipe.hcl": text})
	p := loadDir(t, filepath.Join(dir, "pipe.hcl"), Options{Vars: []string{`text="a" = ${b}`, "any=plain words", `list=["x", "y"]`, "flag=true"}})
	if got, want := p.Nodes[0].Args.Values["command"], []any{`"a" = ${b}`, "true", `"plain words"`, "x", "y"}; !reflect.DeepEqual(got, want) {
		t.Errorf("command = %q", got)
	}
}

func TestLocatePointsAtTheLine(t *testing.T) {
	p := plainPipeline(t)
	for arg, want := range map[string]string{
		"": `train "teacher" {`, "epochs": `epochs        = var.epochs`, "loss[0].gamma": `loss "focal" { gamma = 3 }`, "loss[0]": `loss "focal" { gamma = 3 }`,
		"data": `data          = augment.policy.dataset`, "nowhere": `train "teacher" {`, "loss[7].x": `train "teacher" {`,
	} {
		d := Locate(p, node(t, p, "train.teacher"), stages.Problemf(arg, "Too much", "Take less"))
		if strings.TrimSpace(d.Snippet) != want || d.Address != "train.teacher" || d.File != "pipe.hcl" || d.Line == 0 || d.Detail != "Take less." {
			t.Errorf("%q: %+v", arg, d)
		}
	}
	two := loadText(t, "exec \"a\" {\n  command = [\"a\"]\n  require {\n    condition = self.x > 1\n  }\n  resources { cpus = 1 }\n  require {\n    condition = self.y > 1\n  }\n}\n")
	if d := Locate(two, two.Nodes[0], stages.Problemf("require[1]", "S", "D")); d.Line != 7 {
		t.Errorf("second requirement: %+v", d)
	}
	d := Locate(p, node(t, p, "augment.policy"), stages.Problem{Arg: "rotate[2].limit", Summary: "S", Given: "flp", Options: []string{"flip"}})
	if strings.TrimSpace(d.Snippet) != "rotate {}" || !strings.Contains(d.Detail, `Did you mean "flip"?`) {
		t.Errorf("third block: %+v", d)
	}
	if d := Locate(p, nil, stages.Problemf("x", "S", "D")); d.File != "" || d.Summary != "S" {
		t.Errorf("no node: %+v", d)
	}
}
