package dsl

import (
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
