package recipe

import (
	"fmt"
	"strings"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/report"
	"github.com/darkroom-dev/darkroom/stages"
)

// Taken is what became of the weights that a training starts from.
type Taken struct {
	onnx.Match
	source string // "init" or "the file"
}

// TakeWeights gives the model the weights of the model on the port "init", or of the file on "weights", wherever name and dimensions agree. nil: neither is
// connected. name is what the model is called in messages.
func TakeWeights(job *stages.Job, model *onnx.Model, name string) (*Taken, error) {
	if in, ok := job.Input("weights"); ok {
		match, err := onnx.LoadWeights(model, in.Path)
		if err != nil {
			return nil, stages.Problemf("weights", "Weights cannot be read", "%v.", err)
		}
		if len(match.Loaded) == 0 {
			return nil, stages.Problemf("weights", "Weights do not fit", "No weight of the file has the name and the dimensions of one in %s. The file has %s; the model wants %s. Use weights of the same architecture.",
				name, some(match.Unused), some(match.Missing))
		}
		return &Taken{match, "the file"}, nil
	}
	in, ok := job.Input("init")
	if !ok {
		return nil, nil
	}
	from, err := onnx.Load(in.Path)
	if err != nil {
		return nil, stages.Problemf("init", "Model cannot be read", "%v.", err)
	}
	match, err := onnx.CopyWeights(model, from)
	if err != nil {
		return nil, err
	}
	if len(match.Loaded) == 0 {
		return nil, stages.Problemf("init", "Model does not fit", "No weight of the model on \"init\" has the name and the dimensions of one in %s. That model has %s; this one wants %s. Use a model of the same architecture.",
			name, some(match.Unused), some(match.Missing))
	}
	return &Taken{match, "init"}, nil
}

// Summary is one sentence without its end.
func (t *Taken) Summary() string {
	return fmt.Sprintf("%d weights are those of %s, %d have other dimensions there, %d are not in it, and %d of its own are not used", len(t.Loaded), t.source, len(t.Different), len(t.Missing), len(t.Unused))
}

// Text lists every name that did not match, for the log.
func (t *Taken) Text() string { return t.Match.Text(t.source) }

// Table lists every weight of the model and of the source with what became of it.
func (t *Taken) Table() report.Table {
	out := report.Table{Title: "Weights of " + t.source, Folded: true, Columns: []report.Column{{Name: "Weight"}, {Name: "What became of it"}}}
	add := func(what string, names []string) {
		for _, name := range names {
			out.Rows = append(out.Rows, []string{name, what})
		}
	}
	for _, d := range t.Different {
		add(fmt.Sprintf("left: dimensions %v in the model, %v in %s", d.Model, d.Source, t.source), []string{d.Name})
	}
	add("starts fresh: not in "+t.source, t.Missing)
	add("not used: not in the model", t.Unused)
	add("loaded", t.Loaded)
	return out
}

// some names the first few.
func some(names []string) string {
	switch n := len(names); {
	case n == 0:
		return "no other names"
	case n > 4:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:4], ", "), n-4)
	}
	return strings.Join(names, ", ")
}
