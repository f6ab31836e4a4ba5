package dsl

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

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

// A here-document that waits for values is carried as text and read again.
func TestBindingCarriesHereDocuments(t *testing.T) {
	p := loadText(t, `
ingest "photos" { source = "data" }

exec "a" {
  command = ["sh", "-c", <<-E
    echo ${ingest.photos.count} "$${HOME}" \\n
      deeper
  E
  , "last"]
}

exec "b" {
  command = split("\n", <<E
${ingest.photos.count}
E
  )
}
`)
	values := engine.Values{"ingest.photos": {"count": 7.0}}
	for id, want := range map[string][]any{"exec.a": {"sh", "-c", "echo 7 \"${HOME}\" \\\\n\n  deeper\n", "last"}, "exec.b": {"7", ""}} {
		args, problems := node(t, p, id).Binder.Bind(values)
		if len(problems) > 0 || !reflect.DeepEqual(args.Values["command"], want) {
			t.Errorf("%s: %q, %v", id, args.Values["command"], problems)
		}
	}
}
