package stages

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
)

type focal struct{ gamma float64 }

func (f *focal) Declare(s *Schema) { s.Float(&f.gamma, "gamma", 2, "Focus.").In(0, 10) }

type rotate struct{ limit float64 }

func (r *rotate) Declare(s *Schema) {
	s.Float(&r.limit, "limit", 30, "Largest angle.").In(0, 180).InUnit("degrees")
}

type flip struct{}

func (*flip) Declare(*Schema) {}

type sheet struct{ rows int }

func (p *sheet) Declare(s *Schema) { s.Int(&p.rows, "rows", 4, "Rows.").Min(1) }

type fake struct {
	rate, low, high float64
	epochs          int
	model           string
	tags            []string
	ratio           map[string]float64
	workers         int
	loss            Chosen
	steps           []Chosen
	sheet           sheet
	early           sheet
	hasEarly        bool
}

func (f *fake) Declare(s *Schema) {
	s.In("data", artifact.Dataset, "Samples.")
	s.Float(&f.rate, "learning_rate", 0.1, "Peak step size.").Above(0)
	s.Float(&f.low, "low", 0, "Low.")
	s.Float(&f.high, "high", 1, "High.")
	s.Int(&f.epochs, "epochs", 0, "Passes.").Required().In(1, 1000)
	s.String(&f.model, "model", "resnet8", "Architecture.").OneOf("resnet8", "resnet20").OrInput(artifact.Model)
	s.Strings(&f.tags, "tags", []string{"a"}, "Tags.")
	s.FloatMap(&f.ratio, "ratio", "Shares.")
	s.Int(&f.workers, "workers", 2, "Loaders.").NotInKey()
	s.Choice(&f.loss, "loss", "cross_entropy", "Loss.", Variant{"cross_entropy", "Plain.", func() Declarer { return &flip{} }}, Variant{"focal", "Focal.", func() Declarer { return &focal{} }})
	s.Sequence(&f.steps, "steps", "Operations.", Variant{"rotate", "Turn.", func() Declarer { return &rotate{} }}, Variant{"flip", "Mirror.", func() Declarer { return &flip{} }})
	s.Block("preview", &f.sheet, "Contact sheet.")
	s.Block("early", &f.early, "Early stopping.").Present(&f.hasEarly)
	s.Out("result", artifact.Model, "Result.")
}

func (f *fake) Check() []Problem {
	if f.low >= f.high {
		return []Problem{Problemf("low", "Bounds are reversed", "The argument \"low\" must be below \"high\".")}
	}
	return nil
}

func (f *fake) Shape(s *Schema) {
	for range f.epochs {
		s.Out("more", artifact.Model, "")
		break
	}
}

func parse(t *testing.T, text string) Args {
	t.Helper()
	var a Args
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestDecodeBindsDefaultsAndBlocks(t *testing.T) {
	var f fake
	s, problems := Decode(&f, parse(t, `{"values": {"epochs": 3, "ratio": {"train": 6}}, "blocks": [
		{"type": "rotate", "args": {"values": {"limit": 10}}}, {"type": "loss", "label": "focal", "args": {}},
		{"type": "flip", "args": {}}, {"type": "rotate", "args": {}}]}`), map[string]bool{"data": true})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if f.epochs != 3 || f.rate != 0.1 || f.ratio["train"] != 6 || f.workers != 2 || f.sheet.rows != 4 || f.hasEarly {
		t.Errorf("fields = %+v", f)
	}
	if f.loss.Name != "focal" || f.loss.Body.(*focal).gamma != 2 {
		t.Errorf("loss = %+v", f.loss)
	}
	if len(f.steps) != 3 || f.steps[0].Body.(*rotate).limit != 10 || f.steps[1].Name != "flip" || f.steps[2].Body.(*rotate).limit != 30 {
		t.Errorf("steps = %+v", f.steps)
	}
	if s.Output("more") == nil {
		t.Error("Shape was not applied")
	}
}

func TestDecodeProblems(t *testing.T) {
	for name, c := range map[string]struct{ args, arg, summary, detail string }{
		"unknown argument": {`{"values": {"epochs": 1, "epohcs": 1}}`, "epohcs", "Unknown argument", "epohcs"},
		"missing":          {`{}`, "", "Missing argument", `"epochs" is required`},
		"type":             {`{"values": {"epochs": "three"}}`, "epochs", "Wrong type of argument", "is a string, but it takes a whole number"},
		"fraction":         {`{"values": {"epochs": 1.5}}`, "epochs", "Not a whole number", "1.5"},
		"range":            {`{"values": {"epochs": 0}}`, "epochs", "Value out of range", "must be 1 to 1000. It is 0"},
		"open range":       {`{"values": {"epochs": 1, "learning_rate": 0}}`, "learning_rate", "Value out of range", "above 0"},
		"option":           {`{"values": {"epochs": 1, "model": "resnet9"}}`, "model", "Unknown option", `"resnet8", "resnet20"`},
		"element":          {`{"values": {"epochs": 1, "tags": ["a", 1]}}`, "tags", "Wrong type of argument", `Element 1 of the argument "tags" is a number, but it takes a list of strings. Put quotes around it`},
		"unknown block":    {`{"values": {"epochs": 1}, "blocks": [{"type": "rotat", "args": {}}]}`, "rotat[0]", "Unknown block", "rotat"},
		"variant":          {`{"values": {"epochs": 1}, "blocks": [{"type": "loss", "label": "fcal", "args": {}}]}`, "loss[0]", "Unknown option", "fcal"},
		"repeated":         {`{"values": {"epochs": 1}, "blocks": [{"type": "loss", "label": "focal", "args": {}}, {"type": "loss", "label": "focal", "args": {}}]}`, "loss[1]", "Repeated block", "only once"},
		"nested range":     {`{"values": {"epochs": 1}, "blocks": [{"type": "flip", "args": {}}, {"type": "loss", "label": "focal", "args": {"values": {"gamma": 11}}}]}`, "loss[1].gamma", "Value out of range", "0 to 10"},
		"across":           {`{"values": {"epochs": 1, "low": 2}}`, "low", "Bounds are reversed", "below"},
	} {
		_, problems := Decode(&fake{}, parse(t, c.args), map[string]bool{"data": true})
		if len(problems) != 1 || problems[0].Arg != c.arg || problems[0].Summary != c.summary || !strings.Contains(problems[0].Detail, c.detail) {
			t.Errorf("%s: %+v", name, problems)
		}
	}
	_, problems := Decode(&fake{}, parse(t, `{"values": {"epochs": 1}}`), map[string]bool{})
	if len(problems) != 1 || problems[0].Summary != "Missing input" {
		t.Errorf("missing input: %+v", problems)
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		_, problems := Decode(&fake{}, Args{Values: map[string]any{"epochs": 1.0, "learning_rate": bad}}, nil)
		if len(problems) != 1 || problems[0].Summary != "Not a finite number" {
			t.Errorf("%v: %+v", bad, problems)
		}
	}
}

func TestFieldsHoldDefaultsAndOrder(t *testing.T) {
	args := parse(t, `{"values": {"epochs": 3, "workers": 9}, "blocks": [{"type": "flip", "args": {}}, {"type": "rotate", "args": {"values": {"limit": 10}}}]}`)
	want := []Field{
		{"learning_rate", "0x1.999999999999ap-04"}, {"low", "0x0p+00"}, {"high", "0x1p+00"}, {"epochs", "3"}, {"model", `"resnet8"`}, {"tags", `["a"]`}, {"ratio", "{}"},
		{"loss", `"cross_entropy"`}, {"steps[0]", `"flip"`}, {"steps[1]", `"rotate"`}, {"steps[1].limit", "0x1.4p+03"}, {"preview.rows", "4"},
	}
	if got := Fields(&fake{}, args); !reflect.DeepEqual(got, want) {
		t.Errorf("Fields = %v", got)
	}
	explicit := parse(t, `{"values": {"epochs": 3, "learning_rate": 0.1}, "blocks": [{"type": "preview", "args": {"values": {"rows": 4}}}, {"type": "flip", "args": {}}, {"type": "rotate", "args": {"values": {"limit": 10}}}]}`)
	if got := Fields(&fake{}, explicit); !reflect.DeepEqual(got, want) {
		t.Errorf("writing a default changed the fields: %v", got)
	}
}

func TestDisplayText(t *testing.T) {
	for in, want := range map[string]string{
		"0x1.999999999999ap-04": "0.1", "-0x1p+00": "-1", "3": "3", `"0x1p+00"`: `"0x1p+00"`, `[0x1p+01, 0x1.8p+00]`: "[2, 1.5]",
		`{"a\"0x1": 0x1p+00}`: `{"a\"0x1": 1}`, "true": "true", `"a`: `"a`,
	} {
		if got := DisplayText(in); got != want {
			t.Errorf("DisplayText(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestMinusZeroIsZero(t *testing.T) {
	if canonical(math.Copysign(0, -1), Number) != canonical(0.0, Number) {
		t.Error("-0 and 0 have different keys")
	}
}

func TestCatalogRefusals(t *testing.T) {
	ok := &Kind{Name: "a", Version: 1, Doc: "A.", New: func() Stage { return nil }}
	for name, k := range map[string]*Kind{"name": {Name: "A", Version: 1, Doc: "d", New: ok.New}, "version": {Name: "b", Doc: "d", New: ok.New}, "doc": {Name: "b", Version: 1, New: ok.New}} {
		if _, err := NewCatalog(k); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNormalValueRefusesInfinity(t *testing.T) {
	if _, err := NormalValue(map[string]any{"a": math.Inf(1)}); err == nil {
		t.Error("accepted +Inf")
	}
	v, err := NormalValue([]int{1, 2})
	if err != nil || !reflect.DeepEqual(v, []any{1.0, 2.0}) {
		t.Errorf("%v, %v", v, err)
	}
}
