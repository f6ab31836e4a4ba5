package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/stages"
)

// outcome is what a finished stage gave.
type outcome struct {
	outputs map[string]artifact.Ref
	values  map[string]any
}

// boundInput is an artifact on a port: of the store, or of the project when source is set.
type boundInput struct {
	port, name string
	ref        artifact.Ref
	from       OutputRef
	source     *cache.Source
	written    string // the path of a source as written
}

// resolved is a node with everything that its key needs.
type resolved struct {
	node      *Node
	args      stages.Args
	schema    *stages.Schema
	inputs    []boundInput
	manifest  *Manifest
	key       artifact.Digest
	seed      uint64
	device    stages.Device
	resources stages.Resources
	runner    Runner
}

// deviceChoice is what a device class follows from.
type deviceChoice struct {
	runner Runner
	want   stages.Device
}

// resolver makes keys. It digests every source once; it is used by one goroutine.
type resolver struct {
	p       *Pipeline
	o       Options
	sources map[string]*cache.Source
	devices map[deviceChoice]stages.Device
}

func newResolver(p *Pipeline, o Options) *resolver {
	return &resolver{p: p, o: o, sources: map[string]*cache.Source{}, devices: map[deviceChoice]stages.Device{}}
}

// resolve makes the manifest and the key of n, all of whose upstream stages are in done.
func (r *resolver) resolve(n *Node, done map[string]*outcome) (*resolved, error) {
	out := &resolved{node: n, args: n.Args, schema: n.Schema}
	var err error
	if out.inputs, err = r.bindInputs(n, done); err != nil {
		return nil, err
	}
	if err := r.bindArgs(out, done); err != nil {
		return nil, err
	}
	if out.runner, err = r.o.runner(n, out.schema.Compute); err != nil {
		return nil, err
	}
	if err := r.bindDevice(out); err != nil {
		return nil, err
	}
	if err := claim(out); err != nil {
		return nil, err
	}
	m := &Manifest{Kind: n.Kind.Name, Version: n.Kind.Version, Args: stages.Fields(n.Kind.New(), out.args), Device: out.device}
	for _, in := range out.inputs {
		m.Inputs = append(m.Inputs, ManifestInput{Port: in.port, Name: in.name, Ref: in.ref})
	}
	if n.Kind.Seeded {
		out.seed = r.p.Seed
		if n.Seed != nil {
			out.seed = *n.Seed
		}
		m.Seed = &out.seed
	}
	out.manifest, out.key = m, m.Key()
	return out, nil
}

func (r *resolver) bindInputs(n *Node, done map[string]*outcome) ([]boundInput, error) {
	var inputs []boundInput
	for _, e := range n.Inputs {
		in := boundInput{port: e.Port, name: e.Name, from: e.From, written: e.Source}
		if e.IsSource() {
			s, err := r.source(e.Source)
			if err != nil {
				return nil, sourceProblem(e, err)
			}
			in.source, in.ref = s, s.Ref
		} else {
			ref, ok := done[e.From.Node].outputs[e.From.Output]
			if !ok {
				return nil, fmt.Errorf("%s has given no output %s", e.From.Node, e.From.Output)
			}
			in.ref = ref
			// A port of type file or folder takes other types; what counts for the key is the content and what it is
			// taken for.
			if e.Type != "" {
				in.ref.Type = e.Type
			}
		}
		inputs = append(inputs, in)
	}
	return inputs, nil
}

func sourceProblem(e Edge, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return stages.Problemf(e.Port, "Source not found", "There is no file or folder %s. Relative paths are relative to the pipeline's folder.", e.Source)
	}
	return stages.Problemf(e.Port, "Source cannot be read", "%v.", err)
}

// path returns where a source lies.
func (p *Pipeline) path(source string) string {
	if filepath.IsAbs(source) {
		return filepath.Clean(source)
	}
	return filepath.Join(p.Dir, source)
}

func (r *resolver) source(written string) (*cache.Source, error) {
	path := r.p.path(written)
	if s := r.sources[path]; s != nil {
		return s, nil
	}
	s, err := r.o.Cache.HashSource(path)
	if err != nil {
		return nil, err
	}
	r.sources[path] = s
	return s, nil
}

// bindArgs makes the arguments where they waited for values, and the schema where it follows from them.
func (r *resolver) bindArgs(out *resolved, done map[string]*outcome) error {
	n := out.node
	if n.Binder != nil {
		values := Values{}
		for _, id := range n.Waits {
			values[id] = done[id].values
		}
		args, problems := n.Binder.Bind(values)
		if stages.HasErrors(problems) {
			return &StageError{Address: n.ID, Problems: problems}
		}
		out.args = args
	}
	if n.Binder == nil && n.Schema != nil {
		return nil
	}
	connected := map[string]bool{}
	for _, in := range out.inputs {
		connected[in.port] = true
	}
	schema, problems := stages.Decode(n.Kind.New(), out.args, connected)
	if stages.HasErrors(problems) {
		return &StageError{Address: n.ID, Problems: problems}
	}
	out.schema = schema
	return nil
}

// bindDevice fills the device of a kind that computes.
func (r *resolver) bindDevice(out *resolved) error {
	n := out.node
	out.resources = n.Resources
	threads := 1
	if n.Kind.Computes {
		want, err := r.o.wanted(n, out.schema.Compute, out.runner)
		if err != nil {
			return err
		}
		threads = want.Threads
		choice := deviceChoice{out.runner, want}
		d, ok := r.devices[choice]
		if !ok {
			var problem stages.Problem
			if d, err = out.runner.Device(want); errors.As(err, &problem) {
				return err
			} else if err != nil {
				return fmt.Errorf("the compute device of the %s runner: %w", out.runner.Name(), err)
			}
			r.devices[choice] = d
		}
		out.device = d
	}
	if out.resources.CPUs == 0 {
		// More threads than cores is slow, not wrong.
		out.resources.CPUs = max(1, min(threads, out.runner.Capacity().CPUs))
	}
	return nil
}

// claim completes what the stage takes of its runner, and refuses what the runner will never have.
func claim(out *resolved) error {
	if l, ok := out.runner.(Leaser); ok {
		var err error
		if out.resources, err = l.Claim(out.resources); err != nil {
			return err
		}
	}
	want, has := out.resources, out.runner.Capacity()
	for _, c := range []struct {
		what      string
		want, has int64
	}{{"cpus", int64(want.CPUs), int64(has.CPUs)}, {"memory", want.Memory, has.Memory}, {"gpus", int64(want.GPUs), int64(has.GPUs)}} {
		if c.want > c.has {
			hint := ""
			if c.what == "gpus" && out.runner.Name() != gpuRunner {
				hint = " GPUs are leased by a runner of the type \"gpu\": write runner = runner.gpu.NAME, and a block runner \"gpu\" \"NAME\" {}."
			}
			return stages.Problemf("resources", "More than the runner has", "The stage asks for %s = %d, but the %s runner has %d in all, so it would wait for ever.%s", c.what, c.want, out.runner.Name(), c.has, hint)
		}
	}
	return nil
}

// outputType returns the type of an output; one that is like an input takes that input's type.
func (r *resolved) outputType(p *stages.Port) artifact.Type {
	if p.Like != "" {
		for _, in := range r.inputs {
			if in.port == p.Like {
				return in.ref.Type
			}
		}
	}
	return p.Type
}
