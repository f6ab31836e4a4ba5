package engine

import (
	"context"
	"strings"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
)

// Explanation says why a stage would run, or why it ran last.
type Explanation struct {
	Address string
	Action  Action // what a run would do now
	Key     artifact.Digest
	// Reasons are why it would run, or what decides it. For Reuse they are those of its last execution.
	Reasons []Reason
	Record  *cache.Record // of the result that would be reused; nil otherwise
}

// Why explains one stage of p.
func Why(ctx context.Context, p *Pipeline, o Options, address string) (*Explanation, error) {
	o.Targets, o.Force = []string{address}, nil
	plan, err := NewPlan(ctx, p, o)
	if err != nil {
		return nil, err
	}
	for _, s := range plan.Steps {
		if s.Node.ID != address {
			continue
		}
		x := &Explanation{Address: address, Action: s.Action, Key: s.Key, Reasons: s.Reasons, Record: s.Record}
		if s.Record != nil {
			x.Reasons = fromStored(s.Record.Reasons)
		}
		return x, nil
	}
	return nil, unknownStage(address)
}

// String returns a sentence and the reasons, a line each.
func (x *Explanation) String() string {
	head := map[Action]string{Execute: " would run", Undecided: " is not decided yet", Reuse: " would be reused; it ran last because of"}[x.Action]
	lines := []string{x.Address + head}
	for _, r := range x.Reasons {
		lines = append(lines, "  "+r.String())
	}
	return strings.Join(lines, "\n")
}

func fromStored(stored []cache.Reason) []Reason {
	out := make([]Reason, len(stored))
	for i, r := range stored {
		out[i] = Reason(r)
	}
	return out
}

func toStored(reasons []Reason) []cache.Reason {
	out := make([]cache.Reason, len(reasons))
	for i, r := range reasons {
		out[i] = cache.Reason(r)
	}
	return out
}
