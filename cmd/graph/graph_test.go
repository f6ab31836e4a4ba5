package graph

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

func pipeline() *engine.Pipeline {
	kind := func(name string) *stages.Kind { return &stages.Kind{Name: name} }
	from := func(node, output, port string) engine.Edge {
		return engine.Edge{Port: port, Type: artifact.Dataset, From: engine.OutputRef{Node: node, Output: output}}
	}
	return &engine.Pipeline{Name: `a "b"`, Nodes: []*engine.Node{
		{ID: `evaluate.test`, Kind: kind("evaluate"), Inputs: []engine.Edge{from(`train.net["lr=0.1"]`, "model", "model"), from("split.s", "test", "data")}, After: []string{"ingest.i"}},
		{ID: "ingest.i", Kind: kind("ingest"), Inputs: []engine.Edge{{Port: "source", Source: "data/<x>"}}},
		{ID: "split.s", Kind: kind("split"), Inputs: []engine.Edge{from("ingest.i", "dataset", "data")}},
		{ID: `train.net["lr=0.1"]`, Kind: kind("train"), Inputs: []engine.Edge{from("split.s", "train", "data")}, Waits: []string{"ingest.i"}},
	}}
}

func TestDOT(t *testing.T) {
	var b strings.Builder
	if err := New(pipeline(), map[string]string{"ingest.i": "run"}).DOT(&b); err != nil {
		t.Fatal(err)
	}
	want := `digraph "a \"b\"" {
  rankdir = LR
  node [shape = box, style = rounded, fontname = "sans-serif"]
  edge [fontname = "sans-serif", fontsize = 10]
  "data/<x>" [shape = note, style = ""]
  "evaluate.test"
  "ingest.i" [style = "rounded, bold"]
  "split.s"
  "train.net[\"lr=0.1\"]"
  "data/<x>" -> "ingest.i"
  "ingest.i" -> "evaluate.test" [style = dashed, label = "order"]
  "ingest.i" -> "split.s" [label = "dataset"]
  "ingest.i" -> "train.net[\"lr=0.1\"]" [style = dashed, label = "values"]
  "split.s" -> "evaluate.test" [label = "test"]
  "split.s" -> "train.net[\"lr=0.1\"]" [label = "train"]
  "train.net[\"lr=0.1\"]" -> "evaluate.test" [label = "model"]
}
`
	if b.String() != want {
		t.Errorf("DOT:\n%s", b.String())
	}
}

func TestMermaid(t *testing.T) {
	var b strings.Builder
	if err := New(pipeline(), nil).Mermaid(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"flowchart LR\n", `n0[("data/#lt;x#gt;")]`, `n4["train.net[#quot;lr=0.1#quot;]"]`, `n3 -- "train" --> n4`, "n2 -. order .-> n1"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in:\n%s", want, b.String())
		}
	}
}

func TestSVGIsWholeAndOrdered(t *testing.T) {
	g := New(pipeline(), nil)
	var b strings.Builder
	if err := g.SVG(&b); err != nil {
		t.Fatal(err)
	}
	rects := 0
	for dec := xml.NewDecoder(strings.NewReader(b.String())); ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, b.String())
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			rects++
		}
	}
	if rects != len(g.Nodes) {
		t.Errorf("%d boxes for %d nodes", rects, len(g.Nodes))
	}
	boxes, layers := g.layered()
	place(layers)
	for _, e := range g.Edges {
		if from, to := boxes[e.From], boxes[e.To]; from.x+from.w >= to.x {
			t.Errorf("%s is not left of %s", e.From, e.To)
		}
	}
	for _, layer := range layers {
		for i := 1; i < len(layer); i++ {
			if layer[i-1].y+layer[i-1].h > layer[i].y {
				t.Errorf("%s and %s overlap", layer[i-1].Address, layer[i].Address)
			}
		}
	}
}

func TestJSON(t *testing.T) {
	b, err := json.Marshal(New(&engine.Pipeline{Name: "empty"}, nil))
	if err != nil || string(b) != `{"pipeline":"empty","stages":[],"edges":[]}` {
		t.Errorf("%s, %v", b, err)
	}
}
