package engine_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/engine"
	"github.com/darkroom-dev/darkroom/stages"
)

// BenchmarkNothingToDo is a run of 1,000 and 10,000 stages in two levels of which every result is known. The records
// are put by hand, as starting a worker for each would take minutes.
func BenchmarkNothingToDo(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := b.TempDir()
			c, err := cache.Open(filepath.Join(dir, ".darkroom"))
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			o := engine.Options{Cache: c, Runners: map[string]engine.Runner{"local": idle{}}}
			p := twoLevels(dir, n)
			for range 2 { // the second level's keys are known when the first has records
				known(b, p, o)
			}
			for b.Loop() {
				res, err := engine.Run(b.Context(), p, o)
				if err != nil || res.Reused != n {
					b.Fatal(res, err)
				}
			}
		})
	}
}

// idle has room and runs nothing.
type idle struct{ engine.Runner }

func (idle) Capacity() stages.Resources { return stages.Resources{CPUs: 2} }
func (idle) Name() string               { return "local" }

// twoLevels is a pipeline of n stages, half of which take the output of the others.
func twoLevels(dir string, n int) *engine.Pipeline {
	var nodes []*engine.Node
	for i := range n / 2 {
		id := fmt.Sprintf("text.a%05d", i)
		nodes = append(nodes, node(id, arg{"add": id}), node(fmt.Sprintf("text.b%05d", i), arg{"add": "b"}, id))
	}
	return pipeline(dir, nodes...)
}

// known puts a record for every stage that a plan would run.
func known(b *testing.B, p *engine.Pipeline, o engine.Options) {
	b.Helper()
	plan, err := engine.NewPlan(b.Context(), p, o)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range plan.Steps {
		if s.Action != engine.Execute {
			continue
		}
		ref, err := o.Cache.PutBytes([]byte(s.Node.ID), artifact.File)
		if err != nil {
			b.Fatal(err)
		}
		rec := &cache.Record{Key: s.Key, Manifest: s.Manifest.Text(), Address: s.Node.ID, Outputs: map[string]artifact.Ref{"out": ref}, Values: map[string]any{"length": 1.0}}
		if err := o.Cache.PutRecord(rec); err != nil {
			b.Fatal(err)
		}
	}
}
