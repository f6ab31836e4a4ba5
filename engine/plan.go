package engine

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
)

// Action is what a plan holds for a stage.
type Action string

// The actions.
const (
	Reuse     Action = "reuse"
	Execute   Action = "run"
	Undecided Action = "undecided" // it depends on what a stage before it yields
)

// Plan says what would happen to each stage.
type Plan struct {
	Pipeline   *Pipeline
	Steps      []Step          // in an order in which they could run
	Experiment artifact.Digest // "" while any key is not known, and when only targets were planned
}

// Step is what a plan holds for one stage.
type Step struct {
	Node     *Node
	Action   Action
	Key      artifact.Digest // "" while it is not known
	Manifest *Manifest       // nil while it is not known
	Reasons  []Reason        // why it would run, or what decides it; empty for Reuse
	Record   *cache.Record   // of Reuse

	res *resolved // nil while the key is not known
}

// NewPlan says what running p would do, and changes nothing. What is wrong with stages is returned as StageErrors,
// joined; then there is no plan.
func NewPlan(ctx context.Context, p *Pipeline, o Options) (*Plan, error) {
	g, err := newGraph(p, o.Targets)
	if err != nil {
		return nil, err
	}
	if err := checkForce(g, p, o.Force); err != nil {
		return nil, err
	}
	return newPlan(ctx, p, g, newResolver(p, o))
}

func checkForce(g *graph, p *Pipeline, force []string) error {
	for _, id := range force {
		if _, ok := g.index[id]; !ok {
			for _, n := range p.Nodes {
				if n.ID == id {
					return fmt.Errorf("%s is to be forced, but no target needs it", id)
				}
			}
			return unknownStage(id)
		}
	}
	return nil
}

func newPlan(ctx context.Context, p *Pipeline, g *graph, r *resolver) (*Plan, error) {
	plan := &Plan{Pipeline: p}
	done := map[string]*outcome{}
	keys := map[string]artifact.Digest{}
	first := map[artifact.Digest]string{} // the stage that will run for a key
	var errs []error
	for _, i := range g.order {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := g.nodes[i]
		step := Step{Node: n}
		if waits := unknown(g, i, done); len(waits) > 0 {
			step.Action, step.Reasons = Undecided, waits
			errs = append(errs, checkUndecided(r, n)...)
			if r.forced(n) {
				step.Action, step.Reasons = Execute, []Reason{forceReason(n)}
			}
			plan.Steps = append(plan.Steps, step)
			continue
		}
		res, err := r.resolve(n, done)
		if err != nil {
			errs = append(errs, stageError(n.ID, err))
			done[n.ID] = nil
			continue
		}
		step.Key, step.Manifest, step.res = res.key, res.manifest, res
		keys[n.ID] = res.key
		rec, reasons := r.lookup(res)
		switch {
		case rec != nil:
			step.Action, step.Record = Reuse, rec
			done[n.ID] = &outcome{rec.Outputs, rec.Values}
		case first[res.key] != "":
			step.Action, step.Reasons = Undecided, []Reason{{Path: first[res.key], New: "has the same key, and its result is shared"}}
		default:
			step.Action, step.Reasons = Execute, reasons
			first[res.key] = n.ID
		}
		plan.Steps = append(plan.Steps, step)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if len(keys) == len(p.Nodes) {
		plan.Experiment = experimentHash(keys)
	}
	return plan, nil
}

// unknown returns a reason for each upstream stage whose result is not known, nil when all are.
func unknown(g *graph, i int, done map[string]*outcome) []Reason {
	var out []Reason
	for _, j := range g.needs[i] {
		if id := g.nodes[j].ID; done[id] == nil {
			out = append(out, Reason{Path: id, New: "decided when it finishes"})
		}
	}
	return out
}

// checkUndecided finds what will stop a stage that is not decided yet, before anything runs: missing sources, and a runner or a device that
// this machine does not have.
func checkUndecided(r *resolver, n *Node) (errs []error) {
	for _, e := range n.Inputs {
		if e.IsSource() {
			if _, err := r.source(e.Source); err != nil {
				errs = append(errs, stageError(n.ID, sourceProblem(e, err)))
			}
		}
	}
	if err := r.checkPlace(n); err != nil {
		errs = append(errs, stageError(n.ID, err))
	}
	return errs
}

// checkPlace finds out whether the stage can have the runner and the device that it asks for, as far as that does not wait for values.
func (r *resolver) checkPlace(n *Node) error {
	if n.Schema == nil || n.Binder != nil {
		_, err := r.o.runner(n, nil)
		return err
	}
	runner, err := r.o.runner(n, n.Schema.Compute)
	if err != nil {
		return err
	}
	out := &resolved{node: n, schema: n.Schema, runner: runner}
	if err := r.bindDevice(out); err != nil {
		return err
	}
	return claim(out)
}

// forced reports whether n is to run whatever is known.
func (r *resolver) forced(n *Node) bool {
	for _, id := range r.o.Force {
		if id == n.ID {
			return true
		}
	}
	return n.NoCache
}

func forceReason(n *Node) Reason {
	if n.NoCache {
		return Reason{Path: "cache", New: "false"}
	}
	return Reason{Path: "force", New: "asked for"}
}

// lookup returns the record that can be reused, or why there is none.
func (r *resolver) lookup(res *resolved) (*cache.Record, []Reason) {
	if r.forced(res.node) {
		return nil, []Reason{forceReason(res.node)}
	}
	rec, err := r.o.Cache.Record(res.key)
	switch {
	case rec != nil:
		return rec, nil
	case err != nil:
		return nil, []Reason{{Path: storedResult, New: err.Error()}}
	}
	return nil, r.explain(res)
}

// storedResult is the path of the reason that a record cannot be believed.
const storedResult = "stored result"

// damagedAt returns what planning found out about results that are stored but not whole.
func damagedAt(plan *Plan) map[artifact.Digest]Reason {
	out := map[artifact.Digest]Reason{}
	for _, s := range plan.Steps {
		if len(s.Reasons) == 1 && s.Reasons[0].Path == storedResult {
			out[s.Key] = s.Reasons[0]
		}
	}
	return out
}

// explain says why the key of res has no record: how it differs from the stage's last one.
func (r *resolver) explain(res *resolved) []Reason {
	last := r.o.Cache.LastRecord(r.p.Name, res.node.ID)
	if last == nil {
		return []Reason{{Path: "record", New: "none yet"}}
	}
	old, err := ParseManifest(last.Manifest)
	if err != nil {
		return []Reason{{Path: "record", New: "none of this manifest version"}}
	}
	if reasons := res.manifest.Diff(old); len(reasons) > 0 {
		return reasons
	}
	return []Reason{{Path: "record", New: "gone"}}
}

// experimentHash is the root over all keys.
func experimentHash(keys map[string]artifact.Digest) artifact.Digest {
	lines := make([]string, 0, len(keys))
	for id, key := range keys {
		lines = append(lines, id+" "+string(key)+"\n")
	}
	sort.Strings(lines)
	return artifact.DigestBytes([]byte(strings.Join(lines, "")))
}
