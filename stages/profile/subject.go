package profile

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/darkroom-dev/darkroom/onnx"
	"github.com/darkroom-dev/darkroom/onnx/surgery"
	"github.com/darkroom-dev/darkroom/stages"
)

// subject is a model to time: the one on the input, or one with fewer channels.
type subject struct {
	path  string
	width float64
	costs *surgery.Costs // empty where the operations of the model cannot be counted
	made  bool           // path is a file of ours
}

// subjects are the model, and with widths its narrower forms, below the scratch folder.
func (p *profile) subjects(job *stages.Job) ([]*subject, error) {
	in, _ := job.Input("model")
	list := []*subject{{path: in.Path, width: 1, costs: &surgery.Costs{}}}
	model, err := onnx.Load(in.Path)
	if err != nil {
		if len(p.widths) > 0 {
			return nil, stages.Problemf("model", "Model cannot be read", "%v.", err)
		}
		return list, nil // what ONNX Runtime runs can be timed, even where we do not understand it
	}
	if g := surgery.Edit(model); g.Simplify() == nil {
		if costs, err := g.Costs(); err == nil {
			list[0].costs = costs
		}
	}
	for _, width := range p.widths {
		s, err := p.narrowed(job, model, width)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func (p *profile) narrowed(job *stages.Job, model *onnx.Model, width float64) (*subject, error) {
	g := surgery.Edit(model)
	if err := g.Narrow(width, p.round); err != nil {
		return nil, stages.Problemf("widths", "Model cannot be narrowed", "A share of %g of the channels cannot be kept: %v. Remove \"widths\" to time the model as it is.", width, err)
	}
	costs, err := g.Costs()
	if err != nil {
		return nil, fmt.Errorf("counting the operations of the model at the width %g: %w", width, err)
	}
	m, err := g.Model()
	if err != nil {
		return nil, err
	}
	s := &subject{path: filepath.Join(job.ScratchDir, fmt.Sprintf("width-%g.onnx", width)), width: width, costs: costs, made: true}
	if err := os.MkdirAll(job.ScratchDir, 0o777); err != nil {
		return nil, fmt.Errorf("making the folder of narrower models: %w", err)
	}
	return s, m.Save(s.path)
}

func (s *subject) text() string {
	if s.width == 1 {
		return ""
	}
	return fmt.Sprintf("width %g, ", s.width)
}

// close removes the file of a narrower model.
func (s *subject) close() error {
	if !s.made {
		return nil
	}
	return os.Remove(s.path)
}
