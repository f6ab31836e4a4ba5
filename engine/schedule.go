package engine

import (
	"fmt"
	"sort"

	"github.com/darkroom-dev/darkroom/cache"
	"github.com/darkroom-dev/darkroom/stages"
)

// startReady starts the ready stages that the pools allow, those with the longest way to the end first. A stage that
// does not fit holds back no other.
func (r *run) startReady() (started bool) {
	var ready []int
	for i, s := range r.stages {
		if s.State == Ready {
			ready = append(ready, i)
		}
	}
	if len(ready) == 0 {
		return false
	}
	r.rank()
	sort.SliceStable(ready, func(a, b int) bool { return r.stages[ready[a]].priority > r.stages[ready[b]].priority })
	for _, i := range ready {
		s := r.stages[i]
		if r.o.Jobs > 0 && r.used >= r.o.Jobs {
			break
		}
		if !r.claim(s.res) {
			continue
		}
		s.State = Running
		r.used++
		started = true
		x := &execution{run: r, index: i, res: s.res, reasons: s.Reasons}
		go func() { r.finished <- x.execute(r.ctx) }()
	}
	return started
}

// claim takes what a stage needs out of its runner's pool, or nothing.
func (r *run) claim(res *resolved) bool {
	pool := r.pools[res.runner]
	if pool == nil {
		has := res.runner.Capacity()
		pool = &has
		r.pools[res.runner] = pool
	}
	want := res.resources
	if want.CPUs > pool.CPUs || want.Memory > pool.Memory || want.GPUs > pool.GPUs {
		return false
	}
	*pool = stages.Resources{CPUs: pool.CPUs - want.CPUs, Memory: pool.Memory - want.Memory, GPUs: pool.GPUs - want.GPUs}
	return true
}

// rank gives every stage the length of the longest path from its start to the end, by how long stages took last. It is
// done once, when something is to run.
func (r *run) rank() {
	if r.ranked {
		return
	}
	r.ranked = true
	for k := len(r.g.order) - 1; k >= 0; k-- {
		i := r.g.order[k]
		s := r.stages[i]
		took := 1.0
		if rec := r.o.Cache.LastRecord(r.p.Name, s.Node.ID); rec != nil {
			took = rec.TookS
		}
		longest := 0.0
		for _, d := range r.g.dependents[i] {
			longest = max(longest, r.stages[d].priority)
		}
		s.priority = took + longest
	}
}

// judgeAll checks the requirements of every finished stage whose needs are over.
func (r *run) judgeAll() {
	for _, s := range r.stages {
		r.judgeNow(s)
	}
}

// judgeNow checks the requirements of s if it has finished and what they need is over. It comes before anything that
// depends on s is decided.
func (r *run) judgeNow(s *stage) {
	if s.judged || s.State != Done && s.State != Reused {
		return
	}
	for _, q := range s.Node.Requires {
		if !r.canJudge(q) {
			return
		}
	}
	s.judged = true
	r.judge(s)
}

func (r *run) canJudge(q Requirement) bool {
	for _, id := range q.Needs() {
		if j, ok := r.g.index[id]; ok && !r.stages[j].State.over() {
			return false
		}
	}
	return true
}

// judged are the values and the measurements of a stage: no key depends on a judgement, so a speed may be judged too.
func judged(rec *cache.Record) map[string]any {
	self := map[string]any{}
	for name, v := range rec.Measured {
		self[name] = v
	}
	for name, v := range rec.Values {
		self[name] = v
	}
	return self
}

func (r *run) judge(s *stage) {
	for i, q := range s.Node.Requires {
		values := Values{}
		missing := ""
		for _, id := range q.Needs() {
			if o := r.done[id]; o != nil {
				values[id] = o.values
			} else {
				missing = id
			}
		}
		message := ""
		switch ok, text, err := false, "", error(nil); {
		case missing != "":
			message = "It could not be checked: " + missing + " has no values."
		default:
			ok, text, err = q.Check(judged(s.Record), values)
			if err != nil {
				message = "It could not be checked: " + err.Error()
			} else if !ok {
				message = text
				if message == "" {
					message = "The condition does not hold: " + q.Text()
				}
			}
		}
		if message != "" {
			s.Judgment = append(s.Judgment, message)
			r.events.emit(Event{Event: EventRequirementFailed, Address: s.Node.ID, Key: s.Key, Values: s.Values, Error: message,
				Problems: []stages.Problem{{Arg: fmt.Sprintf("require[%d]", i), Summary: "Requirement failed", Detail: message}}})
		}
	}
}
