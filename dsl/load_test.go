package dsl

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// folder writes files into a new folder and returns it.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// loadText loads one file that must be without problems.
func loadText(t testing.TB, text string, vars ...string) *engine.Pipeline {
	t.Helper()
	dir := folder(t, map[string]string{"pipe.hcl": text, "data/a.png": "x", "script.py": "print(1)\n"})
	p, diags := Load(filepath.Join(dir, "pipe.hcl"), Options{Catalog: testCatalog(t), Vars: vars})
	if len(diags) > 0 {
		t.Fatalf("diagnostics: %v", show(diags))
	}
	return p
}

func show(diags Diagnostics) string {
	var b strings.Builder
	_ = Print(&b, diags, PrintOptions{Width: 100})
	return b.String()
}

func node(t testing.TB, p *engine.Pipeline, id string) *engine.Node {
	t.Helper()
	for _, n := range p.Nodes {
		if n.ID == id {
			return n
		}
	}
	t.Fatalf("there is no node %s", id)
	return nil
}

const plainText = `
pipeline {
  name    = "plain"
  seed    = 42
  threads = 2
}

variable "epochs" {
  type    = number
  default = 3
}

locals {
  rate = 0.1 + 0.2
  data = ingest.photos.dataset
}

ingest "photos" {
  source = "data"
  size   = 8 * 4
}

split "holdout" {
  data  = local.data
  ratio = [6, 2, 2]
}

augment "policy" {
  data = split.holdout.train
  rotate { limit = 10 }
  flip {}
  rotate {}
}

train "teacher" {
  data          = augment.policy.dataset
  validation    = split.holdout.validation
  epochs        = var.epochs
  learning_rate = local.rate

  loss "focal" { gamma = 3 }
  resources {
    cpus   = 2
    memory = "4GB"
    gpus   = 1
  }
  retry {
    attempts = 5
    backoff  = "10s"
  }
  timeout    = "1h30m"
  seed       = 18446744073709551615
  cache      = false
  depends_on = [evaluate.early]
  runner     = runner.gpu.default
}

runner "gpu" "default" { devices = 1 }

train "student" {
  data   = split.holdout.train
  model  = train.teacher.model
  epochs = 1
}

evaluate "early" {
  model = source("model.onnx")
  data  = split.holdout.test
}

evaluate "final" {
  model = train.student.model
  data  = split.holdout.test
  require {
    condition = self.accuracy >= train.teacher.accuracy - 0.01
    message   = "Lost ${train.teacher.accuracy - self.accuracy}."
  }
}
`

func plainPipeline(t *testing.T, vars ...string) *engine.Pipeline {
	dir := folder(t, map[string]string{"pipe.hcl": plainText, "data/a.png": "x", "model.onnx": "m"})
	p, diags := Load(filepath.Join(dir, "pipe.hcl"), Options{Catalog: testCatalog(t), Vars: vars})
	if len(diags) > 0 {
		t.Fatal(show(diags))
	}
	return p
}

func TestLoadMakesNodesAndEdges(t *testing.T) {
	p := plainPipeline(t)
	var ids []string
	for _, n := range p.Nodes {
		ids = append(ids, n.ID)
	}
	if got, want := strings.Join(ids, " "), "augment.policy evaluate.early evaluate.final ingest.photos split.holdout train.student train.teacher"; got != want {
		t.Errorf("nodes = %s", got)
	}
	if p.Name != "plain" || p.Seed != 42 || !reflect.DeepEqual(p.Variables, map[string]any{"epochs": 3.0}) {
		t.Errorf("pipeline = %q, %d, %v", p.Name, p.Seed, p.Variables)
	}
	photos := node(t, p, "ingest.photos")
	if !reflect.DeepEqual(photos.Inputs, []engine.Edge{{Port: "source", Type: artifact.Folder, Source: "data"}}) || photos.Args.Values["size"] != 32.0 || photos.Threads != 2 {
		t.Errorf("photos = %+v", photos)
	}
	teacher := node(t, p, "train.teacher")
	wantEdges := []engine.Edge{
		{Port: "data", Type: artifact.Dataset, From: engine.OutputRef{Node: "augment.policy", Output: "dataset"}},
		{Port: "validation", Type: artifact.Dataset, From: engine.OutputRef{Node: "split.holdout", Output: "validation"}},
	}
	if !reflect.DeepEqual(teacher.Inputs, wantEdges) {
		t.Errorf("edges = %+v", teacher.Inputs)
	}
	wantArgs := stages.Args{Values: map[string]any{"epochs": 3.0, "learning_rate": 0.3}, Blocks: []stages.BlockArgs{{Type: "loss", Label: "focal", Args: stages.Args{Values: map[string]any{"gamma": 3.0}}}}}
	if !reflect.DeepEqual(teacher.Args, wantArgs) {
		t.Errorf("args = %+v", teacher.Args)
	}
	if teacher.Resources != (stages.Resources{CPUs: 2, Memory: 4e9, GPUs: 1}) || teacher.Retry != (engine.Retry{Attempts: 5, Backoff: 10 * time.Second}) || teacher.Timeout != 90*time.Minute ||
		*teacher.Seed != 1<<64-1 || !teacher.NoCache || !reflect.DeepEqual(teacher.After, []string{"evaluate.early"}) {
		t.Errorf("teacher = %+v", teacher)
	}
	if !reflect.DeepEqual(teacher.Runner, engine.RunnerRef{Type: "gpu", Name: "default", Args: map[string]any{"devices": 1.0}}) {
		t.Errorf("runner = %+v", teacher.Runner)
	}
	if e := node(t, p, "train.student").Inputs[1]; e.Port != "model" || e.Type != artifact.Model || e.From.Node != "train.teacher" {
		t.Errorf("model as an input = %+v", e)
	}
	if b := node(t, p, "augment.policy").Args.Blocks; len(b) != 3 || b[0].Type != "rotate" || b[1].Type != "flip" || b[2].Args.Values["limit"] != nil {
		t.Errorf("blocks = %+v", b)
	}
}

func TestRequirement(t *testing.T) {
	r := node(t, plainPipeline(t), "evaluate.final").Requires[0]
	if !reflect.DeepEqual(r.Needs(), []string{"train.teacher"}) || r.Text() != "self.accuracy >= train.teacher.accuracy - 0.01" || r.Position().Line == 0 {
		t.Errorf("requirement: %v %q %v", r.Needs(), r.Text(), r.Position())
	}
	values := engine.Values{"train.teacher": {"accuracy": 0.9, "best_epoch": 1.0}}
	if ok, _, err := r.Check(map[string]any{"accuracy": 0.89}, values); !ok || err != nil {
		t.Errorf("0.89: %v, %v", ok, err)
	}
	if ok, message, err := r.Check(map[string]any{"accuracy": 0.5}, values); ok || err != nil || message != "Lost 0.4." {
		t.Errorf("0.5: %v, %q, %v", ok, message, err)
	}
	if _, _, err := r.Check(map[string]any{}, values); err == nil {
		t.Error("a missing value was not noticed")
	}
}

const sweepText = `
variable "scale" { default = 2 }

locals {
  best  = evaluate.base.accuracy
  twice = local.best * var.scale
}

ingest "photos" { source = "data" }

train "base" {
  data   = ingest.photos.dataset
  epochs = 1
}

evaluate "base" {
  model = train.base.model
  data  = ingest.photos.dataset
}

train "sweep" {
  matrix {
    model = ["resnet8", "resnet20"]
    lr    = [0.1, 0.01]
  }
  data          = ingest.photos.dataset
  model         = each.value.model
  learning_rate = matrix.lr
  epochs        = 1
}

select "best" {
  from = values(train.sweep)[*].model
  by   = values(train.sweep)[*].accuracy
}

train "tuned" {
  for_each      = { low = 1, high = 2 }
  data          = ingest.photos.dataset
  epochs        = each.value
  learning_rate = local.twice / each.value
  loss "focal" { gamma = evaluate.base.accuracy }
}

evaluate "one" {
  model = train.sweep["lr=0.01,model=resnet8"].model
  data  = ingest.photos.dataset
}

exec "program" {
  command = ["python3", input.script, input.photos, output.table, train.base.accuracy > 0.5 ? "a" : "b"]
  inputs  = { script = source("script.py"), photos = ingest.photos.dataset }
  outputs = { table = "table", tree = "folder" }
}

exec "after" {
  command = ["cat", input.t, format("%.2f", exec.program.score)]
  inputs  = { t = exec.program.table }
}
`

func TestFanOut(t *testing.T) {
	p := loadText(t, sweepText)
	var ids []string
	for _, n := range p.Nodes {
		if strings.HasPrefix(n.ID, "train.") {
			ids = append(ids, n.ID)
		}
	}
	want := []string{`train.base`, `train.sweep["lr=0.01,model=resnet20"]`, `train.sweep["lr=0.01,model=resnet8"]`, `train.sweep["lr=0.1,model=resnet20"]`, `train.sweep["lr=0.1,model=resnet8"]`, `train.tuned["high"]`, `train.tuned["low"]`}
	if !reflect.DeepEqual(ids, want) {
		t.Errorf("ids = %q", ids)
	}
	if a := node(t, p, want[1]).Args.Values; a["model"] != "resnet20" || a["learning_rate"] != 0.01 {
		t.Errorf("arguments of an instance = %v", a)
	}
	best := node(t, p, "select.best")
	if len(best.Inputs) != 4 || best.Inputs[0].Name != "lr=0.01,model=resnet20" || best.Inputs[0].From.Node != want[1] || best.Inputs[0].Type != artifact.Model {
		t.Errorf("select's inputs = %+v", best.Inputs)
	}
	if !reflect.DeepEqual(best.Waits, want[1:5]) || best.Binder == nil || best.Schema == nil {
		t.Errorf("select waits for %q", best.Waits)
	}
	values := engine.Values{}
	for i, id := range want[1:5] {
		values[id] = map[string]any{"accuracy": float64(i) / 10}
	}
	args, problems := best.Binder.Bind(values)
	if len(problems) > 0 || !reflect.DeepEqual(args.Values["by"], []any{0.0, 0.1, 0.2, 0.3}) {
		t.Errorf("bound = %v, %v", args, problems)
	}
	if e := node(t, p, "evaluate.one").Inputs[0]; e.From.Node != want[2] {
		t.Errorf("one instance = %+v", e)
	}
}

func TestBindingIsData(t *testing.T) {
	p := loadText(t, sweepText)
	n := node(t, p, `train.tuned["high"]`)
	if !reflect.DeepEqual(n.Waits, []string{"evaluate.base"}) {
		t.Fatalf("waits for %v", n.Waits)
	}
	text, err := json.Marshal(n.Binder)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseBinder(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []engine.Binder{n.Binder, again} {
		args, problems := b.Bind(engine.Values{"evaluate.base": {"accuracy": 0.7}})
		want := stages.Args{Values: map[string]any{"epochs": 2.0, "learning_rate": 0.7}, Blocks: []stages.BlockArgs{{Type: "loss", Label: "focal", Args: stages.Args{Values: map[string]any{"gamma": 0.7}}}}}
		if len(problems) > 0 || !reflect.DeepEqual(args, want) {
			t.Errorf("bound = %+v, %v", args, problems)
		}
		if _, problems := b.Bind(engine.Values{}); len(problems) != 2 || problems[0].Arg != "learning_rate" || problems[1].Arg != "loss[0].gamma" {
			t.Errorf("without values: %v", problems)
		}
	}
}

func TestExecPaths(t *testing.T) {
	p := loadText(t, sweepText)
	n := node(t, p, "exec.program")
	args, problems := n.Binder.Bind(engine.Values{"train.base": {"accuracy": 0.7}})
	if len(problems) > 0 || !reflect.DeepEqual(args.Values["command"], []any{"python3", "in/script", "in/photos", "out/table", "a"}) {
		t.Errorf("command = %v, %v", args.Values, problems)
	}
	if len(n.Inputs) != 2 || n.Inputs[0].Name != "photos" || n.Inputs[1] != (engine.Edge{Port: "inputs", Name: "script", Type: artifact.File, Source: "script.py"}) {
		t.Errorf("inputs = %+v", n.Inputs)
	}
	after := node(t, p, "exec.after")
	args, problems = after.Binder.Bind(engine.Values{"exec.program": {"score": 0.5}})
	if len(problems) > 0 || !reflect.DeepEqual(args.Values["command"], []any{"cat", "in/t", "0.50"}) || after.Inputs[0].Type != artifact.Table {
		t.Errorf("command = %v, %v; %+v", args.Values, problems, after.Inputs)
	}
}

const chainText = `
ingest "photos" { source = "data" }

train "sweep" {
  matrix { lr = [0.1, 0.01] }
  data          = ingest.photos.dataset
  learning_rate = matrix.lr
  epochs        = 2
}

evaluate "each" {
  for_each = train.sweep
  model    = each.value.model
  data     = ingest.photos.dataset

  require {
    condition = self.accuracy >= each.value.accuracy
    message   = "${each.key} lost ${each.value.accuracy - self.accuracy}"
  }
}

train "more" {
  for_each = train.sweep
  data     = ingest.photos.dataset
  model    = each.value.model
  epochs   = each.value.best_epoch * 2
}

train "some" {
  for_each = { for k, v in train.sweep : upper(k) => v.best_epoch if k != "lr=0.1" }
  data     = ingest.photos.dataset
  epochs   = each.value
}

select "best" {
  from = { for k, v in train.sweep : k => v.model }
  by   = { for k, v in evaluate.each : k => v.accuracy }
}

train "optional" {
  for_each = length(train.sweep) > 2 ? ["x"] : []
  data     = ingest.photos.dataset
  epochs   = 1
}
`

// A fan-out over another: each instance waits for its own predecessor only.
func TestFanOutOverFanOut(t *testing.T) {
	p := loadText(t, chainText)
	one := `train.sweep["lr=0.01"]`
	if e := node(t, p, `evaluate.each["lr=0.01"]`); e.Inputs[0].From.Node != one || !reflect.DeepEqual(e.Requires[0].Needs(), []string{one}) {
		t.Errorf("evaluate = %+v, needs %v", e.Inputs, e.Requires[0].Needs())
	}
	values := engine.Values{one: {"accuracy": 0.75, "best_epoch": 3.0}, `train.sweep["lr=0.1"]`: {"accuracy": 0.5, "best_epoch": 1.0}}
	ok, message, err := node(t, p, `evaluate.each["lr=0.01"]`).Requires[0].Check(map[string]any{"accuracy": 0.5}, values)
	if ok || err != nil || message != "lr=0.01 lost 0.25" {
		t.Errorf("requirement: %v %q %v", ok, message, err)
	}
	for id, waits := range map[string][]string{`train.more["lr=0.01"]`: {one}, `train.some["LR=0.01"]`: {one, `train.sweep["lr=0.1"]`}} {
		n := node(t, p, id)
		if !reflect.DeepEqual(n.Waits, waits) {
			t.Errorf("%s waits for %q", id, n.Waits)
		}
		text, err := json.Marshal(n.Binder)
		if err != nil {
			t.Fatal(err)
		}
		b, err := ParseBinder(text)
		if err != nil {
			t.Fatal(err)
		}
		args, problems := b.Bind(values)
		want := map[string]any{"epochs": 6.0}
		if n.ID == `train.some["LR=0.01"]` {
			want["epochs"] = 3.0
		}
		if len(problems) > 0 || !reflect.DeepEqual(args.Values, want) {
			t.Errorf("%s: %v, %v", id, args, problems)
		}
	}
	best := node(t, p, "select.best")
	args, problems := best.Binder.Bind(engine.Values{`evaluate.each["lr=0.1"]`: {"accuracy": 0.5}, `evaluate.each["lr=0.01"]`: {"accuracy": 0.75}})
	if len(problems) > 0 || !reflect.DeepEqual(args.Values["by"], map[string]any{"lr=0.1": 0.5, "lr=0.01": 0.75}) || best.Inputs[1].Name != "lr=0.1" {
		t.Errorf("select: %v %v %v", args, problems, best.Inputs)
	}
	if len(p.Nodes) != 1+2+2+2+1+1 {
		t.Errorf("%d nodes", len(p.Nodes))
	}
}
