package stages

import (
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
)

type documented struct {
	rate   float64
	model  string
	list   []float64
	loss   Chosen
	items  []Chosen
	detail focal
}

func (d *documented) Declare(s *Schema) {
	s.In("data", artifact.Dataset, "What to learn.")
	s.Float(&d.rate, "rate", 0.1, "Step | size.").Above(0)
	s.String(&d.model, "model", "a", "The net.").OneOf("a", "b").OrInput(artifact.Model)
	s.Floats(&d.list, "shares", []float64{8, 1.5}, "Shares.").NotInKey()
	s.Choice(&d.loss, "loss", "focal", "The loss.", Variant{Name: "focal", Doc: "Focal loss.", New: func() Declarer { return &focal{} }})
	s.Sequence(&d.items, "operations", "What is done.", Variant{Name: "rotate", Doc: "Turns.", New: func() Declarer { return &rotate{} }})
	s.Block("detail", &d.detail, "Details.")
	s.Out("chosen", "", "The same.").As("data")
	s.Measures("speed", "images/s", "How fast.")
}
func (d *documented) Run(_ any) {}

func TestReference(t *testing.T) {
	page := Reference{Kind: "demo", Version: 2, Doc: "Shows.", Example: "demo \"x\" {}"}
	s := SchemaOf(&documented{})
	page.ports("Inputs", s.Inputs, true)
	page.args("Arguments", "", s)
	page.blocks("", s)
	page.ports("Outputs", s.Outputs, false)
	page.values("Measurements", s.Measurements)
	md := page.Markdown()
	for _, want := range []string{
		"| `data` | dataset, required | What to learn. |",
		`| ` + "`rate`" + ` | number, above 0, default 0.1 | Step \| size. |`,
		`| string or a model, one of "a", "b", default "a" |`,
		"| list of numbers, default [8, 1.5], not part of the key |",
		"## Blocks loss\n\nThe loss. Without the block: \"focal\".\n",
		"## Block loss \"focal\"\n\nFocal loss.\n\n| name |",
		"## Block rotate\n\nTurns.",
		"in degrees",
		"## Block detail",
		"| `chosen` | the type of data |",
		"| `speed` | number, in images/s | How fast. |",
		"Version of the kind: 2.",
	} {
		if !strings.Contains(md, want) {
			t.Errorf("the page lacks %q:\n%s", want, md)
		}
	}
	for _, line := range strings.Split(page.Text(40), "\n") {
		if len(line) > 40 {
			t.Errorf("line is longer than 40 columns: %q", line)
		}
	}
}
